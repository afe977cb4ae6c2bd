"""The memory of the reference host: what is told once comes back, and is told nobody else."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agentrail import AgentHost, ChatRequest, Principal, ScriptedModel
from tests.reference.composed import reference

pytestmark = pytest.mark.anyio

PARROT = "My parrot is named Captain Flint."


@pytest.fixture
def model() -> ScriptedModel:
    return ScriptedModel.repeat("Noted.")


@pytest.fixture
async def host(tmp_path: Path, model: ScriptedModel) -> AsyncIterator[AgentHost]:
    async with reference(tmp_path, model).app.host as running:
        yield running


def recalled(model: ScriptedModel) -> list[str]:
    """Return what was brought back for the model's last request."""
    return [each.text for each in model.requests[-1].messages if "<memory" in each.text]


async def test_what_fits_is_brought_back_from_another_session(
    host: AgentHost, model: ScriptedModel
) -> None:
    await host.chat(ChatRequest(PARROT, session_id="one"))
    await host.chat(ChatRequest("The meeting is on Tuesday.", session_id="two"))

    await host.chat(ChatRequest("What is the name of my parrot?", session_id="three"))

    (told,) = recalled(model)
    assert f"user: {PARROT}\nassistant: Noted." in told
    assert model.requests[-1].messages[-1].text == "What is the name of my parrot?"
    assert model.requests[-1].messages[-2].text == told


@pytest.mark.parametrize("who", [("default", "eve"), ("acme", "local")], ids=["user", "tenant"])
async def test_nobody_is_told_what_another_has_said(
    host: AgentHost, model: ScriptedModel, who: tuple[str, str]
) -> None:
    tenant, user = who
    await host.chat(ChatRequest(PARROT, session_id="one"))

    await host.chat(ChatRequest("parrot Flint", tenant_id=tenant, user_id=user))
    assert recalled(model) == []

    await host.chat(ChatRequest("parrot Flint"))
    assert len(recalled(model)) == 1


async def test_the_memory_outlives_the_host_and_not_its_session(tmp_path: Path) -> None:
    model = ScriptedModel.repeat("Noted.")
    async with reference(tmp_path, model).app.host as host:
        await host.chat(ChatRequest(PARROT, session_id="one"))
    async with reference(tmp_path, model).app.host as host:
        await host.chat(ChatRequest("What about my parrot?"))
        assert len(recalled(model)) == 1

        await host.delete_session(Principal(), "one")
        await host.chat(ChatRequest("And my parrot?", user_id="local"))
        assert not any("Flint" in text for text in recalled(model))


async def test_a_user_looks_into_the_memory_and_empties_it(
    host: AgentHost, model: ScriptedModel
) -> None:
    await host.chat(ChatRequest(PARROT, session_id="one"))

    found = await host.chat(ChatRequest("/memory search parrot"))
    forgotten = await host.chat(ChatRequest("/memory forget parrot"))

    assert PARROT in found.message
    assert forgotten.message.startswith("Forgotten: 1 turn.\n")
    await host.chat(ChatRequest("What about my parrot?"))
    assert recalled(model) == []
