"""A directory of data in which one process at a time changes the packages."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from agentrail.errors import StorageError

if sys.platform != "win32":
    import fcntl


@contextmanager
def alone_in(directory: Path) -> Generator[bool]:
    """Be the one that changes the packages in a directory; the lock dies with the process.

    Yields whether it is: False when another process is.  On Windows there is no lock, and nobody
    to tell two hosts apart.

    Raises:
        StorageError: the lock cannot be made.
    """
    path = directory / "packages.lock"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    except OSError as error:
        raise StorageError(f"{path} cannot be locked: {error.strerror or error}") from error
    with file:
        alone = True
        if sys.platform != "win32":
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                alone = False
        yield alone
