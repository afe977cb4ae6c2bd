import logging
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncGenerator
from contextlib import closing
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from agentrail.errors import AgentMismatch, LeaseLost, SessionBusy, SessionNotFound, StorageError
from agentrail.events import MessageDelta, TurnEnd, TurnStart
from agentrail.messages import Message
from agentrail.session import Owner, SQLiteSessionStore, recorded
from agentrail.session import sqlite as sqlite_module
from agentrail.session._rows import MIGRATIONS

pytestmark = pytest.mark.anyio

OWNER = Owner("tenant", "user", "agent")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


@pytest.fixture
async def store(path: Path) -> AsyncGenerator[SQLiteSessionStore]:
    store = SQLiteSessionStore(path)
    await store.start()
    yield store
    await store.stop()


@pytest.fixture
async def other(store: SQLiteSessionStore, path: Path) -> AsyncGenerator[SQLiteSessionStore]:
    """A second host's store on the same file."""
    assert store is not None
    other = SQLiteSessionStore(path)
    await other.start()
    yield other
    await other.stop()


WRITER = """
import sys
import anyio
from agentrail.events import MessageDelta, TurnStart
from agentrail.messages import Message
from agentrail.session import Owner, SQLiteSessionStore, recorded

async def main():
    store = SQLiteSessionStore(sys.argv[1])
    await store.start()

    async def write(name):
        turn = f"{name}.turn"
        lease = await store.acquire(
            name,
            Owner("tenant", "user", "agent"),
            events=[recorded(Message.user("question"), turn), TurnStart(turn_id=turn)],
        )
        while True:
            print(name, lease.head, flush=True)
            await store.append(
                lease, [MessageDelta(turn_id=turn, text="x" * lease.head) for _ in range(3)]
            )

    async with anyio.create_task_group() as group:
        for name in "abcd":
            group.start_soon(write, name)

anyio.run(main, backend=sys.argv[2])
"""


@pytest.mark.parametrize("lines", [1, 5, 20, 60, 150])
async def test_what_was_acknowledged_outlives_kill_9(
    path: Path, anyio_backend_name: str, lines: int
) -> None:
    acknowledged: dict[str, int] = {}
    command = [sys.executable, "-c", WRITER, str(path), anyio_backend_name]
    async with await anyio.open_process(command, stderr=None) as process:
        assert process.stdout is not None
        output = BufferedByteReceiveStream(process.stdout)
        for _ in range(lines):
            name, head = (await output.receive_until(b"\n", 100)).split()
            acknowledged[name.decode()] = int(head)
        process.kill()
    assert process.returncode == -signal.SIGKILL

    store = SQLiteSessionStore(path)
    await store.start()
    for session, count in acknowledged.items():
        events = await store.read(session, limit=100_000)
        assert [event.id for event in events] == list(range(1, len(events) + 1))
        assert len(events) >= count
        deltas = [event for event in events if isinstance(event, MessageDelta)]
        assert len(deltas) % 3 == 0
        lease = await store.acquire(session, OWNER, window=1_000_000, wait=0)
        texts = [message.text for message in lease.history]
        assert texts == ["question", *filter(None, ["".join(delta.text for delta in deltas)])]
        turn = await store.turn(f"{session}.turn")
        assert turn is not None
        assert turn.status == "failed"
    await store.stop()


async def test_a_row_that_cannot_be_read_is_left_out_reported_and_kept(
    store: SQLiteSessionStore, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    entries = [recorded(Message.user(name), "t") for name in "abcd"]
    store.release(await store.acquire("s", OWNER, events=entries))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("update event set body = 'garbage' where seq = 2")
        connection.execute("update event set body = 7 where seq = 3")

    with caplog.at_level(logging.WARNING, "agentrail.session"):
        events = await store.read("s")
        page = await store.read("s", limit=2)
        messages = await store.messages("s", limit=2)
        lease = await store.acquire("s", OWNER, window=1000)

    assert [event.id for event in events] == [1, 4]
    assert [event.id for event in page] == [1, 4]
    assert [message.seq for message in messages] == [4, 1]
    assert [message.text for message in lease.history] == ["a", "d"]
    assert lease.head == 4
    assert any("event 2 of session 's' cannot be read" in text for text in caplog.messages)
    assert any("event 3 of session 's' cannot be read" in text for text in caplog.messages)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("select count(*) from event").fetchone() == (4,)


async def test_a_dead_turn_with_an_unreadable_row_is_closed_all_the_same(
    store: SQLiteSessionStore, path: Path
) -> None:
    events = [TurnStart(turn_id="t"), *[MessageDelta(turn_id="t", text=text) for text in "abc"]]
    store.release(await store.acquire("s", OWNER, events=events))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("update event set body = x'ff' where seq = 3")

    await store.acquire("s", OWNER)

    assert [message.message.text for message in await store.messages("s")] == ["ac"]
    turn = await store.turn("t")
    assert turn is not None
    assert turn.status == "failed"


async def test_files_that_are_not_its_own_are_refused(tmp_path: Path) -> None:
    diary, newer = tmp_path / "diary", tmp_path / "newer"
    diary.write_text("dear diary " * 100)
    with closing(sqlite3.connect(newer)) as connection:
        connection.execute("pragma user_version = 1000")

    with pytest.raises(StorageError, match="no SQLite database"):
        await SQLiteSessionStore(diary).start()
    with pytest.raises(StorageError, match="version 1000"):
        await SQLiteSessionStore(newer).start()
    with pytest.raises(StorageError, match="cannot be opened"):
        await SQLiteSessionStore(diary / "sessions.db").start()


def descriptors(path: Path) -> int:
    """Return how many of this process's descriptors are of the file and what is beside it."""
    links = Path("/proc/self/fd").iterdir()
    # What lists them is among them, and gone by then.
    return sum(os.path.realpath(link).startswith(str(path)) for link in links)


on_linux = pytest.mark.skipif(sys.platform != "linux", reason="descriptors are listed in /proc")


@on_linux
async def test_a_start_that_fails_leaves_nothing_open(path: Path) -> None:
    users = path.with_name(f"{path.name}-users")
    users.write_text("a file where a directory should be")
    store = SQLiteSessionStore(path)

    for _ in range(2):
        with pytest.raises(StorageError, match="no lock can be made"):
            await store.start()
        assert descriptors(path) == 0

    users.unlink()
    await store.start()
    store.release(await store.acquire("s", OWNER))
    assert descriptors(path) > 0
    await store.stop()
    assert descriptors(path) == 0


@on_linux
async def test_a_start_that_is_cancelled_leaves_nothing_open(path: Path) -> None:
    for steps in range(8):
        store = SQLiteSessionStore(path)
        async with anyio.create_task_group() as group:
            group.start_soon(store.start)
            for _ in range(steps):
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        await store.stop()
        assert descriptors(path) == 0


@on_linux
async def test_a_stop_whose_last_write_fails_leaves_nothing_open(path: Path) -> None:
    store = SQLiteSessionStore(path)
    await store.start()
    await store.announced("t")
    store._database._writer.execute("pragma busy_timeout = 10")

    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("begin immediate")
        with pytest.raises(StorageError, match="another process kept it locked"):
            await store.stop()

    assert descriptors(path) == 0
    assert list(path.with_name(f"{path.name}-users").iterdir()) == []


async def test_two_stores_take_a_session_from_each_other_and_lose_nothing(
    store: SQLiteSessionStore, other: SQLiteSessionStore
) -> None:
    acknowledged: list[str] = []

    async def write(mine: SQLiteSessionStore, name: str) -> None:
        for number in range(20):
            lease = await mine.acquire("s", OWNER)
            try:
                text = f"{name}{number}"
                await mine.append(lease, [recorded(Message.user(text)), MessageDelta(text=text)])
                acknowledged.append(text)
            except LeaseLost:
                pass
            finally:
                mine.release(lease)

    async with anyio.create_task_group() as group:
        group.start_soon(write, store, "a")
        group.start_soon(write, other, "b")

    events = await store.read("s")
    assert [event.id for event in events] == list(range(1, len(events) + 1))
    listed = [message.message.text for message in await store.messages("s", limit=100)]
    assert sorted(listed) == sorted(acknowledged)
    assert acknowledged


async def test_two_stores_open_a_new_file_at_the_same_time(path: Path) -> None:
    stores = [SQLiteSessionStore(path) for _ in range(4)]

    async with anyio.create_task_group() as group:
        for store in stores:
            group.start_soon(store.start)

    for number, store in enumerate(stores):
        store.release(await store.acquire(f"{number}", OWNER))
    assert len(await stores[0].sessions("tenant", "user")) == 4
    for store in stores:
        await store.stop()


async def test_a_session_in_use_is_found_without_io(store: SQLiteSessionStore) -> None:
    await store.acquire("s", OWNER)
    await store.stop()

    assert await store.find("s") == OWNER
    with pytest.raises(StorageError):
        await store.find("another")


async def test_the_memory_of_owners_is_bounded(
    store: SQLiteSessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_module, "REMEMBERED", 2)
    for name in "abc":
        store.release(await store.acquire(name, OWNER))
        await store.find("a")

    assert list(store._known) == ["c", "a"]
    assert await store.find("b") == OWNER


async def test_a_session_made_anew_elsewhere_is_not_shown_to_its_old_owner(
    store: SQLiteSessionStore, other: SQLiteSessionStore
) -> None:
    stranger = Owner("tenant", "stranger", "agent")
    lease = await store.acquire("s", OWNER, events=[recorded(Message.user("mine"))])
    store.release(lease)
    await other.delete("s")
    await other.acquire("s", stranger, events=[recorded(Message.user("secret"))])

    assert list(await store.messages("s")) == []
    assert list(await store.read("s")) == []
    assert await store.window("s", 1000) == ()
    with pytest.raises(SessionNotFound):
        await store.acquire("s", OWNER)
    assert await store.find("s") == stranger
    lease = await store.acquire("s", stranger, wait=0)
    assert lease.head == 1


async def test_the_new_owner_gets_in_where_the_old_one_is_remembered(
    store: SQLiteSessionStore, other: SQLiteSessionStore
) -> None:
    store.release(await store.acquire("s", OWNER))
    await other.delete("s")
    await other.acquire("s", Owner("tenant", "user", "another"))

    lease = await store.acquire("s", Owner("tenant", "user", "another"), wait=0)
    store.release(lease)
    with pytest.raises(AgentMismatch):
        await store.acquire("s", OWNER)


async def test_a_lost_lease_loses_no_announcement(
    store: SQLiteSessionStore, other: SQLiteSessionStore
) -> None:
    turn = [TurnStart(turn_id="t"), TurnEnd(turn_id="t")]
    lease = await store.acquire("s", OWNER, events=turn)
    await store.announced("t")
    store._users.leave()  # the other one announces for the dead only
    await other.acquire("s", OWNER)
    with pytest.raises(LeaseLost):
        await store.append(lease, [MessageDelta(text="x")])

    assert [turn.turn_id for turn in await other.unannounced()] == ["t"]
    store.release(await store.acquire("another", OWNER))
    assert list(await other.unannounced()) == []


async def test_stores_of_one_process_leave_each_others_turns_alone(
    store: SQLiteSessionStore, other: SQLiteSessionStore
) -> None:
    lease = await store.acquire("s", OWNER, events=[TurnStart(turn_id="t")])

    with pytest.raises(SessionBusy):
        await other.acquire("s", OWNER, wait=0)
    await store.append(lease, [TurnEnd(turn_id="t")])

    record = await other.turn("t")
    assert record is not None
    assert record.status == "completed"
    assert list(await other.unannounced()) == []
    store.release(lease)
    await store.stop()
    assert [turn.turn_id for turn in await other.unannounced()] == ["t"]
    await other.acquire("s", OWNER, wait=0)


async def test_stores_of_one_process_leave_each_others_deletions_alone(
    store: SQLiteSessionStore, other: SQLiteSessionStore
) -> None:
    store.release(await store.acquire("s", OWNER))
    deletion = await store.delete("s")

    assert list(await other.unannounced_deletions()) == []
    assert list(await store.unannounced_deletions()) == [deletion]
    await store.stop()
    assert list(await other.unannounced_deletions()) == [deletion]


async def test_nobody_deletes_the_session_that_another_owner_made_elsewhere_under_the_same_id(
    store: SQLiteSessionStore, other: SQLiteSessionStore
) -> None:
    stranger = Owner("tenant", "stranger", "agent")
    store.release(await store.acquire("s", OWNER))
    await other.delete("s")
    other.release(await other.acquire("s", stranger))

    assert await store.find("s") == OWNER
    assert await store.delete("s") is None
    assert await other.find("s") == stranger
    assert await store.find("s") == stranger


async def test_a_file_of_a_release_without_the_list_of_deletions_gets_it(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for script in MIGRATIONS[:2]:
            connection.executescript(script)
        connection.execute(
            "insert into session values (1, 's', 't', 'u', 'a', 1, 1, 0, 0, 0, 0, 0)"
        )
        connection.execute("pragma user_version = 2")
        connection.commit()
    store = SQLiteSessionStore(path)
    await store.start()

    deletion = await store.delete("s")

    assert deletion is not None
    assert deletion.owner == Owner("t", "u", "a")
    await store.stop()


async def test_a_file_of_a_release_without_retention_is_brought_up_to_date(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for script in MIGRATIONS[:3]:
            connection.executescript(script)
        connection.execute(
            "insert into session values (1, 's', 't', 'u', 'a', 1, 1, 0, 0, 0, 0, 0)"
        )
        connection.execute("insert into turn(id, session, first, started) values ('t', 1, 1, 1)")
        connection.execute("pragma user_version = 3")
        connection.commit()
    store = SQLiteSessionStore(path)
    await store.start()

    assert list(await store.unused(2)) == ["s"]
    assert await store.delete("s", unused_since=2) is not None
    assert await store.turn("t") is None
    await store.stop()


async def test_a_deletion_looks_at_no_other_sessions_turns(store: SQLiteSessionStore) -> None:
    """SQLite looks for what refers to a row as it would for a select."""

    def plan(connection: sqlite3.Connection) -> list[str]:
        (step,) = connection.execute("explain query plan select * from turn where session = 1")
        return list(step)

    assert "SEARCH turn USING INDEX turn_by_session (session=?)" in await store._database.read(plan)


async def test_a_window_is_read_from_the_tail_through_the_index(store: SQLiteSessionStore) -> None:
    store.release(await store.acquire("s", OWNER))

    statements: list[str] = []
    store._database._writer.set_trace_callback(statements.append)
    await store.acquire("t", OWNER)
    store.release(await store.acquire("s", OWNER, window=100))

    def plan(connection: sqlite3.Connection) -> list[str]:
        (select,) = [text for text in statements if "order by seq desc" in text]
        return [row[3] for row in connection.execute(f"explain query plan {select}")]

    (step,) = await store._database.read(plan)
    assert step == "SEARCH event USING INDEX event_in_window (session=? AND seq>?)"
