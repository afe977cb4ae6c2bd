"""The contract of plugins, run on plugins that keep it and on some that do not."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import anyio
import anyio.lowlevel
import pytest
from anyio.lowlevel import current_token

from agentrail import ChatRequest, Plugin, RequestContext, define_plugin
from agentrail.errors import CompositionError, PluginStartError
from agentrail.testing import HookRecorder, PluginContract

pytestmark = pytest.mark.anyio

ASKED = ChatRequest("hi")
CONTRACT = PluginContract()


class TestRecorder(PluginContract):
    @pytest.fixture
    def make(self) -> Callable[[], Plugin]:
        return HookRecorder


# Each test of the contract finds what it is there for.


async def test_a_plugin_that_does_not_compose_is_found() -> None:
    plugin = cast("Plugin", SimpleNamespace(name="p", on_turn_persist=print))
    with pytest.raises(CompositionError):
        await CONTRACT.test_no_hook_fails(lambda: plugin, ASKED)


async def test_a_plugin_that_starts_only_once_is_found() -> None:
    starts: list[int] = []

    def start() -> None:
        starts.append(1)
        if len(starts) > 1:
            raise RuntimeError("it was closed")

    plugin = define_plugin("p", start=start)
    with pytest.raises(PluginStartError):
        await CONTRACT.test_it_starts_and_stops_twice_and_leaves_no_task_behind(lambda: plugin)


async def test_a_plugin_that_does_not_stop_is_found() -> None:
    def stop() -> None:
        raise RuntimeError("no")

    plugin = define_plugin("p", stop=stop)
    with pytest.raises(AssertionError):
        await CONTRACT.test_it_starts_and_stops_twice_and_leaves_no_task_behind(lambda: plugin)


async def test_a_task_that_is_left_behind_is_found(anyio_backend_name: str) -> None:
    over = anyio.Event()

    async def work() -> None:
        await over.wait()

    def start() -> None:
        spawn = current_token().native_token
        if anyio_backend_name == "trio":
            import trio  # noqa: PLC0415, TID251 - what a careless plugin does

            trio.lowlevel.spawn_system_task(work)
        else:
            getattr(spawn, "create_task")(work())  # noqa: B009

    plugin = define_plugin("p", start=start)
    with pytest.raises(AssertionError):
        await CONTRACT.test_it_starts_and_stops_twice_and_leaves_no_task_behind(lambda: plugin)
    over.set()
    await anyio.wait_all_tasks_blocked()


async def test_a_hook_that_fails_on_streams_alone_is_found() -> None:
    def fail(context: RequestContext) -> None:
        assert context.kind == "chat"

    plugin = define_plugin("p", on_request_end=fail)
    with pytest.raises(AssertionError):
        await CONTRACT.test_no_hook_fails(lambda: plugin, ASKED)


async def test_a_hook_that_takes_one_request_at_a_time_is_found() -> None:
    lock = anyio.Lock()

    async def begin(_context: RequestContext) -> None:
        lock.acquire_nowait()
        await anyio.wait_all_tasks_blocked()
        lock.release()

    plugin = define_plugin("p", on_request_start=begin)
    with pytest.raises(AssertionError):
        await CONTRACT.test_no_hook_fails_on_requests_at_the_same_time(lambda: plugin, ASKED)


@pytest.mark.parametrize("hook", ["on_request_start", "before_tool_call", "on_request_end"])
async def test_a_hook_that_keeps_something_when_it_is_cancelled_is_found(hook: str) -> None:
    class Careless:
        name = "careless"

        def __init__(self) -> None:
            self.busy = False
            setattr(self, hook, self.work)

        async def work(self, *_arguments: object) -> None:
            assert not self.busy
            self.busy = True
            await anyio.lowlevel.checkpoint()
            self.busy = False

    async def check() -> None:
        await CONTRACT.test_a_cancelled_hook_leaves_the_plugin_in_order(Careless, ASKED)

    if hook == "on_request_end":  # no cancellation gets there
        await check()
    else:
        with pytest.raises(AssertionError, match=hook):
            await check()
