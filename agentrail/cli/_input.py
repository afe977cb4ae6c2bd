"""Standard input, line by line, read in a way that a signal can end."""

import os
import sys
from contextlib import suppress
from typing import Final, TextIO

import anyio
from attrs import define

if sys.platform != "win32":
    import termios

PIECE: Final = 1 << 16
"""Bytes that are read at once."""


@define(slots=True)
class Input:
    """What is typed or piped in."""

    _rest: bytes = b""
    """What was read and is not yet asked for."""

    async def ask(self, question: str, shown: TextIO) -> str | None:
        """Return the next line without its end; None at the end.  Only a person is asked for it."""
        if sys.stdin is None:  # it was closed before the program began
            return None
        if at_terminal():
            shown.write(question)
            shown.flush()
        pieces = [self._rest]
        while b"\n" not in pieces[-1] and (more := await _read()):
            pieces.append(more)
        line, newline, self._rest = b"".join(pieces).partition(b"\n")
        if not (line or newline):
            return None
        return line.decode(sys.stdin.encoding, errors="replace").removesuffix("\r")

    def forget(self) -> None:
        """Drop what was typed and is not yet asked for."""
        self._rest = b""
        if sys.platform != "win32":
            termios.tcflush(sys.stdin, termios.TCIFLUSH)


def at_terminal() -> bool:
    """Tell whether a person types."""
    return sys.stdin is not None and sys.stdin.isatty()


async def _read() -> bytes:
    """Return what is there once something is; nothing at the end."""
    file = sys.stdin.fileno()
    if sys.platform == "win32":  # where nothing but a socket can be waited for
        return await anyio.to_thread.run_sync(os.read, file, PIECE, abandon_on_cancel=True)
    # Not in a thread, which nothing could end: it would keep the process until the input ends.
    with suppress(PermissionError):  # a file, which cannot be waited for and needs no waiting
        await anyio.wait_readable(file)
    return os.read(file, PIECE)
