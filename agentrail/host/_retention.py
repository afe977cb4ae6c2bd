"""Sessions that nobody has used for long are deleted."""

import logging
from collections.abc import Sequence
from typing import Final

import anyio

from agentrail.host._core import Core
from agentrail.host._deleted import announce_deletion

_log = logging.getLogger("agentrail.host")

PERIOD: Final = 3600.0
"""Seconds from the end of one look to the next."""

BATCH: Final = 500
"""How many sessions are looked up at a time."""

_DAY: Final = 86_400.0


async def keep_retention(core: Core) -> None:
    """Delete what nobody has used for long, at once and then every hour, until cancelled."""
    while True:
        await delete_unused(core)
        await anyio.sleep(PERIOD)


async def delete_unused(core: Core) -> None:
    """Delete the sessions that nobody has used for ``session_days``, one after another.

    What fails is told, and left to the next look.
    """
    deleted = 0
    try:
        while sessions := await _unused(core):
            before = deleted
            for session_id in sessions:
                deleted += await _delete(core, session_id)
            if deleted == before:  # they are in use again, or another host was first
                break
    except Exception as error:  # noqa: BLE001 - boundary: plugin - the store may be anybody's
        _log.error("unused sessions could not be looked up: %s", error)
    finally:
        if deleted:
            _log.info("deleted sessions that nobody has used for long: %d", deleted)


def _since(core: Core) -> float | None:
    """Return since when a session must be unused at present; None when all are kept."""
    days = core.config.session_days
    return None if days is None or not core.running else core.config.clock.now() - days * _DAY


async def _unused(core: Core) -> Sequence[str]:
    since = _since(core)
    return () if since is None else await core.store.unused(since, limit=BATCH)


async def _delete(core: Core, session_id: str) -> bool:
    """Delete a session that is still unused, and tell whether it was."""
    since = _since(core)
    if since is None:
        return False
    generation, deletion = core.enter(), None
    try:
        with anyio.CancelScope(shield=True):  # what plugins keep of it is to go too
            deletion = await core.store.delete(session_id, unused_since=since)
            if deletion is not None:
                await announce_deletion(core, generation, deletion, "retention")
    except Exception as error:  # noqa: BLE001 - boundary: plugin - as above
        _log.error("the unused session %r could not be deleted: %s", session_id, error)
    finally:
        core.leave(generation)
    return deletion is not None
