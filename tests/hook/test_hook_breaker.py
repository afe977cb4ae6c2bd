"""A hook that keeps failing is left alone, and tried again."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import anyio
import anyio.lowlevel
import pytest

from agentrail.errors import RequestRefused
from agentrail.hook import Funnel, Hook, Plugin, PluginFailure, Watchdog, compile_hooks
from agentrail.testing import FakeClock

pytestmark = pytest.mark.anyio

FAILURES, PAUSE = 5, 30.0


class Shaky:
    """Fails until it is mended; counts how often it was called."""

    def __init__(self) -> None:
        self.calls = 0
        self.broken = True

    async def __call__(self, *_arguments: object) -> None:
        self.calls += 1
        if self.broken:
            raise OSError("broken")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def failures() -> list[PluginFailure]:
    return []


@pytest.fixture
def funnel(clock: FakeClock, failures: list[PluginFailure]) -> Funnel:
    return Funnel(Watchdog(clock), failures.append)


def hooks(name: str, *functions: Callable[..., object], **members: object) -> tuple[Hook, ...]:
    plugins = [
        SimpleNamespace(name=f"p{number}", **{name: function}, **members)
        for number, function in enumerate(functions)
    ]
    table, faults = compile_hooks(cast("list[Plugin]", plugins))
    assert faults == ()
    return table[name]


async def test_a_hook_that_keeps_failing_is_called_no_more_and_the_others_are(
    funnel: Funnel, failures: list[PluginFailure], caplog: pytest.LogCaptureFixture
) -> None:
    shaky, seen = Shaky(), list[object]()
    both = hooks("on_request_start", shaky, seen.append)

    for _ in range(FAILURES + 3):
        await funnel.observe(both, "context")

    assert shaky.calls == len(failures) == FAILURES
    assert len(seen) == FAILURES + 3
    (message,) = caplog.messages
    assert message.startswith("p0.on_request_start failed 5 times in a row and is left alone")


async def test_a_hook_that_is_told_of_deleted_sessions_is_called_however_often_it_failed(
    funnel: Funnel, failures: list[PluginFailure]
) -> None:
    shaky = Shaky()
    one = hooks("on_session_deleted", shaky)

    for _ in range(FAILURES + 3):
        await funnel.observe(one, "context")

    assert shaky.calls == len(failures) == FAILURES + 3


async def test_one_success_between_failures_starts_the_count_anew(funnel: Funnel) -> None:
    shaky = Shaky()
    one = hooks("on_request_start", shaky)

    for turn in range(4 * FAILURES):
        shaky.broken = turn % FAILURES != 0
        await funnel.observe(one, "context")

    assert shaky.calls == 4 * FAILURES


async def test_after_the_pause_one_call_tries_and_a_success_ends_it(
    funnel: Funnel, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    shaky = Shaky()
    one = hooks("on_request_start", shaky)
    for _ in range(FAILURES):
        await funnel.observe(one, "context")

    clock.advance(PAUSE)
    await funnel.observe(one, "context")
    await funnel.observe(one, "context")
    assert shaky.calls == FAILURES + 1

    shaky.broken = False
    clock.advance(PAUSE)
    await funnel.observe(one, "context")
    await funnel.observe(one, "context")
    assert shaky.calls == FAILURES + 3
    assert caplog.messages[-1] == "p0.on_request_start is back"


async def test_while_one_call_tries_the_others_leave_the_hook_alone(
    funnel: Funnel, clock: FakeClock
) -> None:
    entered, released, calls = anyio.Event(), anyio.Event(), list[object]()

    async def slow(context: object) -> None:
        calls.append(context)
        if len(calls) <= FAILURES:
            raise OSError("broken")
        entered.set()
        await released.wait()

    one = hooks("on_request_start", slow)
    for _ in range(FAILURES):
        await funnel.observe(one, "context")
    clock.advance(PAUSE)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(funnel.observe, one, "the one that tries")
        await entered.wait()
        await funnel.observe(one, "another")
        released.set()

    assert calls[FAILURES:] == ["the one that tries"]


async def test_a_try_that_is_cancelled_holds_up_nobody_for_longer_than_a_pause(
    funnel: Funnel, clock: FakeClock
) -> None:
    calls: list[object] = []

    async def cut_off(context: object) -> None:
        calls.append(context)
        if len(calls) <= FAILURES:
            raise OSError("broken")
        if len(calls) == FAILURES + 1:
            scope.cancel()
            await anyio.lowlevel.checkpoint()

    one = hooks("on_request_start", cut_off)
    for _ in range(FAILURES):
        await funnel.observe(one, "context")
    clock.advance(PAUSE)
    with anyio.CancelScope() as scope:
        await funnel.observe(one, "cancelled")
    await funnel.observe(one, "too early")
    clock.advance(PAUSE)
    await funnel.observe(one, "tried")
    await funnel.observe(one, "back")

    assert calls[FAILURES:] == ["cancelled", "tried", "back"]


async def test_a_critical_plugin_that_is_left_alone_refuses_the_request(funnel: Funnel) -> None:
    shaky = Shaky()
    one = hooks("intercept_chat_request", shaky, critical=True)
    for _ in range(FAILURES + 2):
        with pytest.raises(RequestRefused):
            await funnel.first(one, str, "request", "context")

    assert shaky.calls == FAILURES


async def test_each_context_provider_has_a_breaker_to_itself(funnel: Funnel) -> None:
    shaky, steady = Shaky(), list[str]()

    def say(*_arguments: object) -> str:
        steady.append("said")
        return "a hint"

    plugin = cast("Plugin", SimpleNamespace(name="p", context_providers=[shaky, say]))
    table, _ = compile_hooks([plugin])
    for _ in range(FAILURES + 2):
        await funnel.gather(table["context_providers"], str, "context", ())

    assert (shaky.calls, len(steady)) == (FAILURES, FAILURES + 2)


async def test_an_answer_of_the_wrong_type_counts_as_a_failure(
    funnel: Funnel, failures: list[PluginFailure]
) -> None:
    calls: list[object] = []

    def wrong(*arguments: object) -> int:
        calls.append(arguments)
        return 1

    one = hooks("intercept_chat_request", wrong)
    for _ in range(FAILURES + 2):
        assert await funnel.first(one, str, "request", "context") is None

    assert len(calls) == len(failures) == FAILURES
