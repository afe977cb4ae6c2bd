"""A clock that is moved by hand."""

import anyio
import anyio.lowlevel
import pytest

from agentrail import (
    AppConfig,
    ChatRequest,
    Limits,
    MemorySessionStore,
    PluginFailure,
    Profile,
    RequestContext,
    ScriptedModel,
    ToolResult,
    create_app,
    define_plugin,
    middleware,
    tool,
)
from agentrail.clock import Clock, SteeredClock, Timer
from agentrail.errors import HookTimeout, Overloaded
from agentrail.model import call_tools
from agentrail.testing import FakeClock

pytestmark = pytest.mark.anyio

PROFILE = Profile(id="assistant", model="scripted:m")


def test_it_is_every_kind_of_clock() -> None:
    clock = FakeClock()
    kinds: tuple[Clock, Timer, SteeredClock] = (clock, clock, clock)
    assert all(kind.monotonic() == kind.now() == 1000.0 for kind in kinds)


def test_it_stands_still_until_it_is_moved() -> None:
    clock = FakeClock(5.0)
    clock.advance(0)
    assert clock.monotonic() == 5.0
    clock.advance(2.5)
    assert (clock.monotonic(), clock.now()) == (7.5, 7.5)


def test_it_does_not_go_back() -> None:
    clock = FakeClock()
    with pytest.raises(ValueError, match="does not go back"):
        clock.advance(-1)
    assert clock.time == 1000.0


async def test_sleepers_wake_when_their_time_has_come_the_earliest_first() -> None:
    clock, woken = FakeClock(), list[tuple[float, float]]()

    async def sleep(seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((seconds, clock.time))

    async with anyio.create_task_group() as tasks:
        for seconds in (7, 3, 20, 5, 3.5):
            tasks.start_soon(sleep, seconds)
        await anyio.wait_all_tasks_blocked()
        clock.advance(2)
        await anyio.wait_all_tasks_blocked()
        assert woken == []
        clock.advance(8)
        await anyio.wait_all_tasks_blocked()
        assert woken == [(3, 1010), (3.5, 1010), (5, 1010), (7, 1010)]
        clock.advance(10)
    assert woken[4:] == [(20, 1020)]
    assert sorted(clock.slept) == [3, 3.5, 5, 7, 20]


async def test_those_who_wake_at_one_time_do_so_in_the_order_of_their_arrival() -> None:
    clock, woken = FakeClock(), list[int]()

    async def sleep(number: int) -> None:
        await clock.sleep(1)
        woken.append(number)

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(sleep, number)
            await anyio.wait_all_tasks_blocked()
        clock.advance(1)
    assert woken == list(range(20))


async def test_a_sleeper_that_is_cancelled_as_it_wakes_holds_up_nobody() -> None:
    clock, woken = FakeClock(), list[str]()

    async def sleep(name: str, seconds: float, scope: anyio.CancelScope) -> None:
        with scope:
            await clock.sleep(seconds)
            woken.append(name)

    async with anyio.create_task_group() as tasks:
        cancelled = anyio.CancelScope()
        tasks.start_soon(sleep, "cancelled", 1, cancelled)
        tasks.start_soon(sleep, "next", 2, anyio.CancelScope())
        await anyio.wait_all_tasks_blocked()
        clock.advance(2)
        cancelled.cancel()
    assert woken[-1] == "next"


@pytest.mark.parametrize("seconds", [0, -1])
async def test_no_sleep_at_all_waits_for_nobody(seconds: float) -> None:
    clock = FakeClock()
    await clock.sleep(seconds)
    assert (clock.time, clock.slept) == (1000.0, [seconds])


async def test_a_clock_that_jumps_is_moved_by_those_who_sleep() -> None:
    clock = FakeClock(autojump=True)
    await clock.sleep(3)
    await clock.sleep(0.5)
    assert (clock.time, clock.slept) == (1003.5, [3, 0.5])


async def test_a_host_whose_clock_is_moved_looks_at_the_deadlines_of_its_hooks() -> None:
    clock, begun, failures = FakeClock(), anyio.Event(), list[PluginFailure]()

    async def hang(_context: RequestContext) -> None:
        begun.set()
        await anyio.sleep_forever()

    config = AppConfig(
        profiles=[PROFILE],
        providers=[ScriptedModel(["fine"])],
        plugins=[define_plugin("p", on_request_start=hang, deadlines={"on_request_start": 3600})],
        store=MemorySessionStore(),
        clock=clock,
        on_plugin_error=failures.append,
    )
    async with create_app(config).host as host, anyio.create_task_group() as tasks:
        tasks.start_soon(host.chat, ChatRequest("hi"))
        await begun.wait()
        clock.advance(3599)
        await anyio.wait_all_tasks_blocked()
        assert failures == []
        clock.advance(1)
    assert [type(failure.error) for failure in failures] == [HookTimeout]


async def test_a_tool_is_cut_off_when_the_clock_reaches_its_limit() -> None:
    clock, begun = FakeClock(), anyio.Event()

    @tool
    async def hang() -> str:
        """Never return."""
        begun.set()
        await anyio.sleep_forever()
        return ""

    model = ScriptedModel([call_tools(("hang", {})), "too late"])
    profile = Profile(
        id="assistant", model="scripted:m", tools=[hang], limits=Limits(tool_seconds=60)
    )
    config = AppConfig(
        profiles=[profile], providers=[model], store=MemorySessionStore(), clock=clock
    )
    async with create_app(config).host as host, anyio.create_task_group() as tasks:
        tasks.start_soon(host.chat, ChatRequest("hi"))
        await begun.wait()
        clock.advance(60)
    (result,) = model.requests[1].messages[-1].parts
    assert isinstance(result, ToolResult)
    assert result.outcome == "timeout"


async def test_a_host_waits_by_it_between_two_attempts() -> None:
    clock = FakeClock()
    model = ScriptedModel([Overloaded("busy"), "fine"])
    config = AppConfig(
        profiles=[PROFILE],
        providers=[model],
        model_middleware=[middleware.retry(clock=clock)],
        store=MemorySessionStore(),
    )
    answers: list[str] = []

    async def ask() -> None:
        answers.append((await host.chat(ChatRequest("hi"))).message)

    async with create_app(config).host as host, anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        while not clock.slept:
            await anyio.lowlevel.checkpoint()
        assert answers == []
        assert len(model.requests) == 1
        await anyio.wait_all_tasks_blocked()
        clock.advance(clock.slept[0])
    assert answers == ["fine"]
