"""Changes that are written in one transaction with the audit entry that tells of them."""

import logging
from collections.abc import Callable
from functools import partial
from sqlite3 import Connection

from attrs import evolve, frozen

from agentrail.audit import Audit, append
from agentrail.clock import Clock
from agentrail.errors import StorageError
from agentrail.registry._known import Known
from agentrail.registry._machine import Event
from agentrail.registry._rows import write_version
from agentrail.storage import Database

_log = logging.getLogger("agentrail.registry")

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


async def quarantine(known: Known, log: Log) -> None:
    """Let a version wait for an administrator; it does, also when that cannot be written."""
    before = known.state
    known.step(Event.QUARANTINE, known.reason)
    row = evolve(known.row, state=known.state)
    change = audit(HOST, "quarantine", known, before, row.state)

    def committed() -> None:
        known.row = row

    try:
        await log.write([change], [partial(write_version, row=row)], committed)
    except StorageError as error:
        _log.error("that %s is quarantined could not be written: %s", known, error.detail)
