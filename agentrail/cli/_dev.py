"""``agentrail dev``: serves an application anew whenever its code changes."""

import logging
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from importlib.util import cache_from_source
from pathlib import Path
from threading import Thread
from typing import Final

import anyio
from anyio.abc import Process
from watchfiles import Change, PythonFilter, awatch

from agentrail.cli._serve import listen, serve

_log = logging.getLogger("agentrail.cli")

Changes = set[tuple[Change, str]]

PATIENCE: Final = 15.0
"""Seconds beyond its grace that a child has to end before it is killed."""


def dev(
    spec: str, address: tuple[str, int], data_dir: Path | None, backend: str, grace: float
) -> None:
    """Serve an application in a child process, a new one for each change of a Python file here.

    The socket listens all the time: a request that comes between two children waits.
    SIGTERM or SIGINT ends the child as it ends ``serve``, and then this; a second one kills it.

    Raises:
        ConfigError: the address cannot be taken.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("watchfiles").setLevel(logging.WARNING)  # it only counts what changed
    with listen(*address) as listener:
        command = [sys.executable, "-c", "from agentrail.cli import main; main()", "dev-child"]
        command += [str(listener.fileno()), spec, backend, str(grace)]
        if data_dir is not None:
            command += ["--data-dir", str(data_dir)]
        anyio.run(_run, command, listener.fileno(), grace)


def serve_child(
    listener: int, spec: str, backend: str, grace: float, data_dir: Path | None
) -> None:
    """Serve on a socket that was handed over, until the parent closes standard input, or is gone.

    Raises:
        AgentrailError: the application cannot be loaded or started, or may not be served there.
    """
    Thread(target=_end_with_input, args=(grace,), daemon=True).start()
    flags: Mapping[str, tuple[str, object]] = {
        "server.backend": ("--backend", backend),
        "stop_grace": ("--grace", grace),
    }
    serve(spec, data_dir, flags, listener=socket.socket(fileno=listener))


def _end_with_input(grace: float) -> None:
    # Not through sys.stdin, whose lock would be held when the interpreter ends.
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    # A parent that is gone does not kill what hangs, and an event loop that hangs takes no signal.
    time.sleep(grace + PATIENCE)
    os.kill(os.getpid(), signal.SIGKILL)


async def _run(command: Sequence[str], listener: int, grace: float) -> None:
    ended = anyio.Event()
    async with (
        anyio.create_task_group() as tasks,
        aclosing(awatch(Path.cwd(), watch_filter=_Code(), stop_event=ended)) as changes,
    ):
        tasks.start_soon(_until_signal, ended, tasks.cancel_scope)
        while not ended.is_set():
            # A session of its own: what is typed at the terminal comes here alone.
            child = await anyio.open_process(
                command, stdout=None, stderr=None, pass_fds=[listener], start_new_session=True
            )
            changed: Changes = set()
            try:
                changed = await _change(changes, child)
            finally:
                # Closes its standard input, and kills it when that does not end it.
                with anyio.move_on_after(grace + PATIENCE):
                    await child.aclose()
            _forget_compiled(changed)
        tasks.cancel_scope.cancel()


async def _change(changes: AsyncIterator[Changes], child: Process) -> Changes:
    """Wait for a change, and tell it; tell the end of the child, if that comes first."""
    changed: Changes = set()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_tell_end, child)
        async for changed in changes:
            _log.info("changed: %s", _names(changed))
            break
        tasks.cancel_scope.cancel()
    return changed


def _forget_compiled(changed: Changes) -> None:
    """Delete what Python compiled from files that changed, so that no child runs what they were.

    Python compares a file's size and its time in whole seconds, and people save twice in one.
    """
    for _, path in changed:
        Path(cache_from_source(path)).unlink(missing_ok=True)


class _Code(PythonFilter):
    """The Python files of an application, without those of packages that a host keeps."""

    def __call__(self, change: Change, path: str) -> bool:
        """Tell whether a change counts."""
        return super().__call__(change, path) and not any(
            (directory / "host.db").exists() for directory in Path(path).parents
        )


def _names(changed: Changes) -> str:
    return ", ".join(sorted(os.path.relpath(path) for _, path in changed))


async def _until_signal(ended: anyio.Event, everything: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            if ended.is_set():
                everything.cancel()
            ended.set()


async def _tell_end(child: Process) -> None:
    status = await child.wait()
    _log.info("it ended with status %d; a change starts it again", status)
