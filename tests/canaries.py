"""Values that must not be found anywhere, and how they are looked for."""

import json
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Collection, Iterable, Mapping
from urllib.parse import quote, quote_plus

Sinks = Mapping[str, str | bytes]
"""What was written or shown, by where."""


def forms(value: str) -> set[str]:
    """Return how a value may be written."""
    raw = value.encode()
    plain = {value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
    plain |= {each.replace("/", "\\/") for each in plain}
    based = {b64encode(raw).decode().rstrip("="), urlsafe_b64encode(raw).decode().rstrip("=")}
    percent = {quote(value, safe=safe) for safe in ("", "/", "!'()*", "!$&'()*+,;=:@/")}
    percent.add(quote_plus(value))
    lower = {re.sub("%..", lambda match: match[0].lower(), each) for each in percent}
    shown = {repr(value)[1:-1], ascii(value)[1:-1], repr(raw)[2:-1]}
    return plain | shown | {json.dumps(each)[1:-1] for each in plain} | based | percent | lower


def leaks(values: Mapping[str, str], sinks: Sinks) -> Collection[str]:
    """Return which values are in which sinks, with what is around them there."""
    return [
        f"{name} is in {sink}: {_around(text, form)}"
        for sink, text in sinks.items()
        for name, value in values.items()
        for form in _found(forms(value), text)
    ]


def _found(forms: Iterable[str], text: str | bytes) -> Iterable[str]:
    if isinstance(text, bytes):
        return [form for form in forms if form.encode() in text]
    return [form for form in forms if form in text]


def _around(text: str | bytes, form: str) -> str:
    text = text.decode(errors="replace") if isinstance(text, bytes) else text
    at = text.index(form)
    return repr(text[max(0, at - 150) : at + len(form) + 20])
