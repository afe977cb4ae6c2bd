"""What may be in the files of a package: source in UTF-8, and nothing that runs by itself."""

import csv
import re
import sys
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import PurePosixPath
from typing import Final

from agentrail.config import shown
from agentrail.errors import Fault
from agentrail.package._files import PackageFiles
from agentrail.package._limits import refused

_BYTECODE: Final = frozenset({".pyc", ".pyo"})
_NATIVE: Final = re.compile(r".*\.(so(\.[0-9.]+)?|pyd|dll|dylib|exe)", re.IGNORECASE)
_IMPORTED: Final = re.compile(r"([A-Za-z_]\w*)(/.*)?(\.[\w-]+)*\.(py|pyc|pyo|so|pyd)", re.ASCII)
"""A file that makes a module of its name, or of that of the directory it is in."""

_CUSTOMIZED: Final = frozenset({"sitecustomize", "usercustomize"})
_STARTED: Final = re.compile(
    r".*\.(pth|egg-link|egg)|pyvenv\.cfg|__editable__.*", re.DOTALL | re.IGNORECASE
)
"""What Python reads when it starts, if it finds it beside its modules."""

_COMMON: Final = frozenset({"benchmarks", "docs", "examples", "scripts", "test", "tests"})
"""What distributions install by mistake; nobody imports it."""

_COOKIE: Final = re.compile(rb"[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)", re.DOTALL)
"""Source: PEP 263."""
_UTF8: Final = frozenset({b"utf-8", b"utf8", b"utf_8"})

_COLUMNS: Final = 3
"""Of a RECORD: path, checksum, size.  Source: the specification of installed projects at PyPA."""

_MACH_O: Final = frozenset(
    bytes.fromhex(magic)
    for magic in ("feedface", "feedfacf", "cefaedfe", "cffaedfe", "cafebabe", "cafebabf")
)


def check_content(files: PackageFiles, *, native: bool = False) -> None:
    """Return when nothing in the files runs unasked, hides, or takes the place of a host's module.

    Nothing is imported, compiled or parsed.

    Args:
        files: of the whole package.
        native: whether compiled libraries may be among them.

    Raises:
        PackageRefused: with every fault that was found.
    """
    faults = [*_name_faults(files), *_shadow_faults(files)]
    for path in files:
        data = files.read(path)
        if not native and (_NATIVE.fullmatch(path) or _is_native(data)):
            message = "it is compiled code: the manifest has to ask for `native`"
            faults.append(Fault("native_not_declared", message, file=path))
        if path.endswith(".py") and (fault := _source_fault(data)):
            faults.append(Fault("source_encoding", fault, file=path))
    faults.extend(_record_faults(files))
    if faults:
        raise refused(*faults)


def module_names(files: PackageFiles) -> frozenset[str]:
    """Return the names under which the package's modules would be found on the import path."""
    found = (_IMPORTED.fullmatch(path) for path in files)
    return frozenset(match[1] for match in found if match)


@cache
def host_modules() -> frozenset[str]:
    """Return the top-level names of what can be imported in this process.

    That is the standard library, agentrail, and every distribution that is installed.
    """
    installed = packages_distributions().keys() - _COMMON
    return sys.stdlib_module_names | {"agentrail"} | installed


def _name_faults(files: PackageFiles) -> Iterator[Fault]:
    for path in files:
        name = PurePosixPath(path)
        if name.suffix.lower() in _BYTECODE or "__pycache__" in name.parts:
            yield Fault("bytecode_forbidden", "it is bytecode: send the source alone", file=path)
        names = {part.partition(".")[0].lower() for part in name.parts}
        if names & _CUSTOMIZED or any(_STARTED.fullmatch(part) for part in name.parts):
            message = "Python runs or reads such a file when it starts"
            yield Fault("archive_forbidden_file", message, file=path)
        if name.name == "entry_points.txt" and name.parent.suffix in {".dist-info", ".egg-info"}:
            message = "other programs load what it names"
            yield Fault("archive_forbidden_file", message, file=path)


def _shadow_faults(files: PackageFiles) -> Iterator[Fault]:
    for name in sorted(module_names(files) & host_modules()):
        message = f"its module {name!r} has the name of one that the host imports: rename it"
        yield Fault("module_shadows_host", message)


def _is_native(data: bytes) -> bool:
    """Return whether a loader of Linux, Windows or macOS would take the content for code."""
    if data.startswith(b"MZ"):
        header = int.from_bytes(data[0x3C:0x40], "little")
        return data[header : header + 4] == b"PE\0\0"
    return data.startswith(b"\x7fELF") or data[:4] in _MACH_O


def _source_fault(data: bytes) -> str | None:
    """Return why Python might read the source in another way than as UTF-8."""
    if b"\0" in data:
        return "it has NUL bytes in it"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return f"it is not UTF-8: byte {error.start} cannot be read"
    # Whether a lone carriage return ends a line depends on who reads.
    for newline in (rb"\n", rb"\r\n?|\n"):
        for line in re.split(newline, data.removeprefix(b"\xef\xbb\xbf"), maxsplit=2)[:2]:
            cookie = _COOKIE.match(line)
            if cookie and cookie[1].lower() not in _UTF8:
                return "it declares another encoding than UTF-8"
    return None


def _record_faults(files: PackageFiles) -> Iterator[Fault]:
    """Yield where an installed distribution's list of its files is not what is there."""
    recorded = dict[str, set[str]]()
    for record in files:
        directory, _, name = record.rpartition("/")
        if name == "RECORD" and directory.endswith(".dist-info"):
            base = directory[: directory.rfind("/") + 1]
            try:
                recorded.setdefault(base, set()).update(_recorded(files, base, record))
            except (ValueError, csv.Error) as error:
                yield Fault("record_mismatch", str(error), file=record)
    for base, listed in recorded.items():
        owned = {_top(path, base) for path in listed}
        for path in files:
            if path.startswith(base) and path not in listed and _top(path, base) in owned:
                yield Fault("record_mismatch", "no RECORD lists it", file=path)


def _top(path: str, base: str) -> str:
    return path[len(base) :].partition("/")[0]


def _recorded(files: PackageFiles, base: str, record: str) -> Iterator[str]:
    """Yield the paths that a RECORD lists; ValueError when one is not as it says."""
    rows = csv.reader(files.read(record).decode("utf-8").splitlines())
    for count, row in enumerate(rows):
        name, checksum, size = row if len(row) == _COLUMNS else ("", "", "")
        path = base + name
        if path not in files or count >= len(files):
            raise ValueError(f"it lists {shown(name)!r}, which is not there")
        if path != record or checksum:
            whole = urlsafe_b64encode(bytes.fromhex(files[path].sha256)).decode().rstrip("=")
            if checksum != f"sha256={whole}" or size not in {"", str(files[path].size)}:
                raise ValueError(f"it lists {name!r} with other content")
        yield path
