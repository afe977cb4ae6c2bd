"""An application with settings: what a file and the environment add to it and change in it."""

from collections.abc import Mapping, Sequence
from typing import Final

from attrs import evolve

from agentrail.errors import ConfigRefused
from agentrail.hook import Plugin
from agentrail.host._config import AppConfig
from agentrail.plugin import PackageSettings
from agentrail.settings import Reading, declared

_NO_SWITCH: Final = (
    "the application has no plugin of this name; packages are switched, upgraded and rolled back "
    "with 'agentrail plugin'"
)
_NO_CONFIG: Final = (
    "the application's code has made this plugin: name an 'object' that takes config"
)


def configured(config: AppConfig, reading: Reading) -> AppConfig:
    """Return an application with settings over it.

    Profiles, providers and plugins are added; an entry with the name of a plugin that the
    application has switches that one, or takes its place.  Middleware of settings is put around
    the application's own.  Of all else, what a file, a variable or a flag says counts more than
    what the application says.

    Raises:
        ConfigRefused: an object of the application's code is not there, or is none of its kind.
    """
    made, settings, read = declared(reading), reading.settings, reading.layered
    known = {profile.id for profile in config.profiles}
    faults = [
        read.fault("config_conflict", "the application has a profile of this id", f"profiles.{at}")
        for at, profile in enumerate(made.profiles)
        if profile.id in known
    ]
    own = {plugin.name for plugin in config.plugins}
    faults += [
        read.fault("config_value", _NO_SWITCH, f"plugins.entries.{at}.name")
        for at, entry in enumerate(settings.plugins.entries)
        if entry.object is None and entry.name not in own and (entry.version or not entry.enabled)
    ]
    faults += [
        read.fault("config_conflict", _NO_CONFIG, f"plugins.entries.{at}.config")
        for at, entry in enumerate(settings.plugins.entries)
        if entry.object is None and entry.name in own and entry.config
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
        packages=_packages(config.packages, reading),
        model_middleware=[*made.model_middleware, *config.model_middleware],
        tool_middleware=[*made.tool_middleware, *config.tool_middleware],
        limits=evolve(config.limits, **limits),
    )
    names = ("data_dir", "session_wait", "stop_grace")
    said = {name: getattr(settings, name) for name in names if name in read.sources}
    telemetry = settings.telemetry
    for name in ("hook_spans", "slow_hook", "capture_content"):
        value = getattr(telemetry, name)
        if f"telemetry.{name}" in read.sources and value is not None:
            said[name] = value
    return evolve(config, **said)


def _plugins(config: AppConfig, reading: Reading, made: Mapping[str, Plugin]) -> Sequence[Plugin]:
    if not reading.settings.plugins.enabled:
        return ()
    entries = {entry.name: entry for entry in reading.settings.plugins.entries}
    own = [
        made.get(plugin.name, plugin)
        for plugin in config.plugins
        if plugin.name not in entries or entries[plugin.name].enabled
    ]
    names = {plugin.name for plugin in config.plugins}
    return [*own, *(plugin for name, plugin in made.items() if name not in names)]


def _packages(packages: PackageSettings | None, reading: Reading) -> PackageSettings | None:
    plugins, read = reading.settings.plugins, reading.layered
    names = ("enabled", "directories", "watch", "uploads")
    said = {name: getattr(plugins, name) for name in names if f"plugins.{name}" in read.sources}
    config = {
        entry.name: entry.config
        for entry in plugins.entries
        if entry.object is None and entry.config
    }
    if packages is None:
        takes = any(name != "enabled" for name in said)
        return PackageSettings(**said, config=config) if takes else None
    return evolve(packages, **said, config={**packages.config, **config})
