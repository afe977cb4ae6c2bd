"""Settings as they may be shown: each with its place, and none with a secret."""

import re
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Final, cast

import msgspec

from agentrail.errors import ConfigError
from agentrail.messages import Wire
from agentrail.secret import HIDDEN, USER, Secrets, users_in
from agentrail.settings._read import Reading
from agentrail.settings._secret import secret_name

_OURS: Final = ("", "secrets")
"""The paths below which the names are those of the settings themselves."""

_SECRET: Final = re.compile(
    r"pass_?(?:w|phrase)|secret|token|key|credential|authorization|cookie", re.IGNORECASE
)


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
    ``secret``, whether it is ``set``, and its ``fingerprint``.  What has no name is hidden; with
    them, its fingerprint tells it from another.
    """
    sources = reading.layered.sources
    return [
        ShownSetting(
            path,
            _shown(value, path, secrets, hide=hide),
            str(sources[path]) if path in sources else "",
        )
        for path, value, hide in _leaves(_data(reading), "", hide=False)
    ]


def hidden_values(reading: Reading) -> Iterator[str]:
    """Yield what is hidden of settings that is no secret with a name."""
    for path, value, hide in _leaves(_data(reading), "", hide=False):
        if secret_name(value) is None:
            if _is_hidden(value, path, hide=hide):
                yield str(value)
            if isinstance(value, str):
                yield from users_in(value)


def _data(reading: Reading) -> dict[str, object]:
    return cast("dict[str, object]", msgspec.to_builtins(reading.settings))


def digest_of(settings: Sequence[ShownSetting]) -> str:
    """Return the SHA-256 of settings as they are shown, and of which were said, as hexadecimal.

    What is hidden counts by its fingerprint, so that it cannot be guessed.
    """
    said = [(each.path, each.value, each.source != "") for each in settings]
    return sha256(msgspec.json.encode(said)).hexdigest()


def _leaves(value: object, path: str, *, hide: bool) -> Iterator[tuple[str, object, bool]]:
    """Yield what is no mapping and no list with its path, and whether it may be a secret there."""
    inner = _inside(value)
    if not inner:
        # As it is when it was read from JSON, so that a revision is the same as it was.
        yield path, [] if isinstance(value, tuple) else value, hide
    for key, each in inner:
        # What tells where secrets are is none.
        secret = hide or (path not in _OURS and _SECRET.search(str(key)) is not None)
        yield from _leaves(each, f"{path}.{key}" if path else str(key), hide=secret)


def _inside(value: object) -> Sequence[tuple[object, object]]:
    if isinstance(value, dict):
        return list(cast("dict[object, object]", value).items())
    if isinstance(value, list | tuple):
        return list(enumerate(cast("Sequence[object]", value)))
    return ()


def _shown(value: object, path: str, secrets: Secrets | None, *, hide: bool) -> object:
    name = secret_name(value)
    if name is not None:
        return value if secrets is None else _named(name, secrets)
    if _is_hidden(value, path, hide=hide):
        return _hidden(str(value), secrets)
    if isinstance(value, str):
        return USER.sub(lambda match: _hidden(match[0], secrets), value)
    return value


def _named(name: str, secrets: Secrets) -> Mapping[str, object]:
    try:
        fingerprint = secrets.fingerprint(name)
    except ConfigError:  # it cannot be opened; whoever needs it tells
        fingerprint = ""
    return {"secret": name, "set": fingerprint != "", "fingerprint": fingerprint}


def _hidden(text: str, secrets: Secrets | None) -> str:
    return HIDDEN if secrets is None else f"{HIDDEN[:-1]} {secrets.mark(text)}]"


def _is_hidden(value: object, path: str, *, hide: bool) -> bool:
    # Of what plugins are given, a number may be secret too; the settings' own count tokens.
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return hide and bool(value) and (isinstance(value, str) or (number and ".config." in path))
