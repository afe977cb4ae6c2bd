"""Sessions that nobody has used for long: which they are, and that no other one goes."""

from agentrail.events import TurnEnd, TurnStart
from agentrail.session import SessionStore
from agentrail.testing._store_base import OWNER, Revive, StoreContract, keep, said, whole_turn


async def changed(store: SessionStore, session_id: str) -> float:
    """Return when a session was changed last."""
    listed = await store.sessions(OWNER.tenant_id, OWNER.user_id)
    return next(each.updated_at for each in listed if each.session_id == session_id)


async def after(store: SessionStore) -> float:
    """Return a time after all that was written."""
    listed = await store.sessions(OWNER.tenant_id, OWNER.user_id, limit=1)
    return listed[0].updated_at + 1


class StoreUnusedContract(StoreContract):
    """What ``unused`` returns, and what ``delete`` spares."""

    async def test_unused_sessions_are_listed_from_the_oldest_change_on(
        self, store: SessionStore
    ) -> None:
        """Those changed at the time itself are none of them."""
        for session_id in "cab":
            await keep(store, session_id, said("hi"))
        await keep(store, "c", *whole_turn("t"))
        end = await after(store)

        assert list(await store.unused(end)) == ["a", "b", "c"]
        assert list(await store.unused(end, limit=2)) == ["a", "b"]
        assert list(await store.unused(await changed(store, "b"))) == ["a"]
        assert list(await store.unused(0)) == []

    async def test_reading_is_no_use(self, store: SessionStore) -> None:
        """Nor is a lease that wrote nothing."""
        for session_id in "ab":
            await keep(store, session_id, said("hi"))
        since = await changed(store, "b")
        await store.read("a")
        await store.messages("a")
        await keep(store, "a")

        assert list(await store.unused(since)) == ["a"]

    async def test_a_held_session_is_in_use(self, store: SessionStore) -> None:
        """However long ago it was changed; it is neither listed nor deleted."""
        for session_id in "ab":
            await keep(store, session_id, said("hi"))
        end = await after(store)
        lease = await store.acquire("a", OWNER)

        assert list(await store.unused(end, limit=1)) == ["b"]
        assert await store.delete("a", unused_since=end) is None
        await store.append(lease, [said("still here")])
        store.release(lease)

        end = await after(store)
        assert list(await store.unused(end)) == ["b", "a"]
        assert await store.delete("a", unused_since=end) is not None

    async def test_a_session_that_was_used_meanwhile_is_not_deleted(
        self, store: SessionStore
    ) -> None:
        """It may have been listed before."""
        await keep(store, "s", said("hi"))
        since = await after(store)
        assert list(await store.unused(since)) == ["s"]

        await keep(store, "s", said("I am back"))
        since = await changed(store, "s")

        assert await store.delete("s", unused_since=since) is None
        assert await store.find("s") == OWNER
        assert list(await store.unannounced_deletions()) == []

    async def test_an_unused_session_is_deleted_as_any_other(self, store: SessionStore) -> None:
        """Once: to delete it again finds none."""
        await keep(store, "s", *whole_turn("t"))
        since = await after(store)

        deletion = await store.delete("s", unused_since=since)

        assert deletion is not None
        assert (deletion.session_id, deletion.owner) == ("s", OWNER)
        assert list(await store.unannounced_deletions()) == [deletion]
        assert await store.delete("s", unused_since=since) is None
        assert await store.find("s") is None
        assert await store.turn("t") is None

    async def test_a_suspended_turn_does_not_keep_its_session(self, store: SessionStore) -> None:
        """It waits for somebody who does not come."""
        suspended = TurnEnd(turn_id="t", outcome="suspended")
        await keep(store, "s", said("hi", "t"), TurnStart(turn_id="t"), suspended)
        since = await after(store)

        assert list(await store.unused(since)) == ["s"]
        assert await store.delete("s", unused_since=since) is not None
        assert await store.turn("t") is None

    async def test_a_dead_turn_does_not_keep_its_session(
        self, store: SessionStore, revive: Revive
    ) -> None:
        """Its host was killed, and nobody came back to it."""
        await store.acquire("s", OWNER, events=[said("hi", "t"), TurnStart(turn_id="t")])
        other = await revive()
        since = await after(other)

        assert list(await other.unused(since)) == ["s"]
        assert await other.delete("s", unused_since=since) is not None
