"""Directories of packages are looked at again when something in them has changed."""

import logging
import os
import stat
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from importlib import import_module
from pathlib import Path
from typing import Final

import anyio

from agentrail.errors import AgentrailError, ConfigError
from agentrail.extras import pip_install

_log = logging.getLogger("agentrail.registry")

_GROUP_MS: Final = 50
"""How long changes are gathered before they are told; the quiet period is counted from there."""


def check_watch(directories: Sequence[Path]) -> None:
    """Return when directories can be watched.

    Raises:
        ConfigError: one is none, everybody may write to it, or watchfiles is missing.
    """
    try:
        import_module("watchfiles")
    except ImportError as error:
        message = f"PackageSettings(watch=True) needs watchfiles: {pip_install('server')}"
        raise ConfigError(message) from error
    for directory in directories:
        if not directory.is_dir():
            raise ConfigError(f"{directory} cannot be watched: it is no directory")
        if os.name == "posix" and directory.stat().st_mode & stat.S_IWOTH:
            message = (
                f"{directory} is not watched: everybody may write to it; chmod o-w {directory}"
            )
            raise ConfigError(message)


async def watch(
    directory: Path, quiet_seconds: float, changed: Callable[[Path], Awaitable[None]]
) -> None:
    """Call a function each time when files in a directory changed, and then did not for a while.

    What comes while it is called is told after that.  Ends when cancelled.
    """
    some, ended = anyio.Event(), anyio.Event()
    latest = 0.0

    async def gather() -> None:
        nonlocal latest
        # Who does not watch does not need it.
        from watchfiles import awatch  # noqa: PLC0415

        changes = awatch(directory, debounce=_GROUP_MS, step=_GROUP_MS, stop_event=ended)
        async with aclosing(changes):
            async for _ in changes:
                latest = anyio.current_time()
                some.set()

    async def tell_end() -> None:
        """End the thread that watches, which cancellation waits for."""
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(gather)
        tasks.start_soon(tell_end)
        while True:
            await some.wait()
            while anyio.current_time() < latest + quiet_seconds:  # noqa: ASYNC110 - a period of quiet
                await anyio.sleep_until(latest + quiet_seconds)
            some = anyio.Event()
            try:
                await changed(directory)
            except AgentrailError as error:
                _log.error("changes in %s are not used: %s", directory, error.detail)
