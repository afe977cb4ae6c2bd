"""What is wanted on is switched on when a host starts, as far as it can be."""

import logging
from collections.abc import Mapping, Sequence

from agentrail.errors import AgentrailError
from agentrail.registry._known import Entry
from agentrail.registry._machine import Event, State
from agentrail.registry._order import Circle
from agentrail.registry._running import Running

_log = logging.getLogger("agentrail.registry")


async def switch_wanted_on(entries: Mapping[str, Entry], running: Running) -> None:
    """Switch on what is wanted, each after what it depends on; what fails is ``failed``."""
    waiting = {entry.id: entry for entry in entries.values() if entry.wanted}
    order: Sequence[str] = ()
    while waiting and not order:
        try:
            order = running.order(list(waiting.values()))
        except Circle as error:
            _log.error("%s", error.detail)
            for package in error.packages:
                known = waiting.pop(package).active
                if known is not None and known.state is State.DISABLED:
                    known.step(Event.ENABLE)
                    known.step(Event.FAIL, error.detail)
                    running.events.emit("error", package, known.row.version, error=error.detail)
    for package in order:
        known = entries[package].active
        if known is not None and known.state is State.DISABLED:
            try:
                await running.switch_on(entries[package], known)
            except AgentrailError as error:
                _log.error("%s", error.detail)
