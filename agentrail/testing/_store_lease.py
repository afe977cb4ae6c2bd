"""The lease: one holder at a time, in the order of arrival, fenced by its epoch."""

import anyio
import pytest

from agentrail.errors import LeaseLost, SessionBusy, SessionNotFound
from agentrail.session import SessionStore
from agentrail.testing._store_base import OWNER, Revive, StoreContract, keep, said, whole_turn


class StoreLeaseContract(StoreContract):
    """What a lease promises."""

    async def test_a_session_has_one_holder(self, store: SessionStore) -> None:
        """Another one is told at once when it does not want to wait."""
        lease = await store.acquire("s", OWNER)

        with pytest.raises(SessionBusy):
            await store.acquire("s", OWNER, events=[said("b")], wait=0)

        store.release(lease)
        lease = await store.acquire("s", OWNER, wait=0)
        assert lease.head == 0

    async def test_other_sessions_are_not_held(self, store: SessionStore) -> None:
        """A lease is on one session."""
        await store.acquire("a", OWNER)

        lease = await store.acquire("b", OWNER, wait=0)

        assert lease.session_id == "b"

    async def test_each_lease_has_a_higher_epoch(self, store: SessionStore) -> None:
        """Whether or not anything was written."""
        epochs: list[int] = []
        for _ in range(3):
            lease = await store.acquire("s", OWNER)
            epochs.append(lease.epoch)
            store.release(lease)

        assert epochs == sorted(set(epochs))

    async def test_only_the_first_lease_made_the_session(self, store: SessionStore) -> None:
        """And says so."""
        first = await store.acquire("s", OWNER)
        store.release(first)
        second = await store.acquire("s", OWNER)

        assert (first.created, second.created) == (True, False)

    async def test_a_session_is_made_only_where_that_is_wanted(self, store: SessionStore) -> None:
        """One that was deleted meanwhile stays away."""
        await keep(store, "s", said("a"))
        await store.delete("s")

        with pytest.raises(SessionNotFound):
            await store.acquire("s", OWNER, create=False, wait=0)

        assert await store.find("s") is None
        store.release(await store.acquire("s", OWNER, wait=0))
        store.release(await store.acquire("s", OWNER, create=False, wait=0))

    async def test_who_waits_gets_in_by_order_of_arrival(self, store: SessionStore) -> None:
        """Each sees what the one before it wrote."""
        lease = await store.acquire("s", OWNER)
        order: list[tuple[int, int]] = []

        async def _turn(number: int) -> None:
            lease = await store.acquire("s", OWNER, events=[said(f"{number}")])
            order.append((number, lease.head))
            store.release(lease)

        async with anyio.create_task_group() as group:
            for number in range(4):
                group.start_soon(_turn, number)
                await anyio.wait_all_tasks_blocked()
            assert order == []
            store.release(lease)

        assert order == [(0, 1), (1, 2), (2, 3), (3, 4)]

    async def test_a_cancelled_waiter_takes_nothing(self, store: SessionStore) -> None:
        """The next in line gets in, and nothing of the cancelled one is written."""
        lease = await store.acquire("s", OWNER)
        entered: list[str] = []

        async def _turn(name: str, scope: anyio.CancelScope) -> None:
            with scope:
                store.release(await store.acquire("s", OWNER, events=[said(name)]))
                entered.append(name)

        given_up = anyio.CancelScope()
        async with anyio.create_task_group() as group:
            group.start_soon(_turn, "cancelled", given_up)
            await anyio.wait_all_tasks_blocked()
            group.start_soon(_turn, "next", anyio.CancelScope())
            await anyio.wait_all_tasks_blocked()
            given_up.cancel()
            await anyio.wait_all_tasks_blocked()
            store.release(lease)

        assert entered == ["next"]
        assert [message.message.text for message in await store.messages("s")] == ["next"]

    @pytest.mark.parametrize("first", ["cancel", "release"])
    async def test_a_waiter_cancelled_as_it_gets_in_leaves_the_door_open(
        self, store: SessionStore, first: str
    ) -> None:
        """Whichever of the two comes first."""
        lease = await store.acquire("s", OWNER)
        got_in: list[int] = []

        async def _turn() -> None:
            lease = await store.acquire("s", OWNER, events=[said("x")])
            got_in.append(lease.head)
            store.release(lease)

        async with anyio.create_task_group() as group:
            group.start_soon(_turn)
            await anyio.wait_all_tasks_blocked()
            if first == "cancel":
                group.cancel_scope.cancel()
            store.release(lease)
            group.cancel_scope.cancel()

        lease = await store.acquire("s", OWNER, wait=0)
        assert lease.head == len(got_in)

    async def test_a_lease_is_released_once(self, store: SessionStore) -> None:
        """A second release does not open the session under the next holder."""
        first = await store.acquire("s", OWNER)
        store.release(first)
        await store.acquire("s", OWNER)
        store.release(first)

        with pytest.raises(SessionBusy):
            await store.acquire("s", OWNER, wait=0)

    async def test_a_released_lease_cannot_write(self, store: SessionStore) -> None:
        """Whether the session is held by another or by nobody."""
        old = await store.acquire("s", OWNER, events=[said("a")])
        store.release(old)

        with pytest.raises(LeaseLost):
            await store.append(old, [said("b")])
        await store.acquire("s", OWNER)
        with pytest.raises(LeaseLost):
            await store.append(old, [said("c")])
        with pytest.raises(LeaseLost):
            await store.append(old, [])

        assert [event.id for event in await store.read("s")] == [1]

    async def test_an_older_writer_is_fenced_off(self, store: SessionStore, revive: Revive) -> None:
        """The lease that was taken last is the one that may write."""
        old = await store.acquire("s", OWNER, events=[said("a")])
        other = await revive()
        new = await other.acquire("s", OWNER, events=[said("b")], wait=0)

        with pytest.raises(LeaseLost):
            await store.append(old, [said("lost")])
        written = await other.append(new, [said("c")])

        assert [event.id for event in written] == [3]
        texts = [message.message.text for message in await other.messages("s")]
        assert texts == ["c", "b", "a"]

    async def test_what_was_written_outlives_a_crash(
        self, store: SessionStore, revive: Revive
    ) -> None:
        """With owner, log, window and turns."""
        await keep(store, "s", *whole_turn("t", "hi", "hello"))
        written = list(await store.read("s"))

        other = await revive()

        assert await other.find("s") == OWNER
        assert list(await other.read("s")) == written
        assert [message.text for message in await other.window("s", 1000)] == ["hi", "hello"]
        record = await other.turn("t")
        assert record is not None
        assert record.status == "completed"

    async def test_a_deleted_session_is_gone(self, store: SessionStore) -> None:
        """With its log, its turns and its announcements; others stay."""
        await keep(store, "s", *whole_turn("t"))
        await keep(store, "other", *whole_turn("u"))

        assert await store.delete("s")
        assert not await store.delete("s")

        assert await store.find("s") is None
        assert list(await store.read("s")) == []
        assert list(await store.messages("s")) == []
        assert await store.turn("t") is None
        assert [turn.turn_id for turn in await store.unannounced()] == ["u"]
        summaries = await store.sessions("tenant", "user")
        assert [summary.session_id for summary in summaries] == ["other"]
        lease = await store.acquire("s", OWNER, events=[said("again")], window=1000)
        assert (lease.created, lease.head, lease.history) == (True, 1, ())

    async def test_deleting_a_held_session_ends_its_lease(self, store: SessionStore) -> None:
        """The holder can write no more, and who comes after it begins anew."""
        lease = await store.acquire("s", OWNER, events=[said("a")])

        await store.delete("s")

        with pytest.raises(LeaseLost):
            await store.append(lease, [said("b")])
        assert await store.find("s") is None
        store.release(lease)
        lease = await store.acquire("s", OWNER, wait=0)
        assert lease.created

    async def test_an_old_lease_does_not_fit_a_session_made_anew(
        self, store: SessionStore, revive: Revive
    ) -> None:
        """Though it has the same id."""
        old = await store.acquire("s", OWNER, events=[said("a")])
        other = await revive()
        await other.delete("s")
        await other.acquire("s", OWNER, events=[said("b")])

        with pytest.raises(LeaseLost):
            await store.append(old, [said("lost")])

        assert [message.message.text for message in await other.messages("s")] == ["b"]
