"""What is done with the deletions of a session store."""

import sqlite3

from agentrail.session._store import Deletion, Owner
from agentrail.storage import Presence


def delete(connection: sqlite3.Connection, deletion: Deletion, holder: str) -> bool:
    """Erase a session with all that hangs on it; tell whether its owner had one."""
    owner = (deletion.owner.tenant_id, deletion.owner.user_id, deletion.owner.agent_id)
    erased = connection.execute(
        "delete from session where id = ? and tenant = ? and user = ? and agent = ?",
        (deletion.session_id, *owner),
    )
    if erased.rowcount == 0:
        return False
    connection.execute(
        "insert into deletion(id, session, tenant, user, agent, holder) values (?, ?, ?, ?, ?, ?)",
        (deletion.deletion_id, deletion.session_id, *owner, holder),
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
