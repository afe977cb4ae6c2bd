"""Files by the hash of their content: each once a tenant, gone with the last who refers to them."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import anyio
import pytest

from agentrail.clock import SystemClock
from agentrail.errors import PayloadTooLarge, StorageError
from agentrail.messages import AttachedFile
from agentrail.storage import Blobs

pytestmark = pytest.mark.anyio

MIB = 1 << 20


def file(data: bytes, name: str = "a.txt") -> tuple[AttachedFile, bytes]:
    """Return a file with its description."""
    return AttachedFile(sha256(data).hexdigest(), name, "text/plain", len(data)), data


def kept(directory: Path) -> list[bytes]:
    """Return the contents of all files that are kept."""
    return [path.read_bytes() for path in sorted(directory.glob("*/??/*"))]


def names(directory: Path) -> list[str]:
    """Return the names of all files below a directory."""
    return [name for _, _, names in os.walk(directory) for name in names]


async def test_what_is_kept_is_found_by_its_hash_after_a_restart(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path, SystemClock())
    one = file(b"hello")

    await blobs.keep("t", "u", "s", [one], MIB)
    assert await blobs.find("t", "u", "s", one[0].sha256) == one
    await blobs.stop()

    again = Blobs(tmp_path, SystemClock())
    assert await again.find("t", "u", "s", one[0].sha256) == one
    await again.stop()


async def test_nothing_is_made_before_a_file_comes(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "attachments", SystemClock())

    assert await blobs.find("t", "u", "s", "00") is None
    await blobs.forget("t", "u", "s")
    await blobs.check_room("t", [file(b"x")[0]], MIB)
    await blobs.stop()

    assert names(tmp_path) == []


async def test_a_content_is_kept_once_a_tenant(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path, SystemClock())

    for tenant, session in (("a", "1"), ("a", "2"), ("b", "3")):
        await blobs.keep(tenant, "u", session, [file(b"same"), file(b"same", "other name")], MIB)
    await blobs.stop()

    assert kept(tmp_path) == [b"same", b"same"]


async def test_a_session_finds_only_what_it_refers_to(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path, SystemClock())
    one = file(b"secret")
    await blobs.keep("t", "u", "mine", [one], MIB)

    assert await blobs.find("t", "u", "other", one[0].sha256) is None
    assert await blobs.find("t", "u", "mine", "../index.db") is None
    assert await blobs.find("t", "u", "mine", "") is None
    await blobs.stop()


@pytest.mark.parametrize("other", [("t", "thief"), ("thief", "u")])
async def test_a_session_of_the_same_id_is_another_one_where_its_owner_is(
    tmp_path: Path, other: tuple[str, str]
) -> None:
    blobs = Blobs(tmp_path, SystemClock())
    one = file(b"secret")
    await blobs.keep("t", "u", "s", [one], MIB)

    assert await blobs.find(*other, "s", one[0].sha256) is None
    assert await blobs.list(*other, "s") == []
    await blobs.keep(*other, "s", [one], MIB)
    await blobs.forget(*other, "s")
    assert await blobs.find("t", "u", "s", one[0].sha256) == one
    await blobs.stop()


async def test_a_session_that_is_forgotten_while_its_file_is_written_leaves_none(
    tmp_path: Path,
) -> None:
    blobs, other = Blobs(tmp_path, SystemClock()), Blobs(tmp_path, SystemClock())
    await blobs.keep("t", "u", "s", [file(b"first")], MIB)
    data = sha256(b"a").digest() * MIB  # takes a while to be written

    ended = anyio.Event()

    async def keep() -> None:
        await blobs.keep("t", "u", "s", [file(data)], len(data) + MIB)
        ended.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(keep)
        while not ended.is_set() and not any((tmp_path / "unfinished").iterdir()):
            await anyio.lowlevel.checkpoint()
        assert not ended.is_set()
        await other.forget("t", "u", "s")

    assert await other.list("t", "u", "s") == []
    assert kept(tmp_path) == []
    await blobs.stop()
    await other.stop()


async def test_a_cancelled_call_refers_to_a_file_that_is_there_or_to_none(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path, SystemClock())
    await blobs.keep("t", "u", "s", [file(b"first")], MIB)
    for number in range(20):
        data = b"%d" % number
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(blobs.keep, "t", "u", "s", [file(data)], MIB)
            for _ in range(number):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()

    assert len(kept(tmp_path)) == references(tmp_path)
    await blobs.stop()


async def test_a_file_goes_with_the_last_session_of_its_tenant(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path, SystemClock())
    shared, own = file(b"shared"), file(b"own")
    await blobs.keep("t", "u", "1", [shared, own], MIB)
    await blobs.keep("t", "u", "2", [shared], MIB)

    await blobs.forget("t", "u", "1")
    assert kept(tmp_path) == [b"shared"]
    assert await blobs.find("t", "u", "2", shared[0].sha256) == shared
    await blobs.forget("t", "u", "2")
    await blobs.stop()

    assert kept(tmp_path) == []


async def test_a_tenant_has_only_so_much_room_and_each_content_takes_it_once(
    tmp_path: Path,
) -> None:
    blobs = Blobs(tmp_path, SystemClock())
    six, five = file(b"x" * 6), file(b"y" * 5)

    with pytest.raises(PayloadTooLarge):
        await blobs.check_room("t", [six[0]], 5)
    await blobs.keep("t", "u", "1", [six], 10)
    await blobs.check_room("t", [six[0]], 1)  # it is there already
    await blobs.keep("t", "u", "2", [six], 1)
    for check in (blobs.check_room("t", [five[0]], 10), blobs.keep("t", "u", "2", [five], 10)):
        with pytest.raises(PayloadTooLarge, match="6 bytes are kept for the tenant already"):
            await check
    await blobs.keep("other", "u", "3", [five], 10)
    await blobs.forget("t", "u", "1")
    await blobs.forget("t", "u", "2")
    await blobs.keep("t", "u", "4", [five], 10)
    await blobs.stop()

    assert kept(tmp_path) == [b"y" * 5, b"y" * 5]


async def test_many_who_keep_and_forget_the_same_leave_what_is_referred_to(
    tmp_path: Path,
) -> None:
    """Two stores on one directory, as two processes have."""
    stores = [Blobs(tmp_path, SystemClock()) for _ in range(2)]
    same = file(b"same")

    async def live(blobs: Blobs, session: str) -> None:
        for _ in range(10):
            await blobs.keep("t", "u", session, [same], MIB)
            assert await blobs.find("t", "u", session, same[0].sha256) == same
            await blobs.forget("t", "u", session)
        await blobs.keep("t", "u", session, [same], MIB)

    async with anyio.create_task_group() as tasks:
        for number in range(6):
            tasks.start_soon(live, stores[number % 2], str(number))
    for number in range(6):
        assert await stores[0].find("t", "u", str(number), same[0].sha256) == same
    for number in range(6):
        await stores[1].forget("t", "u", str(number))
    for blobs in stores:
        await blobs.stop()

    assert kept(tmp_path) == []


async def test_without_a_directory_nothing_is_left(tmp_path: Path) -> None:
    blobs = Blobs(None, SystemClock())
    one = file(b"hello")

    await blobs.keep("t", "u", "s", [one], MIB)
    assert await blobs.find("t", "u", "s", one[0].sha256) == one
    directory = blobs._directory
    assert directory is not None
    assert kept(directory) == [b"hello"]
    await blobs.stop()

    assert not directory.exists()


async def test_a_disk_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path, SystemClock())
    await blobs.keep("t", "u", "s", [file(b"x")], MIB)
    (tmp_path / "unfinished").rmdir()

    with pytest.raises(StorageError, match="could not be written"):
        await blobs.keep("t", "u", "s", [file(b"y")], MIB)
    await blobs.stop()


async def test_what_could_not_be_written_is_not_referred_to_and_takes_no_room(
    tmp_path: Path,
) -> None:
    blobs = Blobs(tmp_path, SystemClock())
    first, second, third = (file(data * 4) for data in (b"1", b"2", b"3"))
    await blobs.keep("t", "u", "s", [first], 10)
    (tmp_path / "unfinished").rmdir()

    for refused in (second, third):
        with pytest.raises(StorageError, match="could not be written"):
            await blobs.keep("t", "u", "s", [first, refused], 10)
    (tmp_path / "unfinished").mkdir()
    assert await blobs.list("t", "u", "s") == [first[0]]
    assert references(tmp_path) == 1
    await blobs.keep("t", "u", "s", [third], 10)
    await blobs.stop()

    assert set(kept(tmp_path)) == {first[1], third[1]}


def references(directory: Path) -> int:
    """Return how many references there are."""
    with closing(sqlite3.connect(directory / "index.db")) as index:
        (count,) = index.execute("select count(*) from reference").fetchone()
    return int(count)


def lose(directory: Path) -> None:
    """Remove all files that are kept."""
    for path in directory.glob("*/??/*"):
        path.unlink()


async def test_a_reference_that_a_crash_left_without_its_file_takes_no_room(
    tmp_path: Path,
) -> None:
    blobs = Blobs(tmp_path, SystemClock())
    lost, more = file(b"lost"), file(b"more")
    await blobs.keep("t", "u", "s", [lost], 4)
    lose(tmp_path)

    assert await blobs.list("t", "u", "s") == []
    await blobs.check_room("t", [more[0]], 4)
    await blobs.keep("t", "u", "s", [more], 4)
    with pytest.raises(PayloadTooLarge):
        await blobs.check_room("t", [lost[0]], 4)
    await blobs.stop()

    assert kept(tmp_path) == [b"more"]


async def test_files_are_their_owners_alone(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "attachments", SystemClock())
    await blobs.keep("t", "u", "s", [file(b"x")], MIB)
    await blobs.stop()

    assert modes(tmp_path / "attachments") == {0o600}


def modes(directory: Path) -> set[int]:
    """Return what may be done with the files, and by whom."""
    return {path.stat().st_mode & 0o777 for path in directory.glob("*/??/*")}


KEEPER = """
import sys, anyio
from hashlib import sha256
from pathlib import Path
from agentrail.clock import SystemClock
from agentrail.messages import AttachedFile
from agentrail.storage import Blobs

async def main():
    blobs = Blobs(Path(sys.argv[1]), SystemClock())
    for number in range(10_000):
        data = b"%d" % number * 100_000
        entry = AttachedFile(sha256(data).hexdigest(), "a", "text/plain", len(data))
        await blobs.keep("t", "u", "s", [(entry, data)], 1 << 40)
        print(number, flush=True)

anyio.run(main)
"""


@pytest.mark.parametrize("after", [1, 4, 9])
async def test_a_process_that_is_killed_leaves_whole_files_and_none_that_stay(
    tmp_path: Path, after: int
) -> None:
    keep_and_die(tmp_path, after)
    survived = kept(tmp_path)
    blobs = Blobs(tmp_path, _Later())

    assert len(survived) >= after
    for data in survived:
        assert await blobs.find("t", "u", "s", sha256(data).hexdigest()) is not None
    await blobs.forget("t", "u", "s")
    await blobs.stop()

    assert names(tmp_path) == ["index.db"]


def keep_and_die(directory: Path, after: int) -> None:
    """Let a process keep files, and kill it while it does."""
    with subprocess.Popen(
        [sys.executable, "-c", KEEPER, directory], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for _ in range(after):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)


class _Later(SystemClock):
    """A clock of two hours later."""

    def now(self) -> float:
        return SystemClock.now() + 7200
