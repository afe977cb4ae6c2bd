"""Which of the users of a shared file are alive, told by locks that die with them.

Each has a file of its own beside the shared one, and holds its lock.  The operating system takes
the lock away when the process ends, however it ends.  On Windows nobody but oneself is taken for
alive.
"""

import os
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Final
from uuid import uuid4
from weakref import WeakSet

if sys.platform != "win32":
    import fcntl


class Presence:
    """One user of a shared file; a process may have several.

    A fork takes no presence with it: in the child nobody has entered.

    Args:
        path: the shared file; the locks are in a directory beside it, or beside the file that it
            is a symbolic link to.
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(os.path.realpath(path))
        self._directory = path.with_name(f"{path.name}-users")
        self._name = ""
        self._lock: FileIO | None = None

    @property
    def name(self) -> str:
        """Who this is, for the others; empty unless it is there."""
        return "" if self._lock is None or self._lock.closed else self._name

    def enter(self) -> None:
        """Be alive for the others, until ``leave`` or the end of the process.

        Raises:
            OSError: the lock could not be made.
        """
        if sys.platform == "win32":
            return
        with _mutex:
            if not self.name:
                self._name, self._lock = _take(self._directory)

    def leave(self) -> None:
        """Be gone."""
        with _mutex:
            if self._lock is not None and self.name:
                with self._lock, suppress(OSError):  # what is left, the next to enter removes
                    (self._directory / self.name).unlink()

    def tell(self, note: bytes) -> None:
        """Let the others read a note, once, for as long as this is there."""
        with _mutex:
            if self._lock is not None and self.name:
                self._lock.write(note)

    def others(self) -> Mapping[str, bytes]:
        """Return the other users that are there, each with its note, empty where it has none."""
        try:
            names = sorted(path.name for path in self._directory.iterdir())
        except FileNotFoundError:
            return {}
        return {name: _note(self._directory / name) for name in names if self.has(name)}

    def has(self, name: str) -> bool:
        """Return whether another user is there under that name; True when it cannot be told."""
        return name not in {"", self.name} and _is_held(self._directory / name)


_mutex = threading.RLock()
"""Held while locks are made, and over a fork, so that a child finds none half made."""
_locks: Final[WeakSet[FileIO]] = WeakSet()
"""The locks of this process."""


def _take(directory: Path) -> tuple[str, FileIO]:
    """Return a new name and its lock; what the dead have left behind is removed."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in directory.iterdir():
        _is_held(left, remove=True)
    while True:
        name = uuid4().hex
        lock = FileIO(directory / name, "x", opener=partial(os.open, mode=0o600))
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.fstat(lock.fileno()).st_nlink:  # it was not removed before it was locked
            _locks.add(lock)
            return name, lock
        lock.close()


def _note(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it is gone by now, or not for everybody to read
        return b""


def _is_held(path: Path, *, remove: bool = False) -> bool:
    """Tell whether the lock is held; what cannot be looked at may well be."""
    if sys.platform == "win32":
        return False
    try:
        with FileIO(path) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            if remove:
                path.unlink(missing_ok=True)  # still locked, so that ``_take`` sees it gone
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _forked() -> None:
    """Close a child's copies of its parent's locks; to unlock them would unlock the parent's."""
    for lock in _locks:
        lock.close()
    _locks.clear()
    _mutex.release()


if sys.platform != "win32":
    os.register_at_fork(
        before=_mutex.acquire, after_in_parent=_mutex.release, after_in_child=_forked
    )
