"""The packages and settings of a host that does not run: all that is decided, and none of the code.

They are put together of the parts that a host has; only what would run something is another.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
from anyio.abc import TaskGroup
from attrs import evolve, frozen

from agentrail.access import Tokens
from agentrail.admin import Managed, PackageLogs, api_routes
from agentrail.cli._load import application, found_settings
from agentrail.cli._options import Where
from agentrail.cli._settings import SettingsPart
from agentrail.config import read_document
from agentrail.errors import ConfigError, ConfigRefused, Fault
from agentrail.hook import Plugin
from agentrail.host import AgentApp, AgentHost, SettingsSource
from agentrail.package import Loaded, Package, PluginContext
from agentrail.plugin import define_plugin
from agentrail.registry import Events, Packages
from agentrail.route import Route
from agentrail.secret import Secrets
from agentrail.settings import Commit, Reading
from agentrail.storage import Database

_RUNNING_ALONE: Final = frozenset(
    {"load", "unload", "rest", "enable", "disable", "reload", "error"}
)
"""Events that tell what a running host does."""

_PLACES: Final = ("data_dir", "secrets", "roles")
"""The settings that tell where things are and who may do what; nothing is made of them."""

_NOTHING: Final = (
    "the application has neither settings nor packages: put an agentrail.yaml beside its app.py, "
    "name a file with AGENTRAIL_CONFIG, or say AppConfig(packages=PackageSettings(...))"
)


@frozen
class Kept:
    """What a host has of its packages while it does not run; answers for it in its application."""

    packages: Packages
    tokens: Tokens
    database: Database
    managed: Managed
    faults: Sequence[Fault] = ()
    """What is wrong with the settings."""

    @classmethod
    def found(cls, where: Where) -> tuple[AgentHost, "Kept"]:
        """Return a host of which nothing is made that settings declare, and what there is of it.

        Raises:
            ConfigError: the application cannot be loaded.
            ConfigRefused: settings are refused, and do not tell where its data is.
        """
        base, own = application(where.app, where.data_dir)
        source = found_settings() or own
        if source is None and base.packages is None:
            raise ConfigError(_NOTHING)
        if source is None:
            host = AgentHost.of(base)
            return host, cls.of(host)
        faults: Sequence[Fault] = ()
        try:
            reading = source.read()
        except ConfigRefused as error:
            reading, faults = _places(source), error.faults
            if "data_dir" not in reading.layered.sources and _document(source.path) is None:
                raise  # it may name another data directory
        data = reading.layered.data
        places = {name: data[name] for name in _PLACES if name in data}
        host = AgentHost.of(base, SettingsPart.of(source, places))
        kept = cls.of(host)
        assert kept.managed.configuration is not None  # noqa: S101 - the host has settings
        configuration = evolve(kept.managed.configuration, source=source, reading=reading)
        managed = evolve(kept.managed, configuration=configuration)
        return host, evolve(kept, managed=managed, faults=faults)

    @classmethod
    def of(cls, host: AgentHost) -> "Kept":
        """Return what there is of a host's packages."""
        packages = host.part(Packages)
        events = _Decided(host.part(Database), host.core.config.clock)
        inventory = evolve(packages.inventory, events=events)
        running = evolve(
            packages.running,
            events=events,
            runner=_NotRun(),
            swap=_not_swapped,
            entries=inventory.entries,
            said=inventory.said,
            settings=evolve(packages.settings, watch=False),
        )
        kept = evolve(packages, inventory=inventory, running=running)
        tokens, database = host.part(Tokens), host.part(Database)
        had = host.part(Managed)
        configuration = had.configuration
        if configuration is not None:
            configuration = evolve(configuration, apply=_not_applied)
        managed = evolve(
            had,
            packages=kept,
            logs=PackageLogs(),
            look_again=_not_looked,
            configuration=configuration,
        )
        return cls(kept, tokens, database, managed)

    @property
    def parts(self) -> Sequence[object]:
        """See ``Extension``."""
        return (self.packages, self.tokens, self.database)

    @property
    def routes(self) -> Sequence[Route]:
        """See ``Extension``."""
        return api_routes(lambda: self.managed)

    async def open(self, stack: AsyncExitStack) -> None:
        """See ``Extension``."""
        await self.database.start()
        stack.push_async_callback(self.database.stop)

    async def start(self, group: TaskGroup) -> None:
        """See ``Extension``."""
        await self.packages.start(group)
        configuration = self.managed.configuration
        if configuration is not None:
            await configuration.start(group, serving=False)
            if not configuration.state.pinned:  # else the next host does not go by the file
                configuration.faults = self.faults

    def app(self, host: AgentHost) -> AgentApp:
        """Return an application with the API; who may write to the data directory may use it."""
        host.core.config = evolve(host.core.config, authenticator=None)
        host.extension = self
        return AgentApp(host)


def _places(source: SettingsSource) -> Reading:
    """Return settings that say no more than where things are, as a file does that is refused.

    What it says of the data directory does not matter where another is given.

    Raises:
        ConfigRefused: what it says of that cannot be told.
    """
    try:
        return source.places()
    except ConfigRefused as error:
        given = source.variables.get("AGENTRAIL_DATA_DIR")
        if not given or any(each.key != "data_dir" for each in error.faults):
            raise
        keys = (_document(source.path) or {}).get("secrets", {})
        return source.read_text("places.json", msgspec.json.encode({"secrets": keys}))


def _document(path: Path | None) -> Mapping[str, object] | None:
    """Return what a file of settings says; None when that cannot be told."""
    if path is None:
        return {}
    try:
        text = path.read_bytes() if path.is_file() else b"["
        return read_document(path.name, text, 1 << 20).data
    except (OSError, ConfigRefused):
        return None


class _Decided(Events):
    """Keeps in the history what was decided, and not what only a running host does."""

    def emit(
        self,
        kind: str,
        package: str,
        version: str = "",
        *,
        message: str = "",
        error: str = "",
        metadata: Mapping[str, object] | None = None,
    ) -> None:
        if kind not in _RUNNING_ALONE:
            note = partial(super().emit, message=message, error=error, metadata=metadata)
            note(kind, package, version)


class _NotRun:
    """Loads nothing of a package."""

    async def load(self, package: Package, context: PluginContext) -> Loaded:  # noqa: ARG002
        return Loaded(define_plugin(package.manifest.id), _nothing)


class _Settled:
    busy = False

    async def wait(self) -> None:
        pass


async def _not_swapped(
    plugins: Sequence[Plugin],  # noqa: ARG001
    commit: Callable[[], Awaitable[None]] | None = None,
) -> _Settled:
    if commit is not None:
        await commit()
    return _Settled()


async def _not_applied(reading: Reading, secrets: Secrets, commit: Commit) -> None:  # noqa: ARG001
    await commit()


async def _not_looked(actor: str, request: str) -> None:
    pass


async def _nothing() -> None:
    pass
