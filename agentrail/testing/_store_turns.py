"""Turns: their records, their announcement, what becomes of them when a host dies; and lists."""

import pytest

from agentrail.errors import TurnExists
from agentrail.events import (
    Event,
    MessageDelta,
    MessageEnd,
    MessageRecorded,
    SessionReset,
    TurnEnd,
    TurnError,
    TurnStart,
)
from agentrail.messages import Message, ToolCall, ToolResult, Usage
from agentrail.session import Owner, SessionStore, TurnRecord, recorded
from agentrail.testing._store_base import (
    OWNER,
    USAGE,
    Revive,
    StoreContract,
    answered,
    keep,
    said,
    whole_turn,
)
from agentrail.testing._store_window import is_whole


async def record(store: SessionStore, turn_id: str) -> TurnRecord:
    """Return a record that is there."""
    found = await store.turn(turn_id)
    assert found is not None
    return found


class StoreTurnsContract(StoreContract):
    """What turns and lists promise."""

    async def test_a_turn_is_recorded_as_its_events_tell(self, store: SessionStore) -> None:
        """From ``turn.start`` on, until it ends."""
        lease = await store.acquire("s", OWNER, events=[said("hi", "t"), TurnStart(turn_id="t")])
        running = await record(store, "t")
        await store.append(lease, [TurnEnd(turn_id="t", usage=USAGE)])
        ended = await record(store, "t")

        assert (running.turn_id, running.session_id, running.owner) == ("t", "s", OWNER)
        assert (running.status, running.ended_at, running.usage) == ("running", None, Usage())
        assert (ended.status, ended.usage, ended.started_at) == (
            "completed",
            USAGE,
            running.started_at,
        )
        assert ended.ended_at is not None
        assert ended.ended_at >= ended.started_at

    async def test_a_turn_ends_as_its_last_event_says(self, store: SessionStore) -> None:
        """An outcome, or ``failed``."""
        ends: list[Event] = [
            TurnEnd(turn_id="t0", outcome="completed"),
            TurnEnd(turn_id="t1", outcome="intercepted"),
            TurnEnd(turn_id="t2", outcome="cancelled"),
            TurnError(turn_id="t3", code="model_failed", usage=USAGE),
            TurnEnd(turn_id="t4", outcome="suspended"),
        ]
        for end in ends:
            await keep(store, "s", TurnStart(turn_id=end.turn_id), end)

        found = [await record(store, f"t{number}") for number in range(5)]

        assert [turn.status for turn in found] == [
            "completed",
            "intercepted",
            "cancelled",
            "failed",
            "suspended",
        ]
        assert found[3].usage == USAGE

    async def test_a_suspended_turn_goes_on_as_the_same_turn(self, store: SessionStore) -> None:
        """Its runs add up."""
        suspended = TurnEnd(turn_id="t", outcome="suspended", usage=USAGE)
        await keep(store, "s", TurnStart(turn_id="t"), suspended)
        lease = await store.acquire("s", OWNER)
        await store.append(lease, [TurnStart(turn_id="t")])
        running = await record(store, "t")
        await store.append(lease, [TurnEnd(turn_id="t", usage=USAGE)])
        ended = await record(store, "t")

        assert (running.status, running.ended_at) == ("running", None)
        assert (ended.status, ended.usage) == ("completed", USAGE + USAGE)
        (summary,) = await store.sessions("tenant", "user")
        assert summary.turns == 1

    @pytest.mark.parametrize("session_id", ["s", "other"])
    @pytest.mark.parametrize(
        "end",
        [TurnEnd(turn_id="t"), TurnEnd(turn_id="t", outcome="suspended"), said("x", "t")],
        ids=["ended", "suspended", "running"],
    )
    async def test_a_turn_begins_once(
        self, store: SessionStore, session_id: str, end: Event
    ) -> None:
        """Whoever begins it again, in whichever session, is told so and changes nothing."""
        await keep(store, "s", TurnStart(turn_id="t"), end)
        before = await store.turn("t"), list(await store.read("s"))
        start = TurnStart(turn_id="u")

        for events in (
            [said("hi", "t"), TurnStart(turn_id="t")],
            [start, said("hi", "u"), start],
            [TurnEnd(turn_id="u"), start],
        ):
            with pytest.raises(TurnExists):
                await store.acquire(session_id, OWNER, events=events)

        assert (await store.turn("t"), list(await store.read("s"))) == before
        assert await store.turn("u") is None
        assert await store.find("other") is None
        store.release(await store.acquire("s", OWNER, wait=0))

    async def test_a_suspended_turn_ends_when_another_begins(self, store: SessionStore) -> None:
        """The calls that waited for approval are answered, and the turn is cancelled."""
        call = ToolCall(id="c", name="send")
        asks = recorded(Message(role="assistant", parts=(call,)), "t")
        suspended = TurnEnd(turn_id="t", outcome="suspended", usage=USAGE)
        await keep(store, "s", TurnStart(turn_id="t"), asks, suspended)

        await keep(store, "s", TurnStart(turn_id="u"), TurnEnd(turn_id="u"))

        ended = await record(store, "t")
        assert (ended.status, ended.usage) == ("cancelled", USAGE)
        results = [part for row in await store.messages("s") for part in row.message.parts]
        assert any(isinstance(part, ToolResult) and part.call_id == "c" for part in results)

    async def test_a_reset_ends_a_suspended_turn(self, store: SessionStore) -> None:
        """There is nothing left that it could go on with."""
        await keep(store, "s", TurnStart(turn_id="t"), TurnEnd(turn_id="t", outcome="suspended"))

        await keep(store, "s", SessionReset())

        assert (await record(store, "t")).status == "cancelled"

    async def test_a_note_leaves_a_suspended_turn_as_it_is(self, store: SessionStore) -> None:
        """It still waits."""
        await keep(store, "s", TurnStart(turn_id="t"), TurnEnd(turn_id="t", outcome="suspended"))

        await keep(store, "s", recorded(Message.system("by the way")))

        assert (await record(store, "t")).status == "suspended"

    async def test_a_record_says_where_its_turn_begins(self, store: SessionStore) -> None:
        """The number of the turn's first event."""
        await keep(store, "s", TurnStart(turn_id="t"), TurnEnd(turn_id="t"))
        await keep(store, "s", TurnStart(turn_id="u"), TurnEnd(turn_id="u"))

        assert (await record(store, "u")).first == 3

    async def test_a_turn_of_one_session_is_not_changed_by_another(
        self, store: SessionStore
    ) -> None:
        """Though its events name the same turn."""
        cancelled = TurnEnd(turn_id="t", outcome="cancelled")
        await keep(store, "a", TurnStart(turn_id="t"), cancelled)
        before = await store.turn("t")

        lease = await store.acquire("b", OWNER)
        await store.append(lease, [TurnStart(turn_id="t")])
        assert await store.turn("t") == before
        await store.append(lease, [TurnEnd(turn_id="t", usage=USAGE)])
        await store.delete("b")

        assert await store.turn("t") == before
        assert list(await store.unannounced()) == []

    async def test_turns_that_ended_well_are_to_be_announced(self, store: SessionStore) -> None:
        """The oldest first, until it is reported that they were."""
        await keep(store, "b", *whole_turn("t1"))
        await keep(store, "a", *whole_turn("t2")[:-1], TurnEnd(turn_id="t2", outcome="intercepted"))
        await keep(store, "a", TurnStart(turn_id="t3"), TurnEnd(turn_id="t3", outcome="cancelled"))
        await keep(store, "a", TurnStart(turn_id="t4"), TurnError(turn_id="t4", code="x"))
        await keep(store, "a", *whole_turn("t5"))

        waiting = await store.unannounced()
        assert [turn.turn_id for turn in waiting] == ["t1", "t2", "t5"]
        assert [turn.session_id for turn in waiting] == ["b", "a", "a"]
        assert waiting[0] == await store.turn("t1")
        assert [turn.turn_id for turn in await store.unannounced(limit=2)] == ["t1", "t2"]

        await store.announced("t1")
        await store.announced("t5")
        await store.announced("unknown")
        assert [turn.turn_id for turn in await store.unannounced()] == ["t2"]

    async def test_an_announcement_is_not_forgotten_by_a_crash(
        self, store: SessionStore, revive: Revive
    ) -> None:
        """What was reported done before a later write is done."""
        await keep(store, "s", *whole_turn("t1"))
        await store.announced("t1")
        await keep(store, "s", *whole_turn("t2"))

        other = await revive()

        assert [turn.turn_id for turn in await other.unannounced()] == ["t2"]

    async def test_announcements_are_written_when_the_store_stops(
        self, store: SessionStore, revive: Revive
    ) -> None:
        """At the latest."""
        await keep(store, "s", *whole_turn("t"))
        await store.announced("t")
        await store.stop()

        other = await revive()

        assert list(await other.unannounced()) == []

    async def test_a_dead_turn_is_closed_before_the_next_one(
        self, store: SessionStore, revive: Revive
    ) -> None:
        """What it had said is kept, its message stays, and nothing is there twice."""
        usage = MessageEnd(turn_id="t", message_id="m", usage=USAGE)
        lease = await store.acquire("s", OWNER, events=[said("question", "t")])
        await store.append(lease, [TurnStart(turn_id="t", session_id="s"), usage])
        await store.append(lease, [MessageDelta(turn_id="t", text="half an ")])
        await store.append(lease, [MessageDelta(turn_id="t", text="answ")])

        other = await revive()
        lease = await other.acquire("s", OWNER, events=[said("next", "u")], window=1000)
        other.release(lease)
        again = await other.acquire("s", OWNER, window=1000)

        assert [message.text for message in lease.history] == ["question", "half an answ"]
        assert lease.history[1].stop_reason == "error"
        assert [event.id for event in lease.opening] == [lease.head]
        events = await other.read("s")
        assert [event.id for event in events] == list(range(1, 9))
        error = events[6]
        assert isinstance(error, TurnError)
        assert (error.code, error.turn_id, error.session_id) == ("interrupted", "t", "s")
        dead = await record(other, "t")
        assert (dead.status, dead.usage) == ("failed", USAGE)
        assert list(await other.unannounced()) == []
        assert [message.text for message in again.history] == ["question", "half an answ", "next"]
        assert again.head == lease.head

    async def test_a_dead_turn_leaves_no_tool_call_open(
        self, store: SessionStore, revive: Revive
    ) -> None:
        """Each call without a result gets one that says so."""
        calls = tuple(ToolCall(id=name, name=name) for name in "ab")
        done = ToolResult(call_id="a", name="a", content="done")
        lease = await store.acquire("s", OWNER, events=[said("q", "t"), TurnStart(turn_id="t")])
        await store.append(lease, [recorded(Message.assistant(calls), "t")])
        await store.append(lease, [recorded(Message(role="tool", parts=(done,)), "t")])

        other = await revive()
        lease = await other.acquire("s", OWNER, window=1000)

        assert is_whole(lease.history)
        (result,) = lease.history[-1].parts
        assert isinstance(result, ToolResult)
        assert (result.call_id, result.outcome) == ("b", "cancelled")

    async def test_a_turn_that_was_left_running_is_closed_without_a_crash_too(
        self, store: SessionStore
    ) -> None:
        """Its holder released the lease and never ended it."""
        await keep(store, "s", said("q", "t"), TurnStart(turn_id="t"))

        lease = await store.acquire("s", OWNER, events=[said("r", "u"), TurnStart(turn_id="u")])

        assert (await record(store, "t")).status == "failed"
        assert (await record(store, "u")).status == "running"
        assert [event.id for event in lease.opening] == [4, 5]

    async def test_a_turn_that_ended_is_left_alone(self, store: SessionStore) -> None:
        """Whatever its outcome."""
        await keep(store, "s", *whole_turn("t"))
        await keep(store, "s", TurnStart(turn_id="u"), TurnEnd(turn_id="u", outcome="suspended"))

        before = await store.read("s")

        await store.acquire("s", OWNER)

        assert await store.read("s") == before
        assert (await record(store, "u")).status == "suspended"

    async def test_messages_are_listed_from_the_newest(self, store: SessionStore) -> None:
        """In pages, by the number of the last one seen; other events are not among them."""
        await keep(
            store,
            "s",
            said("1", "t"),
            TurnStart(turn_id="t"),
            MessageDelta(text="x", turn_id="t"),
            answered("4", "t"),
            SessionReset(),
            said("6", "u"),
        )

        first = await store.messages("s", limit=2)
        second = await store.messages("s", before=first[-1].seq, limit=2)

        assert [(m.seq, m.turn_id, m.message.text) for m in first] == [
            (6, "u", "6"),
            (4, "t", "4"),
        ]
        assert [(m.seq, m.turn_id, m.message.text) for m in second] == [(1, "t", "1")]
        assert list(await store.messages("s", before=1)) == []

    async def test_a_user_sees_their_sessions_the_last_one_changed_first(
        self, store: SessionStore
    ) -> None:
        """In pages, by the time of the last one seen; nobody else's are among them."""
        for name in ("a", "b", "c"):
            await keep(store, name, said("hi"))
        await keep(store, "a", *whole_turn("t"))
        await keep(store, "x", said("hi"), owner=Owner("tenant", "other", "agent"))
        await keep(store, "y", said("hi"), owner=Owner("other", "user", "agent"))

        first = await store.sessions("tenant", "user", limit=2)
        second = await store.sessions("tenant", "user", before=first[-1].updated_at, limit=2)

        assert [summary.session_id for summary in first] == ["a", "c"]
        assert [summary.session_id for summary in second] == ["b"]
        assert (first[0].agent_id, first[0].turns) == ("agent", 1)
        assert first[0].updated_at > first[0].created_at
        assert second[0].turns == 0
        assert list(await store.sessions("tenant", "nobody")) == []

    async def test_the_listing_shows_what_is_in_the_log(self, store: SessionStore) -> None:
        """Message by message."""
        await keep(store, "s", *whole_turn("t"))

        listed = [entry.message for entry in await store.messages("s")]
        logged = [e.message for e in await store.read("s") if isinstance(e, MessageRecorded)]

        assert listed == logged[::-1]
