"""Packages on the disk: whole, not to be written to, and nothing beside them."""

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from anyio import create_task_group

from agentrail.errors import PackageNotFound, PackageRefused, StorageError, TooManyRequests
from agentrail.package import ArchiveLimits, PackageFiles, PackageStore, Received, files_of
from tests.package.trees import snapshot, write

pytestmark = pytest.mark.anyio

HELLO = {"plugin.toml": b'id = "hello"\n', "hello/__init__.py": b"x = 1\n", "hello/a/b.txt": b""}


async def opened(tmp_path: Path, limits: ArchiveLimits | None = None) -> PackageStore:
    store = PackageStore(tmp_path / "data" / "packages", limits or ArchiveLimits())
    await store.start()
    return store


def hello(tmp_path: Path) -> PackageFiles:
    return files_of(write(tmp_path / "hello", HELLO))


async def pieces(*data: bytes) -> AsyncIterator[bytes]:
    for piece in data:
        yield piece


async def test_an_upload_is_kept_aside_with_its_hash(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    before = snapshot(tmp_path)

    received = await store.receive(pieces(b"one", b"", b"two"))

    assert received.path.read_bytes() == b"onetwo"
    assert (received.size, received.sha256) == (6, sha256(b"onetwo").hexdigest())
    assert received.path.stat().st_mode & 0o777 == 0o600
    assert await store.installed() == []
    await store.discard(received)
    await store.discard(received)
    assert snapshot(tmp_path) == before


async def test_an_upload_that_is_too_large_is_broken_off(tmp_path: Path) -> None:
    store = await opened(tmp_path, ArchiveLimits(archive=10))
    before = snapshot(tmp_path)
    sent = list[int]()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            sent.append(4)
            yield b"1234"

    with pytest.raises(PackageRefused) as caught:
        await store.receive(endless())

    assert (caught.value.code, caught.value.status) == ("archive_size", 413)
    assert len(sent) == 3
    assert snapshot(tmp_path) == before


async def test_an_upload_whose_sender_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    before = snapshot(tmp_path)

    async def broken() -> AsyncIterator[bytes]:
        yield b"one"
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await store.receive(broken())

    assert snapshot(tmp_path) == before


async def test_a_cancelled_upload_leaves_nothing(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    before = snapshot(tmp_path)
    waiting = anyio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"one"
        waiting.set()
        await anyio.sleep_forever()

    async with create_task_group() as tasks:
        tasks.start_soon(store.receive, slow())
        await waiting.wait()
        assert snapshot(tmp_path) != before
        tasks.cancel_scope.cancel()

    assert snapshot(tmp_path) == before
    assert (await store.receive(pieces(b"x"))).size == 1


async def test_waiting_uploads_take_no_more_room_than_four(tmp_path: Path) -> None:
    store = await opened(tmp_path, ArchiveLimits(archive=10))
    waiting = [await store.receive(pieces(bytes(10))) for _ in range(4)]

    with pytest.raises(TooManyRequests) as caught:
        await store.receive(pieces(b"1"))

    assert caught.value.retryable
    await store.discard(waiting[0])
    assert (await store.receive(pieces(b"1"))).size == 1


async def test_a_package_is_kept_for_reading_alone(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    files = hello(tmp_path)

    path = await store.install(files)

    assert path == store.path(files.digest)
    assert path.name == files.digest.replace(":", "-")
    assert {name: mode & 0o777 for name, (mode, _) in snapshot(path).items()} == {
        "hello": 0o555,
        "hello/__init__.py": 0o444,
        "hello/a": 0o555,
        "hello/a/b.txt": 0o444,
        "plugin.toml": 0o444,
    }
    assert path.stat().st_mode & 0o777 == 0o555
    assert {name: (path / name).read_bytes() for name in files} == HELLO
    assert await store.verify(files.digest) == files
    assert await store.installed() == [files.digest]


async def test_installing_again_changes_nothing(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    files = hello(tmp_path)
    path = await store.install(files)
    before, inode = snapshot(tmp_path), path.stat().st_ino

    assert await store.install(files) == path

    assert (snapshot(tmp_path), path.stat().st_ino) == (before, inode)


async def test_many_may_install_the_same_at_once(tmp_path: Path) -> None:
    stores = [await opened(tmp_path) for _ in range(4)]
    files = hello(tmp_path)

    async with create_task_group() as tasks:
        for store in stores * 4:
            tasks.start_soon(store.install, files)

    assert await stores[0].verify(files.digest) == files
    assert [path.name for path in (tmp_path / "data" / "packages").iterdir()] == [
        files.digest.replace(":", "-")
    ]


def flip(path: Path) -> None:
    target = path / "hello" / "__init__.py"
    target.chmod(0o644)
    target.write_bytes(b"x = 2\n")
    target.chmod(0o444)


def add(path: Path) -> None:
    path.chmod(0o755)
    (path / "evil.py").write_bytes(b"")
    (path / "evil.py").chmod(0o444)
    path.chmod(0o555)


def add_hidden(path: Path) -> None:
    path.chmod(0o755)
    (path / ".evil").write_bytes(b"")
    (path / ".evil").chmod(0o444)
    path.chmod(0o555)


def add_bytecode(path: Path) -> None:
    path.chmod(0o755)
    write(path, {"__pycache__/x.cpython-311.pyc": b""})
    path.chmod(0o555)


def take(path: Path) -> None:
    path.chmod(0o755)
    (path / "plugin.toml").unlink()
    path.chmod(0o555)


def rename(path: Path) -> None:
    path.chmod(0o755)
    (path / "plugin.toml").rename(path / "plugin.json")
    path.chmod(0o555)


def link_file(path: Path) -> None:
    path.chmod(0o755)
    (path / "plugin.toml").rename(path.with_name("elsewhere"))
    (path / "plugin.toml").symlink_to(path.with_name("elsewhere"))
    path.chmod(0o555)


def link_directory(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def open_file(path: Path) -> None:
    (path / "plugin.toml").chmod(0o644)


def open_directory(path: Path) -> None:
    (path / "hello").chmod(0o755)


def be_a_file(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.write_bytes(b"")
    path.chmod(0o444)


HARM: list[tuple[Callable[[Path], None], str]] = [
    (flip, "identity_mismatch"),
    (add, "identity_mismatch"),
    (add_hidden, "archive_name"),
    (add_bytecode, "archive_mode"),
    (take, "identity_mismatch"),
    (rename, "identity_mismatch"),
    (link_file, "archive_type"),
    (link_directory, "archive_type"),
    (open_file, "archive_mode"),
    (open_directory, "archive_mode"),
    (be_a_file, "archive_invalid"),
]


@pytest.mark.parametrize(("harm", "code"), HARM)
async def test_a_package_that_was_changed_is_refused_and_can_be_installed_again(
    tmp_path: Path, harm: Callable[[Path], None], code: str
) -> None:
    store = await opened(tmp_path)
    files = hello(tmp_path)
    path = await store.install(files)
    harm(path)

    with pytest.raises(PackageRefused) as caught:
        await store.verify(files.digest)

    assert caught.value.code == code
    assert await store.install(files) == path
    assert await store.verify(files.digest) == files


async def test_what_a_link_points_to_is_not_removed(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    outside = write(tmp_path / "outside", HELLO)
    files = hello(tmp_path)
    path = await store.install(files)
    before = snapshot(outside)
    path.chmod(0o755)
    (path / "away").symlink_to(outside)

    await store.remove(files.digest)
    path.symlink_to(outside)
    await store.remove(files.digest)

    assert not path.is_symlink()
    assert snapshot(outside) == before


async def test_a_package_that_is_removed_is_gone(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    before = snapshot(tmp_path / "data")
    files = hello(tmp_path)
    await store.install(files)

    await store.remove(files.digest)
    await store.remove(files.digest)

    assert snapshot(tmp_path / "data") == before
    with pytest.raises(PackageNotFound):
        await store.verify(files.digest)


@pytest.mark.parametrize(
    "digest", ["", "sha256:..", "../x", "sha256:" + "A" * 64, "md5:" + "0" * 64]
)
async def test_what_is_no_digest_is_no_path(tmp_path: Path, digest: str) -> None:
    store = await opened(tmp_path)
    before = snapshot(tmp_path)

    for job in (store.verify, store.remove):
        with pytest.raises(PackageNotFound):
            await job(digest)

    assert snapshot(tmp_path) == before


async def test_a_source_that_changes_while_it_is_installed_leaves_nothing(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    files = hello(tmp_path)
    (tmp_path / "hello" / "plugin.toml").write_bytes(b"other")
    before = snapshot(tmp_path)

    with pytest.raises(PackageRefused):
        await store.install(files)

    assert snapshot(tmp_path) == before


async def test_the_start_removes_what_the_dead_have_left(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    directory = tmp_path / "data" / "packages"
    files = hello(tmp_path)
    await store.install(files)
    sealed = write(directory / ".old-1", HELLO)
    for left in (directory / ".new-upload", directory / ".new-package" / "x", sealed / "x"):
        write(left.parent, {left.name: b"x"})
    (sealed / "hello").chmod(0o555)
    sealed.chmod(0o555)

    await store.start()

    assert [path.name for path in directory.iterdir()] == [files.digest.replace(":", "-")]
    assert await store.verify(files.digest) == files


async def test_the_start_leaves_what_somebody_is_writing(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    begun, go_on = anyio.Event(), anyio.Event()
    received = list[Received]()

    async def slow() -> AsyncIterator[bytes]:
        yield b"one"
        begun.set()
        await go_on.wait()
        yield b"two"

    async def receive() -> None:
        received.append(await store.receive(slow()))

    async with create_task_group() as tasks:
        tasks.start_soon(receive)
        await begun.wait()
        await opened(tmp_path)
        go_on.set()
    await opened(tmp_path)  # it is whole, and looked into

    assert received[0].path.read_bytes() == b"onetwo"
    await store.discard(received[0])
    assert not unfinished(tmp_path / "data" / "packages")


async def test_a_start_beside_those_who_write_takes_nothing_from_them(tmp_path: Path) -> None:
    stores = [await opened(tmp_path) for _ in range(4)]
    sources = [files_of(write(tmp_path / str(n), {"a": bytes(n)})) for n in range(20)]
    sizes = list[int]()

    async def upload() -> None:
        received = await stores[1].receive(pieces(b"one", b"two"))
        sizes.append(len(received.path.read_bytes()))
        await stores[1].discard(received)

    async with create_task_group() as tasks:
        for files in sources:
            tasks.start_soon(stores[0].install, files)
            tasks.start_soon(upload)
            tasks.start_soon(stores[2].start)
            tasks.start_soon(stores[3].start)

    assert await stores[0].installed() == sorted(files.digest for files in sources)
    assert sizes == [6] * 20
    assert not unfinished(tmp_path / "data" / "packages")


async def test_a_directory_that_cannot_be_written_to_is_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"")
    store = PackageStore(tmp_path / "data" / "packages")

    with pytest.raises(StorageError):
        await store.start()
    with pytest.raises(StorageError):
        await store.receive(pieces(b"x"))
    with pytest.raises(StorageError):
        await store.install(hello(tmp_path))


KILLED = """
import sys, anyio
from pathlib import Path
from agentrail.package import PackageStore, files_of

async def main():
    store = PackageStore(Path(sys.argv[1]))
    await store.start()
    files = files_of(Path(sys.argv[2]))
    print(files.digest, flush=True)
    while True:
        await store.install(files)
        await store.remove(files.digest)

anyio.run(main)
"""


async def test_whenever_a_process_dies_a_package_is_there_whole_or_not_at_all(
    tmp_path: Path,
) -> None:
    root = write(tmp_path / "many", {f"d{n % 7}/f{n}.txt": bytes(n) for n in range(60)})
    directory = tmp_path / "packages"
    digest = files_of(root).digest
    for _ in range(5):
        command = [sys.executable, "-c", KILLED, str(directory), str(root)]
        async with await anyio.open_process(command, stderr=None) as process:
            assert process.stdout
            await process.stdout.receive()  # it has begun
            while not unfinished(directory):
                await anyio.lowlevel.checkpoint()
            process.kill()
        store = PackageStore(directory)
        assert await store.installed() in ([], [digest])
        with suppress(PackageNotFound):
            assert (await store.verify(digest)).digest == digest
        await store.start()
        assert not unfinished(directory)


CUT_OFF = """
import sys, anyio
from pathlib import Path
from agentrail.package import PackageStore

async def chunks():
    yield b"half of it"
    print("begun", flush=True)
    await anyio.sleep_forever()

async def main():
    store = PackageStore(Path(sys.argv[1]))
    await store.start()
    await store.receive(chunks())

anyio.run(main)
"""


async def test_an_upload_is_there_as_long_as_its_process_and_no_longer(tmp_path: Path) -> None:
    directory = tmp_path / "packages"
    command = [sys.executable, "-c", CUT_OFF, str(directory)]
    async with await anyio.open_process(command, stderr=None) as process:
        assert process.stdout
        await process.stdout.receive()  # it has begun
        await PackageStore(directory).start()
        left = unfinished(directory)
        process.kill()
    assert len(left) == 1

    await PackageStore(directory).start()

    assert not unfinished(directory)


def unfinished(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir() if path.name.startswith(".")]
