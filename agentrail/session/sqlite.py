"""Sessions in a SQLite file."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from sqlite3 import Connection
from typing import Final, Literal, TypeVar

import anyio
from anyio import to_thread

from agentrail.clock import Clock, SystemClock
from agentrail.errors import SessionBusy, StorageError
from agentrail.events import Event, Recorded
from agentrail.ids import new_id
from agentrail.messages import Message
from agentrail.requests import SessionSummary, StoredMessage
from agentrail.session import _sql as sql
from agentrail.session import _sql_deletions as sql_deletions
from agentrail.session import _sql_turns as sql_turns
from agentrail.session._cache import Tail, Tails
from agentrail.session._owner import check_owner, lease_lost
from agentrail.session._rows import MIGRATIONS
from agentrail.session._store import Deletion, Lease, Owner, TurnRecord
from agentrail.session._turnstile import Turnstile, busy
from agentrail.storage import Database, Job, Presence, ReadOnlyDatabase

T = TypeVar("T")

REMEMBERED: Final = 10_000
"""How many sessions' owners are kept in memory, so that a hot session's is found without I/O."""

LOOK_SECONDS: Final = 0.1
"""How often to look whether a turn of another store has ended."""


class SQLiteSessionStore:
    """A ``SessionStore`` in one file.

    What is written survives the death of the process; see ``Database`` for power cuts.

    Several processes of one machine may have the file open.  A session in which one of them runs
    a turn is busy for the others, who look again every 0.1 seconds while they wait; a turn whose
    process has died is closed by the next who takes the session.  Each may show sessions that
    another has deleted as present but empty.

    Text that UTF-8 cannot hold (half of a surrogate pair) is kept as U+FFFD.  An event that
    cannot be read back is left out and reported to the log ``agentrail.session``; it stays in
    the file.

    One that is ``read_only`` needs the file to be there, and makes and writes nothing.
    """

    def __init__(
        self,
        path: str | Path,
        clock: Clock | None = None,
        *,
        synchronous: Literal["NORMAL", "FULL"] = "NORMAL",
        read_only: bool = False,
    ) -> None:
        kind = ReadOnlyDatabase if read_only else Database
        self._database = kind(path, MIGRATIONS, synchronous=synchronous)
        self._read_only = read_only
        self.path = Path(path)
        self._users = Presence(path)
        self._now = (clock or SystemClock()).now
        self._known: dict[str, tuple[int, Owner]] = {}
        """Keys and owners by session, the one that was used last at the end."""
        self._held: dict[str, tuple[int, Lease]] = {}
        self._tails = Tails()
        self._turnstile = Turnstile()
        self._notes: list[Job[None]] = []
        """What was announced; the next write takes it off its list."""

    async def start(self) -> None:
        """Open the file, made when it is missing, and bring it up to date.

        Raises:
            StorageError: it is no database, was written by a newer version, or cannot be opened.
        """
        await self._database.start()
        if self._read_only:
            return
        entered = False
        try:
            await to_thread.run_sync(self._enter)
            entered = True
        finally:
            if not entered:
                await self.stop()

    def reader(self) -> "SQLiteSessionStore":
        """Return a store that reads the same file, and neither makes it nor writes to it."""
        return SQLiteSessionStore(self.path, read_only=True)

    async def stop(self) -> None:
        """Write what is still to be written, and close."""
        try:
            if self._notes:
                await self._write(_nothing)
        finally:
            try:
                await self._database.stop()
            finally:
                self._users.leave()

    async def find(self, session_id: str) -> Owner | None:
        """See ``SessionStore``; without I/O for a session that was used lately."""
        known = self._recall(session_id) or await self._look_up(session_id)
        return None if known is None else known[1]

    async def acquire(
        self,
        session_id: str,
        owner: Owner,
        *,
        events: Sequence[Event] = (),
        window: int = 0,
        wait: float = 30.0,
        create: bool = True,
    ) -> Lease:
        """See ``SessionStore``."""
        known = self._recall(session_id)
        if known is not None and known[1] != owner:  # nobody waits in line for what is not theirs
            known = await self._look_up(session_id)
            if known is not None:
                check_owner(session_id, known[1], owner)
        until = anyio.current_time() + wait
        await self._turnstile.enter(session_id, wait)
        try:
            take = partial(self._take, session_id, owner, tuple(events), window, create=create)
            while (lease := await take()) is None:
                await self._wait_for_others(session_id, until)
        finally:
            if session_id not in self._held:
                self._forget(session_id)  # it may be another one's by now
                self._turnstile.leave(session_id)
        return lease

    async def append(self, lease: Lease, events: Sequence[Event]) -> tuple[Event, ...]:
        """See ``SessionStore``."""
        held = self._held.get(lease.session_id)
        if held is None or held[1] is not lease:
            raise lease_lost(lease)
        if not events:
            return ()
        key = held[0]
        job = partial(
            sql.append,
            key=key,
            lease=lease,
            events=tuple(events),
            now=self._now(),
            holder=self._users.name,
        )
        try:
            written: sql.Written = await self._write(job, partial(self._wrote, key, lease, events))
        finally:
            if lease.written is not events:
                self._tails.drop(key)
        return written.events

    def release(self, lease: Lease) -> None:
        """See ``SessionStore``."""
        held = self._held.get(lease.session_id)
        if held is not None and held[1] is lease:
            del self._held[lease.session_id]
            self._turnstile.leave(lease.session_id)

    async def read(
        self, session_id: str, *, after: int = 0, limit: int = 500
    ) -> Sequence[Recorded]:
        """See ``SessionStore``."""
        key = await self._key(session_id)
        return await self._database.read(partial(sql.read, key=key, after=after, limit=limit))

    async def window(self, session_id: str, tokens: int) -> tuple[Message, ...]:
        """See ``SessionStore``."""
        key = await self._key(session_id)
        return await self._database.read(partial(sql.window, key=key, tokens=tokens))

    async def messages(
        self, session_id: str, *, before: int | None = None, limit: int = 50
    ) -> Sequence[StoredMessage]:
        """See ``SessionStore``."""
        key = await self._key(session_id)
        return await self._database.read(partial(sql.messages, key=key, before=before, limit=limit))

    async def sessions(
        self, tenant_id: str, user_id: str, *, before: float | None = None, limit: int = 50
    ) -> Sequence[SessionSummary]:
        """See ``SessionStore``."""
        return await self._database.read(
            partial(sql.sessions, tenant_id=tenant_id, user_id=user_id, before=before, limit=limit)
        )

    async def unused(self, before: float, *, limit: int = 100) -> Sequence[str]:
        """See ``SessionStore``."""
        held = frozenset(self._turnstile.held)
        return await self._database.read(
            partial(sql_deletions.unused, before=before, limit=limit, users=self._users, held=held)
        )

    async def turn(self, turn_id: str) -> TurnRecord | None:
        """See ``SessionStore``."""
        found = await self._database.read(
            partial(sql_turns.turn, turn_id=turn_id, users=self._users)
        )
        if found is None:
            return None
        key, record = found
        # Its session may have been deleted elsewhere and made again since it was looked up here.
        # Of another owner's nothing is shown to whoever was told of the former one.
        known = self._known.get(record.session_id)
        if known is None or known[1] == record.owner:
            self._remember(record.session_id, (key, record.owner))
        return record

    async def delete(
        self, session_id: str, *, unused_since: float | None = None
    ) -> Deletion | None:
        """See ``SessionStore``."""
        owner = await self.find(session_id)
        if owner is None or (unused_since is not None and session_id in self._turnstile.held):
            return None
        # Of nobody but the owner that was told: another store may have deleted the session, and
        # somebody else made it again.
        deletion = Deletion(new_id("del"), session_id, owner)
        job = partial(
            sql_deletions.delete, deletion=deletion, users=self._users, unused_since=unused_since
        )
        try:
            deleted = await self._write(job)
        finally:
            self._forget(session_id)
        return deletion if deleted else None

    async def unannounced(self, limit: int = 100) -> Sequence[TurnRecord]:
        """See ``SessionStore``."""
        # By the writer: it is asked once, at a host's start, and sees every note before it.
        return await self._write(partial(sql_turns.unannounced, limit=limit, users=self._users))

    async def announced(self, turn_id: str) -> None:
        """See ``SessionStore``; without I/O."""
        self._notes.append(partial(sql_turns.announced, turn_id=turn_id))

    async def unannounced_deletions(self) -> Sequence[Deletion]:
        """See ``SessionStore``."""
        return await self._write(partial(sql_deletions.unannounced, users=self._users))

    async def deletion_announced(self, deletion_id: str) -> None:
        """See ``SessionStore``; without I/O."""
        self._notes.append(partial(sql_deletions.announced, deletion_id=deletion_id))

    def _wrote(self, key: int, lease: Lease, events: Sequence[Event], written: sql.Written) -> None:
        """Note what the log has by now."""
        lease.written, head = events, written.events[-1].id
        self._tails.extend(key, written.events[0].id, written.seen, head)
        lease.head = max(lease.head, head)

    async def _wait_for_others(self, session_id: str, until: float) -> None:
        """Wait while another store runs a turn in the session.

        Raises:
            SessionBusy: it still did at that time.
        """
        runs = partial(sql_turns.runs_elsewhere, session_id=session_id, users=self._users)
        while await self._database.read(runs):
            if anyio.current_time() >= until:
                raise busy(session_id)
            await anyio.sleep(LOOK_SECONDS)

    async def _take(
        self,
        session_id: str,
        owner: Owner,
        events: Sequence[Event],
        window: int,
        *,
        create: bool,
    ) -> Lease | None:
        """Return the lease, or None while another store runs a turn in the session."""
        known = self._known.get(session_id)
        tail = None if known is None else self._tails.find(known[0], window)
        seen = (0, 0) if tail is None else (tail.key, tail.head)
        wanted = sql.Wanted(self._users, window, *seen, create=create)
        now = self._now()
        job = partial(
            sql.acquire,
            session_id=session_id,
            owner=owner,
            events=events,
            wanted=wanted,
            now=now,
        )
        try:
            taken = await self._write(job)
        except SessionBusy:
            return None
        key, lease, opening = taken.key, taken.lease, taken.written
        head = lease.head - len(opening.events)
        if taken.history is not None:
            tail = Tail(key, head, taken.reach, taken.history)
            self._tails.keep(tail)
        if window > 0 and tail is not None:
            # Still of the head that the transaction found: who wrote later has lost its lease.
            lease.history = tail.transcript.window(window)
            lease.tokens, lease.since = tail.tokens(window), tail.transcript.since
            lease.summary = tail.transcript.summary
        self._tails.extend(key, head + 1, opening.seen, lease.head)
        self._remember(session_id, (key, owner))
        self._held[session_id] = (key, lease)
        return lease

    def _enter(self) -> None:
        try:
            self._users.enter()
        except OSError as error:
            message = f"no lock can be made beside the session database: {error}"
            raise StorageError(message) from error

    async def _write(self, job: Job[T], committed: Callable[[T], object] | None = None) -> T:
        """Return what ``job`` returns, with the notes that wait written before it."""
        notes, self._notes = self._notes, []
        if not notes:
            return await self._database.write(job, committed)
        written = False
        try:
            result = await self._database.write(partial(_after, notes, job), committed)
            written = True
        finally:
            if not written:
                self._notes[:0] = notes
        return result

    async def _key(self, session_id: str) -> int:
        """Return the session's key, -1 when there is no such session.

        The key that belongs to the owner that ``find`` told, not the session's present one: a
        session that was deleted and made again has other readers.
        """
        known = self._recall(session_id) or await self._look_up(session_id)
        return -1 if known is None else known[0]

    async def _look_up(self, session_id: str) -> tuple[int, Owner] | None:
        known = await self._database.read(partial(sql.find, session_id=session_id))
        if known is None:
            self._forget(session_id)
        else:
            self._remember(session_id, known)
        return known

    def _recall(self, session_id: str) -> tuple[int, Owner] | None:
        known = self._known.get(session_id)
        if known is not None:
            self._remember(session_id, known)
        return known

    def _forget(self, session_id: str) -> None:
        known = self._known.pop(session_id, None)
        if known is not None:
            self._tails.drop(known[0])

    def _remember(self, session_id: str, known: tuple[int, Owner]) -> None:
        self._known.pop(session_id, None)
        self._known[session_id] = known
        if len(self._known) > REMEMBERED:
            del self._known[next(iter(self._known))]


def _nothing(_connection: object) -> None:
    """Write nothing but what waits."""


def _after(notes: Sequence[Job[None]], job: Job[T], connection: Connection) -> T:
    for note in notes:
        note(connection)
    return job(connection)
