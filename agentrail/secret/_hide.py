"""Values that are kept out of all that is written and shown."""

import json
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from threading import Lock
from typing import Final
from urllib.parse import quote, quote_plus, unquote

from attrs import define, field

SHORTEST: Final = 6
"""How many characters a value has at least that is hidden; shorter ones are in any text."""

HIDDEN: Final = "[hidden]"
"""Stands for a text that may be secret and has no name."""

USER: Final = re.compile(r"(?<=://)[^/?#\s]+(?=@)")
"""Who asks, in a URL."""

_PERCENT: Final = re.compile(r"%[0-9A-F]{2}")
_SAFE: Final = ("", "/", "!'()*", "!$&'()*+,;=:@/")
"""What different programs leave as it is in a URL."""


@define(slots=True, eq=False)
class Hider:
    """Puts something else in the place of values, in whatever texts they are written.

    It may be used from several threads, and forgets no value.
    """

    _known: set[tuple[str, str]] = field(factory=set[tuple[str, str]], init=False, repr=False)
    """The values, each with what stands for it."""
    _forms: Mapping[str, str] = field(factory=dict[str, str], init=False, repr=False)
    """What is hidden, with what is put in its place."""
    _adding: Lock = field(factory=Lock, init=False, repr=False)

    def add(self, value: str, place: str = HIDDEN) -> None:
        """Hide a value from now on; one of less than 6 characters is not hidden."""
        if (value, place) in self._known:
            return
        with self._adding:
            if len(value) >= SHORTEST:
                # The place itself is left as it is, whatever word of it is a value.
                new = {**dict.fromkeys(_forms(value), place), place: place}
                self._forms = {**new, **self._forms}
            self._known.add((value, place))  # last: whoever sees it need not wait

    def __call__(self, text: str) -> str:
        """Return a text without the values, and their base64, percent and JSON forms."""
        forms = self._forms
        found = [form for form in forms if form in text]
        if not found:
            return text
        parts, end = list[str](), 0
        # Of those that begin together the longest counts; what overlaps is hidden as one.
        for start, minus_stop, form in sorted(_places(text, found)):
            if start >= end:
                parts += text[end:start], forms[form]
            end = max(end, -minus_stop)
        return "".join([*parts, text[end:]])


def users_in(text: str) -> Sequence[str]:
    """Return who asks in the URLs of a text, and their passwords, also without percent signs."""
    users = [each for user in USER.findall(text) for each in (user, unquote(user))]
    return [each for user in users for each in (user, *user.split(":", 1)[1:])]


def encoded(value: str) -> bytes:
    """Return a value as bytes."""
    # A variable may have bytes that are no UTF-8, which Python keeps as halves of characters.
    return value.encode("utf-8", "surrogatepass")


def _places(text: str, forms: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    """Yield where forms are in a text: the start, the end below zero, and the form."""
    for form in forms:
        start = text.find(form)
        while start >= 0:
            yield start, -start - len(form), form
            start = text.find(form, start + 1)


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
