"""What is done with the tables of a session store, in one transaction each."""

import sqlite3
from collections.abc import Sequence
from math import inf
from typing import Final

from attrs import define, field, frozen

from agentrail.events import (
    ArtifactKept,
    ContextCompacted,
    Event,
    MessageRecorded,
    Recorded,
    SessionReset,
    TurnEnd,
    TurnError,
    TurnStart,
)
from agentrail.messages import Message
from agentrail.requests import SessionSummary, StoredMessage
from agentrail.session._owner import check_owner, lease_lost, not_found, turn_exists
from agentrail.session._rows import decoded, encoded
from agentrail.session._sql_turns import begin_turn, end_turn
from agentrail.session._store import Lease, Owner
from agentrail.session._turnstile import busy
from agentrail.session._window import DIED, Transcript, closing_events, superseding_events
from agentrail.storage import Presence

READ_BYTES: Final = 4_000_000
"""After so many no more of a log is read at a time: some of its events may be very large."""


@frozen(slots=True)
class Wanted:
    """What an ``acquire`` is to read of the history, and who asks."""

    users: Presence
    tokens: int
    key: int = 0
    head: int = 0
    """The history of this session up to this event is known and need not be read."""
    create: bool = True
    """Whether a session that is not there is made."""


@frozen(slots=True)
class Written:
    """What a transaction added to a log."""

    events: tuple[Event, ...]
    seen: tuple[Event, ...]
    """Those of the events that change what a model sees, read back."""


@frozen(slots=True)
class Taken:
    """A session that was acquired."""

    key: int
    lease: Lease
    written: Written
    history: Transcript | None
    """What was before the lease; None when it was not asked for or is known."""
    reach: float
    """The largest window that can be cut from ``history``."""


@define(slots=True)
class _Log:
    """A session's row while a transaction works on it."""

    key: int
    epoch: int
    head: int
    reset_at: int
    compacted_at: int
    holder: str = ""
    """The store that works on it."""
    anew: bool = False
    """Whether the turns that begin are new ones."""
    unfinished: bool = False
    """Whether a turn was left unfinished, or is suspended."""
    turns: int = 0
    """How many turns are new."""
    seen: list[Event] = field(factory=list[Event])


def find(connection: sqlite3.Connection, session_id: str) -> tuple[int, Owner] | None:
    """Return the session's key and owner."""
    row = connection.execute(
        "select key, tenant, user, agent from session where id = ?", (session_id,)
    ).fetchone()
    return None if row is None else (row[0], Owner(row[1], row[2], row[3]))


def acquire(
    connection: sqlite3.Connection,
    session_id: str,
    owner: Owner,
    events: Sequence[Event],
    wanted: Wanted,
    now: float,
) -> Taken:
    """Return the session with a lease of the next epoch; see ``SessionStore.acquire``.

    The lease's history is left to the caller.

    Raises:
        SessionBusy: another user of the file runs a turn in it.
        SessionNotFound: it is not there and not to be made, or is not the owner's.
        TurnExists: the events begin a turn that is there.
    """
    log = _open(connection, session_id, owner)
    created = log is None
    if log is None:
        if not wanted.create:
            raise not_found(session_id)
        log = _create(connection, session_id, owner, now)
    before, log.holder = log.head, wanted.users.name
    if log.unfinished:
        begun = {event.turn_id for event in events if isinstance(event, TurnStart)}
        for turn_id, first, status, holder in _unfinished(connection, log.key):
            if turn_id in begun:
                raise turn_exists(turn_id)
            if status == "running" and wanted.users.has(holder):
                raise busy(session_id)
            left = _logged(connection, log.key, turn_id, first)
            if status == "suspended":
                closing = superseding_events(left, events)
            else:
                closing = closing_events(left, code="interrupted", detail=DIED)
            _put(connection, log, closing, now)
        log.seen.clear()
    log.epoch += 1
    known = (wanted.key, wanted.head) == (log.key, log.head)
    history, reach = None, 0.0
    if wanted.tokens > 0 and not known:
        history, reach = _history(connection, log, wanted.tokens)
    log.anew = True
    opening = _put(connection, log, events, now)
    _update(connection, log, now if log.head > before else None)
    lease = Lease(session_id, owner, log.epoch, log.head, created, opening=opening)
    return Taken(log.key, lease, Written(opening, tuple(log.seen)), history, reach)


def append(
    connection: sqlite3.Connection,
    key: int,
    lease: Lease,
    events: Sequence[Event],
    now: float,
    holder: str,
) -> Written:
    """Return the events numbered; see ``SessionStore.append``."""
    row = connection.execute(
        "select head, reset_at, compacted_at from session where key = ? and epoch = ?",
        (key, lease.epoch),
    ).fetchone()
    if row is None:
        raise lease_lost(lease)
    log = _Log(key, lease.epoch, *row)
    log.holder = holder
    written = _put(connection, log, events, now)
    _update(connection, log, now)
    return Written(written, tuple(log.seen))


def read(connection: sqlite3.Connection, key: int, after: int, limit: int) -> list[Recorded]:
    """Return up to ``limit`` events with numbers over ``after``; see ``READ_BYTES``."""
    rows = connection.execute(
        "select seq, body from event where session = ? and seq > ? order by seq", (key, after)
    )
    found: list[Recorded] = []
    size = 0
    while len(found) < limit and size < READ_BYTES and (row := rows.fetchone()) is not None:
        seq, body = row
        if events := decoded(connection, key, seq, body):
            found += events
            size += len(body)
    return found


def window(connection: sqlite3.Connection, key: int, tokens: int) -> tuple[Message, ...]:
    """Return the newest messages that fit in ``tokens``."""
    row = connection.execute(
        "select epoch, head, reset_at, compacted_at from session where key = ?", (key,)
    ).fetchone()
    return () if row is None else _history(connection, _Log(key, *row), tokens)[0].window(tokens)


def messages(
    connection: sqlite3.Connection, key: int, before: int | None, limit: int
) -> list[StoredMessage]:
    """Return up to ``limit`` messages with numbers under ``before``, newest first."""
    rows = connection.execute(
        "select seq, body from event indexed by event_in_window"
        " where session = ? and seq < ? and tokens is not null order by seq desc",
        (key, _LAST if before is None else before),
    )
    found: list[StoredMessage] = []
    for seq, body in rows:
        if len(found) >= limit:
            break
        found += [
            StoredMessage(seq=seq, turn_id=event.turn_id, message=event.message)
            for event in decoded(connection, key, seq, body)
            if isinstance(event, MessageRecorded)
        ]
    return found


def sessions(
    connection: sqlite3.Connection, tenant_id: str, user_id: str, before: float | None, limit: int
) -> list[SessionSummary]:
    """Return up to ``limit`` sessions of a user, the one changed last first."""
    rows = connection.execute(
        "select id, agent, created, updated, turns from session"
        " where tenant = ? and user = ? and updated < ? order by updated desc limit ?",
        (tenant_id, user_id, float("inf") if before is None else before, limit),
    )
    return [
        SessionSummary(
            session_id=row[0], agent_id=row[1], created_at=row[2], updated_at=row[3], turns=row[4]
        )
        for row in rows
    ]


_LAST: Final = 2**63 - 1
"""More than any event's number."""


def _open(connection: sqlite3.Connection, session_id: str, owner: Owner) -> _Log | None:
    row = connection.execute(
        "select key, epoch, head, reset_at, compacted_at, tenant, user, agent, exists("
        "select 1 from turn where session = key and status in ('running', 'suspended'))"
        " from session where id = ?",
        (session_id,),
    ).fetchone()
    if row is None:
        return None
    check_owner(session_id, Owner(*row[5:8]), owner)
    log = _Log(*row[:5])
    log.unfinished = bool(row[8])
    return log


def _create(connection: sqlite3.Connection, session_id: str, owner: Owner, now: float) -> _Log:
    cursor = connection.execute(
        "insert into session(id, tenant, user, agent, created, updated) values (?, ?, ?, ?, ?, ?)",
        (session_id, owner.tenant_id, owner.user_id, owner.agent_id, now, now),
    )
    return _Log(cursor.lastrowid or 0, 0, 0, 0, 0)


def _unfinished(connection: sqlite3.Connection, key: int) -> list[tuple[str, int, str, str]]:
    """Return id, first event, status and holder of each turn left running or suspended."""
    return connection.execute(
        "select id, first, status, holder from turn"
        " where session = ? and status in ('running', 'suspended') order by first",
        (key,),
    ).fetchall()


def _logged(connection: sqlite3.Connection, key: int, turn_id: str, first: int) -> list[Recorded]:
    """Return the events of a turn, its artifacts left out."""
    rows = connection.execute(
        "select seq, body from event where session = ? and seq >= ? and turn = ? order by seq",
        (key, first, turn_id),
    )
    return [
        event
        for seq, body in rows
        for event in decoded(connection, key, seq, body)
        if not isinstance(event, ArtifactKept)  # large, and nothing that closes a turn
    ]


def _history(connection: sqlite3.Connection, log: _Log, tokens: int) -> tuple[Transcript, float]:
    """Return the log's end up to where it does not fit, and how large a window it has."""
    key, left = log.key, tokens  # where there is no room for the summary, there is for messages
    summaries, floor = _summaries(connection, log)
    rows = connection.execute(
        "select seq, tokens, body from event indexed by event_in_window"
        " where session = ? and seq > ? and tokens is not null order by seq desc",
        (key, floor),
    )
    reach = inf
    newest: list[Recorded] = []
    for seq, cost, body in rows:
        if cost > left:
            reach = tokens
            break
        for event in decoded(connection, key, seq, body):
            newest.append(event)
            left -= cost
    transcript = Transcript([*summaries, *reversed(newest)])
    transcript.since = floor
    return transcript, reach


def _summaries(connection: sqlite3.Connection, log: _Log) -> tuple[list[ContextCompacted], int]:
    """Return the summary that holds, if one does, and the event after which messages begin."""
    if log.compacted_at > log.reset_at:
        for event in read(connection, log.key, log.compacted_at - 1, 1):
            if isinstance(event, ContextCompacted) and event.id == log.compacted_at:
                return [event], event.until
    return [], log.reset_at


def _put(
    connection: sqlite3.Connection, log: _Log, events: Sequence[Event], now: float
) -> tuple[Event, ...]:
    """Put the events at the log's end and bring the turns up to date; ``_update`` does the rest."""
    written: list[Event] = []
    rows: list[tuple[object, ...]] = []
    for seq, unnumbered in enumerate(events, log.head + 1):
        event, body = encoded(unnumbered, seq)
        tokens = event.window_tokens or None
        written.append(event)
        rows.append((log.key, seq, event.turn_id, tokens, body))
        if tokens is not None:
            log.seen += decoded(connection, log.key, seq, body)
        elif isinstance(event, TurnStart):
            log.turns += begin_turn(connection, log.key, event, now, log.holder, anew=log.anew)
        elif isinstance(event, TurnEnd | TurnError):
            log.turns += end_turn(connection, log.key, event, now, log.holder)
        elif isinstance(event, SessionReset):
            log.reset_at = seq
            log.seen.append(event)
        elif isinstance(event, ContextCompacted):
            log.seen.append(event)
            if event.until > _summaries(connection, log)[1]:
                log.compacted_at = seq
    connection.executemany("insert into event values (?, ?, ?, ?, ?)", rows)
    log.head += len(rows)
    return tuple(written)


def _update(connection: sqlite3.Connection, log: _Log, changed: float | None) -> None:
    connection.execute(
        "update session set epoch = ?, head = ?, reset_at = ?, compacted_at = ?,"
        " turns = turns + ?, updated = coalesce(?, updated) where key = ?",
        (log.epoch, log.head, log.reset_at, log.compacted_at, log.turns, changed, log.key),
    )
