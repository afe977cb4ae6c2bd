"""The circuit breaker of a provider: when it opens, and how it closes."""

from collections.abc import Callable

import anyio
import pytest

from agentrail.errors import (
    CircuitOpen,
    ContextTooLong,
    ModelError,
    ModelProtocolError,
    ModelUnauthorized,
    ModelUnavailable,
    Overloaded,
    RateLimited,
)
from agentrail.hook import Call
from agentrail.messages import Message
from agentrail.model import Models, ScriptedModel
from agentrail.model.scripted import Scripted
from agentrail.requests import Delta, ModelReply, ModelRequest
from agentrail.testing import FakeClock

pytestmark = pytest.mark.anyio

REQUEST = ModelRequest(model="m", messages=(Message.user("hi"),))


class Tried:
    """A provider behind its breaker, and a clock."""

    def __init__(self, *script: Scripted) -> None:
        self.clock = FakeClock()
        self.provider = ScriptedModel(script)
        self.models = Models([self.provider], clock=self.clock)
        self.call: Call[ModelRequest, ModelReply] = self.models.call("scripted:m")

    async def outcome(self) -> object:
        """Return the class of a call's error, or the text of its reply."""
        try:
            return (await self.call(REQUEST)).message.text
        except ModelError as error:
            return type(error)


async def started(*script: Scripted) -> Tried:
    tried = Tried(*script)
    await tried.models.start()
    return tried


@pytest.mark.parametrize("fault", [Overloaded, ModelUnavailable, ModelProtocolError])
async def test_five_failures_in_a_row_open_it(fault: Callable[[str], ModelError]) -> None:
    tried = await started(*[fault("no")] * 5, "ok")

    outcomes = [await tried.outcome() for _ in range(7)]

    assert outcomes == [fault] * 5 + [CircuitOpen] * 2
    assert len(tried.provider.requests) == 5


async def test_an_open_one_says_when_to_come_back() -> None:
    tried = await started(*[Overloaded("no")] * 5)
    for _ in range(5):
        await tried.outcome()
    tried.clock.advance(5)

    with pytest.raises(CircuitOpen, match="'scripted' is left alone") as caught:
        await tried.call(REQUEST)

    assert caught.value.retry_after == 10.0
    assert caught.value.retryable


@pytest.mark.parametrize(
    "other", ["ok", ContextTooLong("no"), ModelUnauthorized("no"), RateLimited("no")]
)
async def test_an_upstream_that_answers_in_between_is_in_order(other: Scripted) -> None:
    tried = await started(*[Overloaded("no")] * 4, other, *[Overloaded("no")] * 4, "ok")

    for _ in range(9):
        await tried.outcome()

    assert await tried.outcome() == "ok"


async def test_a_success_after_the_pause_closes_it() -> None:
    tried = await started(*[Overloaded("no")] * 5, "ok", *[Overloaded("no")] * 4, "ok")
    for _ in range(5):
        await tried.outcome()
    tried.clock.advance(15)

    assert [await tried.outcome() for _ in range(6)] == ["ok"] + [Overloaded] * 4 + ["ok"]


async def test_a_failure_after_the_pause_opens_it_at_once() -> None:
    tried = await started(*[Overloaded("no")] * 6, "ok")
    for _ in range(5):
        await tried.outcome()
    tried.clock.advance(15)

    assert [await tried.outcome() for _ in range(2)] == [Overloaded, CircuitOpen]
    tried.clock.advance(15)
    assert await tried.outcome() == "ok"


async def test_after_the_pause_one_call_tries_and_the_others_fail() -> None:
    trying, go = anyio.Event(), anyio.Event()

    async def wait(_request: ModelRequest) -> str:
        trying.set()
        await go.wait()
        return "back"

    tried = await started(*[Overloaded("no")] * 5, wait, "ok")
    for _ in range(5):
        await tried.outcome()
    tried.clock.advance(15)
    outcomes: list[object] = []

    async def ask() -> None:
        outcomes.append(await tried.outcome())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await trying.wait()
        with pytest.raises(CircuitOpen) as caught:
            await tried.call(REQUEST)
        assert caught.value.retry_after == 1.0
        go.set()

    assert outcomes == ["back"]
    assert await tried.outcome() == "ok"


async def test_the_first_piece_of_an_answer_closes_it() -> None:
    begun, go = anyio.Event(), anyio.Event()

    async def emit(_delta: Delta) -> None:
        begun.set()
        await go.wait()

    tried = await started(*[Overloaded("no")] * 5, "back", "ok", *[Overloaded("no")] * 5)
    for _ in range(5):
        await tried.outcome()
    tried.clock.advance(15)

    async def read() -> None:
        await tried.call(ModelRequest(model="m", messages=(), emit=emit))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await begun.wait()
        assert await tried.outcome() == "ok"
        assert [await tried.outcome() for _ in range(6)] == [Overloaded] * 5 + [CircuitOpen]
        go.set()

    assert await tried.outcome() is CircuitOpen


async def test_a_trial_that_broke_off_is_one_failure() -> None:
    class Breaks(ScriptedModel):
        async def complete(self, request: ModelRequest) -> ModelReply:
            await super().complete(request)
            raise ModelUnavailable("broke off")

    provider, clock = Breaks.repeat("half"), FakeClock()
    models = Models([provider], clock=clock)
    await models.start()
    for _ in range(5):
        with pytest.raises(ModelUnavailable):
            await models.call("scripted:m")(REQUEST)
    clock.advance(15)

    for _ in range(2):
        with pytest.raises(ModelUnavailable, match="broke off"):
            await models.call("scripted:m")(ModelRequest(model="m", messages=(), emit=ignore))


async def ignore(_delta: Delta) -> None:
    """Read over it; the request's own default is not even called."""


async def test_a_rate_limit_rests_the_model_for_as_long_as_it_says() -> None:
    tried = await started(RateLimited("no", retry_after=7.0), "ok")
    await tried.outcome()
    tried.clock.advance(6.5)

    with pytest.raises(CircuitOpen, match="for the model 'm'") as caught:
        await tried.call(REQUEST)

    assert caught.value.retry_after == 0.5
    tried.clock.advance(0.5)
    assert await tried.outcome() == "ok"


async def test_a_rate_limit_concerns_no_other_model() -> None:
    tried = await started(RateLimited("no", retry_after=7.0), "ok")
    await tried.outcome()

    reply = await tried.call(ModelRequest(model="another", messages=()))

    assert reply.message.text == "ok"
    assert await tried.outcome() is CircuitOpen


async def test_after_a_rate_limit_all_calls_are_made() -> None:
    trying, go = anyio.Event(), anyio.Event()

    async def wait(_request: ModelRequest) -> str:
        trying.set()
        await go.wait()
        return "slow"

    tried = await started(RateLimited("no", retry_after=7.0), wait, "ok")
    await tried.outcome()
    tried.clock.advance(7)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tried.outcome)
        await trying.wait()
        assert await tried.outcome() == "ok"
        go.set()


async def test_no_model_rests_for_longer_than_five_minutes() -> None:
    tried = await started(RateLimited("no", retry_after=86_400.0), "ok")
    await tried.outcome()
    tried.clock.advance(299)
    assert await tried.outcome() is CircuitOpen
    tried.clock.advance(1)

    assert await tried.outcome() == "ok"


async def test_a_wait_of_nothing_is_none() -> None:
    tried = await started(RateLimited("no", retry_after=0.0), "ok")

    assert [await tried.outcome() for _ in range(2)] == [RateLimited, "ok"]


async def test_a_call_from_before_does_not_close_it() -> None:
    begun, go = anyio.Event(), anyio.Event()

    async def wait(_request: ModelRequest) -> str:
        begun.set()
        await go.wait()
        return "late"

    tried = await started(wait, *[Overloaded("no")] * 5, "ok")
    outcomes: list[object] = []

    async def ask() -> None:
        outcomes.append(await tried.outcome())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await begun.wait()
        for _ in range(5):
            await tried.outcome()
        go.set()

    assert outcomes == ["late"]
    assert await tried.outcome() is CircuitOpen


async def test_a_shorter_wait_does_not_shorten_a_longer_one() -> None:
    begun, go = anyio.Event(), anyio.Event()

    async def wait(_request: ModelRequest) -> Exception:
        begun.set()
        await go.wait()
        return RateLimited("no", retry_after=1.0)

    tried = await started(wait, RateLimited("no", retry_after=60.0), "ok")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tried.outcome)
        await begun.wait()
        await tried.outcome()
        go.set()
    tried.clock.advance(30)

    assert await tried.outcome() is CircuitOpen


async def test_a_cancelled_call_counts_as_nothing() -> None:
    def cancel(_request: ModelRequest) -> str:
        scope.cancel()
        return "never read"

    async def emit(_delta: Delta) -> None:
        await anyio.lowlevel.checkpoint()

    tried = await started(
        *[Overloaded("no")] * 4, cancel, Overloaded("no"), cancel, Overloaded("no")
    )
    asked = ModelRequest(model="m", messages=(), emit=emit)
    for _ in range(4):
        await tried.outcome()
    with anyio.CancelScope() as scope:
        await tried.call(asked)
    assert scope.cancelled_caught

    assert [await tried.outcome() for _ in range(2)] == [Overloaded, CircuitOpen]
    tried.clock.advance(15)
    with anyio.CancelScope() as scope:
        await tried.call(asked)
    assert scope.cancelled_caught
    assert await tried.outcome() is Overloaded


async def test_a_failing_reader_counts_as_nothing() -> None:
    async def emit(_delta: Delta) -> None:
        raise ValueError("of the reader's own")

    tried = await started(*[Overloaded("no")] * 4, "x", Overloaded("no"))
    for _ in range(4):
        await tried.outcome()
    with pytest.raises(ValueError, match="the reader's"):
        await tried.call(ModelRequest(model="m", messages=(), emit=emit))

    assert [await tried.outcome() for _ in range(2)] == [Overloaded, CircuitOpen]


async def test_each_provider_has_its_own() -> None:
    bad, good = ScriptedModel.repeat(Overloaded("no"), "bad"), ScriptedModel.repeat("ok", "good")
    models = Models([bad, good], clock=FakeClock())
    await models.start()
    for _ in range(6):
        with pytest.raises(ModelError):
            await models.call("bad:x")(REQUEST)

    with pytest.raises(CircuitOpen):
        await models.call("bad:y")(REQUEST)
    assert (await models.call("good:x")(REQUEST)).message.text == "ok"
