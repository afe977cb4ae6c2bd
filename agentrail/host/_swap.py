"""Another composition takes the place of the present one, while requests run."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import anyio
from attrs import define, evolve, field

from agentrail.hook import HookTable, Middleware, Plugin
from agentrail.host._compose import compose
from agentrail.host._core import Core
from agentrail.host._generation import Generation
from agentrail.messages import ToolResult
from agentrail.requests import ToolRequest


@define(slots=True, eq=False)
class Retirement:
    """The end of a generation that was replaced."""

    _over: anyio.Event = field(factory=anyio.Event)

    async def wait(self) -> None:
        """Return once no run goes by it, and the plugins that are in no use were stopped."""
        await self._over.wait()

    def over(self) -> None:
        """Let those go on who wait."""
        self._over.set()


@define(slots=True, eq=False)
class Swapper:
    """Exchanges the plugins that packages yield; the application's own stay."""

    core: Core
    grace: float
    """Seconds that runs may go on by a generation that was replaced; then they are cancelled."""
    tool_middleware: Sequence[Middleware[ToolRequest, ToolResult]] = ()
    """What is put around each tool call besides, next to the tools."""
    _lock: anyio.Lock = field(factory=anyio.Lock)
    _coming: HookTable | None = None
    """What is being started, and not served yet."""
    _last: Retirement | None = None
    """The end of the generation that was replaced last."""

    async def __call__(
        self, plugins: Sequence[Plugin], commit: Callable[[], Awaitable[None]] | None = None
    ) -> Retirement:
        """Serve with the application's own plugins and these from the next request on.

        ``commit`` is called when the plugins have started; nothing can fail once it has returned.

        Raises:
            CompositionError: they do not fit together; nothing has changed.
            PluginStartError: one did not start; nothing has changed.
            HostNotRunning: the host stops; nothing has changed.
            Exception: what ``commit`` raises; nothing has changed.
        """
        core = self.core
        async with self._lock:
            core.check_grace()
            old = core.present
            parts = evolve(
                core.parts,
                plugins=(*core.config.plugins, *plugins),
                tool_middleware=(*core.parts.tool_middleware, *self.tool_middleware),
            )
            composition = compose(parts, core.models, core.watchdog, old.number + 1)
            self._coming, served = composition.hooks, False
            try:
                await core.lives.start(composition.hooks)
                if commit is not None:
                    await commit()
                core.serve(composition)
                served = True
            finally:
                self._coming = None
                if not served:
                    with anyio.CancelScope(shield=True):
                        await self._stop_unused()
            retirement, before = Retirement(), self._last
            self._last = retirement
        name = f"retirement of generation {old.number}"
        core.spawn(partial(self._retire, old, retirement, before), name)
        return retirement

    async def _retire(
        self, old: Generation, retirement: Retirement, before: Retirement | None
    ) -> None:
        """End a generation after those before it: their runs may have called what it started."""
        core = self.core
        try:
            with anyio.move_on_after(self.grace):
                await old.ended()
            for live in core.turns.all():
                if live.run is not None and live.generation is old:
                    live.run.cancel()
        finally:
            # A host that stops has ended its runs, and stops its plugins after this.
            with anyio.CancelScope(shield=True):
                await old.ended()
                if before is not None:
                    await before.wait()
                core.generations.remove(old)
                await self._stop_unused()
                retirement.over()

    async def _stop_unused(self) -> None:
        """Stop the plugins of no generation."""
        core = self.core
        tables = [each.composition.hooks for each in core.generations]
        hooks = [hook for table in tables for each in table.by_name.values() for hook in each]
        core.breaker.keep(hooks)
        coming = self._coming.plugins if self._coming is not None else ()
        used = [plugin for table in tables for plugin in table.plugins]
        await core.lives.keep([*used, *coming])
