"""The end of a run that did not get to its commit."""

import logging
from typing import Final

import anyio

from agentrail.agent import Journal
from agentrail.errors import (
    AgentrailError,
    LeaseLost,
    SessionBusy,
    SessionError,
    SessionNotFound,
)
from agentrail.events import Event, TurnEnd
from agentrail.host._core import Core
from agentrail.host._problems import turn_error
from agentrail.host._services import RunServices

_log = logging.getLogger("agentrail.host")


RETRY_SECONDS: Final = (0.5, 30.0)
"""How long to wait before the end of a turn is written again: at first, and at most."""


async def break_off(journal: Journal, failure: AgentrailError | None) -> bool:
    """End a run in its log and for its reader; no failure means that it was cancelled.

    Events that cannot be written are left out of both.  Tells whether the turn is closed.
    """
    if journal.is_blank:
        return True
    for _ in range(2):
        try:
            journal.mend(stop_reason="error" if failure else "cancelled")
            journal.add(_end(journal, failure))
            return await _write(journal)
        except Exception:  # noqa: BLE001 - boundary: plugin - what it gave to the run
            _log.exception("turn %s has events that cannot be written", journal.turn_id)
            journal.forget()
    return True


async def close_later(core: Core, services: RunServices) -> None:
    """Close a turn that its log would not take the end of; be a task of the host's own.

    Until it is closed, its session is busy for other processes.
    """
    seconds, longest = RETRY_SECONDS
    closed = False
    while core.running and not closed:
        await anyio.sleep(seconds)
        seconds = min(seconds * 2, longest)
        try:
            # Whoever takes a session closes what was left unfinished there.
            lease = await core.store.acquire(
                services.session_id, services.owner, wait=0, create=False
            )
            core.store.release(lease)
            closed = True
        except (SessionBusy, SessionNotFound):  # somebody has taken it, or it is deleted
            closed = True
        except AgentrailError as error:
            _log.debug("turn %s could not be closed yet: %s", services.turn_id, error)


def _end(journal: Journal, failure: AgentrailError | None) -> Event:
    if failure is not None:
        return turn_error(failure, journal.usage)
    return TurnEnd(outcome="cancelled", stop_reason="cancelled", usage=journal.usage)


async def _write(journal: Journal) -> bool:
    try:
        await journal.flush()
    except SessionError as error:
        # The log is out of reach; the reader is told all the same.
        _log.error("turn %s could not be closed in its log: %s", journal.turn_id, error)
        await journal.show_unwritten()
        return isinstance(error, LeaseLost)  # who took the session closed the turn
    return True
