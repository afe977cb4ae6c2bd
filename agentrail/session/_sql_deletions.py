"""What is done with the deletions of a session store."""

import sqlite3
from math import inf

from agentrail.session._sql_turns import held_elsewhere, runs_elsewhere
from agentrail.session._store import Deletion, Owner
from agentrail.storage import Presence


def unused(
    connection: sqlite3.Connection, before: float, limit: int, users: Presence, held: frozenset[str]
) -> list[str]:
    """Return ids of sessions changed last before a time, but of none that is held.

    It walks over all sessions: an index would have to be changed with each write to a log.
    """
    held |= held_elsewhere(connection, users)
    rows = connection.execute(
        "select id from session where updated < ? order by updated limit ?",
        (before, limit + len(held)),
    )
    return [session_id for (session_id,) in rows if session_id not in held][:limit]


def delete(
    connection: sqlite3.Connection,
    deletion: Deletion,
    users: Presence,
    unused_since: float | None = None,
) -> bool:
    """Erase a session with all that hangs on it; tell whether its owner had one."""
    if unused_since is not None and runs_elsewhere(connection, deletion.session_id, users):
        return False
    owner = (deletion.owner.tenant_id, deletion.owner.user_id, deletion.owner.agent_id)
    erased = connection.execute(
        "delete from session where id = ? and tenant = ? and user = ? and agent = ?"
        " and updated < ?",
        (deletion.session_id, *owner, inf if unused_since is None else unused_since),
    )
    if erased.rowcount == 0:
        return False
    connection.execute(
        "insert into deletion(id, session, tenant, user, agent, holder) values (?, ?, ?, ?, ?, ?)",
        (deletion.deletion_id, deletion.session_id, *owner, users.name),
    )
    return True


def unannounced(connection: sqlite3.Connection, users: Presence) -> list[Deletion]:
    """Return the deletions to be announced, oldest first, that no other user will."""
    rows = connection.execute(
        "select id, session, tenant, user, agent, holder from deletion order by rowid"
    )
    return [Deletion(row[0], row[1], Owner(*row[2:5])) for row in rows if not users.has(row[5])]


def announced(connection: sqlite3.Connection, deletion_id: str) -> None:
    """Take a deletion off the list of those to be announced."""
    connection.execute("delete from deletion where id = ?", (deletion_id,))
