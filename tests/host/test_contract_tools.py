"""What the contract says of the hooks around tool calls: which calls they are told of, and how."""

import logging
from collections.abc import Callable
from typing import Any, Final

import anyio
import pytest
from anyio import from_thread
from attrs import define
from msgspec.structs import replace

from agentrail import (
    ChatRequest,
    Limits,
    Message,
    ModelReply,
    Profile,
    RequestContext,
    ScriptedModel,
    Tool,
    ToolCall,
    ToolError,
    ToolResult,
    define_plugin,
    tool,
)
from agentrail.events import ToolEnd
from agentrail.messages import StopReason
from agentrail.model import call_tools
from agentrail.model._answer import read_call
from agentrail.requests import Resume
from agentrail.testing import FakeClock
from agentrail.tool import ask, deny
from tests.host.conftest import MakeHost
from tests.host.contract import both_doors, run
from tests.host.office import ME, results, transcript

ASKED: Final = ChatRequest("hi", session_id="s")


@tool
def ping() -> str:
    """Answer."""
    return "pong"


@define
class Audit:
    """A plugin that notes what its hooks around tool calls are told, as names and outcomes."""

    began: list[ToolCall]
    ended: list[tuple[str, str]]
    name: str = "audit"
    priority: int = 1

    def before_tool_call(self, call: ToolCall, _context: RequestContext) -> None:
        self.began.append(call)

    def after_tool_call(self, call: ToolCall, result: ToolResult, _context: RequestContext) -> None:
        assert (result.call_id, result.name) == (call.id, call.name)
        self.ended.append((call.name, result.outcome))


# --- of which calls -----------------------------------------------------------------------------


@both_doors
async def test_after_hooks_are_told_of_every_result_that_a_call_comes_to(
    make_host: MakeHost, kind: str
) -> None:
    @tool
    def fail() -> None:
        """Fail."""
        message = "no"
        raise ToolError(message)

    @tool
    def count(upto: int) -> int:
        """Count."""
        return upto

    @tool(timeout=0.01)
    async def hang() -> None:
        """Wait."""
        await anyio.sleep_forever()

    def guard(call: ToolCall, _context: RequestContext) -> ToolResult | None:
        if call.name != "guarded":
            return None
        return ToolResult(call_id=call.id, name=call.name, content="no", outcome="denied")

    @tool
    def guarded() -> None:
        """Be denied by a hook."""

    @tool
    def secret() -> None:
        """Be denied by the profile."""

    audit = Audit([], [])
    tools: list[Tool] = [ping, fail, count, hang, guarded, secret]
    profile = Profile(id="a", model="scripted:m", tools=tools, permissions=[deny("secret")])
    plugins = [audit, define_plugin("guard", before_tool_call=guard)]
    calls: list[tuple[str, dict[str, Any]]] = [
        *(("ping", {}), ("fail", {}), ("count", {"upto": "x"}), ("nobody", {})),
        *(("hang", {}), ("guarded", {}), ("secret", {})),
    ]
    async with make_host(call_tools(*calls), "fine", profiles=[profile], plugins=plugins) as host:
        assert await run(host, ASKED, kind) == "fine"
        told = results(await transcript(host))
    assert audit.ended == [
        *(("ping", "ok"), ("fail", "error"), ("count", "error"), ("nobody", "error")),
        *(("hang", "timeout"), ("guarded", "denied"), ("secret", "denied")),
    ]
    assert [outcome for outcome, _ in told] == [outcome for _, outcome in audit.ended]


@both_doors
@pytest.mark.parametrize(
    ("stop_reason", "steps"), [("length", 16), ("tool_calls", 1)], ids=["cut off", "no step left"]
)
async def test_after_hooks_are_told_of_calls_that_a_limit_refused_and_before_hooks_are_not(
    make_host: MakeHost, kind: str, stop_reason: StopReason, steps: int
) -> None:
    audit = Audit([], [])
    profile = Profile(id="a", model="scripted:m", tools=[ping], limits=Limits(steps=steps))
    reply = replace(call_tools(("ping", {})), stop_reason=stop_reason)
    async with make_host(reply, "fine", profiles=[profile], plugins=[audit]) as host:
        await run(host, ASKED, kind)
    assert (audit.began, audit.ended) == ([], [("ping", "error")])


@both_doors
async def test_after_hooks_are_told_of_a_call_that_was_made_too_often(
    make_host: MakeHost, kind: str
) -> None:
    audit = Audit([], [])
    profile = Profile(id="a", model="scripted:m", tools=[ping])
    script = [call_tools(("ping", {})) for _ in range(6)]
    async with make_host(*script, "fine", profiles=[profile], plugins=[audit]) as host:
        assert await run(host, ASKED, kind) == "fine"
    assert (len(audit.began), audit.ended) == (5, [("ping", "ok")] * 5 + [("ping", "error")])


@both_doors
async def test_after_hooks_are_told_of_a_call_that_was_not_approved(
    make_host: MakeHost, kind: str
) -> None:
    audit = Audit([], [])
    profile = Profile(id="a", model="scripted:m", tools=[ping], permissions=[ask("ping")])
    reply = call_tools(("ping", {}))
    async with make_host(reply, "fine", profiles=[profile], plugins=[audit]) as host:
        waits = await host.chat(ASKED)
        assert audit.ended == []
        await host.decide(ME, waits.turn_id, waits.approvals[0].call.id, approved=False)
        assert await run(host, Resume(waits.turn_id), kind) == "fine"
    assert audit.ended == [("ping", "denied")]


async def test_after_hooks_are_not_told_of_a_call_that_was_broken_off(make_host: MakeHost) -> None:
    began = anyio.Event()

    @tool
    async def hang() -> None:
        """Wait."""
        began.set()
        await anyio.sleep_forever()

    audit = Audit([], [])
    profile = Profile(id="a", model="scripted:m", tools=[hang])
    async with make_host(
        call_tools(("hang", {})), "fine", profiles=[profile], plugins=[audit]
    ) as host:
        async with host.stream(ASKED) as events:
            async for event in events:
                if event.type == "tool.start":
                    await began.wait()
                    break
        assert [outcome for outcome, _ in results(await transcript(host))] == ["cancelled"]
    assert (len(audit.began), audit.ended) == (1, [])


# --- of arguments that are no object ------------------------------------------------------------


def written(arguments: str) -> ModelReply:
    """Returns a model's wish to call ``ping`` with these arguments, as they came from it."""
    message = Message.assistant((read_call("c1", "ping", arguments),))
    return ModelReply(message=message, stop_reason="tool_calls")


@both_doors
@pytest.mark.parametrize("arguments", ["[1]", "3", '"text"', "true", "null"])
async def test_hooks_see_a_call_whose_arguments_are_no_object_and_its_error(
    make_host: MakeHost, kind: str, arguments: str
) -> None:
    audit = Audit([], [])
    model = ScriptedModel([written(arguments), "fine"])
    plugins = [audit, define_plugin("t", tools=[ping])]
    async with make_host(providers=[model], plugins=plugins) as host:
        assert await run(host, ASKED, kind) == "fine"
        ((outcome, told),) = results(await transcript(host))
    (call,) = audit.began
    assert (call.arguments, audit.ended) == ({}, [("ping", "error")])
    assert (outcome, told) == ("error", call.invalid)
    assert "not a JSON object" in told
    assert told.endswith(arguments)


async def test_a_hook_may_mend_arguments_that_are_no_object(make_host: MakeHost) -> None:
    def mend(call: ToolCall, _context: RequestContext) -> ToolCall | None:
        return replace(call, invalid="") if call.invalid else None

    plugin = define_plugin("t", tools=[ping], before_tool_call=mend)
    async with make_host(written("null"), "fine", plugins=[plugin]) as host:
        await host.chat(ASKED)
        assert results(await transcript(host)) == [("ok", "pong")]


# --- failures and time --------------------------------------------------------------------------


@both_doors
async def test_without_a_handler_the_failures_of_tool_hooks_are_logged_and_the_turn_goes_on(
    make_host: MakeHost, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        message = "broken"
        raise ValueError(message)

    plugin = define_plugin("p", tools=[ping], before_tool_call=fail, after_tool_call=fail)
    async with make_host(call_tools(("ping", {})), "fine", plugins=[plugin]) as host:
        with caplog.at_level(logging.WARNING, "agentrail"):
            assert await run(host, ASKED, kind) == "fine"
        assert [outcome for outcome, _ in results(await transcript(host))] == ["denied"]
    assert [(record.name, record.levelname, record.message) for record in caplog.records] == [
        ("agentrail.hook", "WARNING", "plugin 'p' failed in before_tool_call: ValueError: broken"),
        ("agentrail.hook", "WARNING", "plugin 'p' failed in after_tool_call: ValueError: broken"),
    ]
    assert all(record.exc_info for record in caplog.records)


@both_doors
async def test_the_end_of_a_call_tells_its_duration_at_both_doors(
    make_host: MakeHost, kind: str
) -> None:
    clock = FakeClock()

    def pass_time(seconds: float) -> Callable[..., None]:
        def hook(*_: object) -> None:
            clock.advance(seconds)

        return hook

    @tool
    def work() -> str:
        """Take a while."""
        from_thread.run_sync(clock.advance, 1.5)
        return "done"

    plugin = define_plugin(
        "t", tools=[work], before_tool_call=pass_time(0.5), after_tool_call=pass_time(0.25)
    )
    async with make_host(call_tools(("work", {})), "fine", plugins=[plugin], clock=clock) as host:
        await run(host, ASKED, kind)
        log = await host.core.store.read("s")
    ends = [event for event in log if isinstance(event, ToolEnd)]
    assert [(end.name, end.content, end.duration_ms) for end in ends] == [("work", "done", 1750.0)]
