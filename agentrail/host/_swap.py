"""Another composition takes the place of the present one, while requests run."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import anyio
from attrs import define, evolve, field

from agentrail.hook import Middleware, Plugin
from agentrail.host._check import check_kinds
from agentrail.host._compose import Composition
from agentrail.host._config import AppConfig
from agentrail.host._core import Core
from agentrail.host._generation import Generation
from agentrail.messages import ToolResult
from agentrail.model import Models
from agentrail.requests import ToolRequest


@define(slots=True, eq=False)
class Retirement:
    """The end of plugins that were taken out of the host."""

    number: int
    """The first generation without them."""
    plugins: Sequence[Plugin]
    generations: Sequence[Generation]
    """Those of the host, as they are at any time."""
    _over: anyio.Event = field(factory=anyio.Event)

    async def wait(self) -> None:
        """Return once no run can call them, and they were stopped."""
        await self._over.wait()

    @property
    def busy(self) -> bool:
        """Whether runs may still call them."""
        return any(each.runs and self.held_by(each) for each in self.generations)

    def over(self) -> None:
        """Let those go on who wait."""
        self._over.set()

    def held_by(self, generation: Generation) -> bool:
        """Tell whether runs of a generation may call them.

        Those that began with an earlier plugin of the same name may: they may have had it loaded.
        """
        names = {plugin.name for plugin in self.plugins}
        held = generation.composition.hooks.plugins
        return generation.number < self.number and any(each.name in names for each in held)


@define(slots=True, eq=False)
class Swapper:
    """Exchanges what a host is composed of."""

    core: Core
    grace: float
    """Seconds that runs may go on with a plugin that somebody took out; then they are cancelled."""
    tool_middleware: Sequence[Middleware[ToolRequest, ToolResult]] = ()
    """What is put around each tool call besides, next to the tools."""
    _lock: anyio.Lock = field(factory=anyio.Lock)
    _coming: Composition | None = None
    """What is being started, and not served yet."""
    _leaving: list[Retirement] = field(factory=list[Retirement])
    """The plugins that are in no generation to come, and that runs may still call."""

    async def __call__(
        self, plugins: Sequence[Plugin], commit: Callable[[], Awaitable[None]] | None = None
    ) -> Retirement:
        """Serve with the application's own plugins and these from the next request on.

        ``commit`` is called when the plugins have started; nothing can fail once it has returned.
        With it, the change was asked for, and runs have the grace to end that go by what it takes
        out; without it, what leaves was loaded on demand or broke down, and nobody is hurried.

        Raises:
            CompositionError: they do not fit together; nothing has changed.
            PluginStartError: one did not start; nothing has changed.
            HostNotRunning: the host stops; nothing has changed.
            Exception: what ``commit`` raises; nothing has changed.
        """
        core = self.core
        async with self._lock:
            old = core.present
            retirement = await self._serve(core.config, core.models, plugins, commit)
        return self._retired(old, retirement, hurry=commit is not None)

    async def settle(
        self, config: AppConfig, plugins: Sequence[Plugin], commit: Callable[[], Awaitable[None]]
    ) -> Retirement:
        """Serve another application, with these plugins of packages, from the next request on.

        What both applications have stays as it is: plugins that run, providers, middleware.  A
        plugin that broke down while it ran is started again.  As in a call, ``commit`` is called
        when all have started.

        Raises:
            CompositionError: the parts do not fit together; nothing has changed.
            PluginStartError: a plugin did not start; nothing has changed.
            Exception: what a provider fails to start with, or ``commit`` raises; nothing has
                changed.
        """
        core = self.core
        check_kinds(config)
        async with self._lock:
            old = core.present
            models = core.models.replaced(config.providers)
            retirement = await self._serve(config, models, plugins, commit)
        return self._retired(old, retirement, hurry=True)

    async def revive(self) -> None:
        """Start again what broke down while it ran, of the plugins that are served.

        Raises:
            HostNotRunning: the host stops.
        """
        async with self._lock:
            self.core.check_grace()
            await self.core.lives.start(self.core.composition.hooks, again=True)

    async def _serve(
        self,
        config: AppConfig,
        models: Models,
        plugins: Sequence[Plugin],
        commit: Callable[[], Awaitable[None]] | None,
    ) -> Retirement:
        core = self.core
        core.check_grace()
        old = core.present.composition
        parts = evolve(
            config,
            plugins=(*config.plugins, *plugins),
            tool_middleware=(*config.tool_middleware, *self.tool_middleware),
        )
        first, served = core.first, False
        try:
            if models is not core.models:
                first = core.compose(config, models, 1, rules=True)
            self._coming = coming = core.compose(parts, models, old.generation + 1)
            coming.check_profiles()
            if models is not core.models and core.models_at_start:
                await models.ensure(coming.references)
            await core.lives.start(coming.hooks, again=models is not core.models)
            core.check_grace()  # the host may have stopped meanwhile
            if commit is not None:
                await commit()
            core.config, core.models, core.first = config, models, first
            core.serve(coming)
            served = True
        finally:
            self._coming = None
            if not served:
                with anyio.CancelScope(shield=True):
                    await self._stop_unused()
        kept = {id(plugin) for plugin in coming.hooks.plugins}
        gone = [each for each in old.hooks.plugins if id(each) not in kept]
        return Retirement(coming.generation, gone, core.generations)

    def _retired(self, old: Generation, retirement: Retirement, *, hurry: bool) -> Retirement:
        """Have what was taken out stopped when no run goes by it."""
        core, gone = self.core, retirement.plugins
        self._leaving.append(retirement)
        core.spawn(partial(self._retire, old), f"retirement of generation {old.number}")
        if gone and hurry:
            core.spawn(partial(self._hurry, retirement), f"grace before {retirement.number}")
        return retirement

    async def _retire(self, old: Generation) -> None:
        """End a generation once no run goes by it."""
        try:
            await old.ended()
        finally:
            # A host that stops has ended its runs, and stops its plugins after this.
            with anyio.CancelScope(shield=True):
                await old.ended()
                self.core.generations.remove(old)
                await self._stop_unused()

    async def _hurry(self, retirement: Retirement) -> None:
        """Cancel the runs that still go by what was taken out when the grace is over."""
        with anyio.move_on_after(self.grace):
            await retirement.wait()
        held = [each for each in self.core.generations if retirement.held_by(each)]
        for live in self.core.turns.all():
            if live.run is not None and live.generation in held:
                live.run.cancel()
        for generation in held:
            generation.stop_summaries()

    async def _stop_unused(self) -> None:
        """Stop the plugins that no run can call."""
        core = self.core
        held = [each for each in self._leaving if any(map(each.held_by, core.generations))]
        over = [each for each in self._leaving if each not in held]
        self._leaving = held
        compositions = [each.composition for each in core.generations]
        tables = [each.hooks for each in compositions]
        hooks = [hook for table in tables for each in table.by_name.values() for hook in each]
        core.breaker.keep(hooks)
        if self._coming is not None:
            compositions.append(self._coming)
            coming = self._coming.hooks.plugins
        else:
            coming = ()
        used = [plugin for table in tables for plugin in table.plugins]
        leaving = [plugin for each in held for plugin in each.plugins]
        await core.lives.keep([*used, *coming, *leaving])
        # While plugins were stopped, another composition may have come.
        kept_models = [each.composition.models for each in core.generations]
        if self._coming is not None:
            kept_models.append(self._coming.models)
        await core.models.keep(kept_models)
        for retirement in over:
            retirement.over()
