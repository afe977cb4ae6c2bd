"""The end of a run that did not get to its commit."""

import logging
from typing import Final

import anyio

from agentrail.agent import Journal
from agentrail.errors import AgentrailError, LeaseLost, SessionError
from agentrail.events import Event, TurnEnd
from agentrail.host._core import Core
from agentrail.host._problems import Hide, turn_error
from agentrail.host._services import RunServices

_log = logging.getLogger("agentrail.host")


RETRY_SECONDS: Final = (0.5, 30.0)
"""How long to wait before the end of a turn is written again: at first, and at most."""


async def break_off(journal: Journal, failure: AgentrailError | None, hide: Hide) -> bool:
    """End a run in its log and for its reader; no failure means that it was cancelled.

    Events that cannot be written are left out of both, and so are secrets.  Tells whether the turn
    is closed.
    """
    if journal.is_blank:
        return not journal.is_taken or failure is not None
    for _ in range(2):
        try:
            journal.mend(stop_reason="error" if failure else "cancelled")
            journal.end(_end(journal, failure, hide))
            return await _write(journal)
        except Exception:  # noqa: BLE001 - boundary: plugin - what it gave to the run
            _log.exception("turn %s has events that cannot be written", journal.turn_id)
            journal.forget()
    return False


async def close_later(core: Core, services: RunServices) -> None:
    """Close a turn that its log would not take the end of; be a task of the host's own.

    Until it is closed, its session is busy for other processes.
    """
    seconds, longest = RETRY_SECONDS
    store, left = core.store, True
    while core.running and left:
        await anyio.sleep(seconds)
        seconds = min(seconds * 2, longest)
        try:
            record = await store.turn(services.turn_id)
            left = record is not None and record.status == "running" and not record.elsewhere
            if record is not None and left:
                # Whoever takes a session closes what was left unfinished there.
                store.release(
                    await store.acquire(record.session_id, record.owner, wait=0, create=False)
                )
        except Exception as error:  # noqa: BLE001 - boundary: plugin - the store may be anybody's
            _log.debug("turn %s could not be closed yet: %s", services.turn_id, error)


def _end(journal: Journal, failure: AgentrailError | None, hide: Hide) -> Event:
    if failure is not None:
        return turn_error(failure, journal.usage, hide)
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
