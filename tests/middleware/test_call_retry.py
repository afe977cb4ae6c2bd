"""Trying again what failed and may go well the next time."""

from random import Random
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agentrail import AgentrailError, ChatRequest, ModelReply, ModelRequest, middleware
from agentrail.clock import SYSTEM_CLOCK
from agentrail.errors import (
    ConfigError,
    ContextTooLong,
    ModelRefused,
    ModelUnavailable,
    Overloaded,
    RateLimited,
    TooManyRequests,
)
from agentrail.messages import ToolOutcome
from agentrail.middleware._retry import Waits
from agentrail.testing import FakeClock
from tests.middleware.calls import Model, Reader, ToolBox, asking, calling, saying
from tests.middleware.conftest import Opens, stream

pytestmark = pytest.mark.anyio


def seeded(seed: int = 1) -> Random:
    return Random(seed)  # noqa: S311 - it draws waits


def jumping() -> FakeClock:
    """Is a clock for those who wait for nobody."""
    return FakeClock(autojump=True)


async def test_a_model_call_that_may_go_well_later_is_made_again() -> None:
    clock, model = jumping(), Model([Overloaded("busy"), ModelUnavailable("gone"), saying()])
    retry = middleware.retry(3, clock=clock, random=seeded())

    assert await retry(asking(), model) == saying()
    expected = seeded()
    assert clock.slept == [expected.uniform(0, 0.5), expected.uniform(0, 1.0)]


async def test_the_last_failure_comes_out() -> None:
    clock, model = jumping(), Model([Overloaded("first"), Overloaded("second")])

    with pytest.raises(Overloaded, match="second"):
        await middleware.retry(2, clock=clock)(asking(), model)
    assert len(clock.slept) == 1


@pytest.mark.parametrize(
    "error", [ContextTooLong("long"), ModelRefused("no"), TooManyRequests("own"), KeyError("x")]
)
async def test_other_failures_are_not_tried_again(error: Exception) -> None:
    clock, model = jumping(), Model([error, saying()])

    with pytest.raises(type(error)):
        await middleware.retry(clock=clock)(asking(), model)
    assert clock.slept == []


async def test_retry_after_is_waited_for() -> None:
    clock, model = jumping(), Model([RateLimited("slow down", retry_after=7), saying()])

    await middleware.retry(clock=clock)(asking(), model)

    assert 7 <= clock.slept[0] <= 7.5


async def test_a_retry_after_that_is_over_is_no_wait() -> None:
    clock, model = jumping(), Model([RateLimited("slow down", retry_after=-9), saying()])

    await middleware.retry(clock=clock)(asking(), model)

    assert 0 <= clock.slept[0] <= 0.5


async def test_who_asks_for_too_long_a_wait_is_not_waited_for() -> None:
    clock, model = jumping(), Model([RateLimited("slow down", retry_after=31), saying()])

    with pytest.raises(RateLimited):
        await middleware.retry(clock=clock)(asking(), model)
    assert clock.slept == []


async def test_an_answer_that_has_begun_is_not_begun_again() -> None:
    reader, model = Reader(), Model([ModelUnavailable("broke off"), saying()], said_first="Once")

    with pytest.raises(ModelUnavailable):
        await middleware.retry(clock=jumping())(asking(emit=reader), model)
    assert reader.text == "Once"


async def test_an_answer_that_nobody_reads_is_begun_again() -> None:
    model = Model([ModelUnavailable("broke off"), saying()], said_first="Once")

    assert await middleware.retry(clock=jumping())(asking(), model) == saying()


@pytest.mark.parametrize("outcome", ["error", "timeout"])
async def test_a_tool_that_is_named_is_called_again(outcome: ToolOutcome) -> None:
    clock, box = jumping(), ToolBox([("no", outcome), "5"])

    result = await middleware.retry(tools=["add"], clock=clock)(calling(), box)

    assert (result.content, len(clock.slept)) == ("5", 1)


async def test_a_tool_that_is_not_named_is_called_once() -> None:
    clock, box = jumping(), ToolBox([("no", "error"), "5"])

    result = await middleware.retry(tools=["other"], clock=clock)(calling(), box)

    assert (result.content, clock.slept) == ("no", [])


@pytest.mark.parametrize("outcome", ["denied", "cancelled"])
async def test_a_denied_call_is_not_made_again(outcome: ToolOutcome) -> None:
    box = ToolBox([("no", outcome), "5"])

    result = await middleware.retry(tools=["add"], clock=jumping())(calling(), box)

    assert result.outcome == outcome


async def test_a_call_that_cannot_be_read_is_not_made_again() -> None:
    box, request = ToolBox([("no", "error"), "5"]), calling()
    unreadable = replace(request, call=replace(request.call, invalid="no JSON"))

    result = await middleware.retry(tools=["add"], clock=jumping())(unreadable, box)

    assert result.content == "no"


async def test_the_last_result_of_a_tool_comes_out() -> None:
    box = ToolBox([("1", "error"), ("2", "error"), ("3", "error"), "4"])

    result = await middleware.retry(3, tools=["add"], clock=jumping())(calling(), box)

    assert result.content == "3"


async def test_a_wait_can_be_cancelled() -> None:
    model = Model([Overloaded("busy"), saying()])
    with anyio.move_on_after(0.01) as scope:
        await middleware.retry(base=1e9, longest=1e9, random=seeded())(asking(), model)

    assert scope.cancelled_caught
    assert len(model.requests) == 1


@given(
    attempt=st.integers(1, 5000),
    retry_after=st.none() | st.floats(0, 100),
    base=st.floats(0, 10),
    seed=st.integers(),
)
def test_a_wait_is_within_its_bounds(
    attempt: int, retry_after: float | None, base: float, seed: int
) -> None:
    wait = Waits(5001, base, 30, seeded(seed)).after(attempt, retry_after)

    least = retry_after or 0
    if least > 30:
        assert wait is None
    else:
        assert wait is not None
        assert least <= wait <= least + min(30, base * 2 ** min(attempt - 1, 60))


@pytest.mark.parametrize(
    "wrong", [{"attempts": 0}, {"tools": "add"}, {"base": -1}, {"longest": -1}]
)
def test_a_retry_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        middleware.retry(**wrong)


async def test_the_clock_of_the_machine_waits() -> None:
    await SYSTEM_CLOCK.sleep(0)


async def test_a_turn_survives_a_busy_model(open_host: Opens) -> None:
    clock = jumping()
    host = await open_host(
        [Overloaded("busy"), "fine", Overloaded("busy"), "fine again"],
        model=[middleware.retry(clock=clock)],
    )

    assert (await host.chat(ChatRequest("hi"))).message == "fine"
    assert await stream(host) == ["fine again", "turn.end"]
    assert len(clock.slept) == 2


async def test_a_stream_that_breaks_off_ends_as_a_failure(open_host: Opens) -> None:
    clock = jumping()

    async def break_off(request: ModelRequest) -> ModelReply:
        await Model([saying("begun")])(request)
        raise ModelUnavailable("broke off")

    host = await open_host([break_off], model=[middleware.retry(clock=clock)])

    with pytest.raises(AgentrailError, match="broke off"):
        await host.chat(ChatRequest("hi"))
    assert clock.slept == []
