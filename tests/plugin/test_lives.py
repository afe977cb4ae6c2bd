"""How plugins start and stop."""

import asyncio  # noqa: TID251 - its own cancellation is tested
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import partial
from types import SimpleNamespace
from typing import cast

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import TaskGroup
from attrs import define, field

from agentrail.errors import HookTimeout, HostNotRunning, PluginStartError
from agentrail.hook import Funnel, Plugin, PluginFailure, Watchdog, compile_hooks
from agentrail.plugin import Lives, define_plugin
from agentrail.testing import FakeClock
from tests.plugin.alone import Alone
from tests.strays import STRAYS, Stray

pytestmark = pytest.mark.anyio


def lives_of(funnel: Funnel, *plugins: Plugin) -> Alone:
    table, faults = compile_hooks(plugins)
    assert faults == ()
    return Alone(table, Lives(funnel))


def diary(name: str, log: list[str], **members: object) -> Plugin:
    """Is a plugin that writes down when it is started and stopped."""

    async def write(what: str) -> None:
        await anyio.lowlevel.checkpoint()
        log.append(f"{what} {name}")

    written = {"name": name, "start": partial(write, "start"), "stop": partial(write, "stop")}
    return cast("Plugin", SimpleNamespace(**written | members))


async def hang() -> None:
    await anyio.Event().wait()


async def fail() -> None:
    await anyio.lowlevel.checkpoint()
    message = "the disk is gone"
    raise OSError(message)


async def test_plugins_start_in_order_and_stop_in_reverse(
    funnel: Funnel, failures: list[PluginFailure]
) -> None:
    log: list[str] = []
    plugins = [diary("a", log), diary("b", log), diary("c", log, priority=1)]

    async with anyio.create_task_group() as host:
        lives = lives_of(funnel, *plugins)
        await lives.start(host)
        log.append("all run")
        await lives.stop()

    assert log == ["start c", "start a", "start b", "all run", "stop b", "stop a", "stop c"]
    assert failures == []


async def test_a_plugin_starts_only_when_the_one_before_it_has_started(funnel: Funnel) -> None:
    log: list[str] = []

    async def slow() -> None:
        await anyio.wait_all_tasks_blocked()
        log.append("a has started")

    async with anyio.create_task_group() as host:
        lives = lives_of(funnel, define_plugin("a", start=slow), diary("b", log))
        await lives.start(host)
        await lives.stop()

    assert log[:2] == ["a has started", "start b"]


async def test_start_and_stop_may_be_sync_and_may_be_missing(
    funnel: Funnel, failures: list[PluginFailure]
) -> None:
    log: list[str] = []
    plugins = [
        define_plugin("bare"),
        define_plugin("starts", start=lambda: log.append("start")),
        define_plugin("stops", stop=lambda: log.append("stop")),
    ]

    async with anyio.create_task_group() as host:
        lives = lives_of(funnel, *plugins)
        await lives.start(host)
        await lives.stop()

    assert log == ["start", "stop"]
    assert failures == []


async def test_start_and_stop_run_in_one_task_that_is_the_plugins_own(funnel: Funnel) -> None:
    tasks: dict[str, list[int]] = {"a": [], "b": []}

    def note(name: str) -> None:
        tasks[name].append(anyio.get_current_task().id)

    plugins = [
        define_plugin(name, start=partial(note, name), stop=partial(note, name)) for name in tasks
    ]

    async with anyio.create_task_group() as host:
        lives = lives_of(funnel, *plugins)
        await lives.start(host)
        await lives.stop()

    own = {name: set(ids) for name, ids in tasks.items()}
    assert [len(ids) for ids in tasks.values()] == [2, 2]
    assert [len(ids) for ids in own.values()] == [1, 1]
    assert len(own["a"] | own["b"] | {anyio.get_current_task().id}) == 3


async def test_stop_without_a_start_does_nothing_and_so_does_a_second_stop(funnel: Funnel) -> None:
    log: list[str] = []
    lives = lives_of(funnel, diary("a", log))

    await lives.stop()
    assert log == []

    async with anyio.create_task_group() as host:
        await lives.start(host)
        await lives.stop()
        await lives.stop()

    assert log == ["start a", "stop a"]


async def test_lives_may_be_started_again_after_their_stop(funnel: Funnel) -> None:
    log: list[str] = []
    lives = lives_of(funnel, diary("a", log))

    for _ in range(2):
        async with anyio.create_task_group() as host:
            await lives.start(host)
            await lives.stop()

    assert log == ["start a", "stop a"] * 2


# --- a start that fails -------------------------------------------------------------------------


async def test_when_one_fails_to_start_those_before_it_are_stopped_and_those_after_never_start(
    funnel: Funnel,
) -> None:
    log: list[str] = []
    plugins = [diary(name, log) for name in ("a", "b", "c", "d", "e")]
    plugins[2] = diary("c", log, start=fail)

    async with anyio.create_task_group() as host:
        with pytest.raises(PluginStartError, match="'c' did not start: the disk is gone") as caught:
            await lives_of(funnel, *plugins).start(host)
        assert isinstance(caught.value.__cause__, OSError)

    assert log == ["start a", "start b", "stop b", "stop a"]


async def test_a_start_that_hangs_is_cancelled_at_its_deadline_and_counts_as_failed(
    funnel: Funnel,
) -> None:
    log: list[str] = []

    async def hang_and_clean_up() -> None:
        try:
            await hang()
        finally:
            log.append("cleaned up")

    plugins = [
        diary("a", log),
        diary("b", log, start=hang_and_clean_up, deadlines={"start": 0.03}),
        diary("c", log),
    ]

    async with anyio.create_task_group() as host:
        with pytest.raises(PluginStartError, match=r"'b' .* took longer than 0\.03 s") as caught:
            await lives_of(funnel, *plugins).start(host)
        assert isinstance(caught.value.__cause__, HookTimeout)

    assert log == ["start a", "cleaned up", "stop a"]


async def test_a_start_that_returns_after_its_deadline_counts_as_failed(funnel: Funnel) -> None:
    log: list[str] = []

    async def stubborn() -> None:
        with suppress(anyio.get_cancelled_exc_class()):
            await hang()

    plugins = [
        diary("a", log),
        diary("b", log, start=stubborn, deadlines={"start": 0.03}),
        diary("c", log),
    ]

    async with anyio.create_task_group() as host:
        with pytest.raises(PluginStartError, match=r"'b' .* took longer than 0\.03 s"):
            await lives_of(funnel, *plugins).start(host)

    assert log == ["start a", "stop a"]


async def test_a_failed_start_harms_nothing_else_in_the_hosts_group(funnel: Funnel) -> None:
    bystander, released = anyio.Event(), anyio.Event()

    async def stand_by() -> None:
        await released.wait()
        bystander.set()

    async with anyio.create_task_group() as host:
        host.start_soon(stand_by)
        with pytest.raises(PluginStartError):
            await lives_of(funnel, define_plugin("a", start=fail)).start(host)
        released.set()

    assert bystander.is_set()


async def test_a_stop_that_fails_after_another_ones_failed_start_is_reported(
    funnel: Funnel, failures: list[PluginFailure]
) -> None:
    log: list[str] = []
    plugins = [diary("a", log), diary("b", log, stop=fail), diary("c", log, start=fail)]

    async with anyio.create_task_group() as host:
        with pytest.raises(PluginStartError, match="'c'"):
            await lives_of(funnel, *plugins).start(host)

    assert log == ["start a", "start b", "stop a"]
    assert [(failure.plugin, failure.hook) for failure in failures] == [("b", "stop")]


async def test_lives_may_be_started_again_after_a_failed_start(funnel: Funnel) -> None:
    log: list[str] = []
    ready: list[bool] = []

    def start() -> None:
        if not ready:
            message = "not yet"
            raise OSError(message)

    lives = lives_of(funnel, diary("a", log), define_plugin("b", start=start))

    async with anyio.create_task_group() as host:
        with pytest.raises(PluginStartError):
            await lives.start(host)
        ready.append(True)
        await lives.start(host)
        await lives.stop()

    assert log == ["start a", "stop a"] * 2


async def test_the_deadline_of_start_is_over_once_a_plugin_has_started() -> None:
    log: list[str] = []
    clock = FakeClock()
    watchdog = Watchdog(clock)

    async with anyio.create_task_group() as host:
        host.start_soon(watchdog.run)
        lives = lives_of(Funnel(watchdog), diary("a", log, deadlines={"start": 1, "stop": 1}))
        await lives.start(host)
        clock.advance(60)
        await anyio.wait_all_tasks_blocked()
        log.append("a minute later")
        await lives.stop()
        host.cancel_scope.cancel()

    assert log == ["start a", "a minute later", "stop a"]


# --- a stop that fails --------------------------------------------------------------------------


async def test_a_stop_that_fails_is_reported_and_the_others_stop(
    funnel: Funnel, failures: list[PluginFailure]
) -> None:
    log: list[str] = []

    async with anyio.create_task_group() as host:
        lives = lives_of(funnel, diary("a", log), diary("b", log, stop=fail), diary("c", log))
        await lives.start(host)
        await lives.stop()

    assert log[3:] == ["stop c", "stop a"]
    (failure,) = failures
    assert (failure.plugin, failure.hook, str(failure.error)) == ("b", "stop", "the disk is gone")


@pytest.mark.parametrize("stray", STRAYS)
async def test_a_start_that_strays_has_failed_and_harms_nothing_else(
    funnel: Funnel, stray: Stray
) -> None:
    log: list[str] = []

    async with anyio.create_task_group() as host:
        with pytest.raises(
            PluginStartError, match=r"'b' did not start: b\.start (called|was canc)"
        ):
            await lives_of(funnel, diary("a", log), diary("b", log, start=stray)).start(host)
        await anyio.lowlevel.checkpoint()
        log.append("the host goes on")

    assert log == ["start a", "stop a", "the host goes on"]


@pytest.mark.parametrize("stray", STRAYS)
async def test_a_stop_that_strays_is_reported_and_the_others_stop(
    funnel: Funnel, failures: list[PluginFailure], stray: Stray
) -> None:
    log: list[str] = []

    async with anyio.create_task_group() as host:
        lives = lives_of(funnel, diary("a", log), diary("b", log, stop=stray), diary("c", log))
        await lives.start(host)
        await lives.stop()
        await anyio.lowlevel.checkpoint()
        log.append("the host goes on")

    assert log[3:] == ["stop c", "stop a", "the host goes on"]
    assert [(failure.plugin, failure.hook) for failure in failures] == [("b", "stop")]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_plugin_that_ends_its_own_task_has_not_started(funnel: Funnel) -> None:
    async def start() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await hang()

    log: list[str] = []
    async with anyio.create_task_group() as host:
        with pytest.raises(PluginStartError, match="'b' ended while it started"):
            await lives_of(funnel, diary("a", log), diary("b", log, start=start)).start(host)
        await anyio.lowlevel.checkpoint()
        log.append("the host goes on")

    assert log == ["start a", "stop a", "the host goes on"]


async def test_a_stop_that_hangs_is_cancelled_at_its_deadline_and_the_others_stop(
    funnel: Funnel, failures: list[PluginFailure]
) -> None:
    log: list[str] = []

    async def hang_and_clean_up() -> None:
        try:
            await hang()
        finally:
            log.append("cleaned up")

    late = diary("b", log, stop=hang_and_clean_up, deadlines={"stop": 0.03})

    async with anyio.create_task_group() as host:
        lives = lives_of(funnel, diary("a", log), late, diary("c", log))
        await lives.start(host)
        await lives.stop()

    assert log[3:] == ["stop c", "cleaned up", "stop a"]
    (failure,) = failures
    assert (failure.plugin, failure.hook) == ("b", "stop")
    assert isinstance(failure.error, HookTimeout)


async def test_a_stop_that_returns_after_its_deadline_is_reported_once(
    funnel: Funnel, failures: list[PluginFailure]
) -> None:
    async def stubborn() -> None:
        with suppress(anyio.get_cancelled_exc_class()):
            await hang()

    async with anyio.create_task_group() as host:
        lives = lives_of(funnel, define_plugin("a", stop=stubborn, deadlines={"stop": 0.03}))
        await lives.start(host)
        await lives.stop()

    assert [type(failure.error) for failure in failures] == [HookTimeout]


async def test_a_stop_that_makes_an_error_of_its_cancellation_is_reported_once_as_late(
    funnel: Funnel, failures: list[PluginFailure]
) -> None:
    async def hang_and_fail() -> None:
        try:
            await hang()
        finally:
            message = "the disk is gone"
            raise OSError(message)

    async with anyio.create_task_group() as host:
        lives = lives_of(funnel, define_plugin("a", stop=hang_and_fail, deadlines={"stop": 0.03}))
        await lives.start(host)
        await lives.stop()

    assert [type(failure.error) for failure in failures] == [HookTimeout]


async def test_a_failure_handler_may_wait_while_plugins_stop(funnel: Funnel) -> None:
    log: list[str] = []

    async def handle(failure: PluginFailure) -> None:
        await anyio.wait_all_tasks_blocked()
        log.append(f"told of {failure.plugin}")

    async with anyio.create_task_group() as host:
        lives = lives_of(
            Funnel(funnel.watchdog, handle),
            diary("a", log),
            diary("late", log, stop=hang, deadlines={"stop": 0.03}),
            diary("fails", log, stop=fail),
        )
        await lives.start(host)
        await lives.stop()

    assert log[3:] == ["told of fails", "told of late", "stop a"]


# --- cancellation -------------------------------------------------------------------------------


async def test_plugins_stop_whole_when_whoever_stops_them_is_cancelled(
    funnel: Funnel, failures: list[PluginFailure]
) -> None:
    log: list[str] = []

    async with anyio.create_task_group() as host:
        lives = lives_of(funnel, diary("a", log), diary("b", log))
        await lives.start(host)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await lives.stop()

    assert log[2:] == ["stop b", "stop a"]
    assert failures == []


async def test_plugins_stop_in_their_turn_when_the_hosts_group_is_cancelled(
    funnel: Funnel, failures: list[PluginFailure]
) -> None:
    log: list[str] = []

    async with anyio.create_task_group() as host:
        lives = lives_of(funnel, diary("a", log), diary("b", log))
        await lives.start(host)
        host.cancel_scope.cancel()
        try:
            await hang()
        finally:
            log.append("the host stops")
            await lives.stop()

    assert log[2:] == ["the host stops", "stop b", "stop a"]
    assert failures == []


async def test_a_stop_that_hangs_while_all_is_cancelled_still_has_its_deadline(
    funnel: Funnel, failures: list[PluginFailure]
) -> None:
    log: list[str] = []

    async with anyio.create_task_group() as host:
        late = diary("b", log, stop=hang, deadlines={"stop": 0.03})
        lives = lives_of(funnel, diary("a", log), late)
        await lives.start(host)
        host.cancel_scope.cancel()
        await lives.stop()

    assert log[2:] == ["stop a"]
    assert [(failure.plugin, type(failure.error)) for failure in failures] == [("b", HookTimeout)]


async def test_a_start_up_that_is_cancelled_stops_what_had_started(
    funnel: Funnel, failures: list[PluginFailure]
) -> None:
    log: list[str] = []

    async with anyio.create_task_group() as host:

        async def cancel_the_host() -> None:
            host.cancel_scope.cancel()
            await anyio.lowlevel.checkpoint()
            log.append("start b")

        plugins = [diary("a", log), diary("b", log, start=cancel_the_host), diary("c", log)]
        await lives_of(funnel, *plugins).start(host)
        pytest.fail("it started")

    assert log == ["start a", "start b", "stop b", "stop a"]
    assert failures == []


# --- a task group of the plugin's own -----------------------------------------------------------


@define
class Grouped:
    """Opens a task group in ``start`` and closes it in ``stop``."""

    log: list[str]
    work: Callable[[], Coroutine[object, object, None]]
    name: str = "grouped"
    tasks: TaskGroup = field(init=False)

    async def start(self) -> None:
        self.tasks = anyio.create_task_group()
        await self.tasks.__aenter__()
        self.tasks.start_soon(self.work)

    async def stop(self) -> None:
        self.log.append("stop grouped")
        self.tasks.cancel_scope.cancel()
        await self.tasks.__aexit__(None, None, None)


async def test_a_plugin_may_have_a_task_group_from_start_to_stop(
    funnel: Funnel, failures: list[PluginFailure]
) -> None:
    log: list[str] = []
    worked = anyio.Event()

    async def work() -> None:
        worked.set()
        try:
            await hang()
        finally:
            log.append("work ended")

    async with anyio.create_task_group() as host:
        lives = lives_of(funnel, diary("a", log), Grouped(log, work), diary("c", log))
        await lives.start(host)
        await worked.wait()
        await lives.stop()

    assert log == ["start a", "start c", "stop c", "stop grouped", "work ended", "stop a"]
    assert failures == []


async def test_a_task_that_crashes_in_a_plugins_group_harms_nobody_else_and_is_reported(
    funnel: Funnel,
) -> None:
    log: list[str] = []
    failures: list[PluginFailure] = []
    crash, reported, released = anyio.Event(), anyio.Event(), anyio.Event()

    async def work() -> None:
        await crash.wait()
        message = "the disk is gone"
        raise OSError(message)

    def tell(failure: PluginFailure) -> None:
        failures.append(failure)
        reported.set()

    async def stand_by() -> None:
        await released.wait()
        log.append("the bystander goes on")

    async with anyio.create_task_group() as host:
        host.start_soon(stand_by)
        lives = lives_of(
            Funnel(funnel.watchdog, tell), diary("a", log), Grouped(log, work), diary("c", log)
        )
        await lives.start(host)
        crash.set()
        await reported.wait()
        released.set()
        await anyio.wait_all_tasks_blocked()
        log.append("the host stops")
        await lives.stop()

    assert log[2:] == [
        "stop grouped",
        "the bystander goes on",
        "the host stops",
        "stop c",
        "stop a",
    ]
    (failure,) = failures
    assert (failure.plugin, failure.hook) == ("grouped", "stop")
    assert "OSError('the disk is gone')" in repr(failure.error)  # in a group of its own


@pytest.mark.parametrize("stray", STRAYS)
async def test_a_task_that_strays_in_a_plugins_group_ends_that_plugin_alone(
    funnel: Funnel, stray: Stray
) -> None:
    log: list[str] = []
    crash, broken = anyio.Event(), anyio.Event()

    async def work() -> None:
        await crash.wait()
        await stray()

    def tell(plugin: Plugin, _why: Exception) -> None:
        log.append(f"{plugin.name} broke down")
        broken.set()

    async with anyio.create_task_group() as host:
        lives = lives_of(funnel, diary("a", log), Grouped(log, work))
        lives.lives.on_broken = tell
        await lives.start(host)
        crash.set()
        await broken.wait()
        await anyio.lowlevel.checkpoint()
        log.append("the host stops")
        await lives.stop()

    assert log == ["start a", "stop grouped", "grouped broke down", "the host stops", "stop a"]


async def test_a_plugin_whose_group_broke_down_has_no_background_tasks_any_more(
    funnel: Funnel,
) -> None:
    reported = anyio.Event()

    def tell(_failure: PluginFailure) -> None:
        reported.set()

    async with anyio.create_task_group() as host:
        lives = lives_of(Funnel(funnel.watchdog, tell), Grouped([], fail))
        await lives.start(host)
        await reported.wait()
        try:
            with pytest.raises(HostNotRunning, match="'grouped' does not run"):
                lives.background("grouped", hang)
        finally:
            await lives.stop()


@pytest.mark.parametrize("when", ["start fails", "start hangs"])
async def test_a_group_that_a_failed_start_left_open_harms_nobody_else(
    funnel: Funnel, when: str
) -> None:
    log: list[str] = []

    async def start() -> None:
        await anyio.create_task_group().__aenter__()
        await (fail() if when == "start fails" else hang())

    plugins = [diary("a", log), diary("b", log, start=start, deadlines={"start": 0.03})]

    async with anyio.create_task_group() as host:
        with pytest.raises(PluginStartError, match="'b' did not start"):
            await lives_of(funnel, *plugins).start(host)
        await anyio.lowlevel.checkpoint()
        log.append("the host goes on")

    assert log == ["start a", "stop a", "the host goes on"]


@pytest.mark.parametrize("how", [fail, hang, anyio.lowlevel.checkpoint])
async def test_a_group_that_a_stop_left_open_harms_nobody_else_and_is_reported(
    funnel: Funnel, failures: list[PluginFailure], how: Callable[[], Awaitable[None]]
) -> None:
    log: list[str] = []

    async def start() -> None:
        await anyio.create_task_group().__aenter__()

    plugins = [diary("a", log), diary("b", log, start=start, stop=how, deadlines={"stop": 0.03})]

    async with anyio.create_task_group() as host:
        lives = lives_of(funnel, *plugins)
        await lives.start(host)
        await lives.stop()
        await anyio.lowlevel.checkpoint()
        log.append("the host goes on")

    assert log == ["start a", "stop a", "the host goes on"]
    assert {(failure.plugin, failure.hook) for failure in failures} == {("b", "stop")}
