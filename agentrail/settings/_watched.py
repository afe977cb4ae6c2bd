"""A file of settings is read anew when it has changed."""

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Final

from anyio.abc import TaskGroup

from agentrail.config import check_watch, watch
from agentrail.errors import ConfigError
from agentrail.settings._source import SettingsSource

_log = logging.getLogger("agentrail.settings")

LONGEST: Final = 30.0
"""Seconds after which a file is read that does not cease to change."""


def watch_file(
    group: TaskGroup,
    source: SettingsSource,
    quiet: float,
    changed: Callable[[Path], Awaitable[None]],
) -> None:
    """Call a function, in a task of the group, when something has changed where the file is.

    It is called once no more changes for ``quiet`` seconds.  What cannot be watched is told.
    """
    path = source.path
    if path is None:
        return
    try:
        check_watch([path.absolute().parent])
    except ConfigError as error:
        _log.warning("settings are read anew when that is asked for: %s", error.detail)
        return
    run = partial(watch, path.absolute().parent, quiet, changed, file=path.absolute())
    group.start_soon(partial(run, longest_seconds=max(LONGEST, quiet)))
