"""The tables of a session store, and what is done with them in one transaction each."""

import logging
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Final, cast

import msgspec
from attrs import define
from msgspec.structs import replace

from agentrail.events import (
    Event,
    MessageRecorded,
    Recorded,
    SessionReset,
    TurnEnd,
    TurnError,
    TurnStart,
    decode,
    encode,
)
from agentrail.messages import Message, Usage
from agentrail.requests import SessionSummary, StoredMessage
from agentrail.session._owner import check_owner, lease_lost
from agentrail.session._store import ANNOUNCED, Lease, Owner, TurnRecord
from agentrail.session._window import DIED, Transcript, closing_events

logger = logging.getLogger("agentrail.session")

MIGRATIONS: Final = (
    """
    create table session(
        key integer primary key autoincrement, -- never given twice, so that no old lease fits
        id text not null unique,
        tenant text not null,
        user text not null,
        agent text not null,
        created real not null,
        updated real not null,
        epoch integer not null default 0,
        head integer not null default 0, -- the number of the last event
        reset_at integer not null default 0, -- the number of the last session.reset
        turns integer not null default 0
    );
    create index session_by_user on session(tenant, user, updated);

    create table event(
        session integer not null references session on delete cascade,
        seq integer not null,
        turn text not null,
        tokens integer, -- null where the model never sees it
        body blob not null, -- JSON
        primary key (session, seq)
    ) without rowid;
    -- Named in the queries: the planner prefers the primary key, and that walks over every delta.
    create index event_in_window on event(session, seq) where tokens is not null;

    create table turn(
        id text primary key,
        session integer not null references session on delete cascade,
        first integer not null, -- the number of its first event
        status text not null default 'running',
        input_tokens integer not null default 0,
        output_tokens integer not null default 0,
        cache_read_tokens integer not null default 0,
        cache_write_tokens integer not null default 0,
        started real not null,
        ended real
    ) without rowid;
    create index turn_by_session on turn(session, status);

    create table announcement( -- turns whose on_turn_persisted hooks are not known to be done
        turn text primary key references turn on delete cascade
    ) without rowid;
    """,
)


@define(slots=True)
class _Log:
    """A session's row while a transaction works on it."""

    key: int
    epoch: int
    head: int
    reset_at: int


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
    window: int,
    now: float,
) -> tuple[int, Lease]:
    """Return the session's key and a lease of the next epoch; see ``SessionStore.acquire``."""
    log = _open(connection, session_id, owner)
    created = log is None
    if log is None:
        log = _create(connection, session_id, owner, now)
    else:
        for left in _unfinished(connection, log.key):
            _write(connection, log, closing_events(left, code="interrupted", detail=DIED), now)
    log.epoch += 1
    history = _history(connection, log.key, log.reset_at, window) if window > 0 else ()
    opening = _write(connection, log, events, now)
    return log.key, Lease(session_id, owner, log.epoch, log.head, created, history, opening)


def append(
    connection: sqlite3.Connection, key: int, lease: Lease, events: Sequence[Event], now: float
) -> tuple[Event, ...]:
    """Return the events numbered; see ``SessionStore.append``."""
    row = connection.execute(
        "select head, reset_at from session where key = ? and epoch = ?", (key, lease.epoch)
    ).fetchone()
    if row is None:
        raise lease_lost(lease)
    return _write(connection, _Log(key, lease.epoch, row[0], row[1]), events, now)


def read(connection: sqlite3.Connection, key: int, after: int, limit: int) -> list[Recorded]:
    """Return up to ``limit`` events with numbers over ``after``."""
    rows = connection.execute(
        "select seq, body from event where session = ? and seq > ? order by seq", (key, after)
    )
    found: list[Recorded] = []
    for seq, body in rows:
        if len(found) >= limit:
            break
        found += _decoded(connection, key, seq, body)
    return found


def window(connection: sqlite3.Connection, key: int, tokens: int) -> tuple[Message, ...]:
    """Return the newest messages that fit in ``tokens``."""
    row = connection.execute("select reset_at from session where key = ?", (key,)).fetchone()
    return () if row is None else _history(connection, key, row[0], tokens)


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
            for event in _decoded(connection, key, seq, body)
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
        "select key, epoch, head, reset_at, tenant, user, agent from session where id = ?",
        (session_id,),
    ).fetchone()
    if row is None:
        return None
    check_owner(session_id, Owner(row[4], row[5], row[6]), owner)
    return _Log(row[0], row[1], row[2], row[3])


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
            event for seq, body in rows.fetchall() for event in _decoded(connection, key, seq, body)
        ]


def _history(
    connection: sqlite3.Connection, key: int, reset_at: int, tokens: int
) -> tuple[Message, ...]:
    """Return the newest messages that fit, read from the log's end up to where they do not."""
    rows = connection.execute(
        "select seq, tokens, body from event indexed by event_in_window"
        " where session = ? and seq > ? and tokens is not null order by seq desc",
        (key, reset_at),
    )
    left = tokens
    newest: list[Recorded] = []
    for seq, cost, body in rows:
        if cost > left:
            break
        for event in _decoded(connection, key, seq, body):
            newest.append(event)
            left -= cost
    return Transcript(reversed(newest)).window(tokens)


def _write(
    connection: sqlite3.Connection, log: _Log, events: Sequence[Event], now: float
) -> tuple[Event, ...]:
    """Put the events at the log's end and bring all that follows from them up to date."""
    written: list[Event] = []
    rows: list[tuple[object, ...]] = []
    turns = 0
    for seq, unnumbered in enumerate(events, log.head + 1):
        event, body = _encoded(unnumbered, seq)
        written.append(event)
        rows.append((log.key, seq, event.turn_id, event.window_tokens or None, body))
        if isinstance(event, TurnStart):
            turns += _begin_turn(connection, log.key, event, now)
        elif isinstance(event, TurnEnd | TurnError):
            turns += _end_turn(connection, log.key, event, now)
        elif isinstance(event, SessionReset):
            log.reset_at = seq
    connection.executemany("insert into event values (?, ?, ?, ?, ?)", rows)
    log.head += len(rows)
    connection.execute(
        "update session set epoch = ?, head = ?, reset_at = ?, turns = turns + ?,"
        " updated = coalesce(?, updated) where key = ?",
        (log.epoch, log.head, log.reset_at, turns, now if rows else None, log.key),
    )
    return tuple(written)


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
    new = _begin_turn(connection, key, event, now)
    status = event.outcome if isinstance(event, TurnEnd) else "failed"
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
    if cursor.rowcount == 1 and status in ANNOUNCED:
        connection.execute("insert or ignore into announcement values (?)", (event.turn_id,))
    return new


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


def _encoded(event: Event, seq: int) -> tuple[Event, bytes]:
    """Return the event with its number, and what is kept of it."""
    numbered = replace(event, id=seq)
    try:
        return numbered, encode(numbered)
    except UnicodeEncodeError:  # half a surrogate pair, which no UTF-8 can hold
        body = msgspec.json.encode(_mended(msgspec.to_builtins(numbered)))
        return decode(body), body


def _mended(value: object) -> object:
    """Return the value with U+FFFD for each half of a surrogate pair."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list | tuple):
        return [_mended(item) for item in cast("Sequence[object]", value)]
    if isinstance(value, dict):
        items = cast("dict[object, object]", value).items()
        return {_mended(name): _mended(item) for name, item in items}
    return value


def _decoded(
    connection: sqlite3.Connection, key: int, seq: int, body: bytes
) -> tuple[Recorded, ...]:
    """Return the event, or nothing of a row that cannot be read; the row stays."""
    try:
        return (decode(body),)
    except (msgspec.DecodeError, TypeError) as error:
        row = connection.execute("select id from session where key = ?", (key,)).fetchone()
        logger.warning("event %d of session %r cannot be read: %s", seq, row and row[0], error)
        return ()
