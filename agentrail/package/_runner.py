"""Where a package's code runs: one seam, behind which a plugin is just a plugin."""

from collections.abc import Awaitable, Callable
from typing import Protocol

import anyio.to_thread
from attrs import frozen

from agentrail.errors import ConfigError
from agentrail.hook import Plugin, contained
from agentrail.package._content import host_modules
from agentrail.package._context import PluginContext
from agentrail.package._forms import make_plugin
from agentrail.package._modules import Modules
from agentrail.package._package import Package


@frozen(slots=True)
class Loaded:
    """A package whose code was loaded."""

    plugin: Plugin
    unload: Callable[[], Awaitable[None]]
    """Takes it out again, once its plugin was stopped and nothing calls it any more."""


class Runner(Protocol):
    """A place for packages to run in."""

    async def load(self, package: Package, context: PluginContext) -> Loaded:
        """Return the plugin that a package yields; it was not started.

        Raises:
            ConfigError: the package yields no plugin.
            Exception: what its code raises.
        """
        ...


class InProcess:
    """Runs packages in the host's own process, where nothing holds them but their good will."""

    async def load(self, package: Package, context: PluginContext) -> Loaded:
        """Import the package's modules, and return what they yield.

        Code that is imported runs in a worker thread.  A load that is cancelled, as by its
        deadline, returns at once; the thread is busy until the code ends, and what it made is
        thrown away.
        """
        own = package.manifest.id.replace("-", "_")
        # A package named as a module that the host has may want that module.
        aliases = () if own in host_modules() else (own,)
        modules = Modules(package.files, package.manifest.id, aliases)

        async def unload() -> None:
            try:
                await context.aclose()
            finally:
                modules.unload()

        complete = False
        try:
            what = f"the code of package {context.id!r}"
            plugin = await contained(what, _plugin(modules, package, context))
            complete = True
        finally:
            if not complete:
                with anyio.CancelScope(shield=True):
                    await unload()
        return Loaded(plugin, unload)


async def _plugin(modules: Modules, package: Package, context: PluginContext) -> Plugin:
    module = await anyio.to_thread.run_sync(modules.load, package.module, abandon_on_cancel=True)
    target = getattr(module, package.attribute, None) if package.attribute else module
    if target is None:
        message = f"{package.manifest.entry_point!r} names nothing in the package"
        raise ConfigError(message)
    return await make_plugin(target, context)
