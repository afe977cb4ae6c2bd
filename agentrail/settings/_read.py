"""Reading settings: a file, the environment and flags, checked as one."""

import hashlib
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, cast

import msgspec
from attrs import field, frozen

from agentrail.config import (
    Layer,
    Layered,
    Source,
    environment_layer,
    faults_of,
    file_layer,
    filled_in,
    layered,
    read_document,
)
from agentrail.errors import ConfigRefused, Fault
from agentrail.settings._checks import cross_faults
from agentrail.settings._model import ALIASES, Settings, settings_schema

LARGEST: Final = 1024 * 1024
"""The largest file of settings, in bytes."""

SECRETS: Final = "AGENTRAIL_SECRET_"
"""How the variables begin that have secrets of packages."""

NAMES: Final = ("agentrail.yaml", "agentrail.yml", "agentrail.toml", "agentrail.json")
"""What a file of settings is called that is found without being named."""


@frozen(slots=True)
class Reading:
    """Settings as they were read, and where each of them came from."""

    settings: Settings = field(repr=False)
    layered: Layered = field(repr=False)
    path: Path | None
    """The file; None when there was none."""
    digest: str
    """The SHA-256 of what was read, as hexadecimal digits."""


def find_settings(directory: Path) -> Path | None:
    """Return the file of settings in a directory; None when there is none.

    Raises:
        ConfigRefused: there are several.
    """
    # A link to nothing counts too, or the host would run without what somebody believes is there.
    found = [path for name in NAMES if os.path.lexists(path := directory / name)]
    if len(found) > 1:
        message = f"{found[0].name} is there too: name one with --config, or remove the other"
        raise ConfigRefused([Fault("config_conflict", message, found[1].name)])
    return found[0] if found else None


def read_settings(
    path: Path | None,
    variables: Mapping[str, str],
    flags: Mapping[str, tuple[str, object]] | None = None,
) -> Reading:
    """Return the settings of a file, with those of variables over them, and of flags over both.

    ``flags`` are the values of settings by their paths, each behind its option.

    Raises:
        ConfigRefused: something is wrong with them; all of it is told.
    """
    schema, faults, layers = settings_schema(), list[Fault](), list[Layer]()
    if path is not None:
        document = read_document(path.name, read_file(path), LARGEST)
        filled, unset = filled_in(file_layer(document), variables, schema)
        layers.append(filled)
        faults.extend(unset)
    own = {name: value for name, value in variables.items() if not name.startswith(SECRETS)}
    environment, wrong = environment_layer(own, schema, ALIASES)
    layers += [environment, _flags_layer(flags or {})]
    faults.extend(wrong)
    read = layered(layers)
    faults.extend(faults_of(read, schema))
    if not faults:
        settings = msgspec.convert(read.data, Settings)
        faults.extend(cross_faults(settings, read))
        if not faults:
            encoded = msgspec.json.encode(read.data, order="deterministic")
            return Reading(settings, read, path, hashlib.sha256(encoded).hexdigest())
    raise ConfigRefused(_in_order(faults))


def read_file(path: Path) -> bytes:
    """Return what is in a file of settings, or its beginning, when it is larger than one may be.

    Raises:
        ConfigRefused: it is no file, or cannot be read.
    """
    try:
        # What is a pipe would else be waited for until somebody writes.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ConfigRefused([Fault("config_unreadable", "it is no file", path.name)])
            return file.read(LARGEST + 1)
    except OSError as error:
        message = f"it cannot be read: {error.strerror or error}"
        raise ConfigRefused([Fault("config_unreadable", message, path.name)]) from error


def _flags_layer(flags: Mapping[str, tuple[str, object]]) -> Layer:
    data: dict[str, object] = {}
    for path, (_, value) in flags.items():
        *above, last = path.split(".")
        table = data
        for key in above:
            table = cast("dict[str, object]", table.setdefault(key, {}))
        table[last] = value
    options = {path: option for path, (option, _) in flags.items()}
    return Layer(data, lambda path: Source("flag", options.get(path, "")))


def _in_order(faults: Sequence[Fault]) -> Sequence[Fault]:
    return sorted(faults, key=lambda fault: (fault.file, fault.line or 0, fault.key))
