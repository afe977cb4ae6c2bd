"""Tasks that a plugin runs outside of requests."""

import logging

import anyio
import anyio.lowlevel
import pytest
from attrs import define, field

from agentrail.errors import HostNotRunning
from agentrail.hook import Funnel, Plugin, PluginFailure, compile_hooks
from agentrail.plugin import Lives, define_plugin
from tests.plugin.alone import Alone
from tests.strays import STRAYS, Stray

pytestmark = pytest.mark.anyio


def lives_of(funnel: Funnel, *plugins: Plugin) -> Alone:
    table, faults = compile_hooks(plugins)
    assert faults == ()
    return Alone(table, Lives(funnel))


async def hang() -> None:
    await anyio.Event().wait()


async def fail() -> None:
    await anyio.lowlevel.checkpoint()
    message = "the disk is gone"
    raise OSError(message)


@define(eq=False)
class Alarm(logging.Handler):
    """Sets its event when something is logged."""

    rung: anyio.Event = field(factory=anyio.Event)

    def __attrs_pre_init__(self) -> None:
        super().__init__()

    def emit(self, record: logging.LogRecord) -> None:
        assert record.levelno == logging.ERROR
        self.rung.set()


async def test_background_tasks_are_cancelled_before_their_plugin_stops(
    funnel: Funnel, failures: list[PluginFailure]
) -> None:
    log: list[str] = []
    entered = anyio.Event()

    async def work() -> None:
        entered.set()
        try:
            await hang()
        finally:
            log.append("work ended")

    plugins = [
        define_plugin("first", stop=lambda: log.append("stop first")),
        define_plugin("owner", stop=lambda: log.append("stop owner")),
        define_plugin("last", stop=lambda: log.append("stop last")),
    ]

    async with anyio.create_task_group() as host:
        lives = lives_of(funnel, *plugins)
        await lives.start(host)
        lives.background("owner", work)
        await entered.wait()
        await lives.stop()

    assert log == ["stop last", "work ended", "stop owner", "stop first"]
    assert failures == []


async def test_a_background_task_outlives_the_request_that_began_it(funnel: Funnel) -> None:
    released, done = anyio.Event(), anyio.Event()

    async def work() -> None:
        await released.wait()
        done.set()

    async with anyio.create_task_group() as host:
        lives = lives_of(funnel, define_plugin("owner"))
        await lives.start(host)
        with anyio.CancelScope() as request:
            lives.background("owner", work)
            request.cancel()
            await hang()
        released.set()
        await done.wait()
        await lives.stop()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [(fail, "the disk is gone"), *[(stray, "background task 'indexing' ") for stray in STRAYS]],
)
async def test_a_background_task_that_fails_is_logged_and_harms_nobody(
    funnel: Funnel,
    failures: list[PluginFailure],
    caplog: pytest.LogCaptureFixture,
    wrong: Stray,
    said: str,
) -> None:
    log: list[str] = []
    released, done = anyio.Event(), anyio.Event()

    async def work() -> None:
        await released.wait()
        log.append("its neighbor goes on")
        done.set()

    alarm = Alarm()
    logging.getLogger("agentrail.plugin").addHandler(alarm)
    try:
        async with anyio.create_task_group() as host:
            lives = lives_of(funnel, define_plugin("owner", stop=lambda: log.append("stop")))
            await lives.start(host)
            lives.background("owner", work)
            lives.background("owner", wrong, "indexing")
            await alarm.rung.wait()
            released.set()
            await done.wait()
            await lives.stop()
    finally:
        logging.getLogger("agentrail.plugin").removeHandler(alarm)

    assert log == ["its neighbor goes on", "stop"]
    assert failures == []
    (record,) = caplog.records
    assert record.getMessage() == "background task 'indexing' of plugin 'owner' failed"
    assert record.exc_info is not None
    assert str(record.exc_info[1]).startswith(said)


async def test_a_plugin_that_is_unknown_or_does_not_run_has_no_background_tasks(
    funnel: Funnel,
) -> None:
    lives = lives_of(funnel, define_plugin("known"))

    with pytest.raises(HostNotRunning, match="'known' does not run"):
        lives.background("known", hang)
    async with anyio.create_task_group() as host:
        await lives.start(host)
        try:
            with pytest.raises(HostNotRunning, match="the plugin does not run"):
                lives.background("unknown", hang)
        finally:
            await lives.stop()
    with pytest.raises(HostNotRunning, match="'known' does not run"):
        lives.background("known", hang)


async def test_a_background_task_of_a_plugin_whose_stop_fails_is_cancelled_all_the_same(
    funnel: Funnel, failures: list[PluginFailure]
) -> None:
    entered, ended = anyio.Event(), anyio.Event()

    async def work() -> None:
        entered.set()
        try:
            await hang()
        finally:
            ended.set()

    def fail() -> None:
        assert ended.is_set()
        message = "the disk is gone"
        raise OSError(message)

    async with anyio.create_task_group() as host:
        lives = lives_of(funnel, define_plugin("owner", stop=fail))
        await lives.start(host)
        lives.background("owner", work)
        await entered.wait()
        await lives.stop()

    assert [str(failure.error) for failure in failures] == ["the disk is gone"]
