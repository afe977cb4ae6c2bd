"""`before_tool_call` and `after_tool_call`: order, denial, rewriting, failure."""

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import anyio
import pytest
from attrs import define, field
from msgspec.structs import replace

from agentrail.errors import HookTimeout, HookTypeError, ToolError
from agentrail.hook import Funnel, PluginFailure, Watchdog, compile_hooks
from agentrail.messages import ToolCall, ToolResult
from agentrail.requests import Asked, RequestContext, ToolRequest
from agentrail.tool import Gate, Toolset, tool, tool_endpoint

pytestmark = pytest.mark.anyio


Before = Callable[[ToolCall, RequestContext], object]
After = Callable[[ToolCall, ToolResult, RequestContext], object]


@define
class Guest:
    """A plugin with the hooks it is given."""

    name: str
    before_tool_call: Before | None = None
    after_tool_call: After | None = None
    priority: int = 0
    deadlines: Mapping[str, float] = field(factory=dict[str, float])


@define
class Bench:
    """One tool, `add`, behind the hooks of some plugins."""

    context: RequestContext
    watchdog: Watchdog
    plugins: list[Guest] = field(factory=list[Guest])
    failures: list[PluginFailure] = field(factory=list[PluginFailure])
    executed: list[tuple[int, int]] = field(factory=list[tuple[int, int]])

    def plugin(
        self,
        name: str,
        *,
        before: Before | None = None,
        after: After | None = None,
        priority: int = 0,
        deadline: float = 2.0,
    ) -> None:
        deadlines = {"before_tool_call": deadline}
        self.plugins.append(Guest(name, before, after, priority, deadlines))

    async def run(self, name: str = "add", **arguments: object) -> ToolResult:
        hooks, faults = compile_hooks(self.plugins)
        assert faults == ()

        @tool
        async def add(left: int, right: int, tags: list[str] | None = None) -> int:
            """Add two numbers."""
            self.executed.append((left, right))
            if left < 0:
                raise ToolError("no debts")
            return left + right + len(tags or ())

        toolset, faults = Toolset.of([("math", add)])
        assert faults == ()
        funnel = Funnel(self.watchdog, self.failures.append)
        gate = Gate(tool_endpoint(toolset, self.watchdog, 5.0), hooks=hooks, funnel=funnel)
        arguments = arguments or {"left": 1, "right": 2}
        request = ToolRequest(
            call=ToolCall(id="c1", name=name, arguments=arguments), context=self.context
        )
        decided = await gate.decide(request)
        assert not isinstance(decided, Asked)
        if isinstance(decided, ToolResult):
            return await gate.finish(request, decided)
        return await gate.run(decided)


@pytest.fixture
def bench(context: RequestContext, watchdog: Watchdog) -> Bench:
    return Bench(context, watchdog)


def denied(call: ToolCall, reason: str) -> ToolResult:
    return ToolResult(call_id=call.id, name=call.name, content=reason, outcome="denied")


def told(failures: Sequence[PluginFailure]) -> list[tuple[str, str, type[Exception]]]:
    return [(each.plugin, each.hook, type(each.error)) for each in failures]


async def test_without_hooks_the_tool_answers(bench: Bench) -> None:
    assert await bench.run() == ToolResult(call_id="c1", name="add", content="3")


async def test_hooks_that_return_none_change_nothing(bench: Bench) -> None:
    seen: list[object] = []
    bench.plugin(
        "audit",
        before=lambda call, context: seen.append((call, context)),
        after=lambda call, result, context: seen.append((call, result, context)),
    )

    result = await bench.run()

    call = ToolCall(id="c1", name="add", arguments={"left": 1, "right": 2})
    assert result == ToolResult(call_id="c1", name="add", content="3")
    assert seen == [(call, bench.context), (call, result, bench.context)]


async def test_before_hooks_run_in_priority_order_and_after_hooks_in_reverse(
    bench: Bench,
) -> None:
    order: list[str] = []

    def listen(name: str, priority: int) -> None:
        bench.plugin(
            name,
            priority=priority,
            before=lambda _call, _context: order.append(f"before {name}"),
            after=lambda _call, _result, _context: order.append(f"after {name}"),
        )

    for name, priority in (("low", -1), ("first", 0), ("second", 0), ("high", 5)):
        listen(name, priority)

    await bench.run()

    names = ["high", "first", "second", "low"]
    assert order == [f"before {name}" for name in names] + [
        f"after {name}" for name in reversed(names)
    ]


async def test_the_first_denial_wins_and_skips_the_rest_but_not_the_after_hooks(
    bench: Bench,
) -> None:
    later: list[ToolCall] = []
    ended: list[ToolResult] = []
    bench.plugin("guard", before=lambda call, _context: denied(call, "not at night"))
    bench.plugin("other", before=lambda call, _context: later.append(call))
    bench.plugin("audit", after=lambda _call, result, _context: ended.append(result))

    result = await bench.run()

    assert (result.outcome, result.content) == ("denied", "not at night")
    assert (bench.executed, later, ended) == ([], [], [result])


async def test_a_before_hook_may_answer_in_the_tools_place(bench: Bench) -> None:
    ended: list[ToolResult] = []
    bench.plugin(
        "cache",
        before=lambda _call, _context: ToolResult(call_id="", name="", content="3"),
        after=lambda _call, result, _context: ended.append(result),
    )

    assert await bench.run() == ToolResult(call_id="c1", name="add", content="3")
    assert ended == [ToolResult(call_id="c1", name="add", content="3")]
    assert bench.executed == []


async def test_a_rewritten_call_reaches_the_next_plugin_the_tool_and_the_after_hooks(
    bench: Bench,
) -> None:
    seen: list[ToolCall] = []

    async def double(call: ToolCall, _context: RequestContext) -> ToolCall:
        left = cast("int", call.arguments["left"])
        return replace(call, arguments={**call.arguments, "left": left * 2})

    bench.plugin("one", before=double)
    bench.plugin("two", before=double)
    bench.plugin(
        "audit",
        before=lambda call, _context: seen.append(call),
        after=lambda call, _result, _context: seen.append(call),
    )

    result = await bench.run()

    assert result.content == "6"
    assert bench.executed == [(4, 2)]
    assert [call.arguments for call in seen] == [{"left": 4, "right": 2}] * 2


async def test_rewritten_arguments_are_checked_again_and_nothing_runs(bench: Bench) -> None:
    bench.plugin("wild", before=lambda call, _context: replace(call, arguments={"left": "x"}))

    result = await bench.run()

    assert (result.outcome, bench.executed) == ("error", [])
    assert "Expected `int`, got `str` - at `$.left`" in result.content
    assert "Object missing required field `right`" in result.content


async def test_each_hook_gets_a_copy_of_the_arguments_of_its_own(bench: Bench) -> None:
    def vandalize(call: ToolCall, *_rest: object) -> None:
        arguments = cast("dict[str, object]", call.arguments)
        cast("list[str]", arguments["tags"]).append("mine")
        arguments["left"] = 99

    seen: list[ToolCall] = []
    for name in ("one", "two"):
        bench.plugin(name, before=vandalize, after=vandalize)
    bench.plugin("audit", priority=-1, before=lambda call, _context: seen.append(call))
    bench.plugin("last", priority=1, after=lambda call, _result, _context: seen.append(call))

    result = await bench.run(left=1, right=2, tags=["a"])

    assert result.content == "4"
    assert [call.arguments for call in seen] == [{"left": 1, "right": 2, "tags": ["a"]}] * 2
    assert bench.failures == []


async def test_what_a_rewriting_hook_keeps_of_its_call_is_not_the_tools(bench: Bench) -> None:
    kept: list[dict[str, object]] = []

    def rewrite(call: ToolCall, _context: RequestContext) -> ToolCall:
        kept.append({"left": 5, "right": 5})
        return replace(call, arguments=kept[0])

    bench.plugin("one", before=rewrite)
    bench.plugin("two", before=lambda _call, _context: kept[0].clear())

    assert (await bench.run()).content == "10"


async def test_a_before_hook_that_raises_denies_the_call(bench: Bench) -> None:
    later: list[ToolCall] = []
    ended: list[ToolResult] = []

    async def fail(_call: ToolCall, _context: RequestContext) -> None:
        raise ValueError("a secret of the plugin")

    bench.plugin("policy", before=fail)
    bench.plugin("other", before=lambda call, _context: later.append(call))
    bench.plugin("audit", after=lambda _call, result, _context: ended.append(result))

    result = await bench.run()

    assert result.outcome == "denied"
    assert "'policy'" in result.content
    assert "secret" not in result.content
    assert (bench.executed, later, ended) == ([], [], [result])
    assert told(bench.failures) == [("policy", "before_tool_call", ValueError)]


async def test_a_before_hook_that_is_late_denies_the_call(bench: Bench) -> None:
    async def hang(_call: ToolCall, _context: RequestContext) -> None:
        await anyio.sleep_forever()

    results: list[ToolResult] = []
    bench.plugin("policy", before=hang, deadline=0.01)

    async with anyio.create_task_group() as group:
        group.start_soon(bench.watchdog.run)
        results.append(await bench.run())
        group.cancel_scope.cancel()

    assert ([result.outcome for result in results], bench.executed) == (["denied"], [])
    assert told(bench.failures) == [("policy", "before_tool_call", HookTimeout)]


@pytest.mark.parametrize(
    "answer",
    [
        ToolCall(id="c1", name="remove"),
        ToolCall(id="c2", name="add"),
        True,
        {"left": 1},
    ],
)
async def test_a_before_hook_that_breaks_its_contract_denies_the_call(
    bench: Bench, answer: object
) -> None:
    bench.plugin("wild", before=lambda _call, _context: answer)

    result = await bench.run()

    assert (result.outcome, bench.executed) == ("denied", [])
    assert told(bench.failures) == [("wild", "before_tool_call", HookTypeError)]


async def test_after_hooks_see_errors_and_unknown_tools_too(bench: Bench) -> None:
    ended: list[tuple[str, str]] = []
    bench.plugin(
        "audit",
        after=lambda call, result, _context: ended.append((call.name, result.outcome)),
    )

    failed = await bench.run(left=-1, right=2)
    unknown = await bench.run("subtract")

    assert (failed.content, unknown.outcome) == ("no debts", "error")
    assert ended == [("add", "error"), ("subtract", "error")]


async def test_after_hooks_change_the_result_one_after_the_other_and_never_its_id(
    bench: Bench,
) -> None:
    seen: list[tuple[str, str]] = []

    def mark(name: str) -> Guest:
        async def after(
            _call: ToolCall, result: ToolResult, _context: RequestContext
        ) -> ToolResult:
            seen.append((result.call_id, result.name))
            return ToolResult(call_id="c9", name="x", content=f"{result.content} {name}")

        return Guest(name, after_tool_call=after)

    bench.plugins += [mark("outer"), mark("inner")]

    assert await bench.run() == ToolResult(call_id="c1", name="add", content="3 inner outer")
    assert seen == [("c1", "add")] * 2


async def test_an_after_hook_that_fails_changes_nothing_and_the_others_run(bench: Bench) -> None:
    ended: list[str] = []

    async def fail(_call: ToolCall, _result: ToolResult, _context: RequestContext) -> None:
        raise ValueError("broken")

    bench.plugin("one", after=lambda _call, result, _context: ended.append(result.content))
    bench.plugin("two", after=fail)
    bench.plugin("three", after=lambda _call, _result, _context: "a text is no result")

    result = await bench.run()

    assert (result.outcome, result.content, ended) == ("ok", "3", ["3"])
    assert told(bench.failures) == [
        ("three", "after_tool_call", HookTypeError),
        ("two", "after_tool_call", ValueError),
    ]


async def test_after_hooks_run_when_a_middleware_further_in_raises(
    context: RequestContext, watchdog: Watchdog
) -> None:
    ended: list[str] = []
    plugin = Guest(
        "audit", after_tool_call=lambda _call, result, _context: ended.append(result.outcome)
    )
    hooks, _ = compile_hooks([plugin])

    async def broken(_request: ToolRequest) -> ToolResult:
        raise KeyError("broken")

    gate = Gate(broken, hooks=hooks, funnel=Funnel(watchdog))
    request = ToolRequest(call=ToolCall(id="c1", name="add"), context=context)

    assert (await gate.run(request)).outcome == "error"
    assert ended == ["error"]


async def test_cancellation_passes_through_a_hook(bench: Bench) -> None:
    entered = anyio.Event()
    results: list[ToolResult] = []

    async def hang(_call: ToolCall, _context: RequestContext) -> None:
        entered.set()
        await anyio.sleep_forever()

    bench.plugin("policy", before=hang)

    async def run() -> None:
        results.append(await bench.run())

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        await entered.wait()
        group.cancel_scope.cancel()

    assert (results, bench.failures) == ([], [])
