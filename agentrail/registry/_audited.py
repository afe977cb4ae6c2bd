"""Changes that are written in one transaction with the audit entry that tells of them."""

from collections.abc import Callable
from sqlite3 import Connection

from attrs import frozen

from agentrail.audit import Audit, append
from agentrail.clock import Clock
from agentrail.registry._known import Known
from agentrail.storage import Database

Change = Callable[[Connection], object]
"""Writes something in the transaction under way."""


@frozen(slots=True)
class By:
    """Who asks for a change, for the audit log."""

    actor: str
    reason: str = ""
    request: str = ""


APPLICATION = By("application")
"""Who puts packages into the directories that the application names."""

HOST = By("host")
"""Who quarantines."""


def audit(by: By, action: str, known: Known, before: str, after: str) -> Audit:
    """Return the audit entry of what is done to a version."""
    return Audit(
        actor=by.actor,
        action=f"package.{action}",
        object=f"package:{known.row.id}@{known.row.version}",
        detail=by.reason,
        before=before,
        after=after,
        request=by.request,
    )


@frozen(slots=True)
class Log:
    """Where changes are written."""

    database: Database
    clock: Clock

    async def write(
        self, audits: list[Audit], changes: list[Change], committed: Callable[[], object]
    ) -> None:
        """Make changes durable with their audit entries; ``committed`` is called if they are.

        Raises:
            StorageError: they could not be written; none of them was.
        """
        now = self.clock.now()

        def job(connection: Connection) -> None:
            for change in changes:
                change(connection)
            for each in audits:
                append(connection, each, now)

        await self.database.write(job, lambda _: committed())
