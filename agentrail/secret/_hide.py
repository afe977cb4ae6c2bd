"""Values that are kept out of all that is written and shown."""

import json
import re
from base64 import b64encode, urlsafe_b64encode
from bisect import bisect, bisect_left
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from threading import Lock
from typing import Final
from urllib.parse import quote, quote_plus

from attrs import define, field

SHORTEST: Final = 6
"""How many characters a value has at least that is hidden; shorter ones are in any text."""

HIDDEN: Final = "[hidden]"
"""Stands for a text that may be secret and has no name."""

MOST_HIDDEN: Final = 1000
"""How many values are kept, at least, that have no place of their own."""

FEW: Final = 128
"""Up to how many beginnings are each looked for, which is faster then."""

_PERCENT: Final = re.compile(r"%[0-9A-F]{2}")
_SAFE: Final = ("", "/", "!'()*", "!$&'()*+,;=:@/")
"""What different programs leave as it is in a URL."""


@define(slots=True, eq=False)
class _Forms:
    """What is hidden, by how it begins, so that a look at a text need not try every form."""

    places: dict[str, str] = field(factory=dict[str, str])
    """What is put in the place of each form."""
    begun: dict[str, tuple[str, ...]] = field(factory=dict[str, tuple[str, ...]])
    """The forms, by how they begin, sorted."""
    most: int = 0
    """How long the longest form is."""

    def add(self, value: str, place: str) -> None:
        # The place itself is left as it is, whatever word of it is a value.
        for form in (place, *_forms(value)):
            if len(form) >= SHORTEST and form not in self.places:
                # Another thread may look for it as soon as it has begun.
                self.places[form] = place
                self.most = max(self.most, len(form))
                begin = form[:SHORTEST]
                forms = self.begun.get(begin, ())
                at = bisect(forms, form)
                self.begun[begin] = (*forms[:at], form, *forms[at:])

    def found(self, text: str) -> Sequence[tuple[int, int, str]]:
        """Return where forms are in a text, in order: the start, the end, and what to put there.

        Of those with the same start there is the longest.
        """
        longest = (
            (start, _longest(text[start : start + self.most], forms))
            for start, forms in self._begun(text)
        )
        return [(start, start + len(form), self.places[form]) for start, form in longest if form]

    def _begun(self, text: str) -> Iterable[tuple[int, tuple[str, ...]]]:
        """Return where a form may begin in a text, in order, and which it may be."""
        if len(self.begun) < FEW:
            known = dict(self.begun)  # another thread may add to it
            return sorted((at, known[begin]) for begin in known for at in _starts(text, begin))
        look = self.begun.get
        return [
            (start, found)
            for start in range(len(text) - SHORTEST + 1)
            if (found := look(text[start : start + SHORTEST])) is not None
        ]


def _longest(text: str, forms: Sequence[str]) -> str:
    """Return the longest of sorted forms that a text begins with, or nothing."""
    while at := bisect(forms, text):
        # Another that the text begins with is sorted before this one, and this begins with it too.
        form = forms[at - 1]
        if text.startswith(form):
            return form
        text = form[: bisect_left(range(len(form)), 1, key=partial(_differs, form, text))]
    return ""


def _differs(form: str, text: str, at: int) -> bool:
    """Return whether two texts are not the same up to a place, and at it."""
    return not text.startswith(form[: at + 1])


@define(slots=True, eq=False)
class Hider:
    """Puts something else in the place of values, in whatever texts they are written.

    It may be used from several threads.  It forgets no value with a place of its own, and of the
    others the oldest, when there are very many.  How long a look at a text takes depends on the
    text, and hardly on how many values there are.
    """

    _known: dict[tuple[str, str], None] = field(
        factory=dict[tuple[str, str], None], init=False, repr=False
    )
    """The values, each with what stands for it, the newest last."""
    _forms: _Forms = field(factory=_Forms, init=False, repr=False)
    _guessed: int = field(default=0, init=False)
    """How many of the values have no place of their own."""
    _adding: Lock = field(factory=Lock, init=False, repr=False)

    def add(self, value: str, place: str = HIDDEN) -> None:
        """Hide a value from now on; one of less than 6 characters is not hidden."""
        if len(value) < SHORTEST:
            return
        known = (value, place)
        with self._adding:
            if known in self._known:
                del self._known[known]
            else:
                self._forms.add(value, place)
                self._guessed += place == HIDDEN
            self._known[known] = None
            if self._guessed > 2 * MOST_HIDDEN:
                self._forget()

    def _forget(self) -> None:
        """Keep the newest half of what has no place of its own."""
        old = [known for known in self._known if known[1] == HIDDEN][:-MOST_HIDDEN]
        for known in old:
            del self._known[known]
        forms = _Forms()
        for value, place in self._known:
            forms.add(value, place)
        self._forms, self._guessed = forms, MOST_HIDDEN

    def __call__(self, text: str) -> str:
        """Return a text without the values, and their base64, percent and JSON forms."""
        found = self._forms.found(text)
        if not found:
            return text
        parts, end = list[str](), 0
        # Of those that begin together the longest counts; what overlaps is hidden as one.
        for start, stop, place in found:
            if start >= end:
                parts += text[end:start], place
            end = max(end, stop)
        return "".join([*parts, text[end:]])


def _starts(text: str, begin: str) -> Iterator[int]:
    start = text.find(begin)
    while start >= 0:
        yield start
        start = text.find(begin, start + 1)


def encoded(value: str) -> bytes:
    """Return a value as bytes."""
    # A variable may have bytes that are no UTF-8, which Python keeps as halves of characters.
    return value.encode("utf-8", "surrogatepass")


def _forms(value: str) -> Iterator[str]:
    """Yield how a value is written in texts of different kinds."""
    raw = encoded(value)
    for written in (value, *_escaped(value), repr(value)[1:-1], ascii(value)[1:-1]):
        yield written
        yield from _escaped(written)  # JSON in JSON, as the arguments of a tool are
    yield repr(raw)[2:-1]
    for encode in (b64encode, urlsafe_b64encode):
        padded = encode(raw).decode()
        yield padded
        yield padded.rstrip("=")
    for percent in (*(quote(raw, safe=safe) for safe in _SAFE), quote_plus(raw)):
        yield percent
        yield _PERCENT.sub(lambda match: match[0].lower(), percent)


def _escaped(text: str) -> Iterator[str]:
    """Yield a text as it is in a string of JSON."""
    plain = json.dumps(text, ensure_ascii=False)[1:-1]
    for each in (plain, json.dumps(text)[1:-1]):
        yield each
        yield each.replace("/", "\\/")
