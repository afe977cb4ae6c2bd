"""Manifest files as data, with the line that each key stands on; nothing in them is executed."""

import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NoReturn, cast

from attrs import field, frozen

from agentrail.errors import Fault, PackageRefused

LARGEST: Final = 64 * 1024
"""The largest manifest, in bytes."""

DEEPEST: Final = 32
"""How many levels a manifest may have."""

_OPENS: Final = "# /// plugin"
_CLOSES: Final = "# ///"
_LONG_KEY: Final = re.compile(
    rf"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){{{DEEPEST}}}"""
)
"""A key of so many parts that reading it takes the square of their number."""
_TOML_TABLE: Final = re.compile(r"\s*\[\[?([^\[\]#]+)\]\]?\s*(?:#.*)?")
_TOML_KEY: Final = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*[\w"'-]+)*)\s*=""")
_TOML_PLACE: Final = re.compile(r"\(at line (\d+)")
_JSON_MARK: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|\n')


@frozen(slots=True)
class Document:
    """A manifest as it was written."""

    file: str
    data: Mapping[str, object]
    lines: Mapping[str, int] = field(factory=dict[str, int], repr=False)
    """The line of each key, by its path with dots."""

    def fault(self, code: str, message: str, key: str = "") -> Fault:
        """Return a fault with its place: the line of the key, or of what it stands in."""
        at = key
        while at and at not in self.lines:
            at = at.rpartition(".")[0]
        return Fault(code, message, self.file, self.lines.get(at), key)


def read_document(file: str, raw: bytes) -> Document:
    """Return what a ``plugin.toml``, a ``plugin.json`` or a ``.py`` with a comment block says.

    Raises:
        PackageRefused: it is too large, no UTF-8, or not written as it must be.
    """
    if len(raw) > LARGEST and not file.endswith(".py"):
        message = f"it has {len(raw)} bytes; a manifest may have {LARGEST}"
        raise PackageRefused([Fault("manifest_too_large", message, file)], status=413)
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        _refuse(file, f"it is not UTF-8: byte {error.start} cannot be read", error)
    if text.startswith("\ufeff"):
        _refuse(file, "it begins with a byte order mark: save it without one")
    if file.endswith(".json"):
        return _json(file, text)
    if not file.endswith(".py"):
        return _toml(file, text)
    found = list(_blocks(text))
    if not found:
        message = "it has no comment block '# /// plugin': see docs/reference/package.md"
        raise PackageRefused([Fault("manifest_missing", message, file)])
    if len(found) > 1:
        message = "it has two comment blocks '# /// plugin'"
        raise PackageRefused([Fault("manifest_duplicate", message, file)])
    above, lines = found[0]
    block = "\n".join(lines)
    if len(block) > LARGEST:
        message = f"its comment block has {len(block)} characters; a manifest may have {LARGEST}"
        raise PackageRefused([Fault("manifest_too_large", message, file)], status=413)
    return _toml(file, block, above)


def _blocks(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the comment blocks of a module: how many lines are above, and what they say."""
    block: list[str] | None = None
    above = 0
    for number, line in enumerate(text.split("\n"), 1):
        bare = line.rstrip(" \t\r")
        if block is None:
            if bare == _OPENS:
                block, above = [], number
        elif bare == _CLOSES:
            if block:
                yield above, block
            block = None
        elif bare == "#" or line.startswith("# "):
            block.append(line[2:].removesuffix("\r"))
        else:
            block = None


def has_manifest(source: bytes) -> bool:
    """Tell whether a module has a comment block that may be a manifest."""
    return _OPENS.encode() in source


def _toml(file: str, text: str, above: int = 0) -> Document:
    if _LONG_KEY.search(text):
        _refuse(file, f"it has a key of more than {DEEPEST} parts")
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = _TOML_PLACE.search(str(error))
        line = int(place[1]) + above if place else None
        what = re.sub(r" \(at .*\)$", "", str(error))
        raise PackageRefused([Fault("manifest_schema", what, file, line)]) from error
    except (RecursionError, ValueError) as error:
        _refuse(file, f"it cannot be read: {type(error).__name__}", error)
    _check_depth(file, data)
    return Document(file, data, dict(_toml_lines(text, above)))


def _json(file: str, text: str) -> Document:
    try:
        data: object = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        fault = Fault("manifest_schema", error.msg, file, error.lineno)
        raise PackageRefused([fault]) from error
    except (RecursionError, ValueError) as error:
        said = str(error) if isinstance(error, ValueError) else "it is nested too deeply"
        _refuse(file, said[:200], error)
    if not isinstance(data, dict):
        _refuse(file, "it must be an object")
    _check_depth(file, cast("object", data))
    return Document(file, cast("dict[str, object]", data), dict(_json_lines(text)))


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        ((twice, _),) = Counter([name for name, _ in pairs]).most_common(1)
        message = f"the key {twice[:80]!r} stands there twice"
        raise ValueError(message)
    return found


def _no_number(text: str) -> NoReturn:
    message = f"{text} is no number of JSON"
    raise ValueError(message)


def _refuse(file: str, message: str, cause: Exception | None = None) -> NoReturn:
    raise PackageRefused([Fault("manifest_schema", message, file)]) from cause


def _check_depth(file: str, data: object) -> None:
    level: list[object] = [data]
    for _ in range(DEEPEST):
        level = [inner for value in level for inner in _inside(value)]
        if not level:
            return
    _refuse(file, f"it is nested deeper than {DEEPEST} levels")


def _inside(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return cast("dict[str, object]", value).values()
    return cast("list[object]", value) if isinstance(value, list) else ()


def _toml_lines(text: str, above: int) -> Iterator[tuple[str, int]]:
    table = ""
    for number, line in enumerate(text.split("\n"), above + 1):
        if header := _TOML_TABLE.fullmatch(line):
            table = _bare(header[1])
            yield table, number
        elif key := _TOML_KEY.match(line):
            name = _bare(key[1])
            yield f"{table}.{name}" if table else name, number


def _bare(key: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in key.split("."))


def _json_lines(text: str) -> Iterator[tuple[str, int]]:
    path: list[str] = []
    line, last = 1, ""
    for mark in _JSON_MARK.findall(text):
        if mark == "\n":
            line += 1
        elif mark in "{[":
            path.append("")
        elif mark in "}]":
            path = path[:-1]
        elif mark == ":" and path:
            path[-1] = last
            yield ".".join(part for part in path if part), line
        elif mark not in ",:":
            last = mark[1:-1]
