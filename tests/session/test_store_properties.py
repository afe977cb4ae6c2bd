"""Any order of calls on any store leaves whole logs."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from agentrail.errors import LeaseLost, SessionBusy, TurnExists
from agentrail.events import Event, MessageDelta, MessageRecorded, SessionReset, TurnEnd, TurnStart
from agentrail.messages import Message, ToolCall, ToolResult
from agentrail.session import (
    Lease,
    MemorySessionStore,
    Owner,
    SessionStore,
    SQLiteSessionStore,
    Transcript,
    recorded,
)

OWNER = Owner("tenant", "user", "agent")
CALL = ToolCall(id="c", name="tool")
BATCHES: dict[str, list[Event]] = {
    "user": [recorded(Message.user("question"), "t")],
    "start": [TurnStart(turn_id="t")],
    "delta": [MessageDelta(turn_id="t", text="piece ")] * 3,
    "call": [recorded(Message.assistant((CALL,)), "t")],
    "result": [recorded(Message(role="tool", parts=(ToolResult("c", "tool", "done"),)), "t")],
    "answer": [recorded(Message.assistant("answer"), "t"), TurnEnd(turn_id="t")],
    "reset": [SessionReset()],
    "nothing": [],
}

Step = tuple[str, str, str]

steps = st.tuples(
    st.sampled_from(["acquire", "append", "append", "append", "release", "delete"]),
    st.sampled_from("abc"),
    st.sampled_from(sorted(BATCHES)),
)

BEGUN: list[Step] = [("acquire", "a", "start"), ("release", "a", "nothing")]
ENDED: list[Step] = [("acquire", "a", "answer"), ("release", "a", "nothing")]
"""What leaves a turn that cannot begin again until its session is deleted."""


class Player:
    """Plays steps on a store; what may not happen is an assertion."""

    def __init__(self, store: SessionStore) -> None:
        self.store = store
        self.leases: dict[str, Lease] = {}
        self.turns: set[str] = set()

    async def acquire(self, name: str, events: Sequence[Event]) -> None:
        again = name in self.turns and any(isinstance(event, TurnStart) for event in events)
        try:
            lease = await self.store.acquire(name, OWNER, events=events, window=40, wait=0)
        except SessionBusy:
            assert name in self.leases
        except TurnExists:
            assert again
            assert name not in self.leases
        else:
            assert not again
            assert name not in self.leases
            assert_whole(lease.history)
            self.leases[name] = lease
            self.note(name, events)

    async def append(self, name: str, events: Sequence[Event]) -> None:
        if name in self.leases:
            lease = self.leases[name]
            head = lease.head
            try:
                written = await self.store.append(lease, events)
            except LeaseLost:
                assert await self.store.find(name) is None
            else:
                assert [event.id for event in written] == [*range(head + 1, lease.head + 1)]
                self.note(name, events)

    async def release(self, name: str, _events: Sequence[Event]) -> None:
        if name in self.leases:
            self.store.release(self.leases.pop(name))

    async def delete(self, name: str, _events: Sequence[Event]) -> None:
        await self.store.delete(name)
        self.turns.discard(name)

    def note(self, name: str, events: Sequence[Event]) -> None:
        if any(isinstance(event, (TurnStart, TurnEnd)) for event in events):
            self.turns.add(name)

    async def check(self, name: str) -> list[Event]:
        log: list[Event] = list(await self.store.read(name, limit=10_000))
        assert [event.id for event in log] == [*range(1, len(log) + 1)]
        for tokens in (0, 10, 20, 40, 100, 10_000):
            window = await self.store.window(name, tokens)
            assert_whole(window)
            assert window == Transcript(log).window(tokens)
        said = [event.message for event in log if isinstance(event, MessageRecorded)]
        listed = await self.store.messages(name, limit=10_000)
        assert [entry.message for entry in listed] == said[::-1]
        return log


async def play(store: SessionStore, plan: Sequence[Step]) -> list[list[Event]]:
    player = Player(store)
    actions = {
        "acquire": player.acquire,
        "append": player.append,
        "release": player.release,
        "delete": player.delete,
    }
    for action, name, batch in plan:
        await actions[action](name, [replace(event, turn_id=name) for event in BATCHES[batch]])
    return [await player.check(name) for name in "abc"]


def assert_whole(messages: Sequence[Message]) -> None:
    open_calls: list[str] = []
    for message in messages:
        if message.role == "tool":
            for part in message.parts:
                assert isinstance(part, ToolResult)
                open_calls.remove(part.call_id)
        else:
            assert open_calls == []
            open_calls += [call.id for call in message.tool_calls]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@settings(max_examples=50)
@given(plan=st.lists(steps, max_size=40))
@example(plan=[*BEGUN, ("acquire", "a", "start"), ("acquire", "a", "user")])
@example(plan=[*BEGUN, ("delete", "a", "nothing"), ("acquire", "a", "start")])
@example(plan=[*ENDED, ("acquire", "a", "start"), ("acquire", "a", "start")])
def test_any_order_of_calls_leaves_whole_logs(backend: str, plan: list[Step]) -> None:
    async def main() -> None:
        memory = MemorySessionStore()
        with TemporaryDirectory() as directory:
            sqlite = SQLiteSessionStore(Path(directory, "s.db"))
            await sqlite.start()
            kept = await play(sqlite, plan)
            await sqlite.stop()
        assert kept == await play(memory, plan)

    anyio.run(main, backend=backend)
