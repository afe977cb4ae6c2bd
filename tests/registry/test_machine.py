"""The states of a package: what can happen in which, stated once and walked at random."""

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
        reached, front = {self.state}, {self.state}
        while front:
            front = {TRANSITIONS[pair] for pair in TRANSITIONS if pair[0] in front} - reached
            reached |= front
        assert reached & LASTING


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
