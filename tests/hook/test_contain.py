"""What a plugin's code raises to end more than itself, and what is the caller's own."""

import asyncio  # noqa: TID251 - its own cancellation is tested
import sys
from collections.abc import Awaitable, Callable, Generator
from contextlib import suppress
from types import SimpleNamespace
from typing import cast

import anyio
import anyio.lowlevel
import pytest
from opentelemetry.sdk.trace import TracerProvider

from agentrail.clock import SystemClock
from agentrail.errors import HookError
from agentrail.hook import Funnel, Hook, Plugin, PluginFailure, Watchdog, compile_hooks, contained
from tests.strays import STRAYS, Stray, by_task

pytestmark = pytest.mark.anyio

ON_ASYNCIO = pytest.mark.parametrize("anyio_backend", ["asyncio"])


def hooks(*functions: Callable[..., object]) -> tuple[Hook, ...]:
    """Gives each function a plugin: p0, p1 and so on."""
    plugins = [
        SimpleNamespace(name=f"p{number}", on_request_end=function)
        for number, function in enumerate(functions)
    ]
    table, faults = compile_hooks(cast("list[Plugin]", plugins))
    assert faults == ()
    return table["on_request_end"]


def straying(stray: Stray) -> Callable[[object], Awaitable[None]]:
    async def hook(_context: object) -> None:
        await stray()

    return hook


async def raising(error: BaseException) -> None:
    raise error


# --- the plugin's own -------------------------------------------------------------------------


@pytest.mark.parametrize("stray", STRAYS)
async def test_what_would_end_more_than_the_plugin_is_a_failure_of_it(stray: Stray) -> None:
    with pytest.raises(HookError, match=r"^p\.start (called|was cancelled by) "):
        await contained("p.start", stray())

    await anyio.lowlevel.checkpoint()  # nothing is left of it


async def test_of_a_group_everything_is_kept_that_is_no_more_than_a_failure() -> None:
    inner = BaseExceptionGroup("inner", [SystemExit(1), ValueError("wrong")])
    outer = BaseExceptionGroup("outer", [inner, OSError("gone")])

    with pytest.raises(ExceptionGroup) as raised:
        await contained("p", raising(outer))

    assert str(raised.value).startswith("outer")
    first, second = raised.value.exceptions
    assert isinstance(first, ExceptionGroup)
    assert [type(each) for each in cast("ExceptionGroup[Exception]", first).exceptions] == [
        HookError,
        ValueError,
    ]
    assert isinstance(second, OSError)


@pytest.mark.parametrize("error", [ValueError("v"), ExceptionGroup("g", [ValueError("v")])])
async def test_an_ordinary_error_stays_what_it_is(error: Exception) -> None:
    with pytest.raises(type(error)) as raised:
        await contained("p", raising(error))

    assert raised.value is error
    assert error.__cause__ is None


@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt(),
        GeneratorExit(),
        BaseExceptionGroup("g", [SystemExit(1), KeyboardInterrupt()]),
    ],
)
async def test_what_is_no_plugins_to_raise_passes(error: BaseException) -> None:
    with pytest.raises(type(error)) as raised:
        await contained("p", raising(error))

    assert raised.value is error


# --- the caller's -----------------------------------------------------------------------------


async def test_a_cancelled_scope_cancels_what_runs_in_it() -> None:
    reached = False
    with anyio.CancelScope() as scope:
        scope.cancel()
        await contained("p", anyio.sleep_forever())
        reached = True

    assert scope.cancelled_caught
    assert not reached


async def test_a_cancellation_comes_through_whatever_stands_beside_it() -> None:
    async def wait() -> None:
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class() as cancelled:
            raise BaseExceptionGroup("g", [cancelled, SystemExit(1)]) from None

    reached = False
    with anyio.CancelScope() as scope:
        scope.cancel()
        await contained("p", wait())
        reached = True

    assert scope.cancelled_caught
    assert not reached


async def test_what_leaves_the_process_when_it_is_cancelled_is_cancelled_thereafter() -> None:
    async def wait() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            sys.exit(1)

    with anyio.CancelScope() as scope:
        scope.cancel()
        with pytest.raises(HookError):
            await contained("p", wait())
        await anyio.lowlevel.checkpoint()

    assert scope.cancelled_caught


@pytest.mark.parametrize("stray", STRAYS)
async def test_a_stray_of_what_swallowed_a_cancellation_leaves_the_cancellation(
    stray: Stray,
) -> None:
    async def swallow() -> None:
        with suppress(anyio.get_cancelled_exc_class()):
            await anyio.sleep_forever()
        await stray()

    with anyio.CancelScope() as scope:
        with suppress(HookError):
            scope.cancel()
            await contained("p", swallow())
        await anyio.lowlevel.checkpoint()

    assert scope.cancelled_caught


@ON_ASYNCIO
async def test_what_asyncio_cancels_is_cancelled_as_it_is() -> None:
    begun = asyncio.Event()

    async def wait() -> None:
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.ensure_future(contained("p", wait()))
    await begun.wait()
    task.cancel("enough")
    with pytest.raises(asyncio.CancelledError, match="enough"):
        await task
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await contained("p", asyncio.Event().wait())


def test_a_coroutine_may_be_thrown_away_after_its_loop() -> None:
    class Pause:
        def __await__(self) -> Generator[None, None, None]:
            yield

    work = contained("p", Pause())
    work.send(None)

    work.close()


# --- hooks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("stray", STRAYS)
async def test_a_hook_that_strays_is_reported_and_the_next_one_runs(
    funnel: Funnel, failures: list[PluginFailure], stray: Stray, *, traced: bool
) -> None:
    seen: list[object] = []
    funnel.tracer = TracerProvider().get_tracer("t") if traced else None

    await funnel.observe(hooks(straying(stray), seen.append), "context")

    assert seen == ["context"]
    (failure,) = failures
    assert (failure.plugin, type(failure.error)) == ("p0", HookError)


@pytest.mark.parametrize("stray", STRAYS)
async def test_hooks_beside_one_that_strays_are_not_cancelled(
    funnel: Funnel, failures: list[PluginFailure], stray: Stray
) -> None:
    strayed = anyio.Event()

    def tell(failure: PluginFailure) -> None:
        failures.append(failure)
        strayed.set()

    async def wait(_context: object) -> str:
        await strayed.wait()
        return "done"

    funnel.on_failure = tell
    found = await funnel.gather(hooks(wait, straying(stray), wait), str, "context")

    assert [value for _, value in found] == ["done", "done"]
    assert [failure.plugin for failure in failures] == ["p1"]


@pytest.mark.parametrize("stray", STRAYS)
async def test_a_failure_handler_that_strays_changes_nothing(funnel: Funnel, stray: Stray) -> None:
    async def tell(_failure: PluginFailure) -> None:
        await stray()

    seen: list[object] = []
    funnel.on_failure = tell

    await funnel.observe(hooks(straying(stray), seen.append), "context")

    assert seen == ["context"]


async def test_a_run_that_is_cancelled_is_cancelled_in_its_hook(
    funnel: Funnel, failures: list[PluginFailure]
) -> None:
    seen: list[object] = []

    async def wait(_context: object) -> None:
        scope.cancel()
        await anyio.sleep_forever()

    with anyio.CancelScope() as scope:
        await funnel.observe(hooks(wait, seen.append), "context")

    assert scope.cancelled_caught
    assert (seen, failures) == ([], [])


@pytest.mark.parametrize("natively", [False, True])
@ON_ASYNCIO
async def test_what_strays_at_the_end_of_a_cancelled_run_keeps_no_other_from_its_end(
    funnel: Funnel, failures: list[PluginFailure], *, natively: bool
) -> None:
    seen: list[object] = []
    begun = asyncio.Event()

    async def run() -> None:
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            await funnel.observe(hooks(straying(by_task), seen.append), "context", shield=True)

    async with anyio.create_task_group() as group:
        if natively:
            task = asyncio.ensure_future(run())
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            group.start_soon(run)
            await begun.wait()
            group.cancel_scope.cancel()

    assert seen == ["context"]
    assert [failure.plugin for failure in failures] == ["p0"]


@pytest.mark.parametrize("stray", STRAYS)
async def test_a_hook_that_strays_after_its_deadline_was_late(
    failures: list[PluginFailure], stray: Stray
) -> None:
    async def swallow(_context: object) -> None:
        with suppress(anyio.get_cancelled_exc_class()):
            await anyio.sleep_forever()
        await stray()

    seen: list[object] = []
    watchdog = Watchdog(SystemClock())
    plugins = [
        SimpleNamespace(name="p0", on_request_end=swallow, deadlines={"on_request_end": 0.01}),
        SimpleNamespace(name="p1", on_request_end=seen.append),
    ]
    table, _ = compile_hooks(cast("list[Plugin]", plugins))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watchdog.run)
        await Funnel(watchdog, failures.append).observe(table["on_request_end"], "context")
        tasks.cancel_scope.cancel()

    assert seen == ["context"]
    assert [failure.plugin for failure in failures] == ["p0"]
