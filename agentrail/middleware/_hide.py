"""Hiding what patterns find: in a text, in a text that arrives in pieces, in JSON values."""

from collections.abc import Mapping, Sequence
from typing import Final, cast

from attrs import define, field

from agentrail.middleware._patterns import Pattern

DEEPEST: Final = 64
"""How deep JSON values are looked into; what is deeper is hidden whole."""


def hide(patterns: Sequence[Pattern], text: str) -> str:
    """Return the text with ``[name]`` in place of each match; matches that overlap become one.

    Where nothing is to be hidden, the text itself is returned.
    """
    for pattern in patterns:
        if pattern.is_hinted_at(text):
            for _ in pattern.spans(text, 0, len(text)):
                return Hider(patterns).feed(text, last=True)
    return text


def hide_beginning(patterns: Sequence[Pattern], text: str, size: int) -> str:
    """Return at most ``size`` characters of what ``hide`` makes of a text that may be long.

    No more of it is read than that takes; nothing is returned that may belong to a match.
    """
    read = text[: size + max([pattern.longest for pattern in patterns], default=0)]
    return Hider(patterns).feed(read, last=len(read) == len(text))[:size]


def hide_values(patterns: Sequence[Pattern], value: object, depth: int = 0) -> object:
    """Return a JSON value with the matches in all its texts hidden, keys excepted.

    Where nothing is to be hidden, the value itself is returned.
    """
    if isinstance(value, str):
        return hide(patterns, value)
    if not isinstance(value, Mapping | list | tuple):
        return value
    if depth == DEEPEST:
        return "[too deep]"
    if isinstance(value, Mapping):
        members = cast("Mapping[str, object]", value)
        changed = {
            key: hidden
            for key, item in members.items()
            if (hidden := hide_values(patterns, item, depth + 1)) is not item
        }
        return {**members, **changed} if changed else members
    items = cast("Sequence[object]", value)
    hidden = [hide_values(patterns, item, depth + 1) for item in items]
    return hidden if any(new is not old for new, old in zip(hidden, items, strict=True)) else items


@define(slots=True)
class Hider:
    """Hides what patterns find in a text that arrives in pieces.

    The pieces that it returns, joined, are what ``hide`` makes of the whole text.  It holds back
    no more than the longest match that may have begun.
    """

    _patterns: Sequence[Pattern]
    _text: str = ""
    """What was not returned yet, after the one character that a pattern may look back at."""
    _returned: int = 0
    _hidden: int = 0
    """Where in the text the last match ends; it may be beyond what was returned."""
    _cursors: list[int] = field(init=False)
    """From where on each pattern may still match."""
    _found: list[tuple[int, int, int]] = field(factory=list[tuple[int, int, int]], init=False)
    """Begin, pattern and end of matches that were not returned yet."""

    def __attrs_post_init__(self) -> None:
        """Begin at the text's begin."""
        self._cursors = [0] * len(self._patterns)

    def feed(self, piece: str, *, last: bool = False) -> str:
        """Return what is settled once ``piece`` has come; all of the rest when it is the last."""
        if not piece and not self._text:
            return ""
        self._text = text = self._text + piece
        settled = length = len(text)
        for index, pattern in enumerate(self._patterns):
            cursor = self._cursors[index]
            limit = length if last else pattern.unsettled(text, cursor)
            if cursor < limit and pattern.is_hinted_at(text):
                for start, end in pattern.spans(text, cursor, limit):
                    self._found.append((start, index, end))
                    cursor = end
            self._cursors[index] = cursor = max(cursor, limit)
            settled = min(settled, cursor)
        if not self._found and not self._hidden:
            settled_text = text[self._returned : settled]
        else:
            settled_text = self._replaced(settled)
        self._forget(settled)
        return settled_text

    def _replaced(self, settled: int) -> str:
        """Return the text up to there, with names in place of the matches that begin in it."""
        self._found.sort()
        pieces: list[str] = []
        at = max(self._returned, self._hidden)
        while self._found and self._found[0][0] < settled:
            start, index, end = self._found.pop(0)
            if start >= self._hidden:
                pieces += (self._text[at:start], f"[{self._patterns[index].name}]")
            at = self._hidden = max(self._hidden, end)
        pieces.append(self._text[at:settled])
        return "".join(pieces)

    def _forget(self, settled: int) -> None:
        gone = max(settled - 1, 0)
        self._text = self._text[gone:]
        self._returned = settled - gone
        self._hidden = max(self._hidden - gone, 0)
        self._cursors = [cursor - gone for cursor in self._cursors]
        if self._found:
            self._found = [(start - gone, index, end - gone) for start, index, end in self._found]
