"""What a store remembers of a log is what the log says, whoever wrote it."""

from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from agentrail.errors import LeaseLost, TurnExists
from agentrail.events import (
    AttachmentsAdded,
    ContextCompacted,
    Event,
    MessageDelta,
    SessionReset,
    TurnEnd,
    TurnStart,
)
from agentrail.messages import Message, ToolCall, ToolResult
from agentrail.session import Lease, Owner, SQLiteSessionStore, Transcript, recorded
from agentrail.session import _cache as cache_module

OWNER = Owner("tenant", "user", "agent")
CALLS = tuple(ToolCall(id=name, name="tool", arguments={"a": (1, 2)}) for name in "xy")
EVENTS: dict[str, Event] = {
    "user": recorded(Message.user("question"), "t"),
    "long": recorded(Message.user("a longer question " * 9), "t"),
    "free": replace(recorded(Message.user("takes no room")), tokens=0),
    "half": recorded(Message.user("half a pair \ud800"), "t"),
    "note": recorded(Message(role="system", parts=Message.user("note").parts), "t"),
    "attachments": AttachmentsAdded(turn_id="t", text="file", tokens=5),
    "calls": recorded(Message.assistant(CALLS), "t"),
    "x": recorded(Message(role="tool", parts=(ToolResult("x", "tool", "done"),)), "t"),
    "y": recorded(Message(role="tool", parts=(ToolResult("y", "tool", "done"),)), "t"),
    "answer": recorded(Message.assistant("answer"), "t"),
    "delta": MessageDelta(turn_id="t", text="piece"),
    "start": TurnStart(turn_id="t"),
    "end": TurnEnd(turn_id="t"),
    "reset": SessionReset(),
    "summary": ContextCompacted(until=3, summary="in short", tokens=9),
    "older summary": ContextCompacted(until=6, summary="shorter", tokens=40),
}
"""Of a summary, ``until`` says how many events of the log it leaves."""
WINDOWS = (0, 1, 7, 15, 30, 60, 200, 10_000)

batches = st.lists(st.sampled_from(sorted(EVENTS)), max_size=5).map(
    lambda names: [EVENTS[name] for name in names]
)
steps = st.tuples(
    st.sampled_from(["acquire", "acquire", "append", "append", "twice", "broken", "delete"]),
    st.sampled_from([0, 0, 0, 1]),  # which store
    st.sampled_from("ab"),
    st.sampled_from(WINDOWS),
    batches,
)
Step = tuple[str, int, str, int, list[Event]]


class Hosts:
    """Two stores on one file; every history is compared with what the log then says."""

    def __init__(self, stores: Sequence[SQLiteSessionStore]) -> None:
        self.stores = stores
        self.leases: dict[tuple[int, str], Lease] = {}

    async def play(self, step: Step) -> None:
        action, number, name, window, batch = step
        store, lease = self.stores[number], self.leases.get((number, name))
        head = len(await store.read(name, limit=10_000))
        events = [
            replace(event, until=max(0, head - event.until))
            if isinstance(event, ContextCompacted)
            else event
            for event in batch
        ]
        if action == "delete":
            await store.delete(name)
        elif action == "acquire" or lease is None:
            if lease is not None:
                store.release(self.leases.pop((number, name)))
            with suppress(TurnExists):
                lease = await store.acquire(name, OWNER, events=events, window=window, wait=0)
                self.leases[number, name] = lease
                await self.compare(store, lease, window)
        elif action == "twice":
            async with anyio.create_task_group() as group:
                group.start_soon(self.append, store, lease, events)
                group.start_soon(self.append, store, lease, events[:1])
        elif action == "broken":  # the second event cannot be written, so the first is not either
            unfit = recorded(Message.assistant((ToolCall("z", "tool", {"a": object()}),)), "t")
            with pytest.raises((TypeError, LeaseLost)):
                await store.append(lease, [*events, unfit])
        else:
            await self.append(store, lease, events)

    async def append(
        self, store: SQLiteSessionStore, lease: Lease, events: Sequence[Event]
    ) -> None:
        with suppress(LeaseLost):
            await store.append(lease, events)

    async def compare(self, store: SQLiteSessionStore, lease: Lease, window: int) -> None:
        log = await store.read(lease.session_id, limit=10_000)
        before = lease.head - len(lease.opening)
        seen = [event for event in log if event.id <= before and is_seen(event)]
        if not lease.opening:
            assert lease.history == await store.window(lease.session_id, window)
        assert lease.history == (Transcript(seen).window(window) if window else ())
        if window:
            assert lease.summary == Transcript(seen).summary
            assert lease.since == Transcript(seen).since


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@settings(max_examples=40)
@given(plan=st.lists(steps, max_size=25))
def test_a_remembered_history_is_that_of_the_file(backend: str, plan: list[Step]) -> None:
    async def main() -> None:
        with TemporaryDirectory() as directory:
            path = Path(directory, "s.db")
            async with AsyncExitStack() as stack:
                stores = [SQLiteSessionStore(path) for _ in range(2)]
                for store in stores:
                    await store.start()
                    store._users.leave()  # each takes the other for dead
                    stack.push_async_callback(store.stop)
                hosts = Hosts(stores)
                for step in plan:
                    await hosts.play(step)
                for name in "ab":
                    for window in WINDOWS:
                        await hosts.play(("acquire", 0, name, window, []))

    anyio.run(main, backend=backend)


PLAIN = [name for name in sorted(EVENTS) if not isinstance(EVENTS[name], ContextCompacted)]


@given(names=st.lists(st.sampled_from(PLAIN), max_size=30), tokens=st.integers(0, 200))
def test_the_window_of_a_logs_end_is_that_of_the_log(names: list[str], tokens: int) -> None:
    log = [event for event in map(EVENTS.__getitem__, names) if is_seen(event)]
    for first in range(len(log)):
        if sum(event.window_tokens for event in log[first:]) >= tokens:
            assert Transcript(log[first:]).window(tokens) == Transcript(log).window(tokens)


def is_seen(event: Event) -> bool:
    return event.window_tokens > 0 or isinstance(event, SessionReset | ContextCompacted)


def test_what_is_remembered_is_bounded() -> None:
    tails = cache_module.Tails()
    for key in range(1, cache_module.TAILS + 11):
        tails.keep(cache_module.Tail(key, 0, 100, Transcript([EVENTS["user"]])))
    assert [key for key in range(1, 400) if tails.find(key, 50)] == [
        *range(11, cache_module.TAILS + 11)
    ]

    large = replace(recorded(Message.user("x")), tokens=cache_module.TAIL_TOKENS)
    tails.extend(11, 1, [large], 1)
    assert [key for key in range(1, 400) if tails.find(key, 100)] == []
    tails.keep(cache_module.Tail(12, 0, 100, Transcript([EVENTS["user"]])))
    assert tails.find(12, 100) is not None
    assert tails.find(12, 101) is None
