"""The states of a package: what can happen in which, stated once and walked at random."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agentrail.errors import PackageStateError
from agentrail.registry._machine import (
    CRASH_SECONDS,
    IN_USE,
    LASTING,
    TRANSITIONS,
    Crashes,
    Event,
    State,
    step,
)

RUNS = {State.ENABLING, State.ACTIVE, State.IDLE, State.DRAINING}


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", Event)
def test_what_is_in_the_table_happens_and_nothing_else(state: State, event: Event) -> None:
    if (state, event) in TRANSITIONS:
        assert step(state, event) is TRANSITIONS[state, event]
    else:
        with pytest.raises(PackageStateError, match=f"p is {state}, so there is no {event}: "):
            step(state, event, "p")


TOLD = {
    "approve it": Event.APPROVE,
    "promote its digest": Event.PROMOTE,
    "switch it off": Event.DISABLE,
    "switch it on": Event.ENABLE,
    "release it": Event.RELEASE,
}
ASKED = [Event.APPROVE, Event.PROMOTE, Event.ENABLE, Event.DISABLE, Event.RELEASE, Event.DELETE]


def reached(state: State) -> set[State]:
    """Return the states that some way leads to, the state itself too."""
    found, front = {state}, {state}
    while front:
        front = {TRANSITIONS[pair] for pair in TRANSITIONS if pair[0] in front} - found
        found |= front
    return found


@pytest.mark.parametrize("state", [each for each in State if each is not State.DELETED])
@pytest.mark.parametrize("event", ASKED)
def test_what_is_told_to_be_done_first_can_be_and_leads_to_what_was_asked_for(
    state: State, event: Event
) -> None:
    if (state, event) in TRANSITIONS:
        return
    with pytest.raises(PackageStateError) as caught:
        step(state, event, "p")

    told = [each for words, each in TOLD.items() if words in caught.value.detail]
    for each in told:
        assert any((after, event) in TRANSITIONS for after in reached(step(state, each)))
    if not told and "wait until" not in caught.value.detail:
        assert re.search(r": (it is|it does not|there is nothing) ", caught.value.detail)


@pytest.mark.parametrize(
    ("state", "event", "told"),
    [
        (State.ACTIVE, Event.APPROVE, "it is approved and promoted already"),
        (State.DISABLED, Event.APPROVE, "it is approved and promoted already"),
        (State.QUARANTINED, Event.PROMOTE, "it is approved and promoted already"),
        (State.APPROVED, Event.APPROVE, "it is approved already, and may be promoted"),
        (State.ACTIVE, Event.RELEASE, "there is nothing to release"),
        (State.DISABLED, Event.RELEASE, "there is nothing to release"),
        (State.IDLE, Event.ENABLE, "it is on already"),
        (State.QUARANTINED, Event.ENABLE, "it kept breaking down: release it first"),
        (State.RECEIVED, Event.ENABLE, "approve it first"),
        (State.ACTIVE, Event.DELETE, "switch it off first"),
    ],
)
def test_what_cannot_happen_is_told_with_why(state: State, event: Event, told: str) -> None:
    with pytest.raises(PackageStateError) as caught:
        step(state, event, "p")

    assert caught.value.detail == f"p is {state}, so there is no {event}: {told}"


def test_nothing_runs_that_was_not_approved_and_promoted() -> None:
    to_running = {state for (state, _), after in TRANSITIONS.items() if after in RUNS}
    to_disabled = {
        (state, event) for (state, event), after in TRANSITIONS.items() if after is State.DISABLED
    }

    assert to_running <= RUNS | {State.DISABLED, State.FAILED}
    assert {(state, event) for state, event in to_disabled if state not in RUNS} == {
        (State.APPROVED, Event.PROMOTE),
        (State.FAILED, Event.DISABLE),
        (State.QUARANTINED, Event.RELEASE),
    }
    assert {
        event for state, event in TRANSITIONS if TRANSITIONS[state, event] is State.APPROVED
    } == {Event.APPROVE}


def test_files_in_use_are_never_deleted() -> None:
    deleted = {state for (state, event) in TRANSITIONS if event is Event.DELETE}

    assert not deleted & IN_USE


def test_every_state_can_be_left_but_the_last_and_every_state_can_be_reached() -> None:
    assert {state for state, _ in TRANSITIONS} == set(State) - {State.DELETED}
    assert set(TRANSITIONS.values()) == set(State) - {State.RECEIVED}


class Walk(RuleBasedStateMachine):
    """Any events in any order, as two administrators and a broken plugin send them."""

    def __init__(self) -> None:
        super().__init__()
        self.state = State.RECEIVED
        self.happened: list[Event] = []

    @rule(event=st.sampled_from(Event))
    def send(self, event: Event) -> None:
        before = self.state
        try:
            self.state = step(before, event)
        except PackageStateError:
            assert self.state is before
        else:
            self.happened.append(event)

    @precondition(lambda self: self.state in RUNS | {State.FAILED})
    @rule()
    def it_was_approved_and_then_promoted(self) -> None:
        approved = self.happened.index(Event.APPROVE)
        assert Event.PROMOTE in self.happened[approved:]

    @invariant()
    def some_way_leads_to_a_state_that_lasts(self) -> None:
        assert reached(self.state) & LASTING


TestWalk = Walk.TestCase


def test_three_crashes_in_five_minutes_are_too_many() -> None:
    crashes = Crashes()

    assert [crashes.note(at) for at in (0.0, 100.0, CRASH_SECONDS - 1)] == [False, False, True]


@given(st.lists(st.floats(min_value=CRASH_SECONDS / 2, max_value=1e6), max_size=20))
def test_crashes_far_from_each_other_are_never_too_many(gaps: list[float]) -> None:
    crashes, now = Crashes(), 0.0
    for gap in gaps:
        now += gap
        assert not crashes.note(now)
