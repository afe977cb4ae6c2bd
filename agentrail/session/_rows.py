"""The tables of a session store; from an event to its row and back."""

import logging
import sqlite3
from collections.abc import Sequence
from typing import Final, cast

import msgspec
from msgspec.structs import replace

from agentrail.events import Event, Recorded, decode, encode

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
    -- Without ``updated``: each write would move the row's entry; a user's sessions sort fast.
    create index session_by_user on session(tenant, user);

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
    create index turn_running on turn(session) where status = 'running';

    create table announcement( -- turns whose on_turn_persisted hooks are not known to be done
        turn text primary key references turn on delete cascade
    ) without rowid;
    """,
    """
    alter table turn add column cost real not null default 0;
    alter table turn add column holder text not null default ''; -- the store that runs it
    alter table session add column compacted_at integer not null default 0; -- the last summary
    drop index turn_running;
    create index turn_unfinished on turn(session) where status in ('running', 'suspended');
    """,
    """
    create table deletion( -- sessions whose on_session_deleted hooks are not known to be done
        id text not null unique,
        session text not null,
        tenant text not null,
        user text not null,
        agent text not null,
        holder text not null -- the store that deleted it
    );
    """,
    # Without it, the deletion of a session looks at all turns of all sessions.
    "create index turn_by_session on turn(session);",
)


def encoded(event: Event, seq: int) -> tuple[Event, bytes]:
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


def decoded(
    connection: sqlite3.Connection, key: int, seq: int, body: bytes
) -> tuple[Recorded, ...]:
    """Return the event, or nothing of a row that cannot be read; the row stays."""
    try:
        return (decode(body),)
    except (msgspec.DecodeError, TypeError) as error:
        row = connection.execute("select id from session where key = ?", (key,)).fetchone()
        logger.warning("event %d of session %r cannot be read: %s", seq, row and row[0], error)
        return ()
