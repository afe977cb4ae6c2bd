"""Deletions: what is announced of them, and that a crash forgets none."""

from agentrail.session import Deletion, Owner, SessionStore
from agentrail.testing._store_base import OWNER, Revive, StoreContract, keep, said, whole_turn


async def delete(store: SessionStore, session_id: str, owner: Owner = OWNER) -> Deletion:
    """Delete a session that is made for the purpose."""
    await keep(store, session_id, said("hi"), owner=owner)
    deletion = await store.delete(session_id)
    assert deletion is not None
    return deletion


class StoreDeletionsContract(StoreContract):
    """What a deletion leaves behind."""

    async def test_a_deletion_tells_whose_session_it_was(self, store: SessionStore) -> None:
        """It is None when there was no session, and nothing is to be announced then."""
        eve = Owner("tenant", "eve", "agent")
        deletion = await delete(store, "s", eve)

        assert (deletion.session_id, deletion.owner) == ("s", eve)
        assert await store.delete("s") is None
        assert await store.delete("unknown") is None
        assert list(await store.unannounced_deletions()) == [deletion]

    async def test_deletions_are_to_be_announced(self, store: SessionStore) -> None:
        """The oldest first, until it is reported that they were."""
        waiting = [await delete(store, session_id) for session_id in "cab"]
        assert list(await store.unannounced_deletions()) == waiting

        await store.deletion_announced(waiting[1].deletion_id)
        await store.deletion_announced("unknown")

        assert list(await store.unannounced_deletions()) == [waiting[0], waiting[2]]

    async def test_each_deletion_of_a_session_made_again_is_announced(
        self, store: SessionStore
    ) -> None:
        """To report the first does not report the second."""
        first, second = await delete(store, "s"), await delete(store, "s")

        await store.deletion_announced(first.deletion_id)

        assert first.deletion_id != second.deletion_id
        assert list(await store.unannounced_deletions()) == [second]

    async def test_a_deletion_is_not_forgotten_by_a_crash(
        self, store: SessionStore, revive: Revive
    ) -> None:
        """But for one that was reported done before a later write was done."""
        first, second = await delete(store, "a"), await delete(store, "b")
        await store.deletion_announced(first.deletion_id)
        await keep(store, "s", *whole_turn("t"))

        other = await revive()

        assert await other.find("b") is None
        assert list(await other.unannounced_deletions()) == [second]
        await other.deletion_announced(second.deletion_id)
        assert list(await other.unannounced_deletions()) == []

    async def test_deletions_are_noted_as_announced_when_the_store_stops(
        self, store: SessionStore, revive: Revive
    ) -> None:
        """At the latest."""
        deletion = await delete(store, "s")
        await store.deletion_announced(deletion.deletion_id)
        await store.stop()

        other = await revive()

        assert list(await other.unannounced_deletions()) == []
