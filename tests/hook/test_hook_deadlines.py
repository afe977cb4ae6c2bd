"""What happens to a hook that takes too long."""

import logging
from collections.abc import Awaitable
from contextlib import suppress
from types import SimpleNamespace
from typing import cast

import anyio
import anyio.lowlevel
import pytest
from attrs import define, field
from opentelemetry.trace import NoOpTracer

from agentrail.errors import HookTimeout
from agentrail.hook import Funnel, Hook, Plugin, PluginFailure, Watchdog, compile_hooks
from agentrail.testing import FakeClock

pytestmark = pytest.mark.anyio


def hooks(*functions: object, seconds: float = 0.03) -> tuple[Hook, ...]:
    """Gives each function a plugin: p0, p1 and so on."""
    plugins = [
        SimpleNamespace(
            name=f"p{number}", on_request_start=function, deadlines={"on_request_start": seconds}
        )
        for number, function in enumerate(functions)
    ]
    table, faults = compile_hooks(cast("list[Plugin]", plugins))
    assert faults == ()
    return table["on_request_start"]


@define(eq=False)
class Alarm(logging.Handler):
    """Sets its event when something is logged."""

    rung: anyio.Event = field(factory=anyio.Event)

    def __attrs_pre_init__(self) -> None:
        super().__init__()

    def emit(self, record: logging.LogRecord) -> None:
        assert record.levelno == logging.ERROR
        self.rung.set()


async def test_a_hook_that_hangs_is_cancelled_at_its_deadline_and_the_next_one_runs(
    funnel: Funnel, failures: list[PluginFailure]
) -> None:
    seen: list[object] = []

    async def hang(_context: object) -> None:
        try:
            await anyio.Event().wait()
        finally:
            seen.append("cleaned up")

    await funnel.observe(hooks(hang, seen.append), "context")

    assert seen == ["cleaned up", "context"]
    (failure,) = failures
    assert (failure.plugin, failure.hook) == ("p0", "on_request_start")
    assert isinstance(failure.error, HookTimeout)
    assert str(failure.error) == "p0.on_request_start took longer than 0.03 s"


async def test_an_awaitable_that_a_sync_hook_returns_is_cancelled_at_the_deadline_too(
    funnel: Funnel, failures: list[PluginFailure]
) -> None:
    def hang(_context: object) -> Awaitable[None]:
        return anyio.Event().wait()

    await funnel.observe(hooks(hang), "context")

    assert [type(failure.error) for failure in failures] == [HookTimeout]


async def test_each_hook_of_a_phase_has_its_deadline_to_itself(
    funnel: Funnel, failures: list[PluginFailure]
) -> None:
    seen: list[object] = []

    async def hang(_context: object) -> None:
        await anyio.Event().wait()

    await funnel.observe(hooks(hang, seen.append, hang, seen.append, hang), "context")

    assert [failure.plugin for failure in failures] == ["p0", "p2", "p4"]
    assert seen == ["context", "context"]


async def test_a_hook_that_swallows_its_cancellation_is_reported_all_the_same(
    funnel: Funnel, failures: list[PluginFailure]
) -> None:
    seen: list[object] = []

    async def stubborn(_context: object) -> str:
        with suppress(anyio.get_cancelled_exc_class()):
            await anyio.Event().wait()
        return "late"

    assert await funnel.collect(hooks(stubborn), str, "context") == []
    await funnel.observe(hooks(stubborn, seen.append), "context")

    assert [type(failure.error) for failure in failures] == [HookTimeout, HookTimeout]
    assert seen == ["context"]


async def test_the_error_that_a_hook_makes_of_its_cancellation_is_what_is_reported(
    funnel: Funnel, failures: list[PluginFailure]
) -> None:
    lost = OSError("lost")

    async def fail(_context: object) -> None:
        try:
            await anyio.Event().wait()
        finally:
            raise lost

    await funnel.observe(hooks(fail), "context")

    assert failures == [PluginFailure("p0", "on_request_start", lost)]


async def test_one_that_goes_on_after_its_cancellation_is_named_in_the_log_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock, failures = FakeClock(), list[PluginFailure]()
    watchdog, entered, released = Watchdog(clock), anyio.Event(), anyio.Event()
    seen: list[object] = []

    async def shielded(_context: object) -> None:
        with anyio.CancelScope(shield=True):
            entered.set()
            await released.wait()

    alarm = Alarm()
    logging.getLogger("agentrail.hook").addHandler(alarm)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watchdog.run)
            funnel, late = Funnel(watchdog, failures.append), hooks(shielded, seen.append)
            tasks.start_soon(funnel.observe, late, "context")
            await entered.wait()
            for _ in range(2):  # first it is cancelled, then it is found to go on
                clock.advance(5)
                await anyio.wait_all_tasks_blocked()
            await alarm.rung.wait()
            clock.advance(5)
            await anyio.wait_all_tasks_blocked()
            assert seen == []
            released.set()
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
    finally:
        logging.getLogger("agentrail.hook").removeHandler(alarm)

    assert caplog.messages == [
        "p0.on_request_start was cancelled at its deadline and goes on regardless"
    ]
    assert [type(failure.error) for failure in failures] == [HookTimeout]
    assert seen == ["context"]


async def test_a_hook_that_is_in_time_is_not_cancelled(
    funnel: Funnel, failures: list[PluginFailure]
) -> None:
    seen: list[object] = []

    async def quick(context: object) -> None:
        await anyio.wait_all_tasks_blocked()
        seen.append(context)

    await funnel.observe(hooks(*[quick] * 3, seconds=30), "context")

    assert (seen, failures) == (["context"] * 3, [])


@pytest.mark.parametrize("traced", [False, True], ids=["untraced", "traced"])
async def test_a_sync_hook_that_blocks_past_its_deadline_is_logged(
    traced: object, caplog: pytest.LogCaptureFixture
) -> None:
    clock, failures, seen = FakeClock(), list[PluginFailure](), list[object]()
    tracer = NoOpTracer() if traced else None

    def block(_context: object) -> None:
        clock.advance(5)

    await Funnel(Watchdog(clock), failures.append, tracer).observe(
        hooks(block, seen.append, seconds=2), "context"
    )

    assert caplog.messages == ["p0.on_request_start blocked the host for over 2 s"]
    assert (seen, failures) == (["context"], [])


async def test_each_gathered_hook_has_its_deadline_to_itself(
    funnel: Funnel, failures: list[PluginFailure]
) -> None:
    told = anyio.Event()

    def tell(failure: PluginFailure) -> None:
        failures.append(failure)
        told.set()

    async def hang(_context: object) -> str:
        await anyio.Event().wait()
        return "never"

    async def outlast(_context: object) -> str:
        await told.wait()
        return "kept"

    short, long = hooks(hang), hooks(outlast, outlast, seconds=30)

    found = await Funnel(funnel.watchdog, tell).gather((long[0], *short, long[1]), str, "context")

    assert found == [(long[0], "kept"), (long[1], "kept")]
    assert [failure.plugin for failure in failures] == ["p0"]


async def test_a_short_deadline_is_kept_while_the_watchdog_waits_for_a_longer_one(
    funnel: Funnel, failures: list[PluginFailure]
) -> None:
    async def hang(_context: object) -> None:
        await anyio.Event().wait()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(funnel.observe, hooks(hang, seconds=30), "context")
        await anyio.wait_all_tasks_blocked()

        await funnel.observe(hooks(hang), "context")

        tasks.cancel_scope.cancel()

    assert len(failures) == 1


async def test_a_guard_at_rest_has_no_deadline_and_one_dismissed_is_not_late() -> None:
    clock = FakeClock()
    watchdog = Watchdog(clock)
    guard = watchdog.guard()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watchdog.run)
        with guard:
            guard.arm("it", 2)
            guard.rest()
            clock.advance(5)
            await anyio.wait_all_tasks_blocked()
            guard.dismiss()
            await anyio.Event().wait()
        assert not guard.expired
        tasks.cancel_scope.cancel()


async def test_a_shielded_guard_keeps_cancellation_from_outside_out_and_its_own_deadline(
    funnel: Funnel,
) -> None:
    order: list[str] = []
    guard = funnel.watchdog.guard(shield=True)

    with anyio.CancelScope() as scope:
        scope.cancel()
        with guard:
            guard.arm("it", 0.03)
            await anyio.wait_all_tasks_blocked()
            order.append("went on")
            await anyio.Event().wait()
        order.append("late")
        await anyio.lowlevel.checkpoint()
        order.append("not cancelled")

    assert guard.expired
    assert order == ["went on", "late"]
