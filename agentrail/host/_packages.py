"""A host's plugin packages: put together, started with it, and put away after it."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from importlib.metadata import version
from pathlib import Path

import anyio.to_thread
from anyio.abc import TaskGroup
from attrs import define, field

from agentrail import access, audit, registry
from agentrail.access import Tokens
from agentrail.admin import PackageLogs, api_routes
from agentrail.errors import StorageError
from agentrail.host._core import Core, shielded
from agentrail.host._swap import Swapper
from agentrail.package import InProcess, PackageStore
from agentrail.plugin import PackageSettings
from agentrail.registry import Events, Inventory, Packages, Running, alone_in, hiding, note_calls
from agentrail.route import Route
from agentrail.session import SQLiteSessionStore
from agentrail.storage import Database, Presence

DATABASE = "host.db"
"""The file in the data directory that keeps what administrators decide."""


@define(slots=True, eq=False)
class PackageHost:
    """The packages of a running host, and the database that they are kept in."""

    packages: Packages
    database: Database
    directory: Path
    """What is written to by one process at a time."""
    tokens: Tokens
    presence: Presence
    """Whoever opens the database is there for the others that would, as commands do."""
    logs: PackageLogs
    _stack: AsyncExitStack = field(init=False)

    @classmethod
    def of(cls, core: Core, settings: PackageSettings) -> "PackageHost":
        """Return the packages of a host; nothing is opened yet."""
        data, clock = core.config.data_dir, core.config.clock
        schemas = (audit.SCHEMA, registry.SCHEMA, access.SCHEMA)
        database = Database(data / DATABASE, schemas, synchronous="FULL")
        events = Events(database, clock)
        inventory = Inventory(
            database, PackageStore(data / "packages"), events, clock, version("agentrail-host")
        )
        swapper = Swapper(core, settings.drain_seconds)
        running = Running(
            settings,
            database,
            events,
            clock,
            InProcess(),
            swapper,
            data / "plugins",
            core.store.path if isinstance(core.store, SQLiteSessionStore) else None,
            inventory.entries,
        )
        events.hide = hiding(inventory.entries, settings.secrets)
        swapper.tool_middleware = (note_calls(inventory.entries, events, clock),)
        core.lives.on_broken = running.broke_down
        packages = Packages(settings, inventory, running)
        return cls(
            packages,
            database,
            data,
            Tokens(database, clock),
            Presence(data / DATABASE),
            PackageLogs(events.hide),
        )

    @property
    def parts(self) -> Sequence[object]:
        """What the host is asked for by its kind."""
        return (self.packages, self.tokens, self.database, self.presence)

    @property
    def routes(self) -> Sequence[Route]:
        """The routes under ``/api``."""
        return api_routes(lambda: self.packages, lambda: self.tokens, self.logs)

    async def open(self, stack: AsyncExitStack) -> None:
        """Open the database; what is left of the packages is put away at the end."""
        self._stack = stack
        if not stack.enter_context(alone_in(self.directory)):
            self.packages.follow()
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
        """Switch on the packages that are to be on."""
        # Nobody changes them any more when the host begins to stop; turns still load theirs.
        self._stack.push_async_callback(shielded, self.packages.rest)
        await self.packages.start(group)
