"""Packages that are loaded on demand are put away when nobody has called them for a while."""

import logging
from functools import partial

import anyio

from agentrail.errors import AgentrailError, HostNotRunning
from agentrail.registry._machine import Event
from agentrail.registry._running import Running

_log = logging.getLogger("agentrail.registry")


async def put_idle_away(running: Running) -> None:
    """Put idle packages away from time to time, until the host stops."""
    while True:
        await anyio.sleep(min(60.0, running.settings.idle_seconds))
        try:
            await running.alone(partial(_put_away, running), change=True)
        except HostNotRunning:
            return


async def _put_away(running: Running) -> None:
    late = running.clock.monotonic() - running.settings.idle_seconds
    for entry in list(running.entries.values()):
        known = entry.on
        if known is None or known.loaded is None or known.called_at > late:
            continue
        lazy = running.lazy(entry, known)
        if lazy is not None:
            try:
                retired = await running.swap_without(known, lazy)
            except AgentrailError as error:
                _log.error("%s could not be put away: %s", known, error.detail)
                continue
            known.step(Event.REST)
            running.let_go(entry, known, retired)
            running.events.emit("rest", entry.id, known.row.version)
