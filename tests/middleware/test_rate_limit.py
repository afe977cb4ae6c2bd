"""A limit to how often somebody's calls are made."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentrail import ChatRequest, ModelRequest, middleware
from agentrail.errors import ConfigError, TooManyRequests
from agentrail.middleware._limit import Buckets
from agentrail.model.scripted import call_tools
from agentrail.testing import FakeClock
from tests.contexts import context_of
from tests.middleware.calls import Model, ToolBox, asking, calling, saying
from tests.middleware.conftest import Opens, stream

pytestmark = pytest.mark.anyio


async def test_a_model_call_over_the_limit_says_when_to_try_again() -> None:
    clock, model = FakeClock(), Model([saying()])
    limit = middleware.rate_limit(2, 60, clock=clock)
    await limit(asking(), model)
    clock.advance(10)
    await limit(asking(), model)

    with pytest.raises(TooManyRequests, match=r"no more than 2 calls in 60 s.*in 20 s") as refused:
        await limit(asking(), model)

    assert refused.value.retry_after == pytest.approx(20, rel=1e-4)
    assert len(model.requests) == 2
    clock.advance(refused.value.retry_after or 0)
    await limit(asking(), model)


async def test_a_tool_call_over_the_limit_is_denied_and_says_when_to_try_again() -> None:
    clock, box = FakeClock(), ToolBox(["5"])
    limit = middleware.rate_limit(1, 2.5, clock=clock)
    await limit(calling(), box)

    result = await limit(calling(call_id="c2"), box)

    assert (result.outcome, result.call_id) == ("denied", "c2")
    assert "try again in 3 s" in result.content
    assert len(box.requests) == 1


async def test_each_user_of_each_tenant_has_a_limit_of_its_own() -> None:
    limit = middleware.rate_limit(1, 60, clock=FakeClock())
    people = [context_of(), context_of("bob"), context_of("ann", "other")]

    for context in people:
        await limit(asking(context=context), Model([saying()]))
    for context in people:
        with pytest.raises(TooManyRequests):
            await limit(asking(context=context), Model([saying()]))


async def test_a_limit_may_hold_for_a_tenant() -> None:
    limit = middleware.rate_limit(1, 60, by=middleware.by_tenant, clock=FakeClock())
    await limit(asking(), Model([saying()]))

    with pytest.raises(TooManyRequests):
        await limit(asking(context=context_of("bob")), Model([saying()]))


async def test_calls_of_the_hosts_own_are_not_counted() -> None:
    limit = middleware.rate_limit(1, 60, clock=FakeClock())

    for _ in range(3):
        await limit(asking(context=None), Model([saying()]))


async def test_one_object_in_both_lists_counts_both_kinds_together() -> None:
    limit = middleware.rate_limit(1, 60, clock=FakeClock())
    await limit(asking(), Model([saying()]))

    assert (await limit(calling(), ToolBox(["5"]))).outcome == "denied"


@pytest.mark.parametrize(("calls", "per"), [(0, 1), (1, 0), (-1, 1)])
def test_a_limit_that_lets_nothing_through_is_refused(calls: int, per: float) -> None:
    with pytest.raises(ConfigError):
        middleware.rate_limit(calls, per)


@given(
    count=st.integers(1, 50),
    per=st.sampled_from([0.1, 1.0, 3.0, 7.7, 60.0, 86400.0]),
    start=st.sampled_from([0.0, 1000.0, 1e6, 1e9]),
)
def test_after_a_pause_all_calls_may_come_at_once_and_then_no_more(
    count: int, per: float, start: float
) -> None:
    buckets = Buckets(count, per)
    now = start
    for _ in range(3):
        assert [buckets.take("a", now) for _ in range(count)] == [0.0] * count
        assert 0 < buckets.take("a", now) <= per / count * 1.000001
        now += per * 1.001


@given(
    count=st.integers(1, 5),
    pauses=st.lists(st.floats(0, 20), max_size=60),
)
def test_no_more_than_twice_the_limit_passes_in_any_period(count: int, pauses: list[float]) -> None:
    """A token bucket lets its fill through at once, and then what drips in."""
    buckets, now, passed = Buckets(count, 10), 0.0, list[float]()
    for pause in pauses:
        now += pause
        wait = buckets.take("a", now)
        if not wait:
            passed.append(now)
    for start in passed:
        inside = [each for each in passed if start <= each < start + 10 - 1e-3]
        assert len(inside) <= 2 * count


def test_a_refused_call_does_not_count() -> None:
    buckets = Buckets(1, 10)
    assert not buckets.take("a", 0)
    waits = [buckets.take("a", moment) for moment in (1, 2, 3)]

    assert waits == pytest.approx([9, 8, 7], rel=1e-4)


def test_those_who_do_not_ask_any_more_are_forgotten() -> None:
    buckets = Buckets(2, 10)
    for number in range(1000):
        buckets.take(number, number / 1000)
    assert len(buckets) == 1000

    for moment in range(600):
        buckets.take("somebody", 30 + moment * 10)

    assert len(buckets) == 1


def test_of_very_many_who_ask_the_first_are_forgotten() -> None:
    buckets = Buckets(1, 1e9, most=100)
    for number in range(1000):
        buckets.take(number, 0)

    assert len(buckets) == 100
    assert buckets.take(999, 0) > 0
    assert buckets.take(0, 0) == 0


async def test_a_turn_over_the_limit_ends_with_too_many_requests(open_host: Opens) -> None:
    limit = middleware.rate_limit(1, 3600)
    host = await open_host(["one", "two", "three"], model=[limit])
    ann = ChatRequest("hi", user_id="ann")
    await host.chat(ann)

    with pytest.raises(TooManyRequests):
        await host.chat(ann)
    assert await stream(host) == ["two", "turn.end"]
    assert await stream(host) == ["turn.error"]


async def test_the_model_is_told_that_its_tool_calls_are_over_the_limit(open_host: Opens) -> None:
    told: list[str] = []

    def see(request: ModelRequest) -> str:
        told.extend(getattr(m.parts[0], "outcome", "") for m in request.messages[-2:])
        return "done"

    two = call_tools(("add", {"a": 1, "b": 1}), ("add", {"a": 2, "b": 2}))
    host = await open_host([two, see], tools=[middleware.rate_limit(1, 3600)])

    await host.chat(ChatRequest("add"))

    assert told == ["ok", "denied"]
