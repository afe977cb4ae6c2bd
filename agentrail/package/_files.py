"""The files of a package, whatever shape it came in: an archive, a directory, one module."""

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from hashlib import sha256
from pathlib import Path
from typing import Final

from attrs import frozen

from agentrail.config import shown
from agentrail.errors import Fault, PackageRefused
from agentrail.package._inflate import ArchiveEntry, inflate
from agentrail.package._limits import MIB, ArchiveLimits, refused
from agentrail.package._names import name_faults
from agentrail.package._zip import read_archive

LIMITS: Final = ArchiveLimits()

_LARGEST_MODULE: Final = MIB

_FLAGS: Final = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)  # a pipe is refused, not waited for
    | getattr(os, "O_BINARY", 0)
)


@frozen(slots=True)
class PackageFile:
    """What is known of one file.

    Attributes:
        size: in bytes.
        sha256: of the content, in hex.
    """

    size: int
    sha256: str


class PackageFiles(Mapping[str, PackageFile]):
    """The files of a package by their paths, in the order of the paths.

    The contents stay where they are; ``read`` fetches one, and takes no other than the one that
    was listed.  Two of them are equal when the files are, wherever they are.
    """

    def __init__(self, files: Mapping[str, PackageFile], read: Callable[[str], bytes]) -> None:
        self._files = {path: files[path] for path in sorted(files)}
        self._read = read

    def __getitem__(self, path: str) -> PackageFile:
        return self._files[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    @cached_property
    def digest(self) -> str:
        """``sha256:`` and 64 hex digits: one for the same files in whatever shape."""
        whole = sha256(b"agentrail package 1\n")
        for path, file in self._files.items():
            # No path has a space or the end of a line in it.
            whole.update(f"{path} {file.size} {file.sha256}\n".encode("ascii"))
        return f"sha256:{whole.hexdigest()}"

    def read(self, path: str) -> bytes:
        """Return the content of a file.

        Raises:
            KeyError: there is no such file.
            PackageRefused: it has been changed since it was listed.
        """
        listed = self._files[path]
        try:
            data = self._read(path)
        except OSError as error:
            raise _unreadable(error, path) from error
        if described(data) != listed:
            message = "it was changed while the package was read"
            raise refused(Fault("archive_mismatch", message, file=path))
        return data


def described(data: bytes) -> PackageFile:
    """Return what is known of a file with this content."""
    return PackageFile(len(data), sha256(data).hexdigest())


def files_of(path: Path, name: str = "", limits: ArchiveLimits = LIMITS) -> PackageFiles:
    """Return the files of a package: of a directory, one ``.py``, or else a ZIP archive.

    Args:
        path: where it is.
        name: what it is called, where its path does not say: the name of an upload.
        limits: on its size.

    Raises:
        PackageRefused: it is refused, with every fault that was found.
    """
    try:
        if path.is_dir():
            return _of_directory(path, limits)
        if (name or path.name).endswith(".py"):
            return _of_module(path, name or path.name, limits)
        return _of_archive(path, limits)
    except OSError as error:
        raise _unreadable(error) from error


def sealed_files(path: Path, limits: ArchiveLimits = LIMITS) -> PackageFiles:
    """Return the files of a directory of which nothing is left out, and in which nobody may write.

    Raises:
        PackageRefused: somebody may, or there is something else in it.
    """
    try:
        return _of_directory(path, limits, sealed=True)
    except OSError as error:
        raise _unreadable(error) from error


def _unreadable(error: OSError, path: str = "") -> PackageRefused:
    message = f"it cannot be read: {error.strerror or error}"
    return refused(Fault("archive_invalid", message, file=path))


def _of_archive(path: Path, limits: ArchiveLimits) -> PackageFiles:
    hashes = dict[str, str]()
    faults = list[Fault]()
    with path.open("rb") as archive:
        listed = read_archive(archive, limits)
        for entry in listed:
            try:
                whole = sha256()
                for piece in inflate(archive, entry):
                    whole.update(piece)
                hashes[entry.name] = whole.hexdigest()
            except PackageRefused as error:
                faults.extend(error.faults)
    if faults:
        raise refused(*faults)
    entries = _below_top({e.name: e for e in listed if not e.name.endswith("/")})
    files = {name: PackageFile(e.size, hashes[e.name]) for name, e in entries.items()}

    def read(name: str) -> bytes:
        with path.open("rb") as archive:
            return b"".join(inflate(archive, entries[name]))

    return PackageFiles(files, read)


def _below_top(entries: Mapping[str, ArchiveEntry]) -> Mapping[str, ArchiveEntry]:
    """Leave out the one directory that holds everything, as in archives of a directory."""
    tops = {name.partition("/")[0] for name in entries}
    if len(tops) > 1 or not all("/" in name for name in entries):
        return entries
    return {name.partition("/")[2]: entry for name, entry in entries.items()}


def _of_module(path: Path, name: str, limits: ArchiveLimits) -> PackageFiles:
    faults = [*name_faults([name], [], limits), *_owner_faults(path.lstat(), name)]
    if faults := [*faults, *_way_in_faults(path)]:
        raise refused(*faults)
    read = partial(_read_file, path, limit=_LARGEST_MODULE, name=name)
    return PackageFiles({name: described(read())}, lambda _: read())


def _read_file(path: Path, limit: int, name: str) -> bytes:
    """Return the content of a plain file, and of nothing that a symbolic link points to."""
    descriptor = os.open(path, _FLAGS)
    with open(descriptor, "rb") as file:  # noqa: PTH123 - opened without following links
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise refused(Fault("archive_type", "it is not a plain file", file=shown(name)))
        data = file.read(limit + 1)
    if len(data) > limit:
        message = f"it has more than the {limit} bytes that are taken"
        raise refused(Fault("archive_size", message, file=shown(name)))
    return data


def _of_directory(root: Path, limits: ArchiveLimits, *, sealed: bool = False) -> PackageFiles:
    names, faults = _listed(root, limits, sealed=sealed)
    faults.extend(name_faults(names, [], limits))
    if not sealed:
        faults.extend(_way_in_faults(root))
    files = dict[str, PackageFile]()
    room = limits.total
    for name in () if faults else names:
        data = _read_file(root / name, limits.entry, name)
        files[name] = described(data)
        room -= len(data)
        if room < 0:
            message = f"its files have more than the {limits.total} bytes that are taken"
            raise refused(Fault("archive_size", message))
    if not names and not faults:
        faults.append(Fault("archive_invalid", "there is no file in it"))
    if faults:
        raise refused(*faults)
    return PackageFiles(files, lambda name: _read_file(root / name, limits.entry, name))


def _listed(root: Path, limits: ArchiveLimits, *, sealed: bool) -> tuple[list[str], list[Fault]]:
    """Return the paths of all files below a directory, and what may not be there."""
    names = list[str]()
    faults = list(_owner_faults(root.lstat(), "", sealed=sealed))
    directories = [""] if not faults else []
    while directories:
        above = directories.pop()
        with os.scandir(root / above) as found:
            children = sorted(found, key=lambda child: child.name)
        for child in children:
            if not sealed and _is_junk(child.name):
                continue
            name = f"{above}{child.name}"
            info = child.stat(follow_symlinks=False)
            faults.extend(_owner_faults(info, name, sealed=sealed))
            if stat.S_ISDIR(info.st_mode) and name.count("/") < limits.depth:
                directories.append(f"{name}/")
            elif stat.S_ISDIR(info.st_mode) or stat.S_ISREG(info.st_mode):
                names.append(name)  # of a directory that is too deep the name is told as a fault
            if len(names) > limits.entries:
                message = f"it has more than the {limits.entries} files that are taken"
                raise refused(Fault("archive_entries", message))
    return names, faults


def _is_junk(name: str) -> bool:
    """Return whether editors, version control and Python itself leave such files behind."""
    return name.startswith(".") or name.endswith("~") or name == "__pycache__"


def _owner_faults(info: os.stat_result, name: str, *, sealed: bool = False) -> Iterator[Fault]:
    mode = info.st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        yield Fault("archive_type", "it is neither a plain file nor a directory", file=shown(name))
    elif os.name == "posix":
        if info.st_uid not in {0, os.geteuid()}:
            yield Fault("archive_mode", "it belongs to somebody else", file=shown(name))
        if mode & (0o222 if sealed else 0o002):
            who = "somebody" if sealed else "everybody"
            yield Fault("archive_mode", f"{who} may write to it", file=shown(name))


def _way_in_faults(path: Path) -> Iterator[Fault]:
    """Yield a fault when everybody may put something else in the place of this."""
    above = path.absolute().parent.stat().st_mode
    if os.name == "posix" and above & stat.S_IWOTH and not above & stat.S_ISVTX:
        yield Fault("archive_mode", "everybody may write to the directory that it is in")
