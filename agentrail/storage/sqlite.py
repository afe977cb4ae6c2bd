"""A SQLite file with one writer that commits in groups, and readers beside it.

A commit survives the death of the process, ``kill -9`` too.  A power cut or a crash of the
operating system may take the last commits with it, and never leaves the file torn; with
``synchronous="FULL"`` each commit waits for the disk and survives that too.
"""

import sqlite3
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from time import sleep
from typing import Final, Literal, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread
from attrs import define, field

from agentrail.errors import AgentrailError, StorageError

T = TypeVar("T")

Job = Callable[[sqlite3.Connection], T]
"""Works with a connection inside a transaction, in a thread; it never commits by itself."""

READERS: Final = 4
"""How many reads run at the same time."""

BUSY_SECONDS: Final = 5.0
"""How long to wait for another process that writes to the same file."""

_REASONS: Final = {
    sqlite3.SQLITE_FULL: "the disk is full; free some space",
    sqlite3.SQLITE_BUSY: f"another process kept it locked for {BUSY_SECONDS:g} seconds; try again",
    sqlite3.SQLITE_LOCKED: "another connection kept it locked; try again",
    sqlite3.SQLITE_NOTADB: "it is no SQLite database; name another file",
    sqlite3.SQLITE_CORRUPT: "it is damaged; restore it from a backup",
    sqlite3.SQLITE_READONLY: "it may not be written to; check its permissions",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; check that its directory is there and writable",
    sqlite3.SQLITE_IOERR: "the disk failed to read or write; look at the system's log",
    sqlite3.SQLITE_TOOBIG: "a value is larger than SQLite can hold; make it smaller",
}

_FAILURES: Final = (AgentrailError, sqlite3.Error, ValueError, TypeError, ArithmeticError)
"""What a job fails with because of what it was given; anything else is a bug in it."""


@define(slots=True, eq=False)
class _Ticket:
    """A job on its way through a commit."""

    job: Job[object]
    taken: bool = False
    done: bool = False
    error: Exception | None = None
    over: bool = False
    """Whether the thread is done with the job; it says so itself."""
    wake: anyio.Event = field(factory=anyio.Event)
    """Set when the job was tried, or when it is this ticket's turn to lead."""

    def check(self) -> None:
        if self.error is not None:
            raise self.error
        if not self.done:
            message = "a write in the same transaction failed unexpectedly; nothing was written"
            raise StorageError(message)


class Database:
    """One SQLite file, in WAL mode.

    ``migrations`` are SQL scripts; the file's ``user_version`` counts those that were applied, and
    ``start`` applies the rest.  Scripts are only ever added at the end.
    """

    def __init__(
        self,
        path: str | Path,
        migrations: Sequence[str],
        *,
        synchronous: Literal["NORMAL", "FULL"] = "NORMAL",
    ) -> None:
        self._path = Path(path)
        self._migrations = tuple(migrations)
        self._synchronous = synchronous
        self._open = False
        self._writer: sqlite3.Connection
        self._idle: list[sqlite3.Connection] = []
        self._readers = anyio.CapacityLimiter(READERS)
        self._thread = anyio.CapacityLimiter(1)
        self._queue: list[_Ticket] = []
        self._writing = False

    async def start(self) -> None:
        """Open the file, made with its directory when it is missing, and bring it up to date.

        Raises:
            StorageError: it is no database, was written by a newer version, or cannot be opened.
        """
        if not self._open:
            self._writer = await anyio.to_thread.run_sync(self._open_file)
            self._open = True

    async def stop(self) -> None:
        """Finish the writes that were asked for, and close; reads that run end undisturbed."""
        if self._open:
            self._open = False
            closing = Lock()
            try:
                with anyio.CancelScope(shield=True):
                    await self._submit(_Ticket(_nothing))
                    await anyio.to_thread.run_sync(self._close, closing, limiter=self._thread)
            finally:
                while self._writing:  # asyncio's own cancellation breaks through the shield
                    with suppress(anyio.get_cancelled_exc_class()), anyio.CancelScope(shield=True):
                        await anyio.sleep(0.001)
                self._close(closing)  # not awaited, for the same reason; it may be done

    async def write(self, job: Job[T], committed: Callable[[T], object] | None = None) -> T:
        """Return what ``job`` returns, once it is committed.

        Jobs that wait at the same time share one transaction; one that raises leaves nothing of
        its own behind and does not disturb the others.  Cancelled before its job was begun, the
        call takes it back; a job that was begun is finished and its result returned.  Only
        cancellation that does not come again, as asyncio's own, is raised then: ``committed`` is
        told the result of a commit all the same.

        Raises:
            StorageError: the file could not be written; nothing of the job was.
        """
        await anyio.lowlevel.checkpoint_if_cancelled()
        self._check_open()
        results: list[T] = []
        ticket = _Ticket(lambda connection: results.append(job(connection)))
        try:
            await self._submit(ticket)
        finally:
            if committed is not None and ticket.done and ticket.error is None:
                committed(results[0])
        return results[0]

    async def read(self, job: Job[T]) -> T:
        """Return what ``job`` returns, for one snapshot of the file; it may not write.

        Raises:
            StorageError: the file could not be read.
        """
        self._check_open()
        return await anyio.to_thread.run_sync(self._read, job, limiter=self._readers)

    async def empty_log(self) -> bool:
        """Write the log into the file and empty it; what was deleted is in neither then.

        Returns False when another process read the file for longer than ``BUSY_SECONDS``.

        Raises:
            StorageError: the file could not be written.
        """
        self._check_open()
        return await anyio.to_thread.run_sync(self._empty_log, limiter=self._thread)

    async def _submit(self, ticket: _Ticket) -> None:
        self._queue.append(ticket)
        if self._writing:
            await self._wait(ticket)
        if not ticket.taken:
            await self._lead(ticket)
        ticket.check()

    async def _wait(self, ticket: _Ticket) -> None:
        try:
            await ticket.wake.wait()
        except anyio.get_cancelled_exc_class():
            await _outlast(ticket)  # if the job has begun, the caller must know how it ended
            if not ticket.taken:
                self._queue.remove(ticket)
                if ticket.wake.is_set():  # it was to lead
                    self._pass_on()
                raise
            if not anyio.get_current_task().has_pending_cancellation():
                raise  # it does not come again at the next checkpoint

    async def _lead(self, own: _Ticket) -> None:
        """Commit all that waits, the caller's own job among it."""
        batch, self._queue = self._queue, []
        for ticket in batch:
            ticket.taken = True
        self._writing = True
        begun = Lock()
        try:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._commit, batch, begun, limiter=self._thread)
        finally:
            if begun.acquire(blocking=False):  # asyncio's own cancellation was there first
                for ticket in batch:
                    ticket.taken = False
                batch.remove(own)
                self._queue[:0] = batch
            else:
                await _outlast(own)
                for ticket in batch:
                    ticket.wake.set()
            self._pass_on()

    def _pass_on(self) -> None:
        self._writing = bool(self._queue)
        if self._writing:
            self._queue[0].wake.set()

    # What follows runs in threads.

    def _commit(self, batch: Sequence[_Ticket], begun: Lock) -> None:
        if not begun.acquire(blocking=False):
            return
        try:
            self._try(batch)
        finally:
            for ticket in batch:
                ticket.over = True

    def _try(self, batch: Sequence[_Ticket]) -> None:
        try:
            with _transaction(self._writer, "BEGIN IMMEDIATE"):
                if len(batch) == 1:
                    batch[0].job(self._writer)
                else:
                    for ticket in batch:
                        self._run(ticket)
        except _FAILURES as error:
            for ticket in batch:
                ticket.error = self._explained(error)
        else:
            for ticket in batch:
                ticket.done = True

    def _run(self, ticket: _Ticket) -> None:
        self._writer.execute("SAVEPOINT job")
        try:
            ticket.job(self._writer)
        except _FAILURES as error:
            if not self._writer.in_transaction:  # SQLite has given up the whole of it
                raise
            self._writer.execute("ROLLBACK TO job")
            ticket.error = self._explained(error)
        self._writer.execute("RELEASE job")

    def _read(self, job: Job[T]) -> T:
        try:
            reader = self._borrow()
            try:
                with _transaction(reader, "BEGIN"):
                    return job(reader)
            finally:
                if self._open:
                    self._idle.append(reader)
                else:
                    reader.close()
        except sqlite3.Error as error:
            raise self._explained(error) from error

    def _empty_log(self) -> bool:
        try:
            row = self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error as error:
            raise self._explained(error) from error
        return bool(row[0] == 0)

    def _borrow(self) -> sqlite3.Connection:
        try:
            return self._idle.pop()
        except IndexError:
            return self._connect("PRAGMA query_only = 1")

    def _open_file(self) -> sqlite3.Connection:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.touch(mode=0o600)  # what users say is nobody else's business
            writer = self._connect("PRAGMA foreign_keys = 1")
            with _closing_on_error(writer):
                _use_wal(writer)
                writer.execute(f"PRAGMA synchronous = {self._synchronous}")
                self._migrate(writer)
        except (OSError, sqlite3.Error) as error:
            message = f"the database {str(self._path)!r} cannot be opened: {_reason(error)}"
            raise StorageError(message) from error
        return writer

    def _connect(self, pragma: str) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        with _closing_on_error(connection):
            connection.execute(pragma)
        return connection

    def _migrate(self, writer: sqlite3.Connection) -> None:
        known = len(self._migrations)
        with _transaction(writer, "BEGIN IMMEDIATE"):
            (version,) = writer.execute("PRAGMA user_version").fetchone()
            if version > known:
                message = (
                    f"the database {str(self._path)!r} is of version {version}, and this release "
                    f"knows versions up to {known}: use the release that wrote it, or a newer one"
                )
                raise StorageError(message)
            for script in self._migrations[version:]:
                for statement in _statements(script):
                    writer.execute(statement)
            if version < known:
                writer.execute(f"PRAGMA user_version = {known}")

    def _close(self, closing: Lock) -> None:
        with closing:
            while self._idle:
                self._idle.pop().close()
            self._writer.close()  # as the last connection it also empties the log into the file

    def _explained(self, error: Exception) -> Exception:
        if not isinstance(error, sqlite3.Error):
            return error
        explained = StorageError(f"the database {self._path.name!r} failed: {_reason(error)}")
        explained.__cause__ = error
        return explained

    def _check_open(self) -> None:
        if not self._open:
            raise StorageError(f"the database {self._path.name!r} is not open: start it first")


async def _outlast(ticket: _Ticket) -> None:
    """Wait until a job that was begun is done, through cancellation of every kind.

    asyncio's own breaks through shields; that is seldom enough to look now and then.
    """
    while ticket.taken and not ticket.over:
        with suppress(anyio.get_cancelled_exc_class()), anyio.CancelScope(shield=True):
            await anyio.sleep(0.001)


def _nothing(_connection: sqlite3.Connection) -> None:
    """Wait for what was asked before."""


@contextmanager
def _transaction(connection: sqlite3.Connection, begin: str) -> Generator[None]:
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


@contextmanager
def _closing_on_error(connection: sqlite3.Connection) -> Generator[None]:
    done = False
    try:
        yield
        done = True
    finally:
        if not done:
            connection.close()


def _use_wal(writer: sqlite3.Connection) -> None:
    """Switch the file to WAL; only here SQLite does not wait for others by itself."""
    tries = int(BUSY_SECONDS / 0.02)
    for left in reversed(range(tries)):
        try:
            writer.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if left == 0 or error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            sleep(0.02)
        else:
            return


def _statements(script: str) -> Iterator[str]:
    statement = ""
    for piece in script.split(";"):
        statement += piece + ";"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _reason(error: Exception) -> str:
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return f"{error}"
    return _REASONS.get(code & 0xFF, f"{error}")
