"""A command's line as words: quoted as in a shell, but what people write in a chat is no error."""

import re
from collections.abc import Iterator

from attrs import frozen

# A quotation mark opens at a word's beginning, or after "--name=", and closes at a word's end:
# anywhere else, as in "don't", it is a character.  Each piece is possessive, and what is quoted
# ends before a mark that would open the next one: each character is read a few times at most.
_DOUBLE = r'(?:[^"\\]|\\.)*+'
_SINGLE = r"[^']*+"
_CURLY = r"[^“”]*+"
_WORD = re.compile(
    rf"""
    (?P<option> (?:--|—)\w[\w-]*+= )?+
    (?: "(?P<double> {_DOUBLE} )" | '(?P<single> {_SINGLE} )' | “(?P<curly> {_CURLY} )” )
    (?= \s | \Z )
    | \S+
    """,
    re.VERBOSE | re.DOTALL,
)
_OPTION = re.compile(r"(--|—)(\w[\w-]*+)(?:=(.*))?", re.DOTALL)
_ESCAPED = re.compile(r'\\(["\\])')
_OPENING = ('"', "'", "“")
_SHOWN = 40


@frozen(slots=True)
class Word:
    """A word, and where it stands in its line."""

    raw: str
    text: str
    """It without quotation marks; of an option, its value."""
    start: int
    end: int
    option: str = ""
    """The name, where it is written as ``--name`` or ``--name=value``."""
    has_value: bool = False
    quoted: bool = False

    @property
    def is_dashed(self) -> bool:
        """Whether it begins with a dash that a phone may have made of ``--``."""
        return self.raw.startswith("—")

    @property
    def is_open(self) -> bool:
        """Whether a quotation mark opens and nothing closes it."""
        return not self.quoted and self.text.startswith(_OPENING)


def split(line: str) -> Iterator[Word]:
    """Yield the line's words, in time that grows with its length alone."""
    for match in _WORD.finditer(line):
        raw, (start, end) = match[0], match.span()
        double, single, curly = match.group("double", "single", "curly")
        option = (match["option"] or "").rstrip("=").lstrip("-—")
        if double is not None:
            text = _ESCAPED.sub(r"\1", double)
        elif single is not None or curly is not None:
            text = single or curly or ""
        elif parts := _OPTION.fullmatch(raw):
            yield Word(raw, parts[3] or "", start, end, parts[2], parts[3] is not None)
            continue
        else:
            yield Word(raw, raw, start, end)
            continue
        yield Word(raw, text, start, end, option, has_value=bool(option), quoted=True)


def quote(text: str) -> str:
    """Return the text so that a command line reads it as one word, unchanged."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def clip(text: str) -> str:
    """Return the beginning of a text, to be shown in a message."""
    text = text.encode(errors="replace").decode()  # half a surrogate pair cannot be sent
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
