"""Directories are looked at again when something in them has changed."""

import logging
import os
import stat
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from importlib import import_module
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from agentrail.errors import AgentrailError, ConfigError
from agentrail.extras import pip_install

_log = logging.getLogger("agentrail.config")

_GROUP_MS: Final = 50
"""How long changes are gathered before they are told; the quiet period is counted from there."""

_CHECK_MS: Final = 500
"""How often it is asked whether the directory is still the one that is watched."""


def check_watch(directories: Sequence[Path]) -> None:
    """Return when directories can be watched.

    Raises:
        ConfigError: one is none, everybody may write to it, or watchfiles is missing.
    """
    try:
        import_module("watchfiles")
    except ImportError as error:
        message = f"watching directories needs watchfiles: {pip_install('server')}"
        raise ConfigError(message) from error
    for directory in directories:
        if not directory.is_dir():
            raise ConfigError(f"{directory} cannot be watched: it is no directory")
        _check_writers(directory)


async def watch(
    directory: Path,
    quiet_seconds: float,
    changed: Callable[[Path], Awaitable[None]],
    *,
    longest_seconds: float = 30.0,
    file: Path | None = None,
) -> None:
    """Call a function each time when files in a directory changed, and then did not for a while.

    It is called once when watching begins, for what changed before that, and when another
    directory has come to that path.  When changes do not end, it is called ``longest_seconds``
    after the first.  What comes while it is called is told after that.  It is not called while
    everybody may write to the directory.  With ``file``, that one counts alone, wherever a link to
    it leads.  Ends when cancelled.
    """
    some, ended = anyio.Event(), anyio.Event()
    latest = 0.0

    def note() -> None:
        nonlocal latest
        latest = anyio.current_time()
        some.set()

    async def tell_end() -> None:
        """End the thread that watches, which cancellation waits for."""
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_follow, directory, file, note, ended)
        tasks.start_soon(tell_end)
        while True:
            await some.wait()
            last = anyio.current_time() + max(longest_seconds, quiet_seconds)
            while anyio.current_time() < (at := min(latest + quiet_seconds, last)):  # noqa: ASYNC110 - a period of quiet
                await anyio.sleep_until(at)
            some = anyio.Event()
            try:
                await anyio.to_thread.run_sync(_check_writers, directory)
                await changed(directory)
            except AgentrailError as error:
                _log.error("changes in %s are not used: %s", directory, error.detail)


async def _follow(
    directory: Path,
    file: Path | None,
    note: Callable[[], None],
    ended: anyio.Event,
) -> None:
    """Call a function for what changes in the directory that is at a path, whichever it is."""
    fault, again = "", False
    while not ended.is_set():
        try:
            which = await anyio.to_thread.run_sync(_which, directory)
            if again:
                _log.warning("%s is another directory now, and that one is watched", directory)
            fault, again = "", True
            await _follow_one(directory, which, file, note, ended)
        except OSError as error:
            if fault != (fault := error.strerror or str(error)):
                _log.error("%s cannot be watched, and is tried again: %s", directory, fault)
                note()
            await anyio.sleep(_CHECK_MS / 1_000)


async def _follow_one(
    directory: Path,
    which: tuple[str, int, int],
    file: Path | None,
    note: Callable[[], None],
    ended: anyio.Event,
) -> None:
    """Call a function for what changes in a directory until another one is at its path.

    Raises:
        OSError: none is, or it cannot be watched.
    """
    # Who does not watch does not need it.
    from watchfiles import Change, awatch  # noqa: PLC0415

    changes = awatch(
        which[0],
        debounce=_GROUP_MS,
        step=_GROUP_MS,
        stop_event=ended,
        rust_timeout=_CHECK_MS,
        yield_on_timeout=True,
        recursive=file is None,
    )
    begun, before = False, None
    async with aclosing(changes):
        async for found in changes:
            present = None if file is None else await anyio.to_thread.run_sync(_looks_of, file)
            if not begun or (found if file is None else present != before):
                note()
            begun, before = True, present
            # One that is made after another is removed may have the other's number.
            if (Change.deleted, which[0]) in found:
                return
            if await anyio.to_thread.run_sync(_which, directory) != which:
                return


def _which(directory: Path) -> tuple[str, int, int]:
    """Return which directory is at a path.

    Raises:
        OSError: none is.
    """
    found = directory.stat()
    return str(directory.absolute()), found.st_dev, found.st_ino


def _looks_of(file: Path) -> tuple[int, ...]:
    """Return what changes when a file does, or another one comes to its path."""
    try:
        found = file.stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def everybody_writes(place: Path | int) -> bool:
    """Return whether everybody may write to a file or directory, at a path or opened.

    Nobody may where it is mounted to be read alone, as containers mount settings.

    Raises:
        OSError: nothing is there.
    """
    if os.name != "posix" or not os.stat(place).st_mode & stat.S_IWOTH:  # noqa: PTH116 - or opened
        return False
    return not os.statvfs(place).f_flag & os.ST_RDONLY


def _check_writers(directory: Path) -> None:
    """Return unless everybody may write to a directory.

    Raises:
        ConfigError: everybody may.
    """
    try:
        everybody = everybody_writes(directory)
    except OSError:  # it is gone, and what was in it is too
        return
    if everybody:
        message = f"{directory} is not watched: everybody may write to it; chmod o-w {directory}"
        raise ConfigError(message)
