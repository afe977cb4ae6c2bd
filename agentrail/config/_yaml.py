"""YAML as data: what JSON can say, with anchors, and nothing that is executed.

Plain scalars mean what YAML 1.2 says: ``no`` and ``12:30`` are texts.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Final, NoReturn, cast

import yaml
from attrs import define, field

from agentrail.config._keys import called
from agentrail.config._limits import DEEPEST, LONGEST_NUMBER, LONGEST_PATH, MOST
from agentrail.errors import ConfigRefused, Fault

_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TEXT_TAGS: Final = {None, "!", "tag:yaml.org,2002:str"}
_QUOTE: Final = ": put a text that begins with ! or * in quotation marks"
_TOO_LARGE: Final = 2**64
_BREAK: Final = re.compile("\r\n?|[\n\x85\u2028\u2029]")
_WORDS: Final[Mapping[str, bool | None]] = {
    "": None,
    "~": None,
    **dict.fromkeys(("null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_NUMBERS: Final[tuple[tuple[re.Pattern[str], Callable[[str], float]], ...]] = (
    (re.compile(r"[-+]?[0-9]+"), int),
    (re.compile(r"0o[0-7]+"), lambda text: int(text, 8)),
    (re.compile(r"0x[0-9a-fA-F]+"), lambda text: int(text, 16)),
    (re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"), float),
)


def read_yaml(file: str, text: str) -> tuple[dict[str, object], dict[str, int]]:
    """Return what a text in YAML says, and the line of each key by its path.

    Raises:
        ConfigRefused: it is not written as it must be.
    """
    builder = _Builder(file)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        # What is wrong at the end may be said of the line behind it.
        last = len(_BREAK.findall(text.rstrip()))
        line = None if mark is None else min(mark.line, last) + 1
        builder.refuse(error.problem or "it is no YAML", line)
    except yaml.reader.ReaderError as error:
        builder.refuse(error.reason, text.encode()[: error.position].count(b"\n") + 1)
    except (yaml.YAMLError, ValueError) as error:
        builder.refuse(str(error).splitlines()[0][:200])
    root = builder.root
    if root is None:
        return {}, {}
    if not isinstance(root, dict):
        builder.refuse("it must be a mapping, of names to values", 1)
    return cast("dict[str, object]", root), builder.lines


@define(slots=True)
class _Frame:
    """A mapping or a sequence that is being read."""

    value: dict[str, object] | list[object]
    path: str
    anchor: str | None
    before: int
    """How many values were read before it."""
    key: str | None = None
    line: int = 0
    """Of the key."""


@define(slots=True)
class _Builder:
    file: str
    root: object = None
    lines: dict[str, int] = field(factory=dict[str, int])
    _frames: list[_Frame] = field(factory=list[_Frame])
    _anchors: dict[str, tuple[object, int]] = field(factory=dict[str, tuple[object, int]])
    """What each name stands for, and how many values that is."""
    _count: int = 0
    _documents: int = 0

    def refuse(self, message: str, line: int | None = None) -> NoReturn:
        raise ConfigRefused([Fault("document_invalid", message, self.file, line)])

    def take(self, event: yaml.Event) -> None:
        line = 0 if event.start_mark is None else event.start_mark.line + 1
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                self.refuse("it has a second document: one is taken", line)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._open(event, line)
        elif isinstance(event, yaml.CollectionEndEvent):
            frame = self._frames.pop()
            self._name(frame.anchor, frame.value, self._count - frame.before)
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                self.refuse(f"it names with '*' nothing that is whole before it{_QUOTE}", line)
            value, size = self._anchors[event.anchor]
            self._put(value, line, size)
        elif isinstance(event, yaml.ScalarEvent):
            self._scalar(event, line)

    def _open(self, event: yaml.CollectionStartEvent, line: int) -> None:
        if event.tag not in (None, "!"):
            self.refuse(f"no tag is taken{_QUOTE}", line)
        if len(self._frames) >= DEEPEST:
            self.refuse(f"it is nested deeper than {DEEPEST} levels", line)
        mapping = isinstance(event, yaml.MappingStartEvent)
        value: dict[str, object] | list[object] = {} if mapping else []
        before = self._count
        path = self._put(value, line, 1)
        self._frames.append(_Frame(value, path, event.anchor, before))

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> None:
        frame = self._frames[-1] if self._frames else None
        if frame is not None and isinstance(frame.value, dict) and frame.key is None:
            self._key(frame, event, line)
            return
        if event.tag not in _TEXT_TAGS:
            self.refuse(f"no tag is taken{_QUOTE}", line)
        plain = event.implicit[0] and event.tag is None
        value = _resolved(event.value) if plain else event.value
        # Or a long text, named often, would be copied as often.
        size = 1 + len(event.value) // 100
        self._put(value, line, size)
        self._name(event.anchor, value, size)

    def _key(self, frame: _Frame, event: yaml.ScalarEvent, line: int) -> None:
        key: str = event.value
        if event.tag not in _TEXT_TAGS or (not key and event.implicit[0]):
            self.refuse("a key must be a text", line)
        if key == "<<" and event.implicit[0]:
            self.refuse("'<<' is not taken: write the keys, or name the whole with '*'", line)
        if key in frame.value:
            self.refuse(f"{called(key)} stands there twice", line)
        frame.key, frame.line = key, line

    def _put(self, value: object, line: int, size: int) -> str:
        """Put a value where it belongs, and return its path."""
        self._count += size
        if self._count > MOST:
            self.refuse(f"it has more than {MOST} values", line)
        if not self._frames:
            self.root = value
            return ""
        frame = self._frames[-1]
        if isinstance(frame.value, list):
            name = str(len(frame.value))
            frame.value.append(value)
        elif frame.key is None:
            self.refuse("a key must be a text", line)
        else:
            name, line, frame.key = frame.key, frame.line, None
            frame.value[name] = value
        path = f"{frame.path}.{name}" if len(self._frames) > 1 else name
        if len(path) > LONGEST_PATH:
            self.refuse(f"the names of its levels have more than {LONGEST_PATH} characters", line)
        self.lines[path] = line
        return path

    def _name(self, anchor: str | None, value: object, size: int) -> None:
        if anchor is not None:
            self._anchors[anchor] = (value, size)


def _resolved(text: str) -> object:
    if text in _WORDS:
        return _WORDS[text]
    for pattern, number in _NUMBERS:
        if pattern.fullmatch(text):
            found = number(text) if len(text) <= LONGEST_NUMBER else math.inf
            return found if math.isfinite(found) else _TOO_LARGE
    return text
