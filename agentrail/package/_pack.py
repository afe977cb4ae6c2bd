"""Make an archive of a package's directory."""

import io
import zipfile
import zlib
from pathlib import Path
from typing import Final

from agentrail.errors import Fault
from agentrail.package._files import LIMITS, files_of
from agentrail.package._limits import MIB, refused

_MODE: Final = 0o100644


def pack(directory: Path) -> bytes:
    """Return a ZIP archive of a directory: the same bytes for the same files.

    What editors, version control and Python leave behind stays out: hidden files, names that end
    with ``~``, ``__pycache__``.

    Raises:
        PackageRefused: there is something in it that would be refused of an archive, or that
            others may change.
    """
    files = files_of(directory)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for path in files:
            entry = zipfile.ZipInfo(path)  # of 1980, whenever it is made
            entry.create_system = 3  # Unix, wherever it is made
            entry.external_attr = _MODE << 16
            data = files.read(path)
            archive.writestr(entry, data, _method(data))
    if out.tell() > LIMITS.archive:
        message = f"it has {out.tell()} bytes packed; at most {LIMITS.archive} are taken"
        raise refused(Fault("archive_size", message))
    return out.getvalue()


def _method(data: bytes) -> int:
    """Return how to pack a file: as it is, where it would become so small as only bombs are."""
    # Twice the limit, since the archive's own packing is not this one to the byte.
    tight = len(data) > MIB and len(zlib.compress(data)) * LIMITS.ratio < 2 * len(data)
    return zipfile.ZIP_STORED if tight else zipfile.ZIP_DEFLATED
