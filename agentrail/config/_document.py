"""TOML and JSON as data, with the line that each value stands on; nothing is executed."""

import json
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Final, NoReturn, cast

from attrs import field, frozen

from agentrail.errors import ConfigRefused, Fault

DEEPEST: Final = 32
"""How many levels a document may have."""

_LONG_KEY: Final = re.compile(
    rf"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){{{DEEPEST}}}"""
)
"""A key of so many parts that reading it takes the square of their number."""
_TOML_TABLE: Final = re.compile(r"\s*(\[\[?)([^\[\]#]+)\]\]?\s*(?:#.*)?")
_TOML_KEY: Final = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*[\w"'-]+)*)\s*=""")
_TOML_PLACE: Final = re.compile(r"\(at line (\d+)")
_JSON_MARK: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|\n')
_LARGEST_INT: Final = 2**63
_LONGEST_PATH: Final = 500


@frozen(slots=True)
class Document:
    """A file as it was written."""

    file: str
    data: Mapping[str, object]
    lines: Callable[[], Iterable[tuple[str, int]]] = field(default=tuple, repr=False)
    """Return the line of each key, by its path: keys, and places in lists from 0, with dots."""

    def fault(self, code: str, message: str, key: str = "") -> Fault:
        """Return a fault with its place: the line of the key, or of what it stands in."""
        found, line = "", None
        for path, number in self.lines() if key else ():
            if path == key:
                line = number
                break
            if len(path) > len(found) and key.startswith(f"{path}."):
                found, line = path, number
        return Fault(code, message, self.file, line, shown(key))


def shown(text: str, most: int = 200) -> str:
    """Return a text from outside as it may stand in a message: on one line, and not too long."""
    cut = text if len(text) <= most else f"{text[: most - 1]}…"
    return cut if cut.isprintable() else ascii(cut)[1:-1]


def read_text(file: str, raw: bytes, largest: int) -> str:
    """Return the text of a file of at most ``largest`` bytes.

    Raises:
        ConfigRefused: it is too large, or no UTF-8.
    """
    if len(raw) > largest:
        message = f"it has {len(raw)} bytes; it may have {largest}"
        raise ConfigRefused([Fault("document_too_large", message, file)], status=413)
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        _refuse(file, f"it is not UTF-8: byte {error.start} cannot be read")
    if text.startswith("\ufeff"):
        _refuse(file, "it begins with a byte order mark: save it without one")
    return text


def read_document(file: str, raw: bytes, largest: int) -> Document:
    """Return what a file says: JSON if its name ends in ``.json``, else TOML.

    ``largest`` is in bytes.

    Raises:
        ConfigRefused: it is too large, no UTF-8, or not written as it must be.
    """
    text = read_text(file, raw, largest)
    if file.endswith(".json"):
        return checked(Document(file, _json(file, text), partial(_json_lines, text)))
    return read_toml(file, text)


def read_toml(file: str, text: str, above: int = 0) -> Document:
    """Return what a text in TOML says; ``above`` is how many lines of the file are above it.

    Raises:
        ConfigRefused: it is not written as it must be.
    """
    return checked(Document(file, _toml(file, text, above), partial(_toml_lines, text, above)))


def checked(document: Document) -> Document:
    """Return a document that says nothing but what every format can say.

    Raises:
        ConfigRefused: it says more.
    """
    level: list[tuple[str, object]] = [("", document.data)]
    for _ in range(DEEPEST):
        for key, value in level:
            if (problem := _problem(key, value)) is not None:
                raise ConfigRefused([document.fault("document_invalid", problem, key)])
        level = [inner for key, value in level for inner in _inside(key, value)]
        if not level:
            return document
    return _refuse(document.file, f"it is nested deeper than {DEEPEST} levels")


def _toml(file: str, text: str, above: int) -> Mapping[str, object]:
    if _LONG_KEY.search(text):
        _refuse(file, f"it has a key of more than {DEEPEST} parts")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = _TOML_PLACE.search(str(error))
        line = int(place[1]) + above if place else None
        _refuse(file, re.sub(r" \(at .*\)$", "", str(error)), line)
    except (RecursionError, ValueError) as error:
        _refuse(file, f"it cannot be read: {type(error).__name__}")


def _json(file: str, text: str) -> Mapping[str, object]:
    try:
        data: object = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        _refuse(file, error.msg, error.lineno)
    except (RecursionError, ValueError) as error:
        _refuse(file, str(error)[:200] if isinstance(error, ValueError) else "it is too deep")
    if not isinstance(data, dict):
        _refuse(file, "it must be an object")
    return cast("dict[str, object]", data)


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


def _refuse(file: str, message: str, line: int | None = None) -> NoReturn:
    raise ConfigRefused([Fault("document_invalid", message, file, line)])


def _problem(path: str, value: object) -> str | None:
    if len(path) > _LONGEST_PATH:
        return f"the names of its levels have more than {_LONGEST_PATH} characters"
    if not _is_unicode(path) or (isinstance(value, str) and not _is_unicode(value)):
        return "it has half a character of two (a lone surrogate)"
    if isinstance(value, int) and not -_LARGEST_INT <= value < _LARGEST_INT:
        return "the number is too large"
    if value is None or isinstance(value, str | int | float | dict | list):
        return None
    return f"it is a {type(value).__name__}: write it as a text, in quotation marks"


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _inside(key: str, value: object) -> Iterable[tuple[str, object]]:
    items: Iterable[tuple[object, object]] = ()
    if isinstance(value, dict):
        items = cast("dict[object, object]", value).items()
    elif isinstance(value, list):
        items = enumerate(cast("list[object]", value))
    return [(f"{key}.{name}" if key else str(name), inner) for name, inner in items]


def _toml_lines(text: str, above: int) -> Iterator[tuple[str, int]]:
    """Yield where the keys stand; of one inside a text of several lines, a place too many."""
    table, counts = "", Counter[str]()
    for number, line in enumerate(text.split("\n"), above + 1):
        if header := _TOML_TABLE.fullmatch(line):
            table = _numbered(_bare(header[2]), counts)
            if header[1] == "[[":
                counts[table] += 1
                yield table, number
                table = f"{table}.{counts[table] - 1}"
            yield table, number
        elif key := _TOML_KEY.match(line):
            name = _bare(key[1])
            yield f"{table}.{name}" if table else name, number


def _numbered(table: str, counts: Counter[str]) -> str:
    """Return the path of a table; one inside a list is in the last of the list."""
    path = ""
    for part in table.split("."):
        if path in counts:
            path = f"{path}.{counts[path] - 1}"
        path = f"{path}.{part}" if path else part
    return path


def _bare(key: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in key.split("."))


def _json_lines(text: str) -> Iterator[tuple[str, int]]:
    path: list[str | int] = []
    line, last = 1, ""
    for mark in _JSON_MARK.findall(text):
        if mark == "\n":
            line += 1
        elif mark == "{":
            path.append("")
        elif mark == "[":
            path.append(0)
            yield _joined(path), line
        elif mark in "}]":
            path = path[:-1]
        elif mark == "," and path and isinstance(path[-1], int):
            path[-1] += 1
            yield _joined(path), line
        elif mark == ":" and path:
            path[-1] = cast("str", json.loads(last)) if last else ""
            yield _joined(path), line
        elif mark not in ",:":
            last = mark


def _joined(path: Iterable[str | int]) -> str:
    return ".".join(str(part) for part in path)
