import asyncio  # noqa: TID251 - its own cancellation is tested
import os
import sqlite3
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import closing
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from agentrail.errors import LeaseLost, StorageError
from agentrail.storage import Database

pytestmark = pytest.mark.anyio

TABLE = "create table item(name text not null);"


def insert(name: str) -> Callable[[sqlite3.Connection], str]:
    def job(connection: sqlite3.Connection) -> str:
        connection.execute("insert into item values (?)", (name,))
        return name

    return job


def names(connection: sqlite3.Connection) -> list[str]:
    return [row[0] for row in connection.execute("select name from item order by rowid")]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "items.db"


@pytest.fixture
async def database(path: Path) -> AsyncGenerator[Database]:
    database = Database(path, [TABLE])
    await database.start()
    yield database
    await database.stop()


class Gate:
    """A job that stays in its thread until it is let go, so that others gather behind it."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.let_go = threading.Event()

    def __call__(self, connection: sqlite3.Connection) -> None:
        self.entered.set()
        assert self.let_go.wait(30)
        insert("gate")(connection)

    async def is_entered(self) -> None:
        await anyio.to_thread.run_sync(self.entered.wait)


@pytest.fixture
def gate() -> Generator[Gate]:
    gate = Gate()
    yield gate
    gate.let_go.set()


async def test_a_job_is_committed_when_its_write_returns(database: Database, path: Path) -> None:
    assert await database.write(insert("a")) == "a"

    with closing(sqlite3.connect(path)) as other:
        assert names(other) == ["a"]


async def test_jobs_that_wait_together_share_one_transaction(
    database: Database, gate: Gate
) -> None:
    commits: list[str] = []
    database._writer.set_trace_callback(
        lambda sql: commits.append(sql) if sql == "COMMIT" else None
    )

    async with anyio.create_task_group() as group:
        group.start_soon(database.write, gate)
        await gate.is_entered()
        for number in range(20):
            group.start_soon(database.write, insert(f"{number}"))
        await anyio.wait_all_tasks_blocked()
        gate.let_go.set()

    assert len(commits) == 2
    written = await database.read(names)
    assert sorted(written) == sorted(["gate", *[f"{number}" for number in range(20)]])


async def test_a_job_that_fails_leaves_nothing_and_disturbs_nobody(
    database: Database, gate: Gate
) -> None:
    failures: list[type[Exception]] = []

    def fails(error: Exception) -> Callable[[sqlite3.Connection], None]:
        def job(connection: sqlite3.Connection) -> None:
            insert("half")(connection)
            raise error

        return job

    def nonsense(connection: sqlite3.Connection) -> None:
        connection.execute("select nonsense")

    async def expect(job: Callable[[sqlite3.Connection], object]) -> None:
        with pytest.raises((StorageError, LeaseLost, ValueError, TypeError)) as caught:
            await database.write(job)
        failures.append(caught.type)

    async with anyio.create_task_group() as group:
        group.start_soon(database.write, gate)
        await gate.is_entered()
        group.start_soon(database.write, insert("before"))
        group.start_soon(expect, fails(LeaseLost("gone")))
        group.start_soon(expect, fails(ValueError("odd")))
        group.start_soon(expect, fails(TypeError("odd")))
        group.start_soon(expect, nonsense)
        group.start_soon(database.write, insert("after"))
        await anyio.wait_all_tasks_blocked()
        gate.let_go.set()

    assert sorted(failure.__name__ for failure in failures) == [
        "LeaseLost",
        "StorageError",
        "TypeError",
        "ValueError",
    ]
    assert sorted(await database.read(names)) == ["after", "before", "gate"]


async def test_a_bug_in_a_job_fails_its_transaction_and_leaves_no_write_half_known(
    database: Database, gate: Gate
) -> None:
    def bug(_connection: sqlite3.Connection) -> None:
        raise LookupError

    async def expect(job: Callable[[sqlite3.Connection], object], error: type[Exception]) -> None:
        with pytest.raises(error):
            await database.write(job)

    async with anyio.create_task_group() as group:
        group.start_soon(database.write, gate)
        await gate.is_entered()
        # The first in line leads, and the bug is raised in it.
        group.start_soon(expect, insert("leader"), LookupError)
        await anyio.wait_all_tasks_blocked()
        group.start_soon(expect, bug, StorageError)
        group.start_soon(expect, insert("last"), StorageError)
        await anyio.wait_all_tasks_blocked()
        gate.let_go.set()

    await database.write(insert("next"))
    assert await database.read(names) == ["gate", "next"]


async def test_a_cancelled_write_that_waits_takes_its_job_back(
    database: Database, gate: Gate
) -> None:
    scopes = [anyio.CancelScope() for _ in range(3)]

    async def write(number: int) -> None:
        with scopes[number]:
            await database.write(insert(f"{number}"))

    async with anyio.create_task_group() as group:
        group.start_soon(database.write, gate)
        await gate.is_entered()
        for number in range(3):
            group.start_soon(write, number)
            await anyio.wait_all_tasks_blocked()
        scopes[0].cancel()  # the one that would lead
        scopes[1].cancel()
        await anyio.wait_all_tasks_blocked()
        gate.let_go.set()

    assert await database.read(names) == ["gate", "2"]


async def test_a_write_cancelled_after_it_began_is_finished_and_its_result_known(
    database: Database, gate: Gate
) -> None:
    first, second = Gate(), gate
    results: list[str] = []

    async def leads() -> None:
        await database.write(second)
        results.append("leader")

    async def follows() -> None:
        results.append(await database.write(insert("follower")))

    async with anyio.create_task_group() as group:
        group.start_soon(database.write, first)
        await first.is_entered()
        async with anyio.create_task_group() as cancelled:
            cancelled.start_soon(leads)
            await anyio.wait_all_tasks_blocked()
            cancelled.start_soon(follows)
            await anyio.wait_all_tasks_blocked()
            first.let_go.set()
            await second.is_entered()
            cancelled.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await anyio.wait_all_tasks_blocked()
            second.let_go.set()

    assert sorted(results) == ["follower", "leader"]
    assert await database.read(names) == ["gate", "gate", "follower"]


async def test_a_cancellation_that_a_write_outlives_comes_at_the_next_checkpoint(
    database: Database, gate: Gate
) -> None:
    reached: list[str] = []

    async def follows() -> None:
        await database.write(gate)
        reached.append("written")
        await anyio.lowlevel.checkpoint()
        reached.append("too far")

    async with anyio.create_task_group() as group:
        group.start_soon(follows)
        await gate.is_entered()
        group.cancel_scope.cancel()
        gate.let_go.set()

    assert reached == ["written"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_commit_outlives_asyncios_own_cancellation_of_who_leads_it(
    database: Database, gate: Gate
) -> None:
    first, results = Gate(), list[str]()

    async def follows() -> None:
        results.append(await database.write(insert("follower")))

    async with anyio.create_task_group() as group:
        group.start_soon(database.write, first)
        await first.is_entered()
        leads = asyncio.create_task(database.write(gate))
        await anyio.wait_all_tasks_blocked()
        group.start_soon(follows)
        await anyio.wait_all_tasks_blocked()
        first.let_go.set()
        await gate.is_entered()
        leads.cancel()
        leads.cancel()
        group.start_soon(database.write, insert("later"))
        await anyio.lowlevel.checkpoint()
        gate.let_go.set()
        with pytest.raises(asyncio.CancelledError):
            await leads

    assert results == ["follower"]
    assert await database.read(names) == ["gate", "gate", "follower", "later"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_writes_go_on_wherever_asyncio_cancels_others(database: Database) -> None:
    written: list[str] = []

    async def write(name: str) -> None:
        written.append(await database.write(insert(name)))

    for steps in range(12):
        tasks = [asyncio.create_task(write(f"{steps}.{number}")) for number in range(4)]
        for _ in range(steps):
            await anyio.lowlevel.checkpoint()
        tasks[steps % 2].cancel()
        with anyio.fail_after(10):
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert sum(isinstance(end, asyncio.CancelledError) for end in ended) <= 1

    kept = await database.read(names)
    assert len(set(kept)) == len(kept)
    assert set(written) <= set(kept)


async def test_a_write_in_a_cancelled_scope_writes_nothing(database: Database) -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await database.write(insert("a"))

    assert await database.read(names) == []


@pytest.mark.parametrize("steps", range(6))
async def test_writes_go_on_wherever_others_are_cancelled(database: Database, steps: int) -> None:
    async def write(name: str, done: list[str]) -> None:
        done.append(await database.write(insert(name)))

    done: list[str] = []
    for number in range(20):
        async with anyio.create_task_group() as group:
            for part in range(3):
                group.start_soon(write, f"{number}.{part}", done)
            for _ in range(steps):
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()

    await database.write(insert("last"))
    assert sorted(await database.read(names)) == sorted([*done, "last"])


async def test_stop_finishes_what_was_asked_for(path: Path, gate: Gate) -> None:
    database = Database(path, [TABLE])
    await database.start()

    async with anyio.create_task_group() as group:
        group.start_soon(database.write, gate)
        await gate.is_entered()
        group.start_soon(database.write, insert("a"))
        await anyio.wait_all_tasks_blocked()
        group.start_soon(database.stop)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(StorageError, match="is not open"):
            await database.write(insert("b"))
        gate.let_go.set()

    with closing(sqlite3.connect(path)) as other:
        assert names(other) == ["gate", "a"]


def descriptors(path: Path) -> int:
    """Return how many of this process's descriptors are of the file, its log and its index."""
    links = Path("/proc/self/fd").iterdir()
    # What lists them is among them, and gone by then.
    return sum(os.path.realpath(link).startswith(str(path)) for link in links)


on_linux = pytest.mark.skipif(sys.platform != "linux", reason="descriptors are listed in /proc")


@on_linux
async def test_stop_closes_though_its_last_write_fails(path: Path) -> None:
    database = Database(path, [TABLE])
    await database.start()
    await database.read(names)
    database._writer.execute("pragma busy_timeout = 10")
    assert descriptors(path) > 0

    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("begin immediate")
        with pytest.raises(StorageError, match="another process kept it locked"):
            await database.stop()
        other.execute("commit")

    assert descriptors(path) == 0
    await database.stop()
    with pytest.raises(StorageError, match="is not open"):
        await database.write(insert("a"))
    await database.start()
    await database.write(insert("b"))
    assert await database.read(names) == ["b"]
    await database.stop()


@on_linux
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_stop_closes_after_the_last_write_though_asyncio_cancels_it(
    path: Path, gate: Gate
) -> None:
    database = Database(path, [TABLE])
    await database.start()
    await database.read(names)

    async with anyio.create_task_group() as group:
        group.start_soon(database.write, gate)
        await gate.is_entered()
        group.start_soon(database.write, insert("a"))
        await anyio.wait_all_tasks_blocked()
        stops = asyncio.create_task(database.stop())
        await anyio.wait_all_tasks_blocked()
        for _ in range(3):
            stops.cancel()
            await anyio.lowlevel.checkpoint()
        assert descriptors(path) > 0
        gate.let_go.set()
        with pytest.raises(asyncio.CancelledError):
            await stops
        assert descriptors(path) == 0

    with closing(sqlite3.connect(path)) as other:
        assert names(other) == ["gate", "a"]


@on_linux
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("steps", range(20))
async def test_stop_closes_wherever_asyncio_cancels_it(path: Path, steps: int) -> None:
    database = Database(path, [TABLE])
    await database.start()
    await database.read(names)

    stops = asyncio.create_task(database.stop())
    for _ in range(steps):
        await anyio.lowlevel.checkpoint()
    stops.cancel()
    (ended,) = await asyncio.gather(stops, return_exceptions=True)

    assert ended is None or isinstance(ended, asyncio.CancelledError)
    if steps == 0:  # it did not begin
        assert descriptors(path) > 0
        await database.stop()
    assert descriptors(path) == 0


async def test_a_database_that_is_not_open_says_so(path: Path) -> None:
    database = Database(path, [TABLE])

    with pytest.raises(StorageError, match="is not open"):
        await database.write(insert("a"))
    with pytest.raises(StorageError, match="is not open"):
        await database.read(names)
    await database.stop()


async def test_a_reader_cannot_write(database: Database) -> None:
    with pytest.raises(StorageError, match="may not be written to"):
        await database.read(insert("a"))

    assert await database.read(names) == []


async def test_more_reads_than_readers_wait_their_turn(database: Database) -> None:
    await database.write(insert("a"))
    found: list[list[str]] = []

    async def read() -> None:
        found.append(await database.read(names))

    async with anyio.create_task_group() as group:
        for _ in range(40):
            group.start_soon(read)

    assert found == [["a"]] * 40


async def test_the_rest_of_the_migrations_is_applied(path: Path) -> None:
    more = "create table b(x); -- a ; in a comment\ninsert into b values ('a;b');"
    for migrations in ([TABLE], [TABLE, more], [TABLE, more]):
        database = Database(path, migrations)
        await database.start()
        await database.stop()

    with closing(sqlite3.connect(path)) as other:
        assert other.execute("select x from b").fetchall() == [("a;b",)]
        assert other.execute("pragma user_version").fetchone() == (2,)


async def test_a_migration_that_fails_changes_nothing(path: Path) -> None:
    for migrations in ([TABLE], [TABLE]):
        database = Database(path, migrations)
        await database.start()
        await database.stop()

    with pytest.raises(StorageError, match="nonsense"):
        await Database(path, [TABLE, "create table b(x);", "nonsense;"]).start()

    with closing(sqlite3.connect(path)) as other:
        assert other.execute("pragma user_version").fetchone() == (1,)
        assert other.execute("select name from sqlite_master").fetchall() == [("item",)]


async def test_a_file_of_a_newer_release_is_refused(path: Path) -> None:
    newer = Database(path, [TABLE, "create table b(x);"])
    await newer.start()
    await newer.stop()

    with pytest.raises(StorageError, match="of version 2, and this release knows versions up to 1"):
        await Database(path, [TABLE]).start()


async def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    diary = "my diary, page 1: " * 100
    await anyio.Path(path.parent).mkdir()
    await anyio.Path(path).write_text(diary)

    with pytest.raises(StorageError, match="it is no SQLite database"):
        await Database(path, [TABLE]).start()

    assert await anyio.Path(path).read_text() == diary


async def test_a_place_where_no_file_can_be_is_refused(tmp_path: Path) -> None:
    tmp_path.joinpath("file").write_text("")

    with pytest.raises(StorageError, match=r"file.*cannot be opened"):
        await Database(tmp_path / "file" / "items.db", [TABLE]).start()
    with pytest.raises(StorageError, match="cannot be opened"):
        await Database(tmp_path, [TABLE]).start()


async def test_others_on_the_machine_cannot_read_the_file(database: Database, path: Path) -> None:
    await database.write(insert("a"))

    modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert set(modes.values()) == {0o600}


async def test_a_full_disk_is_told_and_writes_nothing(database: Database) -> None:
    await database.write(insert("a"))
    (pages,) = database._writer.execute("pragma page_count").fetchone()
    database._writer.execute(f"pragma max_page_count = {pages}")

    with pytest.raises(StorageError, match="the disk is full") as caught:
        await database.write(insert("x" * 1_000_000))

    assert caught.value.retryable
    await database.write(insert("b"))
    assert await database.read(names) == ["a", "b"]


async def test_another_process_that_keeps_the_lock_is_told(database: Database, path: Path) -> None:
    database._writer.execute("pragma busy_timeout = 10")

    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("begin immediate")
        with pytest.raises(StorageError, match="another process kept it locked"):
            await database.write(insert("a"))
        assert await database.read(names) == []

    await database.write(insert("b"))
    assert await database.read(names) == ["b"]


async def test_a_damaged_file_is_told(path: Path) -> None:
    database = Database(path, [TABLE])
    await database.start()
    await database.write(insert("x" * 10_000))
    await database.stop()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 8192)
    await database.start()

    with pytest.raises(StorageError, match="it is damaged"):
        await database.read(names)

    await database.stop()


# --- what was deleted ---------------------------------------------------------------------------


def held(path: Path) -> bytes:
    """Return what the file and its log hold."""
    return path.read_bytes() + path.with_name(f"{path.name}-wal").read_bytes()


async def test_what_was_deleted_is_in_no_file_once_the_log_is_emptied(
    database: Database, path: Path
) -> None:
    def delete(connection: sqlite3.Connection) -> None:
        connection.execute("pragma secure_delete = 1")
        connection.execute("delete from item")

    await database.write(insert("a secret"))
    await database.write(delete)
    assert b"a secret" in held(path)

    assert await database.empty_log()

    assert b"a secret" not in held(path)
    assert await database.write(insert("another")) == "another"


async def test_a_log_is_not_emptied_while_another_process_reads_it(
    database: Database, path: Path
) -> None:
    """It is waited for, and then told."""
    await database.write(insert("one"))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("begin")
        assert names(other) == ["one"]
        assert not await database.empty_log()
        other.execute("commit")
    assert await database.empty_log()
