"""The window: the newest messages that fit, and nothing that a model would refuse."""

from collections.abc import Sequence

from agentrail.events import (
    AttachmentsAdded,
    ContextAdded,
    Event,
    MessageDelta,
    Notice,
    SessionReset,
)
from agentrail.messages import Message, Text, ToolCall, ToolResult
from agentrail.session import SessionStore, recorded
from agentrail.testing._store_base import (
    OWNER,
    StoreContract,
    answered,
    keep,
    said,
    with_tokens,
)


def is_whole(messages: Sequence[Message]) -> bool:
    """Return whether each tool result follows its call, and the front is no half of anything."""
    if messages and messages[0].role not in {"user", "system"}:
        return False
    calls: set[str] = set()
    for message in messages:
        for part in message.parts:
            if isinstance(part, ToolCall):
                calls.add(part.id)
            elif isinstance(part, ToolResult):
                if part.call_id not in calls:
                    return False
                calls.remove(part.call_id)
    return not calls


def tool_turn(turn_id: str) -> list[Event]:
    """Return messages of 10 tokens each: a question, a call for two tools, results, an answer."""
    calls = tuple(ToolCall(id=f"{turn_id}.{name}", name=name) for name in "ab")
    results = [ToolResult(call_id=call.id, name=call.name, content="done") for call in calls]
    messages = [
        Message.user(f"question {turn_id}"),
        Message.assistant((Text("one moment"), *calls)),
        *[Message(role="tool", parts=(result,)) for result in results],
        Message.assistant(f"answer {turn_id}"),
    ]
    return [with_tokens(recorded(message, turn_id), 10) for message in messages]


def texts(messages: Sequence[Message]) -> list[str]:
    """Return what the messages say."""
    return [message.text for message in messages]


class StoreWindowContract(StoreContract):
    """What a window promises."""

    async def test_the_window_holds_the_newest_messages_that_fit(self, store: SessionStore) -> None:
        """The oldest of them first."""
        await keep(store, "s", *[said(f"{number}", tokens=10) for number in range(10)])

        found = {
            tokens: texts(await store.window("s", tokens)) for tokens in (0, 9, 10, 29, 30, 1000)
        }

        assert found == {
            0: [],
            9: [],
            10: ["9"],
            29: ["8", "9"],
            30: ["7", "8", "9"],
            1000: [f"{number}" for number in range(10)],
        }

    async def test_a_message_that_does_not_fit_ends_the_window(self, store: SessionStore) -> None:
        """Smaller ones before it do not slip in: that would be a hole."""
        await keep(store, "s", said("a", tokens=1), said("b", tokens=100), said("c", tokens=1))

        assert texts(await store.window("s", 50)) == ["c"]

    async def test_a_lease_brings_the_history_before_its_own_events(
        self, store: SessionStore
    ) -> None:
        """No more of it than was asked for."""
        await keep(store, "s", said("a", tokens=10), answered("b", tokens=10))

        lease = await store.acquire("s", OWNER, events=[said("c")], window=1000)
        store.release(lease)
        without = await store.acquire("s", OWNER, events=[said("d")])

        assert texts(lease.history) == ["a", "b"]
        assert without.history == ()

    async def test_the_window_follows_what_a_lease_appends(self, store: SessionStore) -> None:
        """Turn after turn, whatever window is asked for."""
        for number in range(6):
            lease = await store.acquire(
                "s", OWNER, events=[said(f"q{number}", tokens=10)], window=40 if number % 2 else 60
            )
            await store.append(lease, [answered(f"a{number}", tokens=10)])
            store.release(lease)
            assert lease.history == () or is_whole(lease.history)

        assert texts(await store.window("s", 40)) == ["q4", "a4", "q5", "a5"]
        lease = await store.acquire("s", OWNER, window=1000)
        assert texts(lease.history) == [f"{who}{number}" for number in range(6) for who in "qa"]

    async def test_a_window_begins_after_the_last_reset(self, store: SessionStore) -> None:
        """The listing of messages goes beyond it."""
        await keep(store, "s", said("a"), SessionReset(), said("b"), SessionReset(), said("c"))

        lease = await store.acquire("s", OWNER, window=1000)
        assert texts(lease.history) == ["c"]
        await store.append(lease, [SessionReset()])

        assert await store.window("s", 1000) == ()
        assert [m.message.text for m in await store.messages("s")] == ["c", "b", "a"]

    async def test_what_the_model_never_sees_takes_no_room(self, store: SessionStore) -> None:
        """Deltas, notices and what a provider added for one turn."""
        await keep(
            store,
            "s",
            said("a", tokens=10),
            *[MessageDelta(text="x" * 100) for _ in range(20)],
            ContextAdded(source="memory", messages=(Message.system("context"),)),
            Notice(text="note"),
            answered("b", tokens=10),
        )

        assert texts(await store.window("s", 20)) == ["a", "b"]

    async def test_a_window_never_cuts_a_tool_round(self, store: SessionStore) -> None:
        """However many tokens it has."""
        for number in range(3):
            await keep(store, "s", *tool_turn(f"t{number}"))

        windows = [await store.window("s", tokens) for tokens in range(0, 170, 5)]

        assert all(is_whole(window) for window in windows)
        assert [len(window) for window in windows[::10]] == [0, 5, 10, 15]
        for tokens in (35, 70, 500):
            lease = await store.acquire("s", OWNER, window=tokens)
            assert lease.history == await store.window("s", tokens)
            store.release(lease)

    async def test_attachments_stand_before_their_message(self, store: SessionStore) -> None:
        """With a blank line between, and they take their room."""
        added = AttachmentsAdded(text="file text", tokens=10, turn_id="t")
        await keep(store, "s", said("old", tokens=10), said("look", "t", tokens=10), added)

        assert texts(await store.window("s", 1000)) == ["old", "file text\n\nlook"]
        assert texts(await store.window("s", 20)) == ["file text\n\nlook"]
        assert texts(await store.window("s", 15)) == []

    async def test_attachments_go_to_no_other_turn(self, store: SessionStore) -> None:
        """Not even when their own message is not there."""
        await keep(
            store, "s", said("mine", "t"), AttachmentsAdded(text="theirs", tokens=1, turn_id="u")
        )

        assert texts(await store.window("s", 1000)) == ["mine"]

    async def test_a_note_of_the_application_is_seen(self, store: SessionStore) -> None:
        """And may begin a window."""
        note = with_tokens(recorded(Message.system("note")), 10)
        await keep(store, "s", said("a", tokens=10), note, said("b", tokens=10))

        assert texts(await store.window("s", 20)) == ["note", "b"]
