"""Secrets that a package was granted or configured with are kept out of what is shown of it."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

import msgspec

from agentrail.errors import ConfigError
from agentrail.registry._known import Entry
from agentrail.settings import with_secrets

SHORTEST: Final = 6
"""How many characters a value has at least that is looked for; shorter ones are in any text."""

Hide = Callable[[str, str], str]
"""Returns a text of the package of an id, without the values of its secrets."""


def hiding(entries: Mapping[str, Entry], secrets: Callable[[str], str | None]) -> Hide:
    """Return what puts the names of a package's secrets in the place of their values."""

    def hide(package: str, text: str) -> str:
        entry = entries.get(package)
        for name in sorted(_secrets_of(entry)) if entry is not None else ():
            value = None
            with suppress(ConfigError):  # one that cannot be had is in no text
                value = secrets(name)
            if value is not None and len(value) >= SHORTEST:
                text = text.replace(value, f"{{{{secret:{name}}}}}")
        return text

    return hide


def _secrets_of(entry: Entry) -> set[str]:
    names = {name for known in entry.versions.values() for name in known.row.granted.secrets}

    def note(name: str) -> str:
        names.add(name)
        return name

    with_secrets(msgspec.json.decode(entry.row.config), note)
    return names
