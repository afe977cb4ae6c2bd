"""Secrets in settings, which name them as ``secret:NAME``."""

import re
from collections.abc import Callable, Iterator
from typing import Final, cast

from agentrail.config import Layered, inside
from agentrail.errors import Fault

_REFERENCE: Final = re.compile(r"secret:([A-Za-z_][A-Za-z0-9_]{0,127})")

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


def secret_faults(read: Layered) -> Iterator[Fault]:
    """Yield where a secret is named that cannot be one."""
    for path, name in named_secrets(read.data, ""):
        if not _TAKES.fullmatch(path):
            message = (
                f"the secret {name!r} is not taken here: providers.*.api_key and "
                "plugins.entries.*.config take secrets"
            )
            yield read.fault("config_secret", message, path)


def named_secrets(value: object, path: str) -> Iterator[tuple[str, str]]:
    """Yield the paths at which secrets are named, with their names."""
    name = secret_name(value)
    if name is not None:
        yield path, name
    elif isinstance(value, dict):
        for key, each in cast("dict[str, object]", value).items():
            yield from named_secrets(each, f"{path}.{key}" if path else str(key))
    else:
        for at, each in inside(path, value):
            yield from named_secrets(each, at)
