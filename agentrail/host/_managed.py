"""What administrators deal with in a host: its packages, settings, secrets and tokens."""

import logging
import os
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path

import anyio.to_thread
from anyio.abc import TaskGroup
from attrs import define, evolve, field

from agentrail import access, audit, registry, secret, settings
from agentrail.access import Tokens
from agentrail.admin import Managed, PackageLogs, api_routes
from agentrail.errors import ConfigError, ConfigRefused, StorageError
from agentrail.host._configured import Settled, configured, key_file, secrets_for
from agentrail.host._core import Core, shielded
from agentrail.host._swap import Swapper
from agentrail.package import InProcess, PackageStore
from agentrail.plugin import PackageSettings, secret_variable
from agentrail.registry import Events, Inventory, Packages, Running, alone_in, hiding, note_calls
from agentrail.route import Route
from agentrail.secret import (
    DATABASE,
    KEY_FILE,
    KeyRing,
    Secrets,
    Vault,
    make_keys,
    read_keys,
    read_secrets,
    sealed_in,
    sealed_with,
)
from agentrail.session import SQLiteSessionStore
from agentrail.settings import Commit, Configuration, Declared, Reading
from agentrail.storage import Database, Presence

SCHEMAS = (audit.SCHEMA, registry.SCHEMA, access.SCHEMA, settings.SCHEMA, secret.SCHEMA)
"""Of the database, in the order in which releases have added them."""

_log = logging.getLogger("agentrail.host")

NO_PACKAGES = PackageSettings(uploads=False)
"""What a host goes by whose application takes no packages."""


@define(slots=True, eq=False, repr=False)
class ManagedHost:
    """What administrators deal with in a running host, and the database that it is kept in."""

    core: Core
    settled: Settled | None
    """The application and the settings that it starts with; None where there are none."""
    made: Declared | None
    """What was made of those in force."""
    database: Database
    presence: Presence
    """Whoever opens the database is there for the others that would, as commands do."""
    swapper: Swapper
    secrets: Secrets
    """Those in force where there are no settings."""
    logs: PackageLogs = field(init=False)
    packages: Packages = field(init=False)
    tokens: Tokens = field(init=False)
    vault: Vault = field(init=False)
    configuration: Configuration | None = field(default=None, init=False)
    _stack: AsyncExitStack = field(init=False)

    @classmethod
    def of(cls, core: Core, settled: Settled | None, made: Declared | None) -> "ManagedHost":
        """Return what is managed of a host; nothing is opened yet."""
        data, clock = core.config.data_dir, core.config.clock
        given = core.config.packages or NO_PACKAGES
        found = settled.secrets if settled is not None else read_secrets(data, os.environ)
        core.hide = found.hidden
        database = Database(data / DATABASE, SCHEMAS, synchronous="FULL")
        events = Events(database, clock)
        host = cls(
            core,
            settled,
            made,
            database,
            Presence(data / DATABASE),
            Swapper(core, given.drain_seconds),
            found,
        )
        inventory = Inventory(
            database, PackageStore(data / "packages"), events, clock, version("agentrail-host")
        )
        running = Running(
            host.given(given),
            database,
            events,
            clock,
            InProcess(),
            host.swapper,
            data / "plugins",
            core.store.path if isinstance(core.store, SQLiteSessionStore) else None,
            inventory.entries,
            inventory.said,
        )
        granted = hiding(inventory.entries, running.settings.secrets)
        events.hide = lambda package, text: core.hide(granted(package, text))
        host.logs = PackageLogs(events.hide)
        host.swapper.tool_middleware = (note_calls(inventory.entries, events, clock),)
        core.lives.on_broken = running.broke_down
        host.packages = Packages(inventory, running)
        host.tokens = Tokens(database, clock, lambda: core.config.roles)
        host.vault = Vault(database, clock, host.keys)
        if settled is not None:
            host.configuration = Configuration(
                settled.source,
                database,
                clock,
                host.keys,
                host.look,
                host.apply,
                settled.reading,
                settled.secrets,
                revive=host.swapper.revive,
            )
        return host

    def given(
        self, packages: PackageSettings, secret: Callable[[str], str | None] | None = None
    ) -> PackageSettings:
        """Return settings of packages with the host's secrets, unless the application has some."""
        if packages.secrets is not secret_variable:
            return packages
        return evolve(packages, secrets=secret or self._secret)

    def _secret(self, name: str) -> str | None:
        return self._in_force.value(name)

    def keys(self) -> KeyRing:
        """Return the keys of what is sealed, and make one where there was none; it blocks.

        Raises:
            ConfigError: they are gone, or cannot be used.
        """
        ring, file = self._read_keys(), self.key_file()
        if ring is None and self._in_force.keyed:
            raise ConfigError(
                f"the key file {str(file)!r} is gone, and what it sealed cannot be opened: put it "
                "back; a host that is started without it makes a new one"
            )
        return ring or make_keys(file)

    def _read_keys(self) -> KeyRing | None:
        variables = self.settled.source.variables if self.settled is not None else os.environ
        return read_keys(variables, self.key_file())

    def key_file(self) -> Path:
        """Return where the key is of what is sealed; another one counts from the next start on."""
        data = self.core.config.data_dir
        return data / KEY_FILE if self.settled is None else key_file(data, self.settled.reading)

    @property
    def _in_force(self) -> Secrets:
        return self.secrets if self.configuration is None else self.configuration.secrets

    async def look_again(self, actor: str, request: str) -> None:
        """Look up the secrets again, and go by them."""
        if self.configuration is None:
            data = self.core.config.data_dir
            hidden = self.secrets.hidden
            look = partial(read_secrets, data, os.environ, hidden=hidden)
            self.secrets = await anyio.to_thread.run_sync(look)
            return
        with suppress(ConfigRefused):  # it is told where it arises
            await self.configuration.refresh(actor, request=request)

    def look(self, reading: Reading) -> Secrets:
        """Return the secrets that there are for settings; it blocks."""
        assert self.settled is not None  # noqa: S101 - who has no settings does not ask
        data = self.core.config.data_dir  # another one counts from the next start on
        return secrets_for(data, self.settled.source, reading, self.key_file())

    async def apply(self, reading: Reading, secrets: Secrets, commit: Commit) -> None:
        """Go by other settings; see ``Configuration``."""
        assert self.settled is not None  # noqa: S101 - as above
        core, base = self.core, self.settled.base
        tried: Secrets | None = secrets

        def secret(name: str) -> str | None:
            # What is loaded for these settings is given theirs; what runs, those in force.
            return self._secret(name) if tried is None else tried.value(name)

        try:
            # The application's code may take its time, which is not to keep the host from stopping.
            make = partial(configured, base, reading, secrets, self.made)
            config, made = await anyio.to_thread.run_sync(make, abandon_on_cancel=True)
            old, packages = self.packages.settings, config.packages or NO_PACKAGES
            packages = evolve(packages, directories=old.directories, watch=old.watch)
            packages = self.given(packages, secret)
            config = evolve(
                config,
                packages=packages,
                data_dir=core.config.data_dir,
                authenticator=core.config.authenticator,
            )

            async def committed() -> None:
                # Whoever waits for the rest may be cancelled, and the host goes by it all the same.
                await commit()
                self.made = made

            await self.packages.settle(
                packages, lambda plugins: self.swapper.settle(config, plugins, committed)
            )
        finally:
            tried = None

    @property
    def parts(self) -> Sequence[object]:
        """What the host is asked for by its kind."""
        parts = (self.packages, self.tokens, self.database, self.presence, self.managed)
        return parts if self.configuration is None else (*parts, self.configuration)

    @property
    def managed(self) -> Managed:
        """What the API deals with."""
        return Managed(
            self.packages,
            self.tokens,
            self.logs,
            self.vault,
            self.key_file,
            self.look_again,
            lambda: self.core.config.roles,
            self.configuration,
        )

    @property
    def routes(self) -> Sequence[Route]:
        """The routes under ``/api``."""
        return api_routes(lambda: self.managed)

    async def open(self, stack: AsyncExitStack) -> None:
        """Open the database; what is left of the packages is put away at the end."""
        self._stack = stack
        alone = stack.enter_context(alone_in(self.core.config.data_dir))
        if not alone:
            self.packages.follow()
        if self.configuration is not None:
            self.configuration.follows = not alone
        await self.database.start()
        stack.push_async_callback(shielded, self.database.stop)
        try:
            await anyio.to_thread.run_sync(self.presence.enter)
        except OSError as error:
            raise StorageError(f"{DATABASE!r} cannot be locked: {error.strerror}") from error
        stack.callback(self.presence.leave)
        stack.push_async_callback(shielded, self.packages.close)
        stack.enter_context(self.logs)

    async def start(self, group: TaskGroup) -> None:
        """Switch on the packages that are to be on, and watch the settings."""
        # Nobody changes them any more when the host begins to stop; turns still load theirs.
        self._stack.push_async_callback(shielded, self.packages.rest)
        await self._tell_of_lost_keys()
        await self.packages.start(group)
        if self.configuration is not None:
            stop = partial(self.configuration.stop, self.core.config.stop_grace)
            self._stack.push_async_callback(shielded, stop)
            await self.configuration.start(group)

    async def _tell_of_lost_keys(self) -> None:
        ring = await anyio.to_thread.run_sync(self._read_keys)
        keys = ring.ids if ring is not None else ()
        revisions = await self.database.read(partial(settings.unopened, keys=keys))
        sealed = (await self.database.read(sealed_in)).values()
        secrets = sum(sealed_with(each) not in keys for each in sealed)
        if secrets or revisions:
            _log.warning(
                "sealed with keys that this host does not have: %d %s, %d %s; put those keys back, "
                "behind the others, in %s",
                secrets,
                "secret" if secrets == 1 else "secrets",
                revisions,
                "revision" if revisions == 1 else "revisions",
                self.key_file(),
            )
