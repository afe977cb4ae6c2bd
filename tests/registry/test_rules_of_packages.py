"""Packages' tools are held to the permissions, and an approval is of the code that was there."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from agentrail import (
    AppConfig,
    ChatRequest,
    ChatResponse,
    MemorySessionStore,
    Profile,
    ScriptedModel,
    create_app,
    tool,
)
from agentrail.errors import CompositionError
from agentrail.events import ApprovalRequired, ToolEnd
from agentrail.host import AgentHost
from agentrail.model import call_tools
from agentrail.plugin import PackageSettings
from agentrail.registry import Packages
from agentrail.requests import Principal, Resume
from agentrail.session import SessionStore
from agentrail.tool import Rule, allow, ask, deny
from tests.registry.shop import ADA, LAZY, upload, write

pytestmark = pytest.mark.anyio

ME = Principal()

READ = """
def get_tools():
    def tell({0}):
        return "{1} " + {0}
    schema = {{"name": "tell", "description": "Tells.", "parameters": {{
        "type": "object", "properties": {{"{0}": {{"type": "string"}}}}}}}}
    return [{{"schema": schema, "handler": tell}}]
"""
"""A module with one tool, whose argument has a name to choose."""


@tool
def own(what: str) -> str:
    """Do something of the application's own."""
    return what


def telling(says: str, argument: str = "path") -> str:
    return READ.format(argument, says)


def tells(path: str = "a", name: str = "p__tell") -> Any:  # noqa: ANN401
    return call_tools((name, {"path": path}))


def ruled(
    data: Path,
    rules: Sequence[Rule],
    *replies: Any,  # noqa: ANN401
    store: SessionStore | None = None,
    settings: PackageSettings | None = None,
) -> AgentHost:
    """Return a host with packages, one tool of its own, and rules."""
    profile = Profile(id="a", model="scripted:m", tools=[own], permissions=rules)
    return create_app(
        AppConfig(
            profiles=[profile],
            providers=[ScriptedModel([*replies, "done"], record=False)],
            packages=settings or PackageSettings(),
            data_dir=data,
            store=store or MemorySessionStore(),
        )
    ).host


async def switched_on(host: AgentHost, name: str, **more: Any) -> Packages:  # noqa: ANN401
    packages = host.part(Packages)
    await upload(packages, name, **more)
    await packages.switch(name, ADA, on=True)
    return packages


async def approve(host: AgentHost, response: ChatResponse) -> ChatResponse:
    """Approve all that a turn waits for, and let it go on."""
    for asked in response.approvals:
        await host.decide(ME, response.turn_id, asked.call.id, approved=True)
    return await host.chat(Resume(response.turn_id))


async def ends(host: AgentHost) -> list[tuple[str, str]]:
    """Return what became of the tool calls of session ``s``."""
    log = await host.core.store.read("s")
    return [(event.outcome, event.content) for event in log if isinstance(event, ToolEnd)]


ASKED = ChatRequest("go", session_id="s")


@pytest.mark.parametrize("pattern", ["p__*", "p__tell", "*__*", "*", "?__tell"])
async def test_a_rule_may_name_a_tool_that_a_package_brings_later(
    tmp_path: Path, pattern: str
) -> None:
    async with ruled(tmp_path, [ask(pattern)], tells()) as host:
        packages = await switched_on(host, "p", source=telling("told"))
        response = await host.chat(ASKED)
        assert (response.outcome, await ends(host)) == ("suspended", [])

        response = await approve(host, response)
        assert (response.message, await ends(host)) == ("done", [("ok", "told a")])
        assert (await packages.switch("p", ADA, on=False)).state != "active"


@pytest.mark.parametrize("more", ["", LAZY])
async def test_a_call_of_a_packages_tool_that_is_denied_is_not_made(
    tmp_path: Path, more: str
) -> None:
    async with ruled(tmp_path, [deny("p__*", reason="no p")], tells()) as host:
        await switched_on(host, "p", source=telling("told"), more=more)
        await host.chat(ASKED)
        assert await ends(host) == [("denied", "denied: this call is not permitted: no p")]


async def test_of_a_packages_tool_such_calls_are_made_as_an_allow_names(tmp_path: Path) -> None:
    rules = [deny(), allow("p__tell", path="docs/**")]
    async with ruled(tmp_path, rules, tells("docs/a"), tells("etc/a")) as host:
        await switched_on(host, "p", source=telling("told"))
        await host.chat(ASKED)
        (made, not_made) = await ends(host)
    assert made == ("ok", "told docs/a")
    assert not_made[0] == "denied"


async def test_arguments_of_a_rule_hold_for_a_packages_tool(tmp_path: Path) -> None:
    rules = [ask("*", path="/etc/**")]
    async with ruled(tmp_path, rules, tells("a"), tells("/etc/../etc/x")) as host:
        await switched_on(host, "p", source=telling("told"))
        response = await host.chat(ASKED)
        assert (response.outcome, await ends(host)) == ("suspended", [("ok", "told a")])


def test_a_slip_in_a_rule_is_a_fault_where_there_are_packages_too(tmp_path: Path) -> None:
    with pytest.raises(CompositionError) as raised:
        ruled(tmp_path, [deny("onw"), deny("own", waht="x"), deny("p__.*")])

    assert raised.value.faults == (
        "profile 'a': deny('onw') is about no tool of own; did you mean 'own'?",
        "profile 'a': deny('own'): 'waht' is no argument of own; did you mean 'what'?",
        "profile 'a': deny('p__.*') is about no tool of own",
    )


async def test_no_rule_keeps_a_package_from_being_switched_off_and_a_gap_is_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rules = [ask("*", path="/etc/**"), deny("own")]
    async with ruled(tmp_path, rules) as host:
        caplog.clear()
        packages = await switched_on(host, "files", source=telling("told"))
        assert gaps(caplog) == []
        await switched_on(host, "q", source=telling("told", "text"))
        (gap,) = gaps(caplog)
        assert "ask('*'): 'path' is no argument of q__tell; there are: text" in gap

        caplog.clear()
        await packages.switch("files", ADA, on=False)
        (gap,) = gaps(caplog)
        assert "'path' is no argument of own, q__tell" in gap
        caplog.clear()
        await packages.switch("q", ADA, on=False)
        assert [info.state in ("disabled", "draining") for info in await packages.list()] == [
            True,
            True,
        ]


async def test_a_rule_by_name_whose_argument_a_packages_tool_does_not_have_is_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with ruled(tmp_path, [deny("p__tell", paht="/etc/**")]) as host:
        assert gaps(caplog) == []
        packages = await switched_on(host, "p", source=telling("told"))
        assert (await packages.get("p")).state == "active"
        (gap,) = gaps(caplog)
        assert "'paht' is no argument of p__tell; did you mean 'path'?" in gap


def gaps(caplog: pytest.LogCaptureFixture) -> list[str]:
    told = [each for each in caplog.records if each.name == "agentrail.host"]
    assert all(each.levelno == logging.WARNING for each in told)
    return [each.getMessage() for each in told if "permission" in each.getMessage()]


@pytest.mark.parametrize("restarts", [False, True])
async def test_an_approved_call_does_not_run_another_version(
    tmp_path: Path, restarts: bool
) -> None:
    store, rules = MemorySessionStore(), [ask()]
    first = ruled(tmp_path, rules, tells(), tells(), store=store)
    async with first as host:
        packages = await switched_on(host, "p", source=telling("one"))
        response = await host.chat(ASKED)
        await upload(packages, "p", "2.0.0", source=telling("two"))
        await packages.upgrade("p", ADA, version="2.0.0")
        if not restarts:
            await check_asked_again(host, response)
    if restarts:
        async with ruled(tmp_path, rules, tells(), store=store) as host:
            await check_asked_again(host, response)


async def check_asked_again(host: AgentHost, suspended: ChatResponse) -> None:
    """Check that an approved call is not made, and the next one is asked about and made."""
    response = await approve(host, suspended)
    ((outcome, text),) = await ends(host)
    assert outcome == "error"
    assert "was changed after approval of this call was asked for" in text
    assert response.outcome == "suspended"
    assert response.approvals != suspended.approvals

    log = await host.core.store.read("s")
    origins = [event.origin for event in log if isinstance(event, ApprovalRequired)]
    assert [each.partition(" ")[0] for each in origins] == ["p@1.0.0", "p@2.0.0"]
    assert all(" sha256:" in each for each in origins)

    assert (await approve(host, response)).outcome == "completed"
    assert (await ends(host))[1:] == [("ok", "two a")]


async def test_an_approved_call_does_not_run_files_that_were_changed_since(tmp_path: Path) -> None:
    directory = tmp_path / "own"
    write(directory, "p", source=telling("one"))
    settings = PackageSettings(directories=[directory])
    async with ruled(tmp_path, [ask("p__*")], tells(), tells(), settings=settings) as host:
        response = await host.chat(ASKED)
        (directory / "p" / "__init__.py").write_text(telling("two"))
        await host.part(Packages).refresh(directory)
        response = await approve(host, response)
        assert [outcome for outcome, _ in await ends(host)] == ["error"]
        await approve(host, response)
        assert (await ends(host))[1:] == [("ok", "two a")]


async def test_a_package_that_was_off_meanwhile_or_loaded_since_runs_what_was_approved(
    tmp_path: Path,
) -> None:
    rules = [ask(path="b"), ask(path="c")]
    async with ruled(tmp_path, rules, tells("b"), tells(), tells("c")) as host:
        packages = await switched_on(host, "p", source=telling("one"), more=LAZY)
        assert (await packages.get("p")).state == "idle"
        response = await host.chat(ASKED)
        await packages.switch("p", ADA, on=False)
        await packages.switch("p", ADA, on=True)
        response = await approve(host, response)
        assert (await packages.get("p")).state == "active"
        await approve(host, response)
        assert await ends(host) == [("ok", "one b"), ("ok", "one a"), ("ok", "one c")]


async def test_an_approved_call_of_a_package_that_is_gone_says_that_there_is_no_tool(
    tmp_path: Path,
) -> None:
    async with ruled(tmp_path, [ask("p__*")], tells()) as host:
        packages = await switched_on(host, "p", source=telling("one"))
        response = await host.chat(ASKED)
        await packages.switch("p", ADA, on=False)
        await approve(host, response)
        ((outcome, text),) = await ends(host)
    assert (outcome, "there is no tool 'p__tell'" in text) == ("error", True)
