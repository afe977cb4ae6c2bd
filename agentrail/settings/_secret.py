"""Secrets in settings, which name them as ``secret:NAME``."""

import re
from collections.abc import Callable, Iterator
from typing import Final, cast

from agentrail.config import Layered, inside
from agentrail.errors import Fault
from agentrail.secret import NAME
from agentrail.settings._model import Settings

_BEGINS: Final = "secret:"

_REFERENCE: Final = re.compile(f"{_BEGINS}({NAME.pattern})")

_TAKES: Final = re.compile(r"providers\..+\.api_key|plugins\.entries\.\d+\.config\..+")
"""The settings that a secret may be the value of."""


def secret_name(value: object) -> str | None:
    """Return the name of the secret that a value stands for; None when it stands for itself."""
    found = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
    return None if found is None else found[1]


def with_secrets(value: object, take: Callable[[str], str]) -> object:
    """Return a value with what ``take`` returns in the place of each secret's name."""
    if isinstance(value, dict):
        table = cast("dict[str, object]", value)
        return {key: with_secrets(each, take) for key, each in table.items()}
    if isinstance(value, list | tuple):
        return [with_secrets(each, take) for each in cast("list[object]", value)]
    name = secret_name(value)
    return value if name is None else take(name)


def secret_faults(settings: Settings, read: Layered) -> Iterator[Fault]:
    """Yield where a secret is named that cannot be one."""
    for path, name in named_secrets(read.data, ""):
        if not _TAKES.fullmatch(path):
            message = (
                f"the secret {name!r} is not taken here: providers.*.api_key and "
                "plugins.entries.*.config take secrets"
            )
            yield read.fault("config_secret", message, path)
    for name, provider in settings.providers.items():
        key = provider.api_key or ""
        if key.startswith(_BEGINS) and secret_name(key) is None:
            message = (
                "behind 'secret:' it has no name: write 1 to 128 ASCII letters, digits and _, and "
                "no digit first"
            )
            yield read.fault("config_secret", message, f"providers.{name}.api_key")


def named_secrets(value: object, path: str) -> Iterator[tuple[str, str]]:
    """Yield the paths at which secrets are named, with their names."""
    name = secret_name(value)
    if name is not None:
        yield path, name
    for at, each in inside(path, value):
        yield from named_secrets(each, at)
