"""The tool calls of a turn: side by side or in order, and always one result for each."""

from collections.abc import Awaitable, Callable, Sequence

import anyio
import pytest
from msgspec.structs import replace

from agentrail import (
    ChatRequest,
    Message,
    ModelReply,
    RequestContext,
    ScriptedModel,
    ToolCall,
    ToolError,
    ToolResult,
    define_plugin,
    tool,
)
from agentrail.errors import RequestRefused
from agentrail.events import ApprovalRequired, Event, MessageRecorded, ToolEnd, ToolStart
from agentrail.hook import Tool
from agentrail.host import AgentHost
from agentrail.model import call_tools
from agentrail.model.scripted import Scripted
from agentrail.tool import ask as asks_for
from tests.agent.conftest import ask, log_of, logged_results, make_host, results_in, shown

pytestmark = pytest.mark.anyio

both_doors = pytest.mark.parametrize("kind", ["chat", "stream"])


def calls(*names: str) -> ModelReply:
    return call_tools(*((name, dict[str, object]()) for name in names))


def named(name: str, work: Callable[[], Awaitable[object]], *, concurrent: bool = True) -> Tool:
    """Returns a tool of that name that does the work."""

    @tool(name=name, concurrent=concurrent)
    async def made() -> object:
        """Work."""
        return await work()

    return made


class Meeting:
    """Work that is done when all who are expected are there, so one after another it never is."""

    def __init__(self, expected: int) -> None:
        self.there = 0
        self.expected = expected
        self.full = anyio.Event()

    async def __call__(self) -> str:
        self.there += 1
        if self.there == self.expected:
            self.full.set()
        await self.full.wait()
        return "met"


@both_doors
async def test_calls_of_concurrent_tools_overlap(anyio_backend: str, kind: str) -> None:
    meeting = Meeting(3)
    tools = [named("a", meeting), named("b", meeting)]
    model = ScriptedModel([calls("a", "b", "a"), "done"])

    async with make_host(model, tools) as host:
        assert (await ask(host, kind)).message == "done"

    assert [each.content for each in shown(model)] == ["met"] * 3


@both_doors
async def test_results_stand_in_the_order_of_the_calls_whoever_is_done_first(kind: str) -> None:
    ended = {name: anyio.Event() for name in "abc"}
    waits = {"a": "b", "b": "c", "c": "c"}

    def work(name: str) -> Callable[[], Awaitable[str]]:
        async def run() -> str:
            if waits[name] != name:
                await ended[waits[name]].wait()
            ended[name].set()
            return name.upper()

        return run

    model = ScriptedModel([calls("a", "b", "c"), "done", "and again"])
    async with make_host(model, [named(name, work(name)) for name in "abc"]) as host:
        await ask(host, kind)
        assert [each.content for each in await logged_results(host)][-1] == "A"
        await ask(host, kind)

    for request in (1, 2):
        assert [each.content for each in shown(model, request)] == ["A", "B", "C"]
        asked = model.requests[request].messages[1].tool_calls
        assert [each.call_id for each in shown(model, request)] == [call.id for call in asked]


async def test_a_tool_that_does_not_say_so_runs_alone() -> None:
    log: list[str] = []

    def work(name: str, meeting: Meeting | None = None) -> Callable[[], Awaitable[None]]:
        async def run() -> None:
            log.append(f"{name} begins")
            if meeting is not None:
                await meeting()
            await anyio.lowlevel.checkpoint()
            log.append(f"{name} ends")

        return run

    tools = [
        named("before", work("reader", Meeting(2))),
        named("write", work("writer"), concurrent=False),
        named("after", work("reader", Meeting(2))),
    ]
    model = ScriptedModel([calls("before", "before", "write", "write", "after", "after"), "done"])
    async with make_host(model, tools) as host:
        await ask(host)

    readers = ["reader begins"] * 2 + ["reader ends"] * 2
    assert log == [*readers, *["writer begins", "writer ends"] * 2, *readers]


@both_doors
async def test_what_becomes_of_one_call_does_no_harm_to_its_neighbors(kind: str) -> None:
    others = 7
    done = anyio.Semaphore(0)

    async def last() -> str:
        for _ in range(others):
            await done.acquire()
        return "whole"

    async def fails() -> None:
        raise ToolError("it is broken")

    async def explodes() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(fails)
            await anyio.sleep_forever()

    async def gives_up() -> str:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anyio.sleep_forever()
        return "gave up"

    @tool(name="slow", concurrent=True, timeout=0.01)
    async def slow() -> None:
        """Take too long."""
        await anyio.sleep_forever()

    def forbid(call: ToolCall, _context: RequestContext) -> ToolResult | None:
        if call.name == "forbidden":
            return ToolResult(call_id="", name="", content="no", outcome="denied")
        return None

    tools = [
        named("last", last),
        named("fails", fails),
        named("explodes", explodes),
        named("gives_up", gives_up),
        slow,
        named("forbidden", last),
    ]
    first = calls("last", "fails", "explodes", "gives_up", "slow", "forbidden")
    unknown = ToolCall(id="u", name="unknown")
    unread = ToolCall(id="i", name="fails", invalid="no JSON")
    message = replace(first.message, parts=(*first.message.parts, unknown, unread))
    model = ScriptedModel([replace(first, message=message), "done"])
    plugin = define_plugin(
        "p",
        before_tool_call=forbid,
        after_tool_call=lambda _call, _result, _context: done.release(),
    )
    # An unknown tool runs alone, so what stands after it is not waited for.
    others = 5
    async with make_host(model, tools, plugins=[plugin]) as host:
        await ask(host, kind)

    assert [(each.name, each.outcome) for each in shown(model)] == [
        ("last", "ok"),
        ("fails", "error"),
        ("explodes", "error"),
        ("gives_up", "ok"),
        ("slow", "timeout"),
        ("forbidden", "denied"),
        ("unknown", "error"),
        ("fails", "error"),
    ]
    assert shown(model)[0].content == "whole"
    assert [each.content for each in shown(model)[1:3]] == ["it is broken"] * 2


class Waiting:
    """Work that never ends, and how it was ended."""

    def __init__(self) -> None:
        self.begun = anyio.Event()
        self.cancelled = False

    async def __call__(self) -> None:
        self.begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            self.cancelled = True


async def answered_once(host: AgentHost) -> None:
    """Checks that each call in the log has exactly one result there, after the call."""
    log = await log_of(host)
    open_calls: list[str] = []
    for message in [event.message for event in log if isinstance(event, MessageRecorded)]:
        for result in results_in([message]):
            open_calls.remove(result.call_id)
        open_calls += [call.id for call in message.tool_calls]
    assert open_calls == []
    assert len([event for event in log if event.type in {"turn.end", "turn.error"}]) == len(
        [event for event in log if event.type == "turn.start"]
    )


@pytest.mark.parametrize("order", [("wait", "strict", "wait"), ("strict", "wait", "wait")])
async def test_a_hook_that_must_not_fail_ends_the_calls_beside_it(order: Sequence[str]) -> None:
    waiting = Waiting()

    async def strict() -> str:
        await waiting.begun.wait()
        return "done, and then"

    def fail_after(call: ToolCall, _result: ToolResult, _context: RequestContext) -> None:
        assert call.name != "strict"

    plugin = define_plugin("audit", critical=True, after_tool_call=fail_after)
    model = ScriptedModel([calls(*order), "go on"])
    tools = [named("wait", waiting), named("strict", strict)]
    async with make_host(model, tools, plugins=[plugin]) as host:
        with pytest.raises(RequestRefused, match="audit"):
            await ask(host)
        assert waiting.cancelled
        await answered_once(host)
        assert [each.outcome for each in await logged_results(host)] == ["cancelled"] * 3
        assert (await ask(host)).message == "go on"

    asked = model.requests[1].messages[1].tool_calls
    assert [each.call_id for each in shown(model)] == [call.id for call in asked]


async def test_an_abort_among_calls_that_are_being_decided_ends_them_too() -> None:
    deciding = anyio.Event()

    async def decide(call: ToolCall, _context: RequestContext) -> None:
        if call.name == "late":
            deciding.set()
            await anyio.sleep_forever()
        await deciding.wait()
        raise ValueError

    plugin = define_plugin(
        "guard", before_tool_call=decide, on_failure={"before_tool_call": "abort"}
    )
    tools = [named("late", Waiting()), named("soon", Waiting())]
    async with make_host(ScriptedModel([calls("late", "soon")]), tools, plugins=[plugin]) as host:
        with pytest.raises(RequestRefused):
            await ask(host)
        await answered_once(host)


@both_doors
async def test_a_cancelled_turn_ends_every_call_and_answers_each_once(kind: str) -> None:
    first, second = Waiting(), Waiting()

    async def quick() -> str:
        await first.begun.wait()
        await second.begun.wait()
        return "quick"

    tools = [named("first", first), named("quick", quick), named("second", second)]
    slow_end = anyio.Event()

    async def note(call: ToolCall, _result: ToolResult, _context: RequestContext) -> None:
        if call.name == "quick":
            slow_end.set()

    plugin = define_plugin("p", after_tool_call=note)
    model = ScriptedModel([calls("first", "quick", "second"), "go on"])
    async with make_host(model, tools, plugins=[plugin]) as host:
        async with anyio.create_task_group() as group:
            group.start_soon(ask, host, kind)
            await slow_end.wait()
            while not await logged_results(host):
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        assert first.cancelled
        assert second.cancelled
        await answered_once(host)
        assert (await ask(host)).message == "go on"

    outcomes = [(each.name, each.outcome) for each in shown(model)]
    assert outcomes == [("first", "cancelled"), ("quick", "ok"), ("second", "cancelled")]


async def test_a_reader_sees_each_call_begin_and_end_once() -> None:
    meeting = Meeting(3)
    model = ScriptedModel([calls("a", "a", "a"), "done"])
    events: list[Event] = []
    async with (
        make_host(model, [named("a", meeting)]) as host,
        host.stream(ChatRequest("hi", session_id="s")) as stream,
    ):
        events += [event async for event in stream]
        log = await log_of(host)

    began = [event.call_id for event in events if isinstance(event, ToolStart)]
    ended = [event.call_id for event in events if isinstance(event, ToolEnd)]
    assert sorted(began) == sorted(ended) == sorted({*began})
    assert len(began) == 3
    numbers = [event.id for event in events]
    assert numbers == sorted({*numbers})
    assert [event.id for event in log] == list(range(1, len(log) + 1))
    ends = [event.call_id for event in log if isinstance(event, ToolEnd)]
    assert [result.call_id for result in await_results(log)] == ends


def await_results(log: Sequence[Event]) -> list[ToolResult]:
    return results_in([event.message for event in log if isinstance(event, MessageRecorded)])


@both_doors
async def test_a_call_that_was_cut_off_is_not_executed_nor_decided_about(kind: str) -> None:
    decided: list[str] = []
    executed = Waiting()
    cut = replace(calls("a", "a", "b"), stop_reason="length")
    plugin = define_plugin("p", before_tool_call=lambda call, _context: decided.append(call.name))
    tools = [named("a", executed), named("b", executed, concurrent=False)]
    model = ScriptedModel([cut, "done"])
    async with make_host(model, tools, plugins=[plugin], permissions=[asks_for()]) as host:
        assert (await ask(host, kind)).message == "done"
        await answered_once(host)

    assert [each.outcome for each in shown(model)] == ["error"] * 3
    assert all("cut this call off" in each.content for each in shown(model))
    assert (decided, executed.begun.is_set()) == ([], False)


async def test_a_call_that_waits_for_approval_holds_up_those_after_it_and_not_its_neighbors() -> (
    None
):
    executed: list[str] = []

    def work(name: str) -> Callable[[], Awaitable[None]]:
        async def run() -> None:
            executed.append(name)

        return run

    tools = [
        named("read", work("read")),
        named("pay", work("pay")),
        named("write", work("write"), concurrent=False),
    ]
    model = ScriptedModel([calls("read", "pay", "read", "write", "pay")])
    rules = [asks_for("pay", reason="it is money")]
    async with make_host(model, tools, permissions=rules) as host:
        response = await ask(host)
        log = await log_of(host)

    assert response.outcome == "suspended"
    assert executed == ["read", "read"]
    waiting = [event for event in log if isinstance(event, ApprovalRequired)]
    assert [(event.name, event.reason) for event in waiting] == [("pay", "it is money")] * 2
    assert [asked.call.id for asked in response.approvals] == [event.call_id for event in waiting]


# The same call again.


def repeat(*names: str) -> list[ModelReply]:
    return [calls(name) for name in names]


@both_doors
async def test_the_same_call_is_refused_after_five_equal_results_in_a_row(kind: str) -> None:
    made: list[str] = []

    @tool
    def look(where: str, how: str = "") -> str:
        """Look."""
        made.append(where)
        return "nothing"

    def looking(*, swapped: bool) -> ModelReply:
        arguments = {"where": "here", "how": "well"}
        return call_tools(("look", dict(reversed(arguments.items())) if swapped else arguments))

    script = [looking(swapped=bool(number % 2)) for number in range(7)]
    model = ScriptedModel([*script, "done"])
    async with make_host(model, [look]) as host:
        await ask(host, kind)

    assert made == ["here"] * 5
    assert [each.outcome for each in shown(model)] == ["ok"] * 5 + ["error"] * 2
    assert "5 times in a row" in shown(model)[-1].content


async def test_another_call_between_lets_it_be_made_again() -> None:
    made: list[str] = []

    @tool
    def look() -> str:
        """Look."""
        made.append("look")
        return "nothing"

    @tool
    def wait() -> str:
        """Wait."""
        made.append("wait")
        return "waited"

    script = repeat(*["look"] * 6, "wait", *["look"] * 6)
    async with make_host(ScriptedModel([*script, "done"]), [look, wait]) as host:
        await ask(host)

    assert made == [*["look"] * 5, "wait", *["look"] * 5]


async def test_a_call_whose_result_changes_is_not_refused() -> None:
    made: list[int] = []

    @tool
    def poll() -> str:
        """Poll."""
        made.append(1)
        return f"{len(made) // 4} done"

    script: list[Scripted] = [*repeat(*["poll"] * 9), "done"]
    async with make_host(ScriptedModel(script), [poll]) as host:
        assert (await ask(host)).message == "done"

    assert len(made) == 9


async def test_other_arguments_are_another_call() -> None:
    made: list[int] = []

    @tool
    def count(number: int) -> str:
        """Count."""
        made.append(number)
        return "counted"

    script = [call_tools(("count", {"number": number})) for number in range(8)]
    async with make_host(ScriptedModel([*script, "done"]), [count]) as host:
        await ask(host)

    assert made == list(range(8))


async def test_a_refused_repetition_is_decided_about_by_nobody_and_its_result_is_seen() -> None:
    seen: list[str] = []
    plugin = define_plugin(
        "p",
        before_tool_call=lambda _call, _context: seen.append("before"),
        after_tool_call=lambda _call, result, _context: seen.append(result.outcome),
    )

    async def look() -> str:
        return "nothing"

    model = ScriptedModel([*repeat(*["look"] * 6), "done"])
    async with make_host(model, [named("look", look)], plugins=[plugin]) as host:
        await ask(host)

    assert seen == [*["before", "ok"] * 5, "error"]


async def test_a_new_turn_counts_anew() -> None:
    made: list[int] = []

    async def look() -> str:
        made.append(1)
        return "nothing"

    script: list[Scripted] = [*repeat(*["look"] * 5), "done"]
    async with make_host(ScriptedModel([*script, *script]), [named("look", look)]) as host:
        await ask(host)
        await ask(host)

    assert len(made) == 10


# What a later turn is shown of all this.


def said(messages: Sequence[Message]) -> list[tuple[str, object]]:
    """Returns what a provider is sent of messages; their ids are the log's."""
    return [(message.role, message.parts) for message in messages]


async def test_a_message_of_results_is_kept_for_each_call() -> None:
    model = ScriptedModel([calls("a", "a"), "done", "again"])

    async def work() -> str:
        return "worked"

    async with make_host(model, [named("a", work)]) as host:
        await ask(host)
        await ask(host)

    roles = [message.role for message in model.requests[2].messages]
    assert roles == ["user", "assistant", "tool", "tool", "assistant", "user"]
    assert said(model.requests[2].messages[:4]) == said(model.requests[1].messages)
    assert model.requests[2].messages[-1].parts == Message.user("hi").parts
