"""Whatever happens to a tool call, it ends in exactly one result."""

import datetime as dt
import logging
import sys
import threading

import anyio
import pytest
from msgspec.structs import replace

from agentrail.errors import ToolError
from agentrail.hook import Call, Tool, Watchdog, calling, chain
from agentrail.messages import ToolCall, ToolOutcome, ToolResult
from agentrail.requests import RequestContext, ToolRequest
from agentrail.tool import Toolset, run_tool, tool, tool_endpoint
from tests.strays import STRAYS, Stray

pytestmark = pytest.mark.anyio


class Opaque:
    def __str__(self) -> str:
        return "opaque"


def toolset(*tools: Tool) -> Toolset:
    made, faults = Toolset.of([("web", each) for each in tools])
    assert faults == ()
    return made


def request_for(context: RequestContext, name: str, /, **arguments: object) -> ToolRequest:
    return ToolRequest(call=ToolCall(id="c1", name=name, arguments=arguments), context=context)


async def test_a_tools_text_is_the_result(context: RequestContext, watchdog: Watchdog) -> None:
    @tool
    async def greet(name: str) -> str:
        """Greet."""
        return f"Hello, {name}"

    call = tool_endpoint(toolset(greet), watchdog, 5.0)

    assert await run_tool(call, request_for(context, "greet", name="Ada")) == ToolResult(
        call_id="c1", name="greet", content="Hello, Ada", outcome="ok"
    )


@pytest.mark.parametrize(
    ("value", "content"),
    [
        (None, ""),
        ("", ""),
        ({"a": [1, None]}, '{"a":[1,null]}'),
        (True, "true"),
        (dt.date(2026, 1, 2), '"2026-01-02"'),
        ({"a": Opaque()}, '{"a":"opaque"}'),
        ({"name": "\udcff"}, "{'name': '\\udcff'}"),
        ("file \udcff", "file ?"),
        ("Zoë 🦉", "Zoë 🦉"),
    ],
)
async def test_every_value_becomes_a_text_that_can_be_stored(
    context: RequestContext, watchdog: Watchdog, value: object, content: str
) -> None:
    @tool
    async def give() -> object:
        """Give."""
        return value

    result = await run_tool(
        tool_endpoint(toolset(give), watchdog, 5.0), request_for(context, "give")
    )

    assert (result.content, result.outcome) == (content, "ok")
    result.content.encode()


async def test_an_unknown_tool_is_an_error_that_names_the_known_ones(
    context: RequestContext, watchdog: Watchdog
) -> None:
    @tool
    async def fetch() -> None:
        """Fetch."""

    @tool
    async def amend() -> None:
        """Amend."""

    call = tool_endpoint(toolset(fetch, amend), watchdog, 5.0)
    result = await run_tool(call, request_for(context, "fetsch"))
    none = await run_tool(tool_endpoint(Toolset(), watchdog, 5.0), request_for(context, "fetch"))

    assert result.outcome == "error"
    assert result.content == "there is no tool 'fetsch'; the tools are: amend, fetch"
    assert none.content == "there is no tool 'fetch'; the tools are: none"


async def test_unreadable_arguments_are_an_error_and_nothing_runs(
    context: RequestContext, watchdog: Watchdog
) -> None:
    ran: list[str] = []

    @tool
    async def note(text: str = "") -> None:
        """Note."""
        ran.append(text)

    request = request_for(context, "note")
    request = replace(request, call=replace(request.call, invalid="not JSON: {"))
    result = await run_tool(tool_endpoint(toolset(note), watchdog, 5.0), request)

    assert (result.outcome, result.content, ran) == ("error", "not JSON: {", [])


async def test_wrong_arguments_are_an_error_and_nothing_runs(
    context: RequestContext, watchdog: Watchdog
) -> None:
    ran: list[int] = []

    @tool
    async def count(upto: int) -> None:
        """Count."""
        ran.append(upto)

    call = tool_endpoint(toolset(count), watchdog, 5.0)
    result = await run_tool(call, request_for(context, "count", upto="3"))

    assert (result.outcome, ran) == ("error", [])
    assert "Expected `int`, got `str` - at `$.upto`" in result.content


@pytest.mark.parametrize("in_thread", [True, False])
async def test_a_tool_that_would_end_the_process_has_failed(
    context: RequestContext, watchdog: Watchdog, in_thread: bool
) -> None:
    @tool(name="leave")
    async def leave() -> str:
        """Leave."""
        sys.exit(3)

    @tool(name="leave")
    def leave_from_thread() -> str:
        """Leave."""
        sys.exit(3)

    call = tool_endpoint(toolset(leave_from_thread if in_thread else leave), watchdog, 5.0)

    result = await run_tool(call, request_for(context, "leave"))
    assert result.outcome == "error"
    assert result.content.startswith("tool leave failed: HookError: tool leave called sys.exit()")


@pytest.mark.parametrize("stray", STRAYS)
async def test_a_tool_that_strays_has_failed_and_so_has_a_middleware(
    context: RequestContext, watchdog: Watchdog, stray: Stray
) -> None:
    @tool
    async def lose() -> str:
        """Lose."""
        await stray()
        return "unreached"

    async def around(_request: ToolRequest, _next: Call[ToolRequest, ToolResult]) -> ToolResult:
        await stray()
        raise AssertionError

    call = tool_endpoint(toolset(lose), watchdog, 5.0)
    asked = request_for(context, "lose")

    for result in (await call(asked), await run_tool(chain([around], call), asked)):
        assert (result.call_id, result.outcome) == ("c1", "error")
        assert result.content.startswith("tool lose failed: HookError: tool lose ")


async def test_a_tool_is_cancelled_with_its_turn(
    context: RequestContext, watchdog: Watchdog
) -> None:
    @tool
    async def wait() -> str:
        """Wait."""
        turn.cancel()
        await anyio.sleep_forever()
        return "unreached"

    call = tool_endpoint(toolset(wait), watchdog, 5.0)

    result = None
    with anyio.CancelScope() as turn:
        result = await run_tool(call, request_for(context, "wait"))
    assert turn.cancelled_caught
    assert result is None


async def test_a_tool_error_is_told_as_it_is(
    context: RequestContext, watchdog: Watchdog, caplog: pytest.LogCaptureFixture
) -> None:
    @tool
    async def book() -> None:
        """Book."""
        async with anyio.create_task_group():
            raise ToolError("the hotel is full")

    result = await run_tool(
        tool_endpoint(toolset(book), watchdog, 5.0), request_for(context, "book")
    )

    assert (result.outcome, result.content) == ("error", "the hotel is full")
    assert caplog.records == []


async def test_another_exception_is_told_in_short_and_logged_in_full(
    context: RequestContext, watchdog: Watchdog, caplog: pytest.LogCaptureFixture
) -> None:
    @tool
    def divide(by: int) -> float:
        """Divide."""
        return 1 / by

    call = tool_endpoint(toolset(divide), watchdog, 5.0)
    result = await run_tool(call, request_for(context, "divide", by=0))

    assert result.outcome == "error"
    assert result.content == "tool divide failed: ZeroDivisionError: division by zero"
    assert "return 1 / by" in caplog.text


async def test_several_failures_of_a_task_group_are_one_error(
    context: RequestContext, watchdog: Watchdog
) -> None:
    @tool
    async def both() -> None:
        """Fail twice."""
        raise ExceptionGroup("two", [ToolError("a"), ToolError("b")])

    result = await run_tool(
        tool_endpoint(toolset(both), watchdog, 5.0), request_for(context, "both")
    )

    assert result.content == "tool both failed: ExceptionGroup: two (2 sub-exceptions)"


async def forever() -> None:
    """Wait."""
    await anyio.sleep_forever()


async def swallows() -> str:
    """Come back although it was cancelled."""
    try:
        await anyio.sleep_forever()
    except anyio.get_cancelled_exc_class():
        pass
    return "late"


async def fails_late() -> None:
    """Fail while it is being cancelled."""
    try:
        await anyio.sleep_forever()
    finally:
        raise ToolError("cleaning up failed")


async def test_a_deadline_ends_in_a_timeout(context: RequestContext, watchdog: Watchdog) -> None:
    await _expect_timeout(context, watchdog, tool(name="t")(forever), 0.01, "0.01")


async def test_a_tools_own_timeout_comes_before_the_profiles(
    context: RequestContext, watchdog: Watchdog
) -> None:
    await _expect_timeout(context, watchdog, tool(name="t", timeout=0.02)(forever), 60.0, "0.02")


async def test_a_tool_that_fails_at_its_deadline_is_a_timeout_too(
    context: RequestContext, watchdog: Watchdog
) -> None:
    await _expect_timeout(context, watchdog, tool(name="t")(fails_late), 0.01, "0.01")


async def test_an_answer_after_the_deadline_does_not_count(
    context: RequestContext, watchdog: Watchdog
) -> None:
    await _expect_timeout(context, watchdog, tool(name="t")(swallows), 0.01, "0.01")


async def test_a_sync_tool_at_its_deadline_frees_the_turn(
    context: RequestContext, watchdog: Watchdog
) -> None:
    leave = threading.Event()

    @tool(name="t")
    def stuck() -> None:
        """Wait."""
        leave.wait()

    try:
        await _expect_timeout(context, watchdog, stuck, 0.01, "0.01")
    finally:
        leave.set()


async def _expect_timeout(
    context: RequestContext, watchdog: Watchdog, slow: Tool, limit: float, shown: str
) -> None:
    results: list[ToolResult] = []
    async with anyio.create_task_group() as group:
        group.start_soon(watchdog.run)
        call = tool_endpoint(toolset(slow), watchdog, limit)
        results.append(await run_tool(call, request_for(context, "t")))
        group.cancel_scope.cancel()
    assert [(result.outcome, result.content) for result in results] == [
        ("timeout", f"tool t took longer than {shown} s")
    ]


async def test_cancellation_from_outside_passes(
    context: RequestContext, watchdog: Watchdog
) -> None:
    entered = anyio.Event()
    results: list[ToolResult] = []

    @tool
    async def wait() -> None:
        """Wait."""
        entered.set()
        await anyio.sleep_forever()

    async def run() -> None:
        call = tool_endpoint(toolset(wait), watchdog, 60.0)
        results.append(await run_tool(call, request_for(context, "wait")))

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        await entered.wait()
        group.cancel_scope.cancel()

    assert results == []


async def test_while_a_tool_runs_its_owner_is_the_one_that_is_called(
    context: RequestContext, watchdog: Watchdog
) -> None:
    @tool
    async def owner() -> str:
        """Tell whose tool this is."""
        return calling.get()

    calling.set("another plugin, whose hook ran before")
    result = await run_tool(
        tool_endpoint(toolset(owner), watchdog, 5.0), request_for(context, "owner")
    )

    assert result.content == "web"


async def test_a_middleware_wraps_a_call_and_may_raise(
    context: RequestContext, watchdog: Watchdog
) -> None:
    @tool
    async def greet(name: str) -> str:
        """Greet."""
        return f"Hello, {name}"

    async def loud(request: ToolRequest, call_next: Call[ToolRequest, ToolResult]) -> ToolResult:
        if request.call.arguments["name"] == "":
            raise KeyError("nobody")
        result = await call_next(request)
        return replace(result, content=result.content.upper())

    call = chain([loud], tool_endpoint(toolset(greet), watchdog, 5.0))

    result = await run_tool(call, request_for(context, "greet", name="Ada"))
    failed = await run_tool(call, request_for(context, "greet", name=""))
    assert result.content == "HELLO, ADA"
    assert (failed.outcome, failed.content) == ("error", "tool greet failed: KeyError: 'nobody'")


@pytest.mark.parametrize(
    ("returned", "content", "outcome"),
    [
        (ToolResult(call_id="c9", name="other", content="\ud800"), "?", "ok"),
        (None, "tool greet failed: TypeError: a middleware returned NoneType, not ToolResult", ""),
    ],
)
async def test_the_result_is_one_of_the_call_whatever_a_middleware_returns(
    context: RequestContext, returned: ToolResult, content: str, outcome: ToolOutcome
) -> None:
    async def wild(_request: ToolRequest) -> ToolResult:
        return returned

    result = await run_tool(wild, request_for(context, "greet"))

    assert result == ToolResult(
        call_id="c1", name="greet", content=content, outcome=outcome or "error"
    )


async def test_a_warning_names_the_tool(
    context: RequestContext, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(_request: ToolRequest) -> ToolResult:
        raise OSError("the disk is full")

    await run_tool(broken, request_for(context, "greet"))

    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, "tool greet failed")
    ]
