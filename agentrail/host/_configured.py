"""An application with settings: what a file and the environment add to it and change in it."""

from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from attrs import evolve, frozen

from agentrail.errors import CompositionError, ConfigError, ConfigRefused
from agentrail.hook import Plugin
from agentrail.host._config import AppConfig
from agentrail.plugin import PackageSettings
from agentrail.secret import DATABASE, KEY_FILE, Secrets, read_keys, read_secrets
from agentrail.settings import (
    Declared,
    PluginEntry,
    Reading,
    SettingsSource,
    declared,
    faults_of_error,
    hidden_values,
    is_on,
    opened,
    pinned,
)

_NO_PLUGIN: Final = (
    "the application has no plugin of this name, and takes no packages: name its 'object', or the "
    "directory of packages in plugins.directory"
)
_NOBODY: Final = "there is no plugin {!r}, and the application takes no packages"
_NO_CONFIG: Final = (
    "the application's code has made this plugin: name an 'object' that takes config"
)


@frozen(slots=True)
class Settled:
    """An application, and the settings that it starts with."""

    base: AppConfig
    """The application without them."""
    source: SettingsSource
    reading: Reading
    secrets: Secrets

    @classmethod
    def of(cls, base: AppConfig, source: SettingsSource) -> "Settled":
        """Read settings, or those that somebody went back to.

        Raises:
            ConfigRefused: something is wrong with them; all of it is told.
        """
        reading = _read(base, source)
        data = data_dir_of(base, reading)
        keys = key_file(data, reading)
        return cls(base, source, reading, secrets_for(data, source, reading, keys))


@contextmanager
def placing(reading: Reading) -> Generator[None]:
    """Tell the places in settings of what does not fit together, where it is theirs.

    Raises:
        ConfigRefused: some of it is.
    """
    try:
        yield
    except CompositionError as error:
        faults = faults_of_error(error, reading)
        if any(fault.file for fault in faults):
            raise ConfigRefused(faults) from error
        raise


def data_dir_of(base: AppConfig, reading: Reading) -> Path:
    """Return the data directory of an application with settings."""
    said = "data_dir" in reading.layered.sources
    return Path(reading.settings.data_dir) if said else base.data_dir


def key_file(data_dir: Path, reading: Reading) -> Path:
    """Return where the key is of what is sealed, of a host that starts with settings."""
    named = reading.settings.secrets.key_file
    return Path(named) if named is not None else data_dir / KEY_FILE


def secrets_for(data: Path, source: SettingsSource, reading: Reading, keys: Path) -> Secrets:
    """Return the secrets that there are for settings, with a data directory; it blocks."""
    places = reading.settings.secrets
    directory = None if places.directory is None else Path(places.directory)
    for value in hidden_values(reading):
        source.hidden.add(value)
    return read_secrets(data, source.variables, directory, keys, source.hidden)


def _read(base: AppConfig, source: SettingsSource) -> Reading:
    """Return the settings, or those that somebody went back to while the file is as it was."""
    refused: ConfigRefused | None = None
    try:
        reading = source.read()
    except ConfigRefused as error:
        # What is in the file may be what somebody went back from.
        refused = error
        try:
            reading = source.places()
        except ConfigRefused:
            raise refused from None
    data = data_dir_of(base, reading)
    found = pinned(data / DATABASE)
    if found is None or found[0].file_digest != source.mark():
        if refused is not None:
            raise refused
        return reading
    pin, name, sealed = found
    ring = read_keys(source.variables, key_file(data, reading))
    if ring is None:
        raise ConfigError(
            f"the host is at revision {pin.revision} of its settings, which is sealed, and its key "
            f"is gone: put it back, or change the file of settings, which counts then"
        )
    return source.read_revision(pin.revision, name, opened(pin.revision, sealed, ring))


def configured(
    config: AppConfig, reading: Reading, secrets: Secrets, before: Declared | None = None
) -> tuple[AppConfig, Declared]:
    """Return an application with settings over it, and what was made of them.

    Profiles, providers and plugins are added; an entry with the name of a plugin that the
    application has switches that one, or takes its place.  Middleware of settings is put around
    the application's own.  Of all else, what a file, a variable or a flag says counts more than
    what the application says.  What was made ``before`` of the same settings is used again.

    Raises:
        ConfigRefused: an object of the application's code is not there, or is none of its kind, or
            nobody has a secret.
    """
    made, settings, read = declared(reading, secrets, before), reading.settings, reading.layered
    known = {profile.id for profile in config.profiles}
    faults = [
        read.fault("config_conflict", "the application has a profile of this id", f"profiles.{at}")
        for at, profile in enumerate(made.profiles)
        if profile.id in known
    ]
    own = {plugin.name for plugin in config.plugins}
    packages = _packages(config, reading, made)
    faults += [
        read.fault("config_value", _NO_PLUGIN, f"plugins.entries.{at}.name")
        for at, entry in enumerate(settings.plugins.entries)
        if entry.object is None and entry.name not in own and packages is None
    ]
    faults += [
        read.fault("config_conflict", _NO_CONFIG, f"plugins.entries.{at}.config")
        for at, entry in enumerate(settings.plugins.entries)
        if entry.object is None and entry.name in own and entry.config
    ]
    enabled = settings.plugins.enabled
    if packages is None and not isinstance(enabled, bool):
        there = own | {entry.name for entry in settings.plugins.entries}
        faults += [
            read.fault("config_value", _NOBODY.format(name), f"plugins.enabled.{at}")
            for at, name in enumerate(enabled)
            if name not in there
        ]
    if faults:
        raise ConfigRefused(faults)
    declared_names = {provider.name for provider in made.providers}
    kept = [each for each in config.providers if each.name not in declared_names]
    limits = {
        name: getattr(settings.limits, name)
        for name in settings.limits.__struct_fields__
        if f"limits.{name}" in read.sources
    }
    config = evolve(
        config,
        profiles=[*config.profiles, *made.profiles],
        providers=[*kept, *made.providers],
        plugins=_plugins(config, reading, made.plugins),
        packages=packages,
        model_middleware=[*made.model_middleware, *config.model_middleware],
        tool_middleware=[*made.tool_middleware, *config.tool_middleware],
        roles={**config.roles, **settings.roles},
        limits=evolve(config.limits, **limits),
    )
    names = ("data_dir", "session_wait", "stop_grace")
    said = {name: getattr(settings, name) for name in names if name in read.sources}
    if "retention.session_days" in read.sources:
        said["session_days"] = settings.retention.session_days
    telemetry = settings.telemetry
    for name in ("hook_spans", "slow_hook", "capture_content"):
        value = getattr(telemetry, name)
        if f"telemetry.{name}" in read.sources and value is not None:
            said[name] = value
    return evolve(config, **said), made


def _plugins(config: AppConfig, reading: Reading, made: Mapping[str, Plugin]) -> Sequence[Plugin]:
    plugins = reading.settings.plugins
    entries = {entry.name: entry for entry in plugins.entries}
    own = {plugin.name: plugin for plugin in config.plugins}
    if len(own) < len(config.plugins):
        return config.plugins  # it is told where they are composed
    # Those that are named stand where some of them stood, in the order of the entries.
    named = iter([name for name in entries if name in own])
    order = [next(named) if name in entries else name for name in own]
    order += [name for name in made if name not in own]
    on = [name for name in order if is_on(entries.get(name) or PluginEntry(name=name), plugins)]
    return [made[name] if name in made else own[name] for name in on]


def _packages(config: AppConfig, reading: Reading, made: Declared) -> PackageSettings | None:
    """Return how packages are dealt with; None when the host takes none."""
    plugins, read = reading.settings.plugins, reading.layered
    names = ("enabled", "directory", "watch", "uploads")
    said = {name: getattr(plugins, name) for name in names if f"plugins.{name}" in read.sources}
    if (named := said.pop("directory", None)) is not None:
        said["directories"] = [named] if isinstance(named, str) else named
    packages = config.packages
    if packages is None:
        if not any(name != "enabled" for name in said):
            return None
        packages = PackageSettings()
    own = {plugin.name for plugin in config.plugins}
    only: Collection[str] | None = None
    if not isinstance(plugins.enabled, bool):
        objects = {entry.name for entry in plugins.entries if entry.object is not None}
        only = [name for name in plugins.enabled if name not in own | objects]
        said["enabled"] = True
    entries = [
        (f"plugins.entries.{at}", entry)
        for at, entry in enumerate(plugins.entries)
        if entry.object is None and entry.name not in own
    ]
    switched = {e.name: e.enabled for at, e in entries if f"{at}.enabled" in read.sources}
    versions = {e.name: e.version for _, e in entries if e.version is not None}
    return evolve(
        packages,
        **said,
        config={**packages.config, **made.package_config},
        switched={**packages.switched, **switched},
        versions={**packages.versions, **versions},
        only=packages.only if only is None else only,
    )
