"""What is done with the turns of a session store."""

import sqlite3
from typing import Final

from agentrail.events import TurnEnd, TurnError, TurnStart
from agentrail.messages import Usage
from agentrail.session._owner import turn_exists
from agentrail.session._store import ANNOUNCED, Owner, TurnRecord
from agentrail.storage import Presence

_TURN: Final = """
    select t.id, s.id, s.tenant, s.user, s.agent, t.status, t.input_tokens, t.output_tokens,
        t.cache_read_tokens, t.cache_write_tokens, t.cost, t.started, t.ended, t.first, t.holder,
        s.key
    from turn t join session s on s.key = t.session
"""


def turn(
    connection: sqlite3.Connection, turn_id: str, users: Presence
) -> tuple[int, TurnRecord] | None:
    """Return the key of a turn's session, and its record."""
    row = connection.execute(f"{_TURN} where t.id = ?", (turn_id,)).fetchone()
    return None if row is None else (row[15], _record(row, users))


def runs_elsewhere(connection: sqlite3.Connection, session_id: str, users: Presence) -> bool:
    """Return whether another user runs a turn in the session."""
    holders = connection.execute(
        "select t.holder from turn t join session s on s.key = t.session"
        " where s.id = ? and t.status = 'running'",
        (session_id,),
    )
    return any(users.has(holder) for (holder,) in holders)


def held_elsewhere(connection: sqlite3.Connection, users: Presence) -> set[str]:
    """Return the sessions in which other users run a turn."""
    running = connection.execute(
        "select s.id, t.holder from turn t indexed by turn_unfinished"
        " join session s on s.key = t.session"
        " where t.status in ('running', 'suspended') and t.status = 'running'"
    ).fetchall()
    others = {holder for holder in {row[1] for row in running} if users.has(holder)}
    return {session_id for session_id, holder in running if holder in others}


def unannounced(connection: sqlite3.Connection, limit: int, users: Presence) -> list[TurnRecord]:
    """Return up to ``limit`` turns to be announced, oldest first, that no other user will."""
    holders = connection.execute(
        "select distinct t.holder from turn t join announcement a on a.turn = t.id"
    ).fetchall()
    others = [holder for (holder,) in holders if users.has(holder)]
    rows = connection.execute(
        f"{_TURN} join announcement a on a.turn = t.id"
        f" where t.holder not in ({', '.join('?' * len(others))}) order by t.ended limit ?",
        (*others, limit),
    )
    return [_record(row, users) for row in rows]


def announced(connection: sqlite3.Connection, turn_id: str) -> None:
    """Take a turn off the list of those to be announced."""
    connection.execute("delete from announcement where turn = ?", (turn_id,))


def begin_turn(
    connection: sqlite3.Connection,
    key: int,
    event: TurnStart | TurnEnd | TurnError,
    now: float,
    holder: str,
    *,
    anew: bool = False,
) -> int:
    """Let the turn run; return 1 when it is a new one, 0 when it goes on.

    Raises:
        TurnExists: it is to begin ``anew``, and is there.
    """
    cursor = connection.execute(
        "insert or ignore into turn(id, session, first, started, holder) values (?, ?, ?, ?, ?)",
        (event.turn_id, key, event.id, now, holder),
    )
    if cursor.rowcount == 1:
        return 1
    if anew:
        raise turn_exists(event.turn_id)
    if isinstance(event, TurnStart):
        connection.execute(
            "update turn set status = 'running', ended = null, holder = ?"
            " where id = ? and session = ?",
            (holder, event.turn_id, key),
        )
    return 0


def end_turn(
    connection: sqlite3.Connection, key: int, event: TurnEnd | TurnError, now: float, holder: str
) -> int:
    """Close the turn; return 1 when it is one that never began, 0 otherwise."""
    status = event.outcome if isinstance(event, TurnEnd) else "failed"
    new = 0
    closed = _close_turn(connection, key, event, status, now)
    if not closed:
        new = begin_turn(connection, key, event, now, holder)
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
        " cache_write_tokens = cache_write_tokens + ?, cost = cost + ?"
        " where id = ? and session = ?",
        (
            status,
            now,
            usage.input_tokens,
            usage.output_tokens,
            usage.cache_read_tokens,
            usage.cache_write_tokens,
            usage.cost,
            event.turn_id,
            key,
        ),
    )
    return cursor.rowcount == 1


def _record(
    row: tuple[
        str, str, str, str, str, str, int, int, int, int, float, float, float | None, int, str, int
    ],
    users: Presence,
) -> TurnRecord:
    return TurnRecord(
        turn_id=row[0],
        session_id=row[1],
        owner=Owner(row[2], row[3], row[4]),
        status=row[5],
        usage=Usage(*row[6:11]),
        started_at=row[11],
        ended_at=row[12],
        first=row[13],
        elsewhere=row[5] == "running" and users.has(row[14]),
    )
