"""YAML, TOML and JSON as data, with the line that each value stands on; nothing is executed."""

import json
import math
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Final, NoReturn, cast

from attrs import field, frozen

from agentrail.config._keys import called, is_name
from agentrail.config._limits import DEEPEST, LONGEST_NUMBER, LONGEST_PATH, MOST
from agentrail.errors import ConfigRefused, Fault

_LONG_KEY: Final = re.compile(
    rf"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){{{DEEPEST}}}"""
)
"""A key of so many parts that reading it takes the square of their number."""
_TOML_TABLE: Final = re.compile(r"\s*(\[\[?)([^\[\]#]+)\]\]?\s*(?:#.*)?")
_TOML_PART: Final = r"""(?:[\w-]+|"[^"\n]*"|'[^'\n]*')"""
_TOML_KEY: Final = re.compile(rf"\s*({_TOML_PART}(?:\s*\.\s*{_TOML_PART})*)\s*=")
_TOML_MARK: Final = re.compile(
    r""""{3}(?:[^"\\]++|\\.|"(?!""))*+"{3,5}|'{3}(?:[^']++|'(?!''))*+'{3,5}"""
    r"""|"(?:[^"\\\n]++|\\.)*+"|'[^'\n]*+'|\#[^\n]*+|[\[\]{}\n]""",
    re.DOTALL,
)
"""What a statement may have inside that looks like the end of it, and its end."""
_TOML_PLACE: Final = re.compile(r"\(at line (\d+)")
_QUOTED: Final = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""")
_CHARACTER: Final = len(r"'\uffff'")
_JSON_MARK: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"|[{}\[\],:\n]|[^\s"{}\[\],:]+')
_LARGEST_INT: Final = 2**63


@frozen(slots=True)
class Document:
    """A file as it was written."""

    file: str
    data: Mapping[str, object]
    lines: Callable[[], Iterable[tuple[str, int]]] = field(default=tuple, repr=False)
    """Return the line of each key, by its path: keys, and places in lists from 0, with dots.

    Of a path that is too long there is the beginning.
    """

    def fault(self, code: str, message: str, key: str = "") -> Fault:
        """Return a fault with its place: the line of the key, or of what it stands in."""
        found, line, full = "", None, key
        key = key[: LONGEST_PATH + 1]
        for path, number in self.lines() if key else ():
            if path == key:
                line = number
                break
            if len(path) > len(found) and key.startswith(f"{path}."):
                found, line = path, number
        return Fault(code, message, self.file, line, shown(full))


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
    """Return what a file says, in the format that its name ends in.

    ``.json`` is JSON, ``.yaml`` and ``.yml`` are YAML, everything else is TOML.  ``largest`` is in
    bytes.

    Raises:
        ConfigRefused: it is too large, no UTF-8, or not written as it must be.
    """
    text = read_text(file, raw, largest)
    if file.endswith(".json"):
        return checked(Document(file, _json(file, text), partial(_json_lines, text)))
    if file.endswith((".yaml", ".yml")):
        # Who has no YAML does not pay for the import.
        from agentrail.config._yaml import read_yaml  # noqa: PLC0415

        data, lines = read_yaml(file, text)
        return checked(Document(file, data, lines.items))
    return read_toml(file, text)


def read_toml(file: str, text: str, above: int = 0) -> Document:
    """Return what a text in TOML says; ``above`` is how many lines of the file are above it.

    Raises:
        ConfigRefused: it is not written as it must be.
    """
    return checked(Document(file, _toml(file, text, above), partial(_toml_lines, text, above)))


def checked(document: Document, *, finite: bool = False) -> Document:
    """Return a document that says nothing but what every format can say.

    With ``finite``, its numbers are finite too; TOML has others.

    Raises:
        ConfigRefused: it says more.
    """
    level: list[tuple[str, object]] = [("", document.data)]
    count = 0
    for _ in range(DEEPEST):
        count += len(level)
        if count > MOST:
            _refuse(document.file, f"it has more than {MOST} values")
        for key, value in level:
            problem = _problem(key, value)
            if finite and isinstance(value, float) and not math.isfinite(value):
                problem = "the number is not finite"
            if problem is not None:
                raise ConfigRefused([document.fault("document_invalid", problem, key)])
        level = [inner for key, value in level for inner in inside(key, value)]
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
        # What is wrong at the end is said without a line.
        line = int(place[1]) if place else text.rstrip().count("\n") + 1
        said = re.sub(r" \(at .*\)$", "", str(error))
        _refuse(file, shown(_QUOTED.sub(_told, said)), line + above)
    except RecursionError:
        _refuse(file, f"it is nested deeper than {DEEPEST} levels")
    except ValueError:  # of more digits than Python reads
        _refuse(file, "a number in it is too large")


def _told(quoted: re.Match[str]) -> str:
    """Return what a message quotes: a character, or a key, which may be a secret by mistake."""
    return quoted[0] if len(quoted[0]) <= _CHARACTER or is_name(quoted[0][1:-1]) else "'…'"


def _json(file: str, text: str) -> Mapping[str, object]:
    twice: list[str] = []

    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice.append(Counter([name for name, _ in pairs]).most_common(1)[0][0])
        return found

    try:
        data: object = json.loads(
            text,
            object_pairs_hook=once,
            parse_constant=_no_number,
            parse_float=_real,
            parse_int=_whole,
        )
    except json.JSONDecodeError as error:
        _refuse(file, error.msg, error.lineno)
    except RecursionError:
        _refuse(file, f"it is nested deeper than {DEEPEST} levels")
    except ValueError as error:
        _refuse(file, str(error))
    if twice:
        message = f"{called(twice[0])} stands there twice"
        _refuse(file, message, _repeated(_json_lines(text)))
    if not isinstance(data, dict):
        _refuse(file, "it must be an object")
    return cast("dict[str, object]", data)


def _repeated(lines: Iterable[tuple[str, int]]) -> int | None:
    seen = set[str]()
    for path, line in lines:
        if path in seen:
            return line
        seen.add(path)
    return None


def _real(digits: str) -> float:
    number = float(digits)
    return number if math.isfinite(number) else _LARGEST_INT


def _whole(digits: str) -> int:
    return int(digits) if len(digits) <= LONGEST_NUMBER else _LARGEST_INT


def _no_number(text: str) -> NoReturn:
    message = f"{text} is no number of JSON"
    raise ValueError(message)


def _refuse(file: str, message: str, line: int | None = None) -> NoReturn:
    raise ConfigRefused([Fault("document_invalid", message, file, line)])


def _problem(path: str, value: object) -> str | None:
    if len(path) > LONGEST_PATH:
        return f"the names of its levels have more than {LONGEST_PATH} characters"
    if not is_unicode(path) or (isinstance(value, str) and not is_unicode(value)):
        return "it has half a character of two (a lone surrogate)"
    if isinstance(value, int) and not -_LARGEST_INT <= value < _LARGEST_INT:
        return "the number is too large"
    if value is None or isinstance(value, str | int | float | dict | list):
        return None
    return f"it is a {type(value).__name__}: write it as a text, in quotation marks"


def is_unicode(text: str) -> bool:
    """Return whether a text can be written: it has no half of a character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def inside(key: str, value: object) -> Iterable[tuple[str, object]]:
    """Return what a mapping or a list has inside, by its path; nothing of any other value."""
    items: Iterable[tuple[object, object]] = ()
    if isinstance(value, dict):
        items = cast("dict[object, object]", value).items()
    elif isinstance(value, list):
        items = enumerate(cast("list[object]", value))
    return [(f"{key}.{name}" if key else str(name), inner) for name, inner in items]


def _toml_lines(text: str, above: int) -> Iterator[tuple[str, int]]:
    """Yield where the keys stand, but for those of mappings that are written as a value."""
    table, counts, seen = "", Counter[str](), set[str]()
    for number, statement in _statements(text, above + 1):
        if header := _TOML_TABLE.fullmatch(statement):
            # A longer path is in no document, and would be written again for each line below.
            path = _numbered(_bare(header[2]), counts)[: LONGEST_PATH + 1]
            table = f"{path}.{counts[path]}" if header[1] == "[[" else path
            if header[1] == "[[":
                counts[path] += 1
        elif key := _TOML_KEY.match(statement):
            name = _bare(key[1])
            path = (f"{table}.{name}" if table else name)[: LONGEST_PATH + 1]
        else:
            continue
        # What is above it may stand nowhere else.
        for each in dict.fromkeys((*_above(path), path, table)):
            if each and each not in seen:
                seen.add(each)
                yield each, number


def _above(path: str) -> Iterator[str]:
    """Yield the paths of what a value stands in, the outermost first."""
    at = path.find(".")
    while at >= 0:
        yield path[:at]
        at = path.find(".", at + 1)


def _statements(text: str, line: int) -> Iterator[tuple[int, str]]:
    """Yield the statements of a document that is right, each with the line it begins on."""
    depth, first, start = 0, line, 0
    for mark in _TOML_MARK.finditer(text):
        line += mark[0].count("\n")
        depth += (mark[0] in "[{") - (mark[0] in "]}")
        if mark[0] == "\n" and depth == 0:
            yield first, text[start : mark.start()]
            first, start = line, mark.end()
    yield first, text[start:]


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
    path: list[str | int | None] = []
    line = 1
    for mark in _JSON_MARK.findall(text):
        if mark == "\n":
            line += 1
        elif mark in "}]":
            path.pop()
        elif mark == ",":
            path[-1] = path[-1] + 1 if isinstance(path[-1], int) else None
        elif mark != ":":
            key = bool(path) and path[-1] is None
            if key:
                path[-1] = json.loads(mark)
            # Paths that no document may have would take the square of its length.
            if path and (key or isinstance(path[-1], int)) and len(path) <= DEEPEST:
                parts = [str(part)[: LONGEST_PATH + 1] for part in path]
                yield ".".join(parts)[: LONGEST_PATH + 1], line
            if mark in "{[":
                path.append(None if mark == "{" else 0)
