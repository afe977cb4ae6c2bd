"""``agentrail config``: what a file of settings says, and what is wrong with it."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from attrs import evolve
from rich.console import Console

from agentrail.cli._console import print_aside, print_json, print_table, printable
from agentrail.errors import ConfigError
from agentrail.settings import (
    Reading,
    SettingsSource,
    find_settings,
    settings_schema,
    shown_settings,
)


def source(
    file: Path | None = None, flags: Mapping[str, tuple[str, object]] | None = None
) -> SettingsSource:
    """Return where settings are read: a file, or the one that is found here, with options.

    Raises:
        ConfigRefused: several files are found.
    """
    named = os.environ.get("AGENTRAIL_CONFIG")
    path = file or (Path(named) if named else find_settings(Path.cwd()))
    return SettingsSource(path, os.environ, flags or {})


def without_secrets(settings: SettingsSource) -> SettingsSource:
    """Return settings of a host that is not to run, in the place of those that name secrets.

    Nothing is made of their plugins, and providers are asked nothing.

    Raises:
        ConfigRefused: they cannot be used; every fault is told.
    """
    providers = settings.read().settings.providers
    keys = {f"providers.{name}.api_key": ("", None) for name in providers}
    return evolve(settings, flags={**settings.flags, **keys, "plugins.entries": ("", [])})


def print_schema() -> None:
    """Print the JSON Schema of files of settings."""
    print_json(settings_schema())


def check_settings(file: Path | None) -> None:
    """Print that the settings can be used.

    Raises:
        ConfigRefused: they cannot; every fault is told.
        ConfigError: there is no file.
    """
    reading = _read(file)
    told = printable(f"{reading.path} can be used")
    Console(highlight=False).print(told, markup=False, soft_wrap=True)


def show_settings(file: Path | None, *, as_json: bool, every: bool) -> None:
    """Print the settings in force with the places that they came from; secrets are hidden.

    Raises:
        ConfigRefused: they cannot be used; every fault is told.
    """
    reading = _read(file, needed=False)
    found = [each for each in shown_settings(reading) if every or each.source]
    if as_json:
        print_json(found)
        return
    rows = [
        (each.path, printable(json.dumps(each.value, ensure_ascii=False)), printable(each.source))
        for each in found
    ]
    print_table(["setting", "value", "from"], [(p, v, s or "default") for p, v, s in rows])
    if not every:
        print_aside(Console(stderr=True), "all others have their defaults: --all shows them")


def _read(file: Path | None, *, needed: bool = True) -> Reading:
    found = source(file)
    if found.path is None and needed:
        message = "there is no agentrail.yaml, .toml or .json here: name a file"
        raise ConfigError(message)
    return found.read()
