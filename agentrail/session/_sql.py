"""What is done with the tables of a session store, in one transaction each."""

import sqlite3
from collections.abc import Iterator, Sequence
from math import inf
from typing import Final

from attrs import define, field, frozen

from agentrail.events import (
    Event,
    MessageRecorded,
    Recorded,
    SessionReset,
    TurnEnd,
    TurnError,
    TurnStart,
)
from agentrail.messages import Message, Usage
from agentrail.requests import SessionSummary, StoredMessage
from agentrail.session._owner import check_owner, lease_lost
from agentrail.session._rows import decoded, encoded
from agentrail.session._store import ANNOUNCED, Lease, Owner, TurnRecord
from agentrail.session._window import DIED, Transcript, closing_events


@frozen(slots=True)
class Wanted:
    """What an ``acquire`` is to read of the history."""

    tokens: int
    key: int = 0
    head: int = 0
    """The history of this session up to this event is known and need not be read."""


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
    running: bool = False
    """Whether a turn was left unfinished."""
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
    """
    log = _open(connection, session_id, owner)
    created = log is None
    if log is None:
        log = _create(connection, session_id, owner, now)
    before = log.head
    if log.running:
        for left in _unfinished(connection, log.key):
            _put(connection, log, closing_events(left, code="interrupted", detail=DIED), now)
        log.seen.clear()
    log.epoch += 1
    known = (wanted.key, wanted.head) == (log.key, log.head)
    history, reach = None, 0.0
    if wanted.tokens > 0 and not known:
        history, reach = _history(connection, log.key, log.reset_at, wanted.tokens)
    opening = _put(connection, log, events, now)
    _update(connection, log, now if log.head > before else None)
    lease = Lease(session_id, owner, log.epoch, log.head, created, opening=opening)
    return Taken(log.key, lease, Written(opening, tuple(log.seen)), history, reach)


def append(
    connection: sqlite3.Connection, key: int, lease: Lease, events: Sequence[Event], now: float
) -> Written:
    """Return the events numbered; see ``SessionStore.append``."""
    row = connection.execute(
        "select head, reset_at from session where key = ? and epoch = ?", (key, lease.epoch)
    ).fetchone()
    if row is None:
        raise lease_lost(lease)
    log = _Log(key, lease.epoch, row[0], row[1])
    written = _put(connection, log, events, now)
    _update(connection, log, now)
    return Written(written, tuple(log.seen))


def read(connection: sqlite3.Connection, key: int, after: int, limit: int) -> list[Recorded]:
    """Return up to ``limit`` events with numbers over ``after``."""
    rows = connection.execute(
        "select seq, body from event where session = ? and seq > ? order by seq", (key, after)
    )
    found: list[Recorded] = []
    for seq, body in rows:
        if len(found) >= limit:
            break
        found += decoded(connection, key, seq, body)
    return found


def window(connection: sqlite3.Connection, key: int, tokens: int) -> tuple[Message, ...]:
    """Return the newest messages that fit in ``tokens``."""
    row = connection.execute("select reset_at from session where key = ?", (key,)).fetchone()
    return () if row is None else _history(connection, key, row[0], tokens)[0].window(tokens)


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


def turn(connection: sqlite3.Connection, turn_id: str) -> TurnRecord | None:
    """Return a turn's record."""
    row = connection.execute(f"{_TURN} where t.id = ?", (turn_id,)).fetchone()
    return None if row is None else _record(row)


def unannounced(connection: sqlite3.Connection, limit: int) -> list[TurnRecord]:
    """Return up to ``limit`` turns to be announced, oldest first."""
    rows = connection.execute(
        f"{_TURN} join announcement a on a.turn = t.id order by t.ended limit ?", (limit,)
    )
    return [_record(row) for row in rows]


def announced(connection: sqlite3.Connection, turn_ids: Sequence[str]) -> None:
    """Take turns off the list of those to be announced."""
    connection.executemany(
        "delete from announcement where turn = ?", [(turn_id,) for turn_id in turn_ids]
    )


def delete(connection: sqlite3.Connection, session_id: str) -> None:
    """Erase a session with all that hangs on it."""
    connection.execute("delete from session where id = ?", (session_id,))


_LAST: Final = 2**63 - 1
"""More than any event's number."""

_TURN: Final = """
    select t.id, s.id, s.tenant, s.user, s.agent, t.status, t.input_tokens, t.output_tokens,
        t.cache_read_tokens, t.cache_write_tokens, t.started, t.ended
    from turn t join session s on s.key = t.session
"""


def _open(connection: sqlite3.Connection, session_id: str, owner: Owner) -> _Log | None:
    row = connection.execute(
        "select key, epoch, head, reset_at, tenant, user, agent, exists("
        "select 1 from turn where session = key and status = 'running') from session where id = ?",
        (session_id,),
    ).fetchone()
    if row is None:
        return None
    check_owner(session_id, Owner(row[4], row[5], row[6]), owner)
    return _Log(row[0], row[1], row[2], row[3], running=bool(row[7]))


def _create(connection: sqlite3.Connection, session_id: str, owner: Owner, now: float) -> _Log:
    cursor = connection.execute(
        "insert into session(id, tenant, user, agent, created, updated) values (?, ?, ?, ?, ?, ?)",
        (session_id, owner.tenant_id, owner.user_id, owner.agent_id, now, now),
    )
    return _Log(cursor.lastrowid or 0, 0, 0, 0)


def _unfinished(connection: sqlite3.Connection, key: int) -> Iterator[list[Recorded]]:
    """Yield the events of each turn that was left running."""
    running = connection.execute(
        "select id, first from turn where session = ? and status = 'running' order by first", (key,)
    ).fetchall()
    for turn_id, first in running:
        rows = connection.execute(
            "select seq, body from event where session = ? and seq >= ? and turn = ? order by seq",
            (key, first, turn_id),
        )
        yield [
            event for seq, body in rows.fetchall() for event in decoded(connection, key, seq, body)
        ]


def _history(
    connection: sqlite3.Connection, key: int, reset_at: int, tokens: int
) -> tuple[Transcript, float]:
    """Return the log's end up to where it does not fit, and how large a window it has."""
    rows = connection.execute(
        "select seq, tokens, body from event indexed by event_in_window"
        " where session = ? and seq > ? and tokens is not null order by seq desc",
        (key, reset_at),
    )
    left = tokens
    reach = inf
    newest: list[Recorded] = []
    for seq, cost, body in rows:
        if cost > left:
            reach = tokens
            break
        for event in decoded(connection, key, seq, body):
            newest.append(event)
            left -= cost
    return Transcript(reversed(newest)), reach


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
            log.turns += _begin_turn(connection, log.key, event, now)
        elif isinstance(event, TurnEnd | TurnError):
            log.turns += _end_turn(connection, log.key, event, now)
        elif isinstance(event, SessionReset):
            log.reset_at = seq
            log.seen.append(event)
    connection.executemany("insert into event values (?, ?, ?, ?, ?)", rows)
    log.head += len(rows)
    return tuple(written)


def _update(connection: sqlite3.Connection, log: _Log, changed: float | None) -> None:
    connection.execute(
        "update session set epoch = ?, head = ?, reset_at = ?, turns = turns + ?,"
        " updated = coalesce(?, updated) where key = ?",
        (log.epoch, log.head, log.reset_at, log.turns, changed, log.key),
    )


def _begin_turn(
    connection: sqlite3.Connection, key: int, event: TurnStart | TurnEnd | TurnError, now: float
) -> int:
    """Let the turn run; return 1 when it is a new one, 0 when it goes on."""
    cursor = connection.execute(
        "insert or ignore into turn(id, session, first, started) values (?, ?, ?, ?)",
        (event.turn_id, key, event.id, now),
    )
    if cursor.rowcount == 1:
        return 1
    if isinstance(event, TurnStart):
        connection.execute(
            "update turn set status = 'running', ended = null where id = ? and session = ?",
            (event.turn_id, key),
        )
    return 0


def _end_turn(
    connection: sqlite3.Connection, key: int, event: TurnEnd | TurnError, now: float
) -> int:
    """Close the turn; return 1 when it is one that never began, 0 otherwise."""
    status = event.outcome if isinstance(event, TurnEnd) else "failed"
    new = 0
    closed = _close_turn(connection, key, event, status, now)
    if not closed:
        new = _begin_turn(connection, key, event, now)
        closed = _close_turn(connection, key, event, status, now)
    if closed and status in ANNOUNCED:
        connection.execute("insert or ignore into announcement values (?)", (event.turn_id,))
    return new


def _close_turn(
    connection: sqlite3.Connection, key: int, event: TurnEnd | TurnError, status: str, now: float
) -> bool:
    """Tell whether there was such a turn."""
    usage = event.usage
    cursor = connection.execute(
        "update turn set status = ?, ended = ?, input_tokens = input_tokens + ?,"
        " output_tokens = output_tokens + ?, cache_read_tokens = cache_read_tokens + ?,"
        " cache_write_tokens = cache_write_tokens + ? where id = ? and session = ?",
        (
            status,
            now,
            usage.input_tokens,
            usage.output_tokens,
            usage.cache_read_tokens,
            usage.cache_write_tokens,
            event.turn_id,
            key,
        ),
    )
    return cursor.rowcount == 1


def _record(
    row: tuple[str, str, str, str, str, str, int, int, int, int, float, float | None],
) -> TurnRecord:
    return TurnRecord(
        turn_id=row[0],
        session_id=row[1],
        owner=Owner(row[2], row[3], row[4]),
        status=row[5],
        usage=Usage(*row[6:10]),
        started_at=row[10],
        ended_at=row[11],
    )
