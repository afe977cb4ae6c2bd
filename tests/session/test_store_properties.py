"""Any order of calls on any store leaves whole logs."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from agentrail.errors import LeaseLost, SessionBusy
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


async def play(store: SessionStore, plan: Sequence[Step]) -> dict[str, list[Event]]:
    leases: dict[str, Lease] = {}
    for action, name, batch in plan:
        events = [replace(event, turn_id=name) for event in BATCHES[batch]]
        lease = leases.get(name)
        if action == "acquire":
            try:
                new = await store.acquire(name, OWNER, events=events, window=40, wait=0)
            except SessionBusy:
                assert lease is not None
            else:
                assert lease is None
                assert_whole(new.history)
                leases[name] = new
        elif action == "delete":
            await store.delete(name)
        elif lease is not None and action == "release":
            await store.release(leases.pop(name))
        elif lease is not None:
            head = lease.head
            try:
                written = await store.append(lease, events)
            except LeaseLost:
                assert await store.find(name) is None
            else:
                assert [event.id for event in written] == [*range(head + 1, lease.head + 1)]
    logs: dict[str, list[Event]] = {}
    for name in "abc":
        log: list[Event] = list(await store.read(name, limit=10_000))
        assert [event.id for event in log] == [*range(1, len(log) + 1)]
        for tokens in (0, 10, 20, 40, 100, 10_000):
            window = await store.window(name, tokens)
            assert_whole(window)
            # Results without a call take room in a log and have none in a transcript.
            whole = Transcript(log).window(tokens)
            assert window == whole[len(whole) - len(window) :]
        said = [event.message for event in log if isinstance(event, MessageRecorded)]
        listed = await store.messages(name, limit=10_000)
        assert [entry.message for entry in listed] == said[::-1]
        logs[name] = log
    return logs


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
