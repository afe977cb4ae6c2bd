"""Where a host reads its settings from, when it starts and whenever they have changed."""

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Final, cast

import msgspec
from attrs import evolve, field, frozen

from agentrail.config import read_document
from agentrail.errors import ConfigRefused, Fault
from agentrail.secret import Hider
from agentrail.settings._read import LARGEST, Reading, read_file, read_settings

_LOOKS: Final = 100
"""How often a file is looked at again, at most, that is being written."""

_APART: Final = 0.05
"""Seconds between two looks."""


def _environment() -> Mapping[str, str]:
    return os.environ


@frozen(slots=True)
class SettingsSource:
    """Where settings are read from, each time anew."""

    path: Path | None
    """The file; None has variables and options alone."""
    variables: Mapping[str, str] = field(factory=_environment, repr=False)
    flags: Mapping[str, tuple[str, object]] = field(factory=dict[str, tuple[str, object]])
    """The values of settings by their paths, each behind its option."""
    hidden: Hider = field(factory=Hider, repr=False)
    """Hides the secrets that settings have, named or not, from when they are first known."""

    def read(self) -> Reading:
        """Return the settings.

        Raises:
            ConfigRefused: something is wrong with them; all of it is told.
        """
        return read_settings(self.path, self.variables, self.flags)

    def mark(self) -> str:
        """Return the SHA-256 of the file as it is; empty when it is not there."""
        with suppress(ConfigRefused):
            raw = b"" if self.path is None else read_file(self.path, anybodys=True)
            return sha256(raw).hexdigest()
        return ""

    def places(self) -> Reading:
        """Return the settings with a file that says no more than where the data and keys are.

        It says of that what the file does, which may be refused, or no document at all.

        Raises:
            ConfigRefused: what it says of that cannot be told, as without a variable; or something
                is wrong with the variables or options.
        """
        said: dict[str, object] = {}
        with suppress(ConfigRefused):
            if self.path is not None:
                text = read_file(self.path, anybodys=True)  # nothing of it is run
                said = _where(read_document(self.path.name, text, LARGEST).data)
        path = Path("places.json") if said else None
        try:
            return read_settings(path, self.variables, self.flags, msgspec.json.encode(said))
        except ConfigRefused as error:
            name = self.path.name if self.path is not None else ""
            raise _moved(
                error, "places.json", lambda each: evolve(each, file=name, line=None)
            ) from error

    def read_settled(self) -> Reading:
        """Return the settings once nobody writes to the file, as far as that can be seen.

        Raises:
            ConfigRefused: something is wrong with them; all of it is told.
        """
        if self.path is None:
            return self.read()
        text = read_file(self.path)
        for _ in range(_LOOKS):
            time.sleep(_APART)
            before, text = text, read_file(self.path)
            if before == text:
                break
        return self.read_text(self.path.name, text)

    def read_text(self, name: str, text: bytes) -> Reading:
        """Return the settings that there are with another file; without a name, with none.

        Raises:
            ConfigRefused: something is wrong with them; all of it is told.
        """
        path = (self.path or Path(name)).with_name(name) if name else None
        return read_settings(path, self.variables, self.flags, text)

    def read_revision(self, number: int, name: str, text: bytes) -> Reading:
        """Return the settings that there are with the file of a revision; see ``read_text``.

        Raises:
            ConfigRefused: something is wrong with them; all of it is told.
        """
        try:
            return self.read_text(name, text)
        except ConfigRefused as error:
            called = f"revision {number} of {name}"
            raise _moved(error, name, lambda each: evolve(each, file=called)) from error


def where(reading: Reading) -> Mapping[str, object]:
    """Return what settings say of where the data and keys are."""
    return _where(reading.layered.data)


def _moved(error: ConfigRefused, file: str, move: Callable[[Fault], Fault]) -> ConfigRefused:
    """Return an error whose faults of a file are told as those of another place."""
    return ConfigRefused([move(each) if each.file == file else each for each in error.faults])


def _where(table: Mapping[str, object]) -> dict[str, object]:
    secrets = table.get("secrets")
    keys = cast("dict[str, object]", secrets) if isinstance(secrets, dict) else {}
    found = {"data_dir": table.get("data_dir")}
    if "key_file" in keys:
        found["secrets"] = {"key_file": keys["key_file"]}
    return {key: value for key, value in found.items() if value is not None}
