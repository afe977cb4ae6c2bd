"""Which of the processes that share a file are alive, told by locks that die with them.

Each has a file of its own beside the shared one, and holds its lock.  The operating system takes
the lock away when the process ends, however it ends.  On Windows nobody but oneself is taken for
alive.
"""

import os
import sys
import threading
from pathlib import Path
from typing import Final
from uuid import uuid4

from attrs import define

if sys.platform != "win32":
    import fcntl

_JUST_MADE: Final = ".new"
"""How a file is called until its lock is held."""


@define(slots=True)
class _Lock:
    name: str
    file: int
    users: int = 1


_mutex = threading.Lock()
_held: dict[tuple[int, Path], _Lock] = {}
"""The locks by process, for a fork shares the memory, and by directory."""


class Presence:
    """The presence of this process at a shared file.

    Args:
        path: the shared file; the locks are in a directory beside it.
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        self._directory = path.with_name(f"{path.name}-users").absolute()
        self._key: tuple[int, Path] | None = None
        self.name = ""
        """Which process this is, for the others; empty before ``enter``."""

    def enter(self) -> None:
        """Be alive for the others, until ``leave`` or the end of the process.

        Raises:
            OSError: the lock could not be made.
        """
        if self._key is not None or sys.platform == "win32":
            return
        key = (os.getpid(), self._directory)
        with _mutex:
            if key in _held:
                _held[key].users += 1
            else:
                _held[key] = _take(self._directory)
            self._key, self.name = key, _held[key].name

    def leave(self) -> None:
        """Be gone, unless somebody else in the process is there still."""
        key, self._key = self._key, None
        with _mutex:
            if key is None or key[0] != os.getpid():
                return
            lock = _held[key]
            lock.users -= 1
            if not lock.users:
                del _held[key]
                (self._directory / lock.name).unlink(missing_ok=True)
                os.close(lock.file)

    def has(self, name: str) -> bool:
        """Return whether another process is there under that name."""
        return name not in {"", self.name} and _is_held(self._directory / name)


def _take(directory: Path) -> _Lock:
    """Return a lock of a new name; what the dead have left behind is removed."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in directory.iterdir():
        if left.suffix != _JUST_MADE and not _is_held(left):
            left.unlink(missing_ok=True)
    name = uuid4().hex
    new = directory / f"{name}{_JUST_MADE}"
    file = os.open(new, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    if sys.platform != "win32":
        fcntl.flock(file, fcntl.LOCK_EX)
    new.rename(directory / name)
    return _Lock(name, file)


def _is_held(path: Path) -> bool:
    if sys.platform == "win32":
        return False
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(file)
    return False
