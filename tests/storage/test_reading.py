"""A database that is only read: what it sees, and that it leaves everything as it is."""

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import pytest

from agentrail.errors import StorageError
from agentrail.storage import Database, ReadOnlyDatabase

pytestmark = pytest.mark.anyio

TABLE = "create table item(name text not null);"

WRITE_AND_DIE: Final = """
import os, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("pragma journal_mode = wal")
database.execute("create table item(name text not null)")
database.execute("pragma user_version = 1")
database.execute("insert into item values ('kept')")
os._exit(0)
"""


def names(connection: sqlite3.Connection) -> list[str]:
    return [name for (name,) in connection.execute("select name from item")]


def insert(name: str) -> Callable[[sqlite3.Connection], object]:
    return lambda connection: connection.execute("insert into item values (?)", (name,))


def files(path: Path) -> dict[str, bytes]:
    """Return what is beside a database and in it, but for the index, which readers share."""
    return {
        each.name: b"" if each.name.endswith("-shm") else each.read_bytes()
        for each in path.parent.iterdir()
    }


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """A database whose writer died; what it wrote is in the log."""
    path = tmp_path / "items #1?.db"
    subprocess.run([sys.executable, "-c", WRITE_AND_DIE, path], check=True)
    assert {*files(path)} == {path.name, f"{path.name}-wal", f"{path.name}-shm"}
    return path


async def read(path: Path) -> list[str]:
    database = ReadOnlyDatabase(path, [TABLE])
    await database.start()
    try:
        return await database.read(names)
    finally:
        await database.stop()


async def test_it_reads_what_a_host_that_stopped_has_left(tmp_path: Path) -> None:
    path = tmp_path / "items.db"
    database = Database(path, [TABLE])
    await database.start()
    await database.write(insert("kept"))
    await database.stop()
    before = files(path)

    assert await read(path) == ["kept"]
    assert files(path) == before
    assert {*before} == {"items.db"}


async def test_it_reads_what_a_writer_that_died_has_left_in_the_log(left: Path) -> None:
    before = files(left)

    assert await read(left) == ["kept"]
    assert files(left) == before


async def test_it_reads_a_copy_without_its_index(left: Path) -> None:
    left.with_name(f"{left.name}-shm").unlink()
    before = files(left)

    assert await read(left) == ["kept"]
    assert files(left) == before


async def test_it_reads_beside_a_writer_what_is_committed_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "items.db"
    writer, reader = Database(path, [TABLE]), ReadOnlyDatabase(path, [TABLE])
    async with AsyncExitStack() as stack:
        await writer.start()
        stack.push_async_callback(writer.stop)
        before = {*files(path)}
        await reader.start()
        stack.push_async_callback(reader.stop)
        for name in ("one", "two"):
            await writer.write(insert(name))
            assert (await reader.read(names))[-1] == name
        assert {*files(path)} == before


async def test_it_takes_no_writes(left: Path) -> None:
    database = ReadOnlyDatabase(left, [TABLE])
    await database.start()
    with pytest.raises(StorageError, match="it may not be written to"):
        await database.write(insert("more"))
    with pytest.raises(StorageError):
        await database.read(insert("more"))
    await database.stop()


async def test_what_is_not_there_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "data" / "items.db"

    with pytest.raises(StorageError, match=r"there is no database '.*data/items\.db': name anoth"):
        await read(path)
    assert files(tmp_path / "data") == {}


async def test_a_place_that_cannot_be_looked_into_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")

    with pytest.raises(StorageError, match=r"data/items\.db' cannot be opened: Not a directory"):
        await read(tmp_path / "data" / "items.db")


@pytest.mark.parametrize("migrations", [[], [TABLE, TABLE]])
async def test_a_file_of_another_version_is_refused_and_left_as_it_is(
    left: Path, migrations: list[str]
) -> None:
    before = files(left)

    with pytest.raises(StorageError, match=f"version 1, .* reads version {len(migrations)}: "):
        await ReadOnlyDatabase(left, migrations).start()
    assert files(left) == before


async def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "items.db"
    path.write_text("a letter, and not a short one" * 100)

    with pytest.raises(StorageError, match="it is no SQLite database"):
        await read(path)
