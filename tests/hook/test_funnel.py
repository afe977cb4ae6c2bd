"""How the funnel calls hooks, and what their failure means."""

import logging
import sys
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from types import SimpleNamespace
from typing import cast

import anyio
import anyio.lowlevel
import pytest

from agentrail.clock import SystemClock
from agentrail.errors import HookTimeout, HookTypeError, RequestRefused
from agentrail.hook import (
    Funnel,
    Guard,
    Hook,
    Plugin,
    PluginFailure,
    Watchdog,
    calling,
    compile_hooks,
    log_failure,
)

pytestmark = pytest.mark.anyio


def hooks(*functions: object, **members: object) -> tuple[Hook, ...]:
    """Gives each function a plugin: p0, p1 and so on."""
    plugins = [
        SimpleNamespace(name=f"p{number}", on_request_start=function, **members)
        for number, function in enumerate(functions)
    ]
    table, faults = compile_hooks(cast("list[Plugin]", plugins))
    assert faults == ()
    return table["on_request_start"]


def returning(value: object) -> Callable[[object], object]:
    return lambda _context: value


def failing(error: Exception) -> Callable[[object], None]:
    def hook(_context: object) -> None:
        raise error

    return hook


class Unguarded(Watchdog):
    def guard(self, *, shield: bool = False) -> Guard:
        pytest.fail(f"a guard was asked for, shield={shield}")


# --- hooks that nobody has ----------------------------------------------------------------------


def test_a_hook_that_nobody_has_opens_no_guard_and_does_not_wait() -> None:
    funnel = Funnel(Unguarded(SystemClock()))
    calls: list[tuple[Coroutine[object, object, object], object]] = [
        (funnel.observe((), "context"), None),
        (funnel.first((), str, "context"), None),
        (funnel.collect((), str, "context"), []),
        (funnel.gather((), str, "context"), []),
    ]

    for call, expected in calls:
        with pytest.raises(StopIteration) as returned:  # at the first step, and without a loop
            call.send(None)
        assert returned.value.value == expected


# --- observe ------------------------------------------------------------------------------------


class Observers:
    """One of each form that a hook may have."""

    def __init__(self, seen: list[str]) -> None:
        self.seen = seen

    def sync(self, context: object) -> None:
        self.seen.append(f"sync {context}")

    async def later(self, context: object) -> None:
        await anyio.lowlevel.checkpoint()
        self.seen.append(f"async {context}")

    def promising(self, context: object) -> Awaitable[None]:
        return self.later(context)

    async def named(self, name: str, context: object) -> None:
        await anyio.lowlevel.checkpoint()
        self.seen.append(f"{name} {context}")

    async def __call__(self, context: object) -> None:
        await anyio.lowlevel.checkpoint()
        self.seen.append(f"callable {context}")


async def test_hooks_of_every_form_are_called_in_order_and_awaited(
    funnel: Funnel, failures: list[PluginFailure]
) -> None:
    seen: list[str] = []
    form = Observers(seen)

    await funnel.observe(
        hooks(form.later, form.sync, form, partial(form.named, "partial"), form.promising), "x"
    )

    assert seen == ["async x", "sync x", "callable x", "partial x", "async x"]
    assert failures == []


async def test_hooks_are_awaited_one_by_one(funnel: Funnel) -> None:
    seen: list[str] = []

    def slow(name: str) -> Callable[[object], Awaitable[None]]:
        async def hook(_context: object) -> None:
            seen.append(f"{name} begins")
            await anyio.wait_all_tasks_blocked()
            seen.append(f"{name} ends")

        return hook

    await funnel.observe(hooks(slow("a"), slow("b")), None)

    assert seen == ["a begins", "a ends", "b begins", "b ends"]


async def test_hooks_run_in_the_task_of_the_request(funnel: Funnel) -> None:
    tasks: list[int] = []

    async def note(_context: object) -> None:
        tasks.append(anyio.get_current_task().id)

    await funnel.observe(hooks(note, note), None)

    assert tasks == [anyio.get_current_task().id] * 2


async def test_whose_hook_is_running_can_be_asked(funnel: Funnel) -> None:
    seen: list[str] = []

    def note(_context: object) -> None:
        seen.append(calling.get())

    await funnel.observe(hooks(note, note), None)
    await funnel.gather(hooks(note, note), type(None), None)

    assert seen[:2] == ["p0", "p1"]
    assert sorted(seen[2:]) == ["p0", "p1"]


async def test_a_hook_that_raises_is_reported_and_the_next_one_runs(
    funnel: Funnel, failures: list[PluginFailure]
) -> None:
    seen: list[object] = []
    lost, wrong = OSError("lost"), ValueError("wrong")

    async def fail(_context: object) -> None:
        await anyio.lowlevel.checkpoint()
        raise wrong

    await funnel.observe(hooks(failing(lost), seen.append, fail, seen.append), "context")

    assert seen == ["context", "context"]
    assert failures == [
        PluginFailure("p0", "on_request_start", lost),
        PluginFailure("p2", "on_request_start", wrong),
    ]


async def test_a_hook_that_would_end_the_process_has_failed(
    funnel: Funnel, failures: list[PluginFailure]
) -> None:
    seen: list[object] = []

    def leave(_context: object) -> None:
        sys.exit(3)

    await funnel.observe(hooks(leave, seen.append), "context")

    assert seen == ["context"]
    assert "sys.exit()" in str(failures[0].error)


async def test_what_an_observer_returns_does_not_matter(
    funnel: Funnel, failures: list[PluginFailure]
) -> None:
    seen: list[object] = []

    await funnel.observe(hooks(returning("something"), seen.append), "context")

    assert (seen, failures) == (["context"], [])


async def test_an_async_failure_handler_is_awaited_before_the_next_hook(funnel: Funnel) -> None:
    seen: list[object] = []

    async def handle(failure: PluginFailure) -> None:
        await anyio.wait_all_tasks_blocked()
        seen.append(failure.plugin)

    await Funnel(funnel.watchdog, handle).observe(
        hooks(failing(OSError("lost")), seen.append), "context"
    )

    assert seen == ["p0", "context"]


@pytest.mark.parametrize("wait", [False, True], ids=["sync", "async"])
async def test_a_failure_handler_that_fails_changes_nothing_and_the_failure_is_logged(
    funnel: Funnel,
    wait: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen: list[object] = []

    async def fail_later() -> None:
        await anyio.lowlevel.checkpoint()
        raise LookupError

    def handle(_failure: PluginFailure) -> Awaitable[None]:
        if wait:
            return fail_later()
        raise LookupError

    await Funnel(funnel.watchdog, handle).observe(
        hooks(failing(OSError("lost")), seen.append), "context"
    )

    assert seen == ["context"]
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    assert "p0.on_request_start" in caplog.messages[0]
    assert caplog.messages[1] == "plugin 'p0' failed in on_request_start: OSError: lost"


def test_a_failure_is_logged_with_its_traceback_by_default(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lost = OSError("lost")

    log_failure(PluginFailure("p", "stop", lost))

    (record,) = caplog.records
    assert (record.name, record.levelno) == ("agentrail.hook", logging.WARNING)
    assert record.exc_info is not None
    assert record.exc_info[1] is lost
    assert Funnel(Watchdog(SystemClock())).on_failure is log_failure


async def test_cancellation_from_outside_passes_through_and_ends_the_phase(
    funnel: Funnel, failures: list[PluginFailure]
) -> None:
    seen: list[object] = []

    with anyio.CancelScope() as scope:

        async def cancelled(_context: object) -> None:
            scope.cancel()
            try:
                await anyio.Event().wait()
            finally:
                seen.append("cleaned up")

        await funnel.observe(hooks(cancelled, seen.append), "context")
        pytest.fail("the phase went on")

    assert scope.cancelled_caught
    assert (seen, failures) == (["cleaned up"], [])
    assert funnel.watchdog.guards == set()


async def test_an_error_during_cancellation_from_outside_is_reported_and_the_phase_ends(
    funnel: Funnel, failures: list[PluginFailure]
) -> None:
    seen: list[object] = []

    with anyio.CancelScope() as scope:

        async def cancelled(_context: object) -> None:
            scope.cancel()
            try:
                await anyio.Event().wait()
            finally:
                raise OSError("lost")

        async def waits(_context: object) -> None:
            await anyio.lowlevel.checkpoint()
            seen.append("ran")

        await funnel.observe(hooks(cancelled, waits), "context")

    assert scope.cancelled_caught
    assert seen == []
    assert [failure.plugin for failure in failures] == ["p0"]


async def test_no_guard_is_left_open_after_a_phase(funnel: Funnel) -> None:
    counts: list[int] = []

    def count(_context: object) -> None:
        counts.append(len(funnel.watchdog.guards))

    await funnel.observe(hooks(count, failing(OSError()), count, count), None)

    assert counts == [1, 1, 1]
    assert funnel.watchdog.guards == set()


# --- first --------------------------------------------------------------------------------------


async def test_none_answers_when_no_hook_does(
    funnel: Funnel, failures: list[PluginFailure]
) -> None:
    assert await funnel.first(hooks(returning(None), returning(None)), str, "context") is None
    assert failures == []


async def test_the_first_answer_wins_and_later_hooks_are_not_asked(funnel: Funnel) -> None:
    asked: list[object] = []

    async def answer(context: object) -> str:
        await anyio.lowlevel.checkpoint()
        return f"answer to {context}"

    several = hooks(returning(None), answer, asked.append, returning("late"))

    assert await funnel.first(several, str, "it") == ("answer to it", several[1])
    assert asked == []


@pytest.mark.parametrize("answer", ["", 0, False, [], ()])
async def test_an_empty_answer_is_an_answer(funnel: Funnel, answer: object) -> None:
    several = hooks(returning(None), returning(answer), returning("late"))

    assert await funnel.first(several, type(answer), "context") == (answer, several[1])


async def test_a_failure_counts_as_no_answer_and_is_reported(
    funnel: Funnel, failures: list[PluginFailure]
) -> None:
    lost = OSError("lost")
    several = hooks(failing(lost), returning("answer"))

    assert await funnel.first(several, str, "context") == ("answer", several[1])
    assert failures == [PluginFailure("p0", "on_request_start", lost)]


async def test_an_answer_of_another_type_is_a_failure(
    funnel: Funnel, failures: list[PluginFailure]
) -> None:
    several = hooks(returning(3), returning("answer"))

    assert await funnel.first(several, str, "context") == ("answer", several[1])
    (failure,) = failures
    assert isinstance(failure.error, HookTypeError)
    assert str(failure.error) == "p0.on_request_start returned int, not str"


@pytest.mark.parametrize("hook", [failing(OSError("lost")), returning(3)], ids=["fails", "wrong"])
async def test_the_failure_of_a_critical_plugin_is_reported_and_refuses_the_request(
    funnel: Funnel, failures: list[PluginFailure], hook: object
) -> None:
    asked: list[object] = []

    with pytest.raises(RequestRefused, match="'p0' failed in on_request_start") as refused:
        await funnel.first(hooks(hook, asked.append, critical=True), str, "context")

    assert [failure.error for failure in failures] == [refused.value.__cause__]
    assert asked == []


async def test_the_lateness_of_a_critical_plugin_refuses_the_request(
    funnel: Funnel, failures: list[PluginFailure]
) -> None:
    async def hang(_context: object) -> None:
        await anyio.Event().wait()

    late = hooks(hang, critical=True, deadlines={"on_request_start": 0.03})

    with pytest.raises(RequestRefused):
        await funnel.first(late, str, "context")

    assert [type(failure.error) for failure in failures] == [HookTimeout]


async def test_a_critical_plugin_that_only_observes_refuses_nothing(
    funnel: Funnel, failures: list[PluginFailure]
) -> None:
    await funnel.observe(hooks(failing(OSError("lost")), critical=True), "context")

    assert len(failures) == 1


# --- collect and gather -------------------------------------------------------------------------


async def test_collect_returns_in_order_what_did_not_fail(
    funnel: Funnel, failures: list[PluginFailure]
) -> None:
    several = hooks(returning("a"), failing(OSError("lost")), returning(None), returning(""))

    found = await funnel.collect(several, str, "context")

    assert found == [(several[0], "a"), (several[3], "")]
    assert [failure.plugin for failure in failures] == ["p1", "p2"]


async def test_gather_keeps_the_order_of_hooks_that_finish_in_reverse(funnel: Funnel) -> None:
    finished: list[str] = []
    done = [anyio.Event() for _ in range(4)]
    done[3].set()

    def after_the_next(number: int) -> Callable[[object], Awaitable[str]]:
        async def hook(_context: object) -> str:
            await done[number + 1].wait()
            done[number].set()
            finished.append(f"r{number}")
            return f"r{number}"

        return hook

    several = hooks(*map(after_the_next, range(3)))

    found = await funnel.gather(several, str, "context")

    assert finished == ["r2", "r1", "r0"]
    assert found == [(hook, f"r{number}") for number, hook in enumerate(several)]


async def test_gather_runs_all_hooks_at_the_same_time(funnel: Funnel) -> None:
    here: list[str] = []
    complete = anyio.Event()

    async def meet(context: object) -> str:
        here.append(str(context))
        if len(here) == 10:
            complete.set()
        await complete.wait()
        return "met"

    found = await funnel.gather(hooks(*[meet] * 10), str, "context")

    assert [result for _, result in found] == ["met"] * 10


async def test_gather_leaves_out_what_fails(funnel: Funnel, failures: list[PluginFailure]) -> None:
    several = hooks(returning("a"), failing(OSError("lost")), returning(3), returning("d"))

    found = await funnel.gather(several, str, "context")

    assert found == [(several[0], "a"), (several[3], "d")]
    assert sorted(failure.plugin for failure in failures) == ["p1", "p2"]


async def test_a_single_hook_is_gathered_without_a_task_of_its_own(funnel: Funnel) -> None:
    async def task(_context: object) -> int:
        return anyio.get_current_task().id

    several = hooks(task)

    found = await funnel.gather(several, int, "context")

    assert found == [(several[0], anyio.get_current_task().id)]


async def test_gather_ends_all_hooks_when_it_is_cancelled_from_outside(
    funnel: Funnel, failures: list[PluginFailure]
) -> None:
    ended: list[str] = []

    with anyio.CancelScope() as scope:

        async def hang(_context: object) -> str:
            try:
                await anyio.Event().wait()
            finally:
                ended.append(calling.get())
            return "never"

        async def cancel(_context: object) -> str:
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
            return "in time"

        await funnel.gather(hooks(hang, hang, cancel), str, "context")
        pytest.fail("it went on")

    assert sorted(ended) == ["p0", "p1"]
    assert failures == []
