"""The packages of a host that does not run: all that is decided about them, and none of their code.

They are put together of the parts that a host has; only what would run something is another.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Final

from anyio.abc import TaskGroup
from attrs import evolve, frozen

from agentrail.access import Tokens
from agentrail.admin import PackageLogs, api_routes
from agentrail.hook import Plugin
from agentrail.host import AgentApp, AgentHost
from agentrail.package import Loaded, Package, PluginContext
from agentrail.plugin import define_plugin
from agentrail.registry import Events, Packages
from agentrail.route import Route
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
        )
        settings = evolve(packages.settings, watch=False)
        kept = evolve(packages, settings=settings, inventory=inventory, running=running)
        return cls(kept, host.part(Tokens), host.part(Database))

    @property
    def parts(self) -> Sequence[object]:
        """See ``Extension``."""
        return (self.packages, self.tokens, self.database)

    @property
    def routes(self) -> Sequence[Route]:
        """See ``Extension``."""
        return api_routes(lambda: self.packages, lambda: self.tokens, PackageLogs())

    async def open(self, stack: AsyncExitStack) -> None:
        """See ``Extension``."""
        await self.database.start()
        stack.push_async_callback(self.database.stop)

    async def start(self, group: TaskGroup) -> None:
        """See ``Extension``."""
        await self.packages.start(group)

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


async def _nothing() -> None:
    pass
