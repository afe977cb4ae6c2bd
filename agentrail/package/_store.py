"""Packages by the digest of their files, on the disk and not to be written to."""

import errno
import os
import re
import shutil
import sys
import tempfile
from collections.abc import AsyncIterable, Callable
from contextlib import AsyncExitStack, ExitStack, suppress
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Final, TypeVar
from uuid import uuid4

import anyio
from anyio import to_thread
from attrs import frozen

from agentrail.config import shown
from agentrail.errors import (
    Fault,
    PackageNotFound,
    PackageRefused,
    StorageError,
    TooManyRequests,
)
from agentrail.package._files import LIMITS, PackageFiles, sealed_files
from agentrail.package._limits import ArchiveLimits, refused

if sys.platform != "win32":
    import fcntl

T = TypeVar("T")

_DIGEST: Final = re.compile(r"sha256:([0-9a-f]{64})")
_KEPT: Final = re.compile(r"sha256-([0-9a-f]{64})")

_NEW: Final = ".new-"
_OLD: Final = ".old-"
"""What is being written and what is being removed; neither is ever looked into.

Who writes holds a lock on it, which dies with the process: what nobody holds is left by the dead.
"""

_UPLOADS: Final = 4
"""How many uploads of the largest size may wait at once."""


@frozen(slots=True)
class Received:
    """An upload that is whole, and that nobody has looked into yet.

    Attributes:
        path: where it is, until ``PackageStore.discard``.
        size: in bytes.
        sha256: of the upload itself, in hex.
    """

    path: Path
    size: int
    sha256: str


class PackageStore:
    """The packages of a host; several processes may share the directory.

    Args:
        directory: is made by ``start``; nothing outside it is ever written.
        limits: on the size of a package.
    """

    def __init__(self, directory: Path, limits: ArchiveLimits = LIMITS) -> None:
        self._directory = directory
        self._limits = limits
        self._waiting = dict[Path, int]()
        """How many bytes each upload has that is not discarded yet."""
        self._locks = dict[Path, int]()
        """What holds the lock of each."""

    async def start(self) -> None:
        """Make the directory, and remove what processes that died were writing.

        Raises:
            StorageError: it cannot be made or written to.
        """
        await _in_thread("opened", self._start)

    async def receive(self, chunks: AsyncIterable[bytes]) -> Received:
        """Keep an upload aside, hashed while it comes; on the disk, whole, when this returns.

        Whatever goes wrong, cancellation too, leaves nothing of it.  ``discard`` what is returned.

        Raises:
            PackageRefused: it is larger than an archive may be.
            TooManyRequests: other uploads take the room that there is.
            StorageError: the disk is full, or cannot be written to.
        """
        file, path, lock = await _in_thread("written", self._new_file)
        self._waiting[path], self._locks[path] = 0, lock
        whole = sha256()
        async with AsyncExitStack() as undo:
            undo.push_async_callback(self._drop, path)
            undo.callback(file.close)
            async for chunk in chunks:
                self._take(path, len(chunk))
                whole.update(chunk)
                await _in_thread("written", partial(file.write, chunk))
            await _in_thread("written", partial(_flush, file))
            undo.pop_all()
        file.close()
        return Received(path, self._waiting[path], whole.hexdigest())

    async def discard(self, received: Received) -> None:
        """Remove an upload, whether or not a package was made of it.

        Raises:
            StorageError: the directory cannot be written to.
        """
        await self._drop(received.path)

    async def install(self, files: PackageFiles) -> Path:
        """Return the directory that holds the files, and holds them whole, for reading alone.

        It is the same for the same files; what is there already is looked at, and made anew where
        it was changed.

        Raises:
            PackageRefused: a file was changed since it was listed.
            StorageError: the disk is full, or cannot be written to.
        """
        return await _in_thread("written", partial(self._install, files))

    async def verify(self, digest: str) -> PackageFiles:
        """Return the files of a package that is kept, each read and found to be what it was.

        Raises:
            PackageNotFound: it is not there.
            PackageRefused: something of it was changed, or may be changed.
        """
        return await _in_thread("read", partial(self._verify, digest))

    async def remove(self, digest: str) -> None:
        """Remove a package, at once for whoever looks; it need not be there.

        Raises:
            StorageError: the directory cannot be written to.
        """
        await _in_thread("removed", partial(self._remove, self.path(digest)))

    async def installed(self) -> list[str]:
        """Return the digests of the packages that are there, whole or damaged, in order.

        Raises:
            StorageError: the directory cannot be read.
        """
        return await _in_thread("read", self._installed)

    def path(self, digest: str) -> Path:
        """Return where the package of a digest is, if it is there.

        Raises:
            PackageNotFound: it is not the digest of a package.
        """
        match = _DIGEST.fullmatch(digest)
        if match is None:
            raise PackageNotFound(f"{shown(digest)} is not the digest of a package")
        return self._directory / f"sha256-{match[1]}"

    def _take(self, path: Path, more: int) -> None:
        """Count what an upload has in it."""
        largest = self._limits.archive
        if self._waiting[path] + more > largest:
            message = f"it has more than the {largest} bytes that are taken"
            raise refused(Fault("archive_size", message))
        if sum(self._waiting.values()) + more > _UPLOADS * largest:
            raise TooManyRequests("other uploads take all the room that there is: try again later")
        self._waiting[path] += more

    async def _drop(self, path: Path) -> None:
        with anyio.CancelScope(shield=True):
            await _in_thread("removed", partial(path.unlink, missing_ok=True))
        if self._waiting.pop(path, None) is not None:
            os.close(self._locks.pop(path))

    # What follows runs in threads.

    def _start(self) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in self._directory.iterdir():
            with suppress(FileNotFoundError):  # another process may be at it
                if path.name.startswith(_OLD):
                    _remove_tree(path)
                elif path.name.startswith(_NEW):
                    _remove_left(path)

    def _new_file(self) -> tuple[BinaryIO, Path, int]:
        def make() -> Path:
            descriptor, path = tempfile.mkstemp(prefix=_NEW, dir=self._directory)
            os.close(descriptor)
            return Path(path)

        path, lock = _locked(make)
        try:
            return path.open("wb"), path, lock
        except OSError:
            os.close(lock)
            path.unlink()
            raise

    def _install(self, files: PackageFiles) -> Path:
        final = self.path(files.digest)
        if os.path.lexists(final):
            with suppress(PackageRefused):
                if sealed_files(final, self._limits) == files:
                    return final
            self._remove(final)
        staging, lock = _locked(lambda: Path(tempfile.mkdtemp(prefix=_NEW, dir=self._directory)))
        with ExitStack() as undo:
            undo.callback(os.close, lock)
            undo.callback(_remove_tree, staging)
            _write(staging, files)
            try:
                staging.rename(final)
            except OSError as error:  # somebody else may have installed the same
                if error.errno not in {errno.EEXIST, errno.ENOTEMPTY}:
                    raise
                self._verify(files.digest)
            _sync(self._directory)
        return final

    def _verify(self, digest: str) -> PackageFiles:
        path = self.path(digest)
        if not os.path.lexists(path):
            raise PackageNotFound(f"no package {digest} is kept")
        files = sealed_files(path, self._limits)
        if files.digest != digest:
            message = f"its files are not those of {digest}: install it again"
            raise refused(Fault("identity_mismatch", message))
        return files

    def _remove(self, path: Path) -> None:
        aside = self._directory / f"{_OLD}{uuid4().hex}"
        with suppress(FileNotFoundError):
            path.rename(aside)
            _remove_tree(aside)

    def _installed(self) -> list[str]:
        found = (_KEPT.fullmatch(path.name) for path in self._directory.iterdir())
        return sorted(f"sha256:{match[1]}" for match in found if match)


async def _in_thread(what: str, job: Callable[[], T]) -> T:
    try:
        return await to_thread.run_sync(job)
    except OSError as error:
        message = f"a package could not be {what}: {error.strerror or error}"
        raise StorageError(message) from error


def _locked(make: Callable[[], Path]) -> tuple[Path, int]:
    """Return what ``make`` has made, and what holds its lock until it is closed."""
    while True:
        path = make()
        with suppress(FileNotFoundError):  # it was taken for left before it was locked
            return path, _lock(path)


def _lock(path: Path) -> int:
    lock = os.open(path, os.O_RDONLY)
    try:
        if sys.platform != "win32":
            fcntl.flock(lock, fcntl.LOCK_EX)
        path.lstat()
    except OSError:
        os.close(lock)
        raise
    return lock


def _remove_left(path: Path) -> None:
    """Remove what was being written, unless somebody is at it; what cannot be told may well be."""
    if sys.platform == "win32":  # there is no lock, and nobody but oneself
        _remove_tree(path)
        return
    try:
        lock = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return
    try:
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove_tree(path)  # still locked, so that ``_lock`` sees it gone
    finally:
        os.close(lock)


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _write(root: Path, files: PackageFiles) -> None:
    """Write the files below a directory that is new and private, and take away who may write."""
    for path in files:
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            file.write(files.read(path))
            _flush(file)
        target.chmod(0o444)
    for directory, _, _ in os.walk(root, topdown=False):
        Path(directory).chmod(0o555)
        _sync(Path(directory))


def _sync(directory: Path) -> None:
    """Have the names in a directory on the disk."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_tree(path: Path) -> None:
    """Remove whatever is there, and nothing that a symbolic link points to."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    for directory, _, _ in os.walk(path):
        Path(directory).chmod(0o700)
    shutil.rmtree(path)
