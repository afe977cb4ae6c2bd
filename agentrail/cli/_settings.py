"""``agentrail config``: what a file of settings says, and what is wrong with it."""

import json
import os
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Final, cast

import msgspec
from attrs import frozen
from rich.console import Console

from agentrail.cli._console import print_json, print_table, printable, remark
from agentrail.cli._load import USUAL, application
from agentrail.errors import AgentrailError, ConfigError, ConfigRefused
from agentrail.host import AgentHost
from agentrail.secret import KEY_VARIABLE, PREFIX
from agentrail.settings import (
    Reading,
    SettingsSource,
    find_settings,
    settings_schema,
    shown_settings,
)

_OF_CODE: Final = ("tools", "context_providers", "permissions")
"""What a profile has of the application's code, and rules about it."""

_CODE: Final = re.compile(
    r"(plugins\.entries|middlewares)\.\d+\.object|profiles\.\d+\.(tools|context_providers)\.\d+"
)
"""The settings that name something of the application's code."""


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


@frozen(slots=True)
class SettingsPart(SettingsSource):
    """A part of settings that were read, and the secrets."""

    @classmethod
    def of(cls, source: SettingsSource, data: Mapping[str, object]) -> "SettingsPart":
        """Return settings that have no more than some data."""
        name = source.path.name if source.path is not None else "variables"
        secret = (KEY_VARIABLE, PREFIX)
        variables = {k: v for k, v in source.variables.items() if k.startswith(secret)}
        return cls(None, variables, {key: (name, data[key]) for key in data}, source.hidden)

    def mark(self) -> str:
        """Return what no file has, so that no revision is used in the place of these."""
        return "-"


def print_schema() -> None:
    """Print the JSON Schema of files of settings."""
    print_json(settings_schema())


def check_settings(file: Path | None) -> None:
    """Print that the settings can be used.

    Raises:
        ConfigRefused: they cannot; every fault is told.
        ConfigError: there is no file.
    """
    found = source(file)
    reading = _read(found)
    _compare(found, reading)
    told = printable(f"{reading.path} can be used")
    Console(highlight=False).print(told, markup=False, soft_wrap=True)


def _compare(source: SettingsSource, reading: Reading) -> None:
    """Return when settings fit the application that is here, as far as nothing is made of them.

    What was not looked at is told, and secrets that nobody has here.

    Raises:
        ConfigRefused: they do not; every fault is told.
    """
    try:
        base, _ = application(USUAL)
    except ConfigRefused:  # it has settings of its own
        raise
    except AgentrailError as error:
        why, *_ = error.detail.splitlines()
        remark(f"they were compared with no application: {why}")
        return
    own = {plugin.name for plugin in base.plugins}
    part = SettingsPart.of(source, _without_code(reading.layered.data, own))
    try:
        host = AgentHost.of(base, part)
    except ConfigRefused as error:
        placed = [reading.layered.fault(f.code, f.message, f.key) for f in error.faults]
        raise ConfigRefused(placed) from error
    host.composition.check_profiles()
    secrets = host.settled.secrets if host.settled is not None else None
    for each in shown_settings(reading, secrets):
        value = each.value
        named = cast("dict[str, object]", value) if isinstance(value, dict) else {}
        if named.get("set") is False:
            remark(f"{each.source}: {each.path}: nobody has the secret {named['secret']!r} here")
    if any(map(_CODE.fullmatch, reading.layered.sources)):
        remark(
            "not looked at: what they name of the application's code; 'agentrail doctor' makes it"
        )


def _without_code(data: Mapping[str, object], own: Collection[str]) -> Mapping[str, object]:
    """Return settings for which none of the application's code runs, nor are secrets needed."""
    profiles = [_without(each, *_OF_CODE) for each in _tables(data.get("profiles", ()))]
    providers = msgspec.convert(data.get("providers", {}), dict[str, dict[str, object]])
    steps = msgspec.convert(data.get("middlewares", ()), list[str | dict[str, object]])
    plugins = _table(data.get("plugins", {}))
    entries: list[object] = []
    for each in _tables(plugins.get("entries", ())):
        # Without values, a configuration is still one.
        plain = {**each, "config": dict.fromkeys(_table(each.get("config", {})))}
        if "object" in each:
            plain = {"name": each["name"]} if each["name"] in own else {**plain, "enabled": False}
        entries.append(plain)
    return {
        **data,
        "profiles": profiles,
        "providers": {name: _without(each, "api_key") for name, each in providers.items()},
        "middlewares": [
            {**each, "enabled": False} if isinstance(each, dict) and "object" in each else each
            for each in steps
        ],
        "plugins": {**plugins, "entries": entries},
    }


def _table(value: object) -> dict[str, object]:
    return msgspec.convert(value, dict[str, object])


def _tables(value: object) -> Sequence[dict[str, object]]:
    return msgspec.convert(value, list[dict[str, object]])


def _without(table: Mapping[str, object], *names: str) -> Mapping[str, object]:
    return {name: value for name, value in table.items() if name not in names}


def show_settings(file: Path | None, *, as_json: bool, every: bool) -> None:
    """Print the settings in force with the places that they came from; secrets are hidden.

    Raises:
        ConfigRefused: they cannot be used; every fault is told.
    """
    reading = _read(source(file), needed=False)
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
        remark("all others have their defaults: --all shows them")


def _read(found: SettingsSource, *, needed: bool = True) -> Reading:
    if found.path is None and needed:
        message = "there is no agentrail.yaml, .toml or .json here: name a file"
        raise ConfigError(message)
    return found.read()
