r"""What files in a package may be called: what means one file on every system, and no other.

Names are refused, never mended: a mended name hides an attack, and may hit another file.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from agentrail.config import shown
from agentrail.errors import Fault
from agentrail.package._limits import ArchiveLimits

PACK_HINT: Final = "`agentrail plugin pack` makes an archive without such things"

_SEGMENT: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(?<!\.)")
_DEVICE: Final = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)", re.IGNORECASE)
_DRIVE: Final = re.compile(r"[A-Za-z]:")


def name_fault(name: str, limits: ArchiveLimits) -> Fault | None:
    """Return what is wrong with a file's path in a package, or None.

    The path has slashes between its segments; the slash at the end of a directory's name is not
    part of it.
    """
    found = _path_fault(name, limits) or _finder_fault(name) or _segment_fault(name, limits)
    return found and Fault(*found, file=shown(name))


def name_faults(
    files: Iterable[str], directories: Iterable[str], limits: ArchiveLimits
) -> Iterator[Fault]:
    """Yield what is wrong with the paths of a package, each and between them."""
    kept: dict[str, tuple[str, bool]] = {}
    listed: set[str] = set()
    for is_file, names in ((True, files), (False, directories)):
        for name in names:
            if (fault := name_fault(name, limits)) is not None:
                yield fault
            elif name in listed and kept[name.casefold()] == (name, is_file):
                yield Fault("archive_duplicate", "it is there twice", file=name)
            else:
                listed.add(name)
                yield from _collisions(name, is_file, kept)


def _collisions(name: str, is_file: bool, kept: dict[str, tuple[str, bool]]) -> Iterator[Fault]:
    """Yield a fault when a file system that ignores case would mix up the path with another."""
    ends = [*(at for at, char in enumerate(name) if char == "/"), len(name)]
    for end in ends:
        part = name[:end], is_file and end == len(name)
        other = kept.setdefault(part[0].casefold(), part)
        if other != part:
            message = f"it cannot be beside {other[0]!r}: both are one name to some file systems"
            if other[0] == part[0]:
                message = f"{part[0]!r} is a file and a directory at once"
            yield Fault("archive_collision", message, file=name)
            return


def _path_fault(name: str, limits: ArchiveLimits) -> tuple[str, str] | None:
    if name.startswith("//"):
        return "archive_name", "it names a share on a network"
    if name.startswith("/") or "\\" in name or _DRIVE.match(name):
        return "archive_path", "it is not relative, or has other separators than slashes"
    segments = name.split("/")
    if any(segment in {"", ".", ".."} for segment in segments):
        return "archive_path", "a segment of its path is empty, '.' or '..'"
    if len(segments) > limits.depth:
        return "archive_depth", f"its path has more than {limits.depth} segments"
    return None


def _finder_fault(name: str) -> tuple[str, str] | None:
    segments = name.split("/")
    if "__MACOSX" in segments or segments[-1] == ".DS_Store":
        return "archive_forbidden_file", f"the macOS Finder put it there; {PACK_HINT}"
    return None


def _segment_fault(name: str, limits: ArchiveLimits) -> tuple[str, str] | None:
    if len(name) > limits.path:
        return "archive_name", f"its path has more than {limits.path} characters"
    for segment in name.split("/"):
        if len(segment) > limits.segment:
            return "archive_name", f"a segment of it has more than {limits.segment} characters"
        if segment.startswith("."):
            return "archive_name", f"hidden files are not taken; {PACK_HINT}"
        if not _SEGMENT.fullmatch(segment):
            message = "use ASCII letters, digits and . _ - alone, and no dot at the end"
            return "archive_name", message
        if _DEVICE.match(segment):
            return "archive_name", "it is the name of a device on some systems"
    return None
