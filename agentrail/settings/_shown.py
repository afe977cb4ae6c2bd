"""Settings as they may be shown: each with its place, and none with a secret."""

import re
from collections.abc import Iterator, Sequence
from typing import Final, cast

import msgspec

from agentrail.messages import Wire
from agentrail.settings._read import Reading

HIDDEN: Final = "[hidden]"
"""Stands for a text that may be secret."""

_USER: Final = re.compile(r"(?<=://)[^/?#@]*(?=@)")
"""Who asks, in a URL."""

_SECRET: Final = re.compile(
    r"passw|secret|token|key|credential|authorization|cookie", re.IGNORECASE
)


class ShownSetting(Wire, frozen=True, omit_defaults=False):
    """A setting as it is in force."""

    path: str
    """Its name, with dots between levels and the numbers of what is in lists."""
    value: object
    source: str
    """The file with its line, the variable or the option that says it; empty for a default."""


def shown_settings(reading: Reading) -> Sequence[ShownSetting]:
    """Return all settings, those that nobody set too, in the order of the reference."""
    data = cast("dict[str, object]", msgspec.to_builtins(reading.settings))
    sources = reading.layered.sources
    return [
        ShownSetting(path, value, str(sources[path]) if path in sources else "")
        for path, value in _leaves(data, "", hide=False)
    ]


def _leaves(value: object, path: str, *, hide: bool) -> Iterator[tuple[str, object]]:
    inner = _inside(value)
    if not inner:
        yield path, _leaf(value, path, hide=hide)
    for key, each in inner:
        secret = hide or _SECRET.search(str(key)) is not None
        yield from _leaves(each, f"{path}.{key}" if path else str(key), hide=secret)


def _inside(value: object) -> Sequence[tuple[object, object]]:
    if isinstance(value, dict):
        return list(cast("dict[object, object]", value).items())
    if isinstance(value, list | tuple):
        return list(enumerate(cast("Sequence[object]", value)))
    return ()


def _leaf(value: object, path: str, *, hide: bool) -> object:
    # Of what plugins are given, a number may be secret too; the settings' own count tokens.
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if hide and value and (isinstance(value, str) or (number and ".config." in path)):
        return HIDDEN
    return _USER.sub(HIDDEN, value) if isinstance(value, str) else value
