"""What is wanted on is switched on when a host starts, as far as it can be."""

import logging
from collections.abc import Mapping, Sequence

from agentrail.errors import AgentrailError
from agentrail.registry._known import Entry, Said
from agentrail.registry._machine import Event, State
from agentrail.registry._order import Circle
from agentrail.registry._running import Running

_TRIED = (State.DISABLED, State.DRAINING, State.FAILED)

_log = logging.getLogger("agentrail.registry")


def missing_of(entries: Mapping[str, Entry], said: Said) -> Sequence[tuple[str, str]]:
    """Return which packages an application names that are not here, and what is missing."""
    found = list[tuple[str, str]]()
    for package in dict.fromkeys([*(said.only or ()), *said.switched, *said.versions]):
        entry, version = entries.get(package), said.versions.get(package)
        present = [each.row.version for each in entry.present] if entry is not None else []
        if not present:
            found.append((package, "there is none of that name: upload it first"))
        elif version is not None and version not in present:
            found.append((package, f"it has no version {version}: upload it first"))
    return found


async def switch_wanted_on(entries: Mapping[str, Entry], running: Running) -> None:
    """Switch on what is wanted, each after what it depends on; what fails is ``failed``."""
    for package, missing in missing_of(entries, running.said):
        _log.error("the settings name package %r, and %s", package, missing)
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
        if known is not None and known.package is not None and known.state in _TRIED:
            try:
                await running.switch_on(entries[package], known)
            except AgentrailError as error:
                _log.error("%s", error.detail)
