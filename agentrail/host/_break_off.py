"""The end of a run that did not get to its commit."""

import logging

from agentrail.agent import Journal
from agentrail.errors import AgentrailError, SessionError
from agentrail.events import Event, TurnEnd
from agentrail.host._problems import turn_error

_log = logging.getLogger("agentrail.host")


async def break_off(journal: Journal, failure: AgentrailError | None) -> None:
    """End a run in its log and for its reader; no failure means that it was cancelled.

    Events that cannot be written are left out of both.
    """
    if journal.is_blank:
        return
    for _ in range(2):
        try:
            journal.mend(stop_reason="error" if failure else "cancelled")
            journal.add(_end(journal, failure))
            await _write(journal)
        except Exception:  # noqa: BLE001 - boundary: plugin - what it gave to the run
            _log.exception("turn %s has events that cannot be written", journal.turn_id)
            journal.forget()
        else:
            return


def _end(journal: Journal, failure: AgentrailError | None) -> Event:
    if failure is not None:
        return turn_error(failure, journal.usage)
    return TurnEnd(outcome="cancelled", stop_reason="cancelled", usage=journal.usage)


async def _write(journal: Journal) -> None:
    try:
        await journal.flush()
    except SessionError as error:
        # The log is out of reach; the reader is told all the same.
        _log.error("turn %s could not be closed in its log: %s", journal.turn_id, error)
        await journal.show_unwritten()
