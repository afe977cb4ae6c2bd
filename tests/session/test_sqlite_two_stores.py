"""Two stores on one file: what one of them does while the other is at work."""

import asyncio  # noqa: TID251 - its own cancellation is tested
from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import pytest

from agentrail.events import Event, MessageRecorded, TurnEnd, TurnStart
from agentrail.messages import Message
from agentrail.session import Deletion, Owner, SQLiteSessionStore, recorded
from tests.session.held import held

pytestmark = pytest.mark.anyio

OWNER = Owner("tenant", "user", "agent")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[SQLiteSessionStore]:
    store = SQLiteSessionStore(tmp_path / "sessions.db")
    await store.start()
    yield store
    await store.stop()


@pytest.fixture
async def other(store: SQLiteSessionStore, tmp_path: Path) -> AsyncGenerator[SQLiteSessionStore]:
    """A second host's store on the same file."""
    assert store is not None
    other = SQLiteSessionStore(tmp_path / "sessions.db")
    await other.start()
    yield other
    await other.stop()


def asked(turn_id: str, text: str) -> list[Event]:
    """Return the events that begin a turn."""
    return [TurnStart(turn_id=turn_id), recorded(Message.user(text), turn_id)]


async def test_a_session_in_which_another_store_runs_a_turn_is_in_use(
    store: SQLiteSessionStore, other: SQLiteSessionStore
) -> None:
    lease = await other.acquire("s", OWNER, events=asked("t", "a long one"))
    other.release(await other.acquire("idle", OWNER, events=[recorded(Message.user("hi"))]))
    (summary,) = await store.sessions("tenant", "user", limit=1)
    since = summary.updated_at + 1

    assert list(await store.unused(since)) == ["idle"]
    assert await store.delete("s", unused_since=since) is None
    await other.append(lease, [TurnEnd(turn_id="t")])
    other.release(lease)

    assert list(await store.unused(since + 1)) == ["idle", "s"]
    assert await store.delete("s", unused_since=since + 1) is not None


async def test_of_two_stores_one_deletes_an_unused_session(
    store: SQLiteSessionStore, other: SQLiteSessionStore
) -> None:
    store.release(await store.acquire("s", OWNER, events=[recorded(Message.user("hi"))]))
    (summary,) = await store.sessions("tenant", "user")
    deletions = list[Deletion | None]()

    async def delete(mine: SQLiteSessionStore) -> None:
        deletions.append(await mine.delete("s", unused_since=summary.updated_at + 1))

    async with anyio.create_task_group() as stores:
        stores.start_soon(delete, store)
        stores.start_soon(delete, other)

    assert deletions.count(None) == 1


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("way", ["task", "timeout"])
async def test_asyncio_cancels_who_waits_for_another_store_while_its_write_is_under_way(
    store: SQLiteSessionStore, other: SQLiteSessionStore, way: str
) -> None:
    lease = await other.acquire("s", OWNER, events=asked("t", "mine"))

    async def take() -> None:
        async with asyncio.timeout(None) as limit:
            limits.append(limit)
            await store.acquire("s", OWNER, events=asked("u", "yours"), wait=0.1)

    limits: list[asyncio.Timeout] = []
    with held(store) as writer:
        task = asyncio.create_task(take())
        await writer.there()
        if way == "task":
            task.cancel()
        else:
            limits[0].reschedule(0)
        await anyio.wait_all_tasks_blocked()
        writer.let_go()
        # Not SessionBusy, which it would find out if it went on.
        with pytest.raises(asyncio.CancelledError if way == "task" else TimeoutError):
            await task

    await other.append(lease, [TurnEnd(turn_id="t")])
    other.release(lease)
    lease = await store.acquire("s", OWNER, window=100, wait=0)
    assert [message.text for message in lease.history] == ["mine"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_what_an_append_wrote_is_known_to_who_was_cancelled_by_asyncio_meanwhile(
    store: SQLiteSessionStore,
) -> None:
    lease = await store.acquire("s", OWNER, events=asked("t", "a"), window=100)
    said = [recorded(Message.assistant("b"), "t"), TurnEnd(turn_id="t")]

    with held(store) as writer:
        task = asyncio.create_task(store.append(lease, said))
        await writer.there()
        task.cancel()
        await anyio.wait_all_tasks_blocked()
        writer.let_go()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert lease.written is said
    assert lease.head == 4
    store.release(lease)
    lease = await store.acquire("s", OWNER, window=100, wait=0)
    assert [message.text for message in lease.history] == ["a", "b"]


async def test_a_turn_is_read_in_the_session_that_another_store_made_again(
    store: SQLiteSessionStore, other: SQLiteSessionStore
) -> None:
    store.release(await store.acquire("s", OWNER, events=asked("t", "the first")))
    await other.delete("s")
    other.release(await other.acquire("s", OWNER, events=asked("u", "the second")))

    record = await store.turn("u")
    assert record is not None
    events = await store.read(record.session_id, after=record.first - 1)

    assert [event.turn_id for event in events] == ["u", "u"]
    assert isinstance(events[1], MessageRecorded)
    assert events[1].message.text == "the second"
    assert await store.turn("t") is None


async def test_who_was_told_of_a_session_reads_nothing_of_its_next_owner(
    store: SQLiteSessionStore, other: SQLiteSessionStore
) -> None:
    store.release(await store.acquire("s", OWNER, events=asked("t", "mine")))
    await other.delete("s")
    next_one = Owner("tenant", "another user", "agent")
    other.release(await other.acquire("s", next_one, events=asked("u", "a secret")))

    assert await store.find("s") == OWNER
    record = await store.turn("u")

    assert record is not None
    assert record.owner == next_one
    assert list(await store.read("s")) == []
