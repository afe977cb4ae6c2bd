"""The packages and settings of a host that does not run: all that is decided, and none of the code.

They are put together of the parts that a host has; only what would run something is another.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Final

from anyio.abc import TaskGroup
from attrs import evolve, frozen

from agentrail.access import Tokens
from agentrail.admin import Managed, PackageLogs, api_routes
from agentrail.hook import Plugin
from agentrail.host import AgentApp, AgentHost
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


@frozen
class Kept:
    """What a host has of its packages while it does not run; answers for it in its application."""

    packages: Packages
    tokens: Tokens
    database: Database
    managed: Managed

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
        if self.managed.configuration is not None:
            await self.managed.configuration.start(group, serving=False)

    def app(self, host: AgentHost) -> AgentApp:
        """Return an application with the API; who may write to the data directory may use it."""
        host.core.config = evolve(host.core.config, authenticator=None)
        host.extension = self
        return AgentApp(host)


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
