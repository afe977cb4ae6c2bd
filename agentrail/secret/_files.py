"""Small files with secrets: how they are read, and how they come to be whole or not at all."""

import errno
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import mkstemp
from typing import Final

LARGEST: Final = 64 * 1024
"""How many bytes such a file has at most."""

_FLAGS: Final = (
    os.O_RDONLY
    | getattr(os, "O_NONBLOCK", 0)  # a pipe is refused, not waited for
    | getattr(os, "O_BINARY", 0)
)


def read_file(path: Path) -> tuple[bytes, int]:
    """Return what is in a regular file, or in the one that a link points to, and its mode.

    Raises:
        OSError: it is no such file, is too large, or cannot be read.
    """
    with open(os.open(path, _FLAGS), "rb") as file:  # noqa: PTH123 - opened without waiting
        mode = os.fstat(file.fileno()).st_mode
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise OSError(errno.EFBIG, f"it has more than {LARGEST} bytes")
    return data, mode


def write_file(path: Path, data: bytes, put: Callable[[Path, Path], object]) -> None:
    """Write a file that its owner alone can read; it is on the disk, whole, when this returns.

    ``put`` is ``os.replace``, or ``os.link`` to leave a file that is there as it is.

    Raises:
        FileExistsError: there is one, and it was left as it is.
        OSError: it could not be written.
    """
    descriptor, name = mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - made by mkstemp
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        put(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync(path.parent)


def sync(path: Path) -> None:
    """Have on the disk what is in a file, or the names in a directory.

    Raises:
        OSError: it could not be done.
    """
    if sys.platform == "win32" and path.is_dir():  # there it cannot be opened
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
