"""Reading settings: a file, the environment and flags, checked as one."""

import hashlib
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn, cast

import msgspec
from attrs import field, frozen

from agentrail.config import (
    Layer,
    Layered,
    Source,
    checked,
    environment_layer,
    everybody_writes,
    faults_of,
    file_layer,
    filled_in,
    is_unicode,
    layered,
    nearest,
    read_document,
    shown,
)
from agentrail.errors import ConfigRefused, Fault
from agentrail.secret import PREFIX
from agentrail.settings._checks import cross_faults
from agentrail.settings._model import ALIASES, Settings, settings_schema

LARGEST: Final = 1024 * 1024
"""The largest file of settings, in bytes."""

MOST: Final = 100
"""How many faults are told at once."""

NAMES: Final = ("agentrail.yaml", "agentrail.yml", "agentrail.toml", "agentrail.json")
"""What a file of settings is called that is found without being named."""


@frozen(slots=True)
class Reading:
    """Settings as they were read, and where each of them came from."""

    settings: Settings = field(repr=False)
    layered: Layered = field(repr=False)
    path: Path | None
    """The file; None when there was none."""
    text: bytes = field(repr=False)
    """What is in the file."""
    digest: str = field(repr=False)
    """The SHA-256 of what was read, as hexadecimal digits; a secret could be guessed from it."""


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
    text: bytes | None = None,
) -> Reading:
    """Return the settings of a file, with those of variables over them, and of flags over both.

    ``flags`` are the values of settings by their paths, each behind its option.  ``text`` is taken
    for what is in the file.

    Raises:
        ConfigRefused: something is wrong with them; all of it is told, or the first of very much.
    """
    schema, faults, layers = settings_schema(), list[Fault](), list[Layer]()
    if path is not None:
        text = read_file(path) if text is None else text
        document = checked(read_document(_called(path), text, LARGEST), finite=True)
        filled, unset = filled_in(file_layer(document), variables, schema)
        layers.append(filled)
        faults.extend(unset)
    own = {name: value for name, value in variables.items() if not name.startswith(PREFIX)}
    environment, wrong = environment_layer(own, schema, ALIASES)
    options, unreadable = _flags_layer(flags or {})
    layers += [environment, options]
    faults += [*wrong, *unreadable]
    read = layered(layers)
    faults.extend(faults_of(read, schema))
    if not faults:
        settings = msgspec.convert(read.data, Settings)
        faults.extend(cross_faults(settings, read))
        if not faults:
            encoded = msgspec.json.encode(read.data, order="deterministic")
            return Reading(settings, read, path, text or b"", hashlib.sha256(encoded).hexdigest())
    raise ConfigRefused(_in_order(faults)[:MOST])


def read_file(path: Path, *, anybodys: bool = False) -> bytes:
    """Return what is in a file of settings, or its beginning, when it is larger than one may be.

    Raises:
        ConfigRefused: it is no file, cannot be read, or everybody may write to it and it is not to
            be ``anybodys``.
    """
    try:
        # What is a pipe would else be waited for until somebody writes.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                _refuse(path, "it is no file")
            # What is said in it is run; where a link leads counts.
            if not anybodys and everybody_writes(descriptor):
                _refuse(path, f"everybody may write to it: chmod o-w {_called(path)}")
            return file.read(LARGEST + 1)
    except OSError as error:
        _refuse(path, f"it cannot be read: {error.strerror or error}", error)


def _refuse(path: Path, message: str, error: OSError | None = None) -> NoReturn:
    raise ConfigRefused([Fault("config_unreadable", message, _called(path))]) from error


def _called(path: Path) -> str:
    """Return the name of a file as it may stand in a message, with its ending."""
    return shown(path.name, 1000)


def _flags_layer(flags: Mapping[str, tuple[str, object]]) -> tuple[Layer, Sequence[Fault]]:
    data, faults = dict[str, object](), list[Fault]()
    for path, (option, value) in flags.items():
        if isinstance(value, str) and not is_unicode(value):
            faults.append(Fault("config_value", "it is not UTF-8", option, key=path))
            continue
        *above, last = path.split(".")
        table = data
        for key in above:
            table = cast("dict[str, object]", table.setdefault(key, {}))
        table[last] = value
    sources = {path: Source("flag", option) for path, (option, _) in flags.items()}
    return Layer(data, lambda path: nearest(sources, path) or Source("flag")), faults


def _in_order(faults: Sequence[Fault]) -> Sequence[Fault]:
    return sorted(faults, key=lambda fault: (fault.file, fault.line or 0, fault.key))
