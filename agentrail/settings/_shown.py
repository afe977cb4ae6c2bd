"""Settings as they may be shown: each with its place, and none with a secret."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import islice
from typing import Final, cast

import msgspec
from attrs import frozen

from agentrail.errors import ConfigError
from agentrail.messages import Wire
from agentrail.secret import (
    HIDDEN,
    MOST_HIDDEN,
    Secrets,
    credentials_in,
    is_ordinary,
    tells_secret,
    without_credentials,
)
from agentrail.settings._read import Reading
from agentrail.settings._secret import secret_name

_FREE: Final = re.compile(r"plugins\.entries\.\d+\.config")
"""The settings whose meaning is known to the code that is given them alone."""


class ShownSetting(Wire, frozen=True, omit_defaults=False):
    """A setting as it is in force."""

    path: str
    """Its name, with dots between levels and the numbers of what is in lists."""
    value: object
    source: str
    """The file with its line, the variable or the option that says it; empty for a default."""


def shown_settings(reading: Reading, secrets: Secrets | None = None) -> Sequence[ShownSetting]:
    """Return all settings, those that nobody set too, in the order of the reference.

    A secret that is named is shown by its name; with ``secrets``, as a mapping of its name as
    ``secret``, whether it is ``set``, and its ``fingerprint``.  What may be secret and has no name
    is hidden, and so is each text in the ``config`` of a plugin; with ``secrets``, its fingerprint
    tells it from another.
    """
    sources = reading.layered.sources
    return [
        ShownSetting(
            leaf.path,
            _shown(leaf, secrets),
            str(sources[leaf.path]) if leaf.path in sources else "",
        )
        for leaf in _leaves(_data(reading))
    ]


def hidden_values(reading: Reading) -> Iterator[str]:
    """Yield what may be secret of settings and has no name, as far as it is no ordinary word.

    Of very many, the first are yielded.
    """
    return islice(dict.fromkeys(_hidden_values(reading)), MOST_HIDDEN)


def _hidden_values(reading: Reading) -> Iterator[str]:
    for leaf in _leaves(_data(reading)):
        text = str(leaf.value)
        if leaf.hidden and leaf.secret and not is_ordinary(text):
            yield text
        if isinstance(leaf.value, str):
            yield from credentials_in(text, pairs=leaf.free)


def _data(reading: Reading) -> dict[str, object]:
    return cast("dict[str, object]", msgspec.to_builtins(reading.settings))


def digest_of(reading: Reading, settings: Sequence[ShownSetting]) -> str:
    """Return the SHA-256 of settings as they are shown, and of which were said, as hexadecimal.

    What is hidden counts by its fingerprint, so that it cannot be guessed.  ``settings`` are those
    of ``reading``, which tells lists from mappings, and dots in names from those between them.
    """
    leaves = _leaves(_data(reading))
    said = [
        (leaf.keys, each.value, each.source != "")
        for leaf, each in zip(leaves, settings, strict=True)
    ]
    return sha256(msgspec.json.encode(said)).hexdigest()


@frozen(slots=True)
class _Leaf:
    """What is no mapping and no list."""

    keys: tuple[object, ...]
    """The names and the numbers of what it is in, and its own."""
    value: object
    free: bool
    """Whether its meaning is known to the code that is given it alone."""
    secret: bool
    """Whether its name is that of a secret, or the name of what it is in."""

    @property
    def path(self) -> str:
        """What it is called."""
        return _path(self.keys)

    @property
    def hidden(self) -> bool:
        """Whether nothing of it is shown."""
        if isinstance(self.value, str):
            return bool(self.value) and (self.free or self.secret) and not secret_name(self.value)
        # Of what plugins are given, a number may be secret too; the settings' own count tokens.
        number = isinstance(self.value, int | float) and not isinstance(self.value, bool)
        return number and self.free and self.secret


def _leaves(
    value: object, keys: tuple[object, ...] = (), *, free: bool = False, secret: bool = False
) -> Iterator[_Leaf]:
    inner = _inside(value)
    if not inner:
        # As it is when it was read from JSON, so that a revision is the same as it was.
        yield _Leaf(keys, [] if isinstance(value, tuple) else value, free, secret)
        return
    free = free or _FREE.fullmatch(_path(keys)) is not None
    # The names of providers and roles are anybody's, and say nothing of what is in them.
    above = free and secret
    for key, each in inner:
        tells = tells_secret(key, above=above) if isinstance(key, str) else above
        yield from _leaves(each, (*keys, key), free=free, secret=tells)


def _path(keys: Sequence[object]) -> str:
    return ".".join(map(str, keys))


def _inside(value: object) -> Sequence[tuple[object, object]]:
    if isinstance(value, dict):
        return list(cast("dict[object, object]", value).items())
    if isinstance(value, list | tuple):
        return list(enumerate(cast("Sequence[object]", value)))
    return ()


def _shown(leaf: _Leaf, secrets: Secrets | None) -> object:
    value, name = leaf.value, secret_name(leaf.value)
    if name is not None:
        return value if secrets is None else _named(name, secrets)
    if leaf.hidden:
        return _hidden(value, secrets)
    if isinstance(value, str):
        return without_credentials(value, lambda text: _hidden(text, secrets))
    return value


def _named(name: str, secrets: Secrets) -> Mapping[str, object]:
    try:
        fingerprint = secrets.fingerprint(name)
    except ConfigError:  # it cannot be opened; whoever needs it tells
        fingerprint = ""
    return {"secret": name, "set": fingerprint != "", "fingerprint": fingerprint}


def _hidden(value: object, secrets: Secrets | None) -> str:
    # As JSON, which tells a number from a text, and can write whatever a variable has.
    return HIDDEN if secrets is None else f"{HIDDEN[:-1]} {secrets.mark(json.dumps(value))}]"
