"""The memory index: it remembers each turn once, and tells nobody else."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agentrail import (
    AgentHost,
    ChatRequest,
    RequestContext,
    ScriptedModel,
    define_plugin,
)
from agentrail.errors import ModelUnavailable
from plugins.memory_index import MemoryIndex
from tests.http.wire import app_of
from tests.reference.composed import reference

pytestmark = pytest.mark.anyio

RECALLED = "From earlier conversations:"


@pytest.fixture
def model() -> ScriptedModel:
    return ScriptedModel.repeat("Noted.")


@pytest.fixture
async def host(tmp_path: Path, model: ScriptedModel) -> AsyncIterator[AgentHost]:
    async with reference(tmp_path, model).app.host as running:
        yield running


def recalled(model: ScriptedModel) -> list[str]:
    """Return what was brought back for the model's last request."""
    return [each.text for each in model.requests[-1].messages if each.text.startswith(RECALLED)]


async def test_what_fits_is_brought_back_from_another_session(
    host: AgentHost, model: ScriptedModel
) -> None:
    await host.chat(ChatRequest("My parrot is named Captain Flint.", session_id="one"))
    await host.chat(ChatRequest("The meeting is on Tuesday.", session_id="two"))

    await host.chat(ChatRequest("What is the name of my parrot?", session_id="three"))

    (told,) = recalled(model)
    assert "user: My parrot is named Captain Flint.\nassistant: Noted." in told
    assert model.requests[-1].messages[-1].text == "What is the name of my parrot?"
    assert model.requests[-1].messages[-2].text == told


async def test_nothing_is_brought_back_that_does_not_fit(
    host: AgentHost, model: ScriptedModel
) -> None:
    await host.chat(ChatRequest("My parrot is named Captain Flint.", session_id="one"))

    await host.chat(ChatRequest("Tell me about volcanoes.", session_id="two"))
    await host.chat(ChatRequest("Hm?", session_id="three"))

    assert not any(RECALLED in m.text for r in model.requests for m in r.messages)


async def test_what_the_session_holds_itself_is_not_brought_back(
    host: AgentHost, model: ScriptedModel
) -> None:
    await host.chat(ChatRequest("My parrot is named Captain Flint.", session_id="one"))
    await host.chat(ChatRequest("What is my parrot named?", session_id="one"))

    assert recalled(model) == []


@pytest.mark.parametrize("who", [("default", "eve"), ("acme", "local")], ids=["user", "tenant"])
async def test_nobody_is_told_what_another_has_said(
    host: AgentHost, model: ScriptedModel, who: tuple[str, str]
) -> None:
    tenant, user = who
    await host.chat(ChatRequest("My parrot is named Captain Flint.", session_id="one"))

    await host.chat(ChatRequest("parrot Flint", tenant_id=tenant, user_id=user))
    assert recalled(model) == []

    await host.chat(ChatRequest("parrot Flint"))
    assert len(recalled(model)) == 1


QUERIES = [
    'parrot"',
    '"parrot',
    "parrot*",
    "parrot AND NOT flint OR",
    "NEAR(parrot flint, 5)",
    "said:parrot",
    "parrot'; drop table memory; --",
    "^parrot + (flint",
    "{said tenant}: parrot",
    "parrot \x00 flint",
    "tenant:default user:local parrot",
    "parrot" + " word" * 5000,
]


async def test_what_is_syntax_to_the_index_is_text_here(
    host: AgentHost, model: ScriptedModel
) -> None:
    await host.chat(ChatRequest("My parrot is named Captain Flint.", session_id="one"))

    for number, query in enumerate(QUERIES):
        await host.chat(ChatRequest(query, session_id=f"q{number}"))
        assert len(recalled(model)) == 1, query
    for query in ('"', "*", "()", "'' -- ;", "AND", "\x00", "\ud800"):
        await host.chat(ChatRequest(query, user_id="eve"))


async def test_the_index_outlives_the_host(tmp_path: Path) -> None:
    model = ScriptedModel.repeat("Noted.")
    async with reference(tmp_path, model).app.host as host:
        await host.chat(ChatRequest("My parrot is named Captain Flint.", session_id="one"))
    async with reference(tmp_path, model).app.host as host:
        await host.chat(ChatRequest("What about my parrot?"))

    assert len(recalled(model)) == 1


async def test_a_turn_that_is_announced_twice_is_indexed_once(tmp_path: Path) -> None:
    """As it is after a crash between the hook and the note that it was done."""
    index = MemoryIndex(tmp_path / "memory.db", recalled=10)

    async def again(context: RequestContext) -> None:
        await index.on_turn_persisted(context)
        await index.on_turn_persisted(context)

    model = ScriptedModel.repeat("Noted.")
    plugins = [index, define_plugin("again", on_turn_persisted=again)]
    async with app_of(model, plugins=plugins).host as host:
        await host.chat(ChatRequest("My parrot is named Captain Flint.", session_id="one"))
        await host.chat(ChatRequest("What about my parrot?", session_id="two"))

    (told,) = recalled(model)
    assert told.count("Captain Flint") == 1


async def test_a_failed_turn_is_not_remembered(tmp_path: Path) -> None:
    model = ScriptedModel([ModelUnavailable("it is down"), "Noted."])
    async with reference(tmp_path, model).app.host as host:
        with pytest.raises(ModelUnavailable):
            await host.chat(ChatRequest("My parrot is named Captain Flint.", session_id="one"))
        await host.chat(ChatRequest("What about my parrot?", session_id="two"))

    assert recalled(model) == []
