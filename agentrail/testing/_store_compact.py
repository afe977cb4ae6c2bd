"""Summaries, and what else a log holds for later: whole results, and what people decided."""

from agentrail.events import (
    ApprovalDecided,
    ApprovalRequired,
    ArtifactKept,
    ContextCompacted,
    SessionReset,
    TurnEnd,
    TurnStart,
)
from agentrail.session import SessionStore, summary_message
from agentrail.testing._store_base import OWNER, Revive, StoreContract, answered, keep, said
from agentrail.testing._store_window import is_whole, texts, tool_turn

SHORT = summary_message(ContextCompacted(summary="in short")).text


def summary(until: int, text: str = "in short", *, tokens: int = 10) -> ContextCompacted:
    """Return a summary of all up to an event, counted as ``tokens``."""
    return ContextCompacted(until=until, summary=text, tokens=tokens)


class StoreCompactContract(StoreContract):
    """What a summary does to a window, and to nothing else."""

    async def test_a_summary_stands_for_what_it_covers(self, store: SessionStore) -> None:
        """As a message of the application, at the front; the log and the listing stay."""
        await keep(store, "s", *[said(f"{number}", tokens=10) for number in range(1, 6)])
        before = await store.read("s")

        await keep(store, "s", summary(3))

        assert texts(await store.window("s", 1000)) == [SHORT, "4", "5"]
        assert (await store.window("s", 1000))[0].role == "system"
        assert (await store.read("s"))[:5] == before
        assert [row.message.text for row in await store.messages("s")] == ["5", "4", "3", "2", "1"]

    async def test_a_summary_takes_its_room(self, store: SessionStore) -> None:
        """A window that has none for it holds messages alone."""
        await keep(store, "s", *[said(f"{number}", tokens=10) for number in range(1, 9)])
        await keep(store, "s", summary(3, tokens=25))

        found = {tokens: texts(await store.window("s", tokens)) for tokens in (0, 20, 24, 35, 75)}

        assert found == {
            0: [],
            20: ["7", "8"],
            24: ["7", "8"],
            35: [SHORT, "8"],
            75: [SHORT, "4", "5", "6", "7", "8"],
        }

    async def test_a_summary_may_cover_all(self, store: SessionStore) -> None:
        """Then it is the window, until something is said."""
        await keep(store, "s", said("1", tokens=10), answered("2", tokens=10), summary(2))
        alone = await store.window("s", 1000)
        await keep(store, "s", said("4", tokens=10))

        assert texts(alone) == [SHORT]
        assert texts(await store.window("s", 1000)) == [SHORT, "4"]

    async def test_a_lease_tells_what_is_summarized(self, store: SessionStore) -> None:
        """Whoever held the session before: its summary, where that ends, and what came after."""
        lease = await store.acquire("s", OWNER, events=[said("1", tokens=10)], window=1000)
        await store.append(lease, [answered("2", tokens=10), said("3", tokens=10), summary(2)])
        store.release(lease)

        lease = await store.acquire("s", OWNER, events=[said("5")], window=1000)

        assert texts(lease.history) == [SHORT, "3"]
        assert (lease.summary, lease.since, lease.tokens) == ("in short", 2, 10)

    async def test_a_lease_tells_when_its_history_does_not_fit(self, store: SessionStore) -> None:
        """By more tokens than its window has."""
        await keep(store, "s", *[said(f"{number}", tokens=30) for number in range(4)])

        for window in (40, 100, 119):
            lease = await store.acquire("s", OWNER, window=window)
            store.release(lease)
            assert lease.tokens > window
        lease = await store.acquire("s", OWNER, window=120)

        assert lease.tokens == 120

    async def test_the_next_summary_takes_the_place_of_the_last(self, store: SessionStore) -> None:
        """It speaks of all that the one before does."""
        await keep(store, "s", *[said(f"{number}", tokens=10) for number in range(1, 5)])
        await keep(store, "s", summary(2), said("6", tokens=10))

        await keep(store, "s", summary(4, "shorter"))

        (first, *rest) = texts(await store.window("s", 1000))
        assert first.endswith("shorter")
        assert rest == ["6"]

    async def test_a_reset_forgets_the_summary(self, store: SessionStore) -> None:
        """And a summary of what was before a reset comes too late."""
        await keep(store, "s", said("1", tokens=10), said("2", tokens=10), summary(1))
        await keep(store, "s", SessionReset(), said("5", tokens=10))
        after = await store.window("s", 1000)
        await keep(store, "s", summary(2, "late"))
        lease = await store.acquire("s", OWNER, window=1000)

        assert texts(after) == texts(await store.window("s", 1000)) == ["5"]
        assert (texts(lease.history), lease.summary, lease.since) == (["5"], "", 4)

    async def test_a_summary_never_cuts_a_tool_round(self, store: SessionStore) -> None:
        """Whatever it says that it covers."""
        for until in range(1, 11):
            name = f"s{until}"
            await keep(store, name, *tool_turn("t"), *tool_turn("u"), summary(until))

            assert is_whole(await store.window(name, 1000))

    async def test_a_summary_is_there_in_the_next_life(
        self, store: SessionStore, revive: Revive
    ) -> None:
        """The whole of it."""
        await keep(store, "s", said("1", tokens=10), said("2", tokens=10), summary(1))

        other = await revive()

        assert texts(await other.window("s", 1000)) == [SHORT, "2"]

    async def test_an_artifact_is_kept_whole_and_takes_no_room(self, store: SessionStore) -> None:
        """However long it is."""
        text = "line\n\x00\U0001f600" * 20_000
        kept = ArtifactKept(turn_id="t", artifact_id="t.1.c", text=text)
        await keep(store, "s", said("1", tokens=10), kept, answered("3", tokens=10))

        assert texts(await store.window("s", 20)) == ["1", "3"]
        (found,) = await store.read("s", after=1, limit=1)
        assert isinstance(found, ArtifactKept)
        assert (found.artifact_id, found.text) == ("t.1.c", text)

    async def test_a_decision_leaves_a_suspended_turn_as_it_is(self, store: SessionStore) -> None:
        """It waits to go on; what was asked and what was decided are in its log."""
        asked = ApprovalRequired(turn_id="t", call_id="c", name="send", arguments={"to": ["ada"]})
        decided = ApprovalDecided(turn_id="t", call_id="c", approved=True, by="grace", reason="ok")
        await keep(
            store, "s", TurnStart(turn_id="t"), asked, TurnEnd(turn_id="t", outcome="suspended")
        )

        await keep(store, "s", decided)

        turn = await store.turn("t")
        assert turn is not None
        assert turn.status == "suspended"
        shown, _, answer = (await store.read("s", after=1))[:3]
        assert isinstance(shown, ApprovalRequired)
        assert (shown.call_id, shown.arguments) == ("c", {"to": ["ada"]})
        assert isinstance(answer, ApprovalDecided)
        assert (answer.approved, answer.by, answer.reason) == (True, "grace", "ok")
