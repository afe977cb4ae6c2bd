"""A SQLite file that is looked at and left as it is."""

import sqlite3
import sys
from collections.abc import Generator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from threading import Lock

from agentrail.errors import StorageError
from agentrail.storage.sqlite import BUSY_SECONDS, Database


class ReadOnlyDatabase(Database):
    """A ``Database`` that only reads: nothing is made, changed or left behind.

    It reads beside a process that writes, and from a directory that may not be written to.
    ``start`` fails when the file is not there, or was not written by this release.
    """

    async def stop(self) -> None:
        """Close; reads that run end undisturbed."""
        if self._open:
            self._open = False
            self._close(Lock())

    def _open_file(self) -> sqlite3.Connection:
        path, known = self._path, len(self._migrations)
        with ExitStack() as stack:
            try:
                path.stat()
                connection = stack.enter_context(closing(self._connect("PRAGMA query_only = 1")))
                (version,) = connection.execute("PRAGMA user_version").fetchone()
            except FileNotFoundError as error:
                message = (
                    f"there is no database {str(path)!r}: name another data directory, "
                    "or begin a session, which makes it"
                )
                raise StorageError(message) from error
            except OSError as error:
                message = f"the database {str(path)!r} cannot be opened: {error.strerror}"
                raise StorageError(message) from error
            except sqlite3.Error as error:
                raise self._explained(error) from error
            if version != known:
                message = (
                    f"the database {str(path)!r} is of version {version}, and this release reads "
                    f"version {known}: start a host of this release on it, which brings an older "
                    "one up to date, or use the release that wrote it"
                )
                raise StorageError(message)
            stack.pop_all()
        return connection

    def _connect(self, pragma: str) -> sqlite3.Connection:
        return _connected(self._path, pragma)


@contextmanager
def read_only(path: Path) -> Generator[sqlite3.Connection]:
    """Open a file of any version to read it, as ``ReadOnlyDatabase`` does, without a task.

    It blocks, up to ``BUSY_SECONDS`` while others have the file locked.

    Raises:
        StorageError: it is not there, or cannot be read; reads inside the block raise it too.
    """
    try:
        with closing(_connected(path, "PRAGMA query_only = 1")) as connection:
            yield connection
    except sqlite3.Error as error:
        raise StorageError(f"the database {str(path)!r} cannot be read: {error}") from error


def _connected(path: Path, pragma: str) -> sqlite3.Connection:
    log, index = (path.with_name(f"{path.name}-{end}") for end in ("wal", "shm"))
    if not log.exists():
        # All is in the file; to read it otherwise, SQLite would make a log and an index.
        how = "&immutable=1"
    elif index.exists() or sys.platform == "win32":
        how = ""
    else:
        # A copy, or what a crash has left.  SQLite would make an index beside it; when it has
        # the file for itself it keeps one in memory, and the lock for that needs no writing.
        how, pragma = "&vfs=unix-none", "PRAGMA locking_mode = EXCLUSIVE"
    with ExitStack() as stack:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro{how}",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        stack.enter_context(closing(connection))
        connection.execute(pragma)
        stack.pop_all()
    return connection
