"""Calls of one tool that come together, handled together."""

from collections.abc import Sequence

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import TaskGroup
from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from agentrail import ChatRequest, ToolCall, ToolError, ToolRequest, ToolResult, middleware
from agentrail.errors import ConfigError
from agentrail.middleware._batch import Joint
from agentrail.model.scripted import call_tools
from tests.contexts import context_of
from tests.middleware.calls import ToolBox, calling, others_run
from tests.middleware.conftest import Opens
from tests.strays import by_task

pytestmark = pytest.mark.anyio


class Handler:
    """Answers each call with its number; waits for ``go`` first, if it is given."""

    def __init__(self, go: anyio.Event | None = None) -> None:
        self.batches: list[list[object]] = []
        self.go = go

    async def __call__(self, requests: Sequence[ToolRequest]) -> Sequence[object]:
        self.batches.append([each.call.arguments["n"] for each in requests])
        await (self.go.wait() if self.go else anyio.lowlevel.checkpoint())
        return [f"answer {each.call.arguments['n']}" for each in requests]


def numbered(number: int, tenant: str = "acme") -> ToolRequest:
    return calling("look", {"n": number}, context_of(tenant=tenant), f"c{number}")


async def gather(
    joined: middleware.ToolMiddleware, requests: Sequence[ToolRequest]
) -> list[ToolResult]:
    results: dict[int, ToolResult] = {}

    async def one(index: int, request: ToolRequest) -> None:
        results[index] = await joined(request, ToolBox(["from the tool"]))

    async with anyio.create_task_group() as tasks:
        for index, request in enumerate(requests):
            tasks.start_soon(one, index, request)
    return [results[index] for index in range(len(requests))]


async def test_calls_that_come_together_are_handled_together_and_each_gets_its_own_result() -> None:
    handler = Handler()
    joined = middleware.batch("look", handler, window=60, max_size=3)

    results = await gather(joined, [numbered(n) for n in range(3)])

    assert sorted(handler.batches[0], key=str) == [0, 1, 2]
    assert len(handler.batches) == 1
    assert [(each.call_id, each.content, each.outcome) for each in results] == [
        (f"c{n}", f"answer {n}", "ok") for n in range(3)
    ]


async def test_a_call_that_stays_alone_is_handled_when_its_window_is_over() -> None:
    handler = Handler()

    result = await middleware.batch("look", handler, window=0.01)(numbered(1), ToolBox(["x"]))

    assert (result.content, handler.batches) == ("answer 1", [[1]])


async def test_no_more_than_the_most_are_handled_together() -> None:
    handler = Handler()
    joined = middleware.batch("look", handler, window=60, max_size=2)

    await gather(joined, [numbered(n) for n in range(6)])

    assert [len(each) for each in handler.batches] == [2, 2, 2]


async def test_tenants_are_never_joined() -> None:
    handler = Handler()
    joined = middleware.batch("look", handler, window=60, max_size=2)

    tenants = [numbered(n, tenant) for n, tenant in enumerate(["a", "b", "a", "b"])]
    await gather(joined, tenants)

    assert [0, 2] in [sorted(each, key=str) for each in handler.batches]
    assert [1, 3] in [sorted(each, key=str) for each in handler.batches]


async def test_other_tools_and_changed_or_unreadable_calls_go_to_the_tool() -> None:
    handler, box = Handler(), ToolBox(["from the tool"])
    joined, request = middleware.batch("look", handler), numbered(1)
    others = [
        calling("add"),
        replace(request, call=replace(request.call, invalid="no JSON")),
        replace(request, permitted=ToolCall(id="c1", name="look", arguments={"n": 9})),
        replace(request, permitted=None),
    ]

    for other in others:
        assert (await joined(other, box)).content == "from the tool"
    assert handler.batches == []
    assert (await joined(request, box)).content == "answer 1"


async def test_what_the_handler_returns_is_told_as_a_tool_would() -> None:
    async def handler(requests: Sequence[ToolRequest]) -> Sequence[object]:
        return [
            {"a": 1},
            ToolResult(call_id="x", name="x", content="denied", outcome="denied"),
            ToolError("there is no such row"),
            KeyError("row"),
            within,
            None,
        ]

    within: list[object] = []
    within.append(within)
    joined = middleware.batch("look", handler, window=60, max_size=6)
    results = await gather(joined, [numbered(n) for n in range(6)])

    # Trio may start tasks in another order, so which call got which is not the point here.
    assert sorted((each.content, each.outcome) for each in results) == [
        ("", "ok"),
        ("[[...]]", "ok"),
        ("denied", "denied"),
        ("there is no such row", "error"),
        ("tool look failed: KeyError: 'row'", "error"),
        ('{"a":1}', "ok"),
    ]
    assert [each.call_id for each in results] == [f"c{n}" for n in range(6)]


async def too_few(requests: Sequence[ToolRequest]) -> Sequence[object]:
    return ["one"]


async def failing(requests: Sequence[ToolRequest]) -> Sequence[object]:
    raise OSError("the disk is full")


async def straying(_requests: Sequence[ToolRequest]) -> Sequence[object]:
    await by_task()
    return []


@pytest.mark.parametrize("handler", [too_few, failing, straying])
async def test_when_the_handler_fails_all_its_calls_have_failed(
    handler: middleware.Handler,
) -> None:
    joined = middleware.batch("look", handler, window=60, max_size=2)

    results = await gather(joined, [numbered(1), numbered(2)])

    assert [each.outcome for each in results] == ["error", "error"]
    assert all(each.content.startswith("tool look failed: ") for each in results)


async def test_a_handler_that_takes_too_long_is_cancelled() -> None:
    joined = middleware.batch("look", Handler(anyio.Event()), window=0, timeout=0.01)

    result = await joined(numbered(1), ToolBox(["x"]))

    assert (result.outcome, result.content) == ("timeout", "tool look took longer than 0.01 s")


async def test_when_the_first_caller_is_cancelled_another_takes_over() -> None:
    go = anyio.Event()
    handler = Handler(go)
    joined = middleware.batch("look", handler, window=60, max_size=3)
    results: list[str] = []

    async def call(number: int) -> None:
        results.append((await joined(numbered(number), ToolBox(["x"]))).content)

    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as first:
            async with anyio.create_task_group() as doomed:
                doomed.start_soon(call, 1)
                await anyio.wait_all_tasks_blocked()
                tasks.start_soon(call, 2)
                tasks.start_soon(call, 3)
                await anyio.wait_all_tasks_blocked()
                assert handler.batches[0][0] == 1
                first.cancel()
        await anyio.wait_all_tasks_blocked()
        assert sorted(handler.batches[1], key=str) == [2, 3]
        go.set()

    assert sorted(results) == ["answer 2", "answer 3"]


async def test_when_the_first_caller_is_cancelled_in_the_window_the_others_are_handled() -> None:
    handler = Handler()
    joint = Joint(handler, 0.02, 10, 60)

    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as first:
            async with anyio.create_task_group() as doomed:
                doomed.start_soon(joint.call, numbered(1))
                await anyio.wait_all_tasks_blocked()
                tasks.start_soon(joint.call, numbered(2))
                await anyio.wait_all_tasks_blocked()
                first.cancel()

    assert handler.batches == [[2]]
    assert joint.open == {}


@define
class Scenario:
    """Callers of two tenants, and a handler that answers when it is told to."""

    joint: Joint = field(init=False)
    running: list[anyio.Event] = field(factory=list[anyio.Event])
    scopes: list[anyio.CancelScope] = field(factory=list[anyio.CancelScope])
    ended: dict[int, str] = field(factory=dict[int, str])

    def __attrs_post_init__(self) -> None:
        self.joint = Joint(self.handle, 0.0, 3, 60)

    async def handle(self, requests: Sequence[ToolRequest]) -> Sequence[object]:
        assert len({each.context.tenant_id for each in requests}) == 1
        assert 1 <= len(requests) <= 3
        go = anyio.Event()
        self.running.append(go)
        try:
            await go.wait()
        finally:
            self.running.remove(go)
        return [f"answer {each.call.arguments['n']}" for each in requests]

    async def call(self, number: int, tenant: str) -> None:
        with self.scopes[number] as scope:
            result = await self.joint.call(numbered(number, tenant))
            self.ended[number] = result.content
        if scope.cancelled_caught:
            self.ended[number] = "cancelled"

    async def step(self, tasks: TaskGroup, kind: str, detail: int) -> None:
        if kind == "call":
            self.scopes.append(anyio.CancelScope())
            tasks.start_soon(self.call, len(self.scopes) - 1, "ab"[detail % 2])
        elif kind == "cancel" and detail < len(self.scopes):
            self.scopes[detail].cancel()
        elif kind == "answer" and detail < len(self.running):
            self.running[detail].set()
        elif kind == "pause":
            await others_run()

    async def run(self, script: Sequence[tuple[str, int]]) -> None:
        async with anyio.create_task_group() as tasks:
            for kind, detail in script:
                await self.step(tasks, kind, detail)
            while len(self.ended) < len(self.scopes):
                await others_run()
                for each in [*self.running]:
                    each.set()


kinds = st.sampled_from(["call", "call", "cancel", "answer", "pause"])


@settings(max_examples=60)
@given(script=st.lists(st.tuples(kinds, st.integers(0, 9)), max_size=30))
async def test_whoever_is_cancelled_takes_nothing_from_the_others(
    script: Sequence[tuple[str, int]],
) -> None:
    """Each caller that stays gets the answer to its own call, whatever becomes of the others."""
    scenario = Scenario()
    with anyio.fail_after(30):
        await scenario.run(script)

    for number, ended in scenario.ended.items():
        assert ended == f"answer {number}" or scenario.scopes[number].cancel_called
    assert scenario.joint.open == {}


@pytest.mark.parametrize("sizes", [{"max_size": 0}, {"timeout": 0}])
def test_a_batch_of_nothing_is_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(sizes))):
        middleware.batch("look", failing, **sizes)


async def test_calls_of_several_turns_are_joined(open_host: Opens) -> None:
    batches: list[int] = []

    async def add_all(requests: Sequence[ToolRequest]) -> Sequence[object]:
        batches.append(len(requests))
        return [len(each.call.arguments) for each in requests]

    two = call_tools(("add", {"a": 2, "b": 3}))
    host = await open_host(
        [two, two, "done", "done"],
        tools=[middleware.batch("add", add_all, window=60, max_size=2)],
    )

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(host.chat, ChatRequest("one"))
        tasks.start_soon(host.chat, ChatRequest("two"))

    assert batches == [2]
