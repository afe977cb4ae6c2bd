"""How large a package may be, and how it is refused."""

from typing import Final

from attrs import frozen

from agentrail.errors import Fault, PackageRefused

MIB: Final = 1 << 20

_SIZES: Final = frozenset({"archive_size", "archive_entries"})
"""The codes of what is too large; HTTP has a status of its own for that."""

_TOLD: Final = 50


@frozen(slots=True)
class ArchiveLimits:
    """How large a package may be; the same for archives and for directories.

    Attributes:
        archive: bytes of the archive itself.
        entries: files, and the directories that an archive names.
        entry: bytes of one file.
        total: bytes of all files.
        ratio: how many times larger than in the archive a file of more than 1 MiB may be.
        path: characters of a path.
        segment: characters between two slashes.
        depth: how many segments a path has.
    """

    archive: int = 50 * MIB
    entries: int = 2_000
    entry: int = 20 * MIB
    total: int = 100 * MIB
    ratio: int = 200
    path: int = 240
    segment: int = 100
    depth: int = 16


def refused(*faults: Fault) -> PackageRefused:
    """Return the error that refuses a package, with the status that fits its first fault.

    Of very many faults the first are in it.
    """
    return PackageRefused(faults[:_TOLD], status=413 if faults[0].code in _SIZES else 422)
