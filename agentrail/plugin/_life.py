"""The lives of plugins: each runs in one long task that starts it, waits, and stops it.

A task group that a plugin opens in ``start`` is therefore closed in the same task, and no scope of
the host stands between the two: a deadline is put on the whole life and taken off again.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

import anyio
from anyio.abc import TaskGroup
from attrs import define, field

from agentrail.errors import HookTimeout, HostNotRunning, PluginStartError
from agentrail.hook import Funnel, Guard, Hook, HookTable, Plugin, as_failure, thrown

_log = logging.getLogger("agentrail.plugin")

LEAVING_SECONDS: Final = 2.0
"""How long a plugin may go on with its start once it is to stop."""


@define(slots=True)
class _Life:
    plugin: Plugin
    start: Hook | None
    stop: Hook | None
    started: anyio.Event = field(factory=anyio.Event)
    stopping: anyio.Event = field(factory=anyio.Event)
    stopped: anyio.Event = field(factory=anyio.Event)
    failure: Exception | None = None
    """Why it did not start, or what broke it while it ran."""
    tasks: TaskGroup | None = None
    """Owns what the plugin spawns through the host, while it runs."""
    guard: Guard | None = None
    """Keeps its deadlines, from when its task has begun."""

    def leave(self) -> None:
        """Have it stop; what has not started yet has little time to."""
        self.stopping.set()
        if self.guard is not None and not self.started.is_set() and self.start is not None:
            self.guard.arm(self.start, min(self.start.deadline, LEAVING_SECONDS))


@define(slots=True, eq=False)
class Lives:
    """The running plugins of a host, whichever of its compositions they belong to."""

    funnel: Funnel
    on_broken: Callable[[Plugin, Exception], None] | None = None
    """Is told which plugin broke down while it ran, and why."""
    _group: TaskGroup = field(init=False)
    _over: bool = field(default=False, init=False)
    """Whether all were told to stop, and no other starts."""
    _lives: dict[int, _Life] = field(factory=dict[int, _Life], init=False)
    """By the identity of the plugin, in the order of their starts."""
    _leaving: set[int] = field(factory=set[int], init=False)
    """Those that are to be stopped, one after the other, unless one is wanted again."""

    async def start(
        self, hooks: HookTable, group: TaskGroup | None = None, *, again: bool = False
    ) -> None:
        """Start those plugins of a table that do not run yet, in order.

        Each runs in a task of ``group``, which is given the first time.  Those that broke down
        while they ran are left as they are, unless they are to be tried ``again``.

        Raises:
            PluginStartError: one failed or took too long; those that this call started are stopped.
            HostNotRunning: they are all being stopped.
        """
        if group is not None:
            self._group, self._over = group, False
        new: list[_Life] = []
        broken: dict[int, _Life] = {}
        complete = False
        try:
            for plugin in hooks.plugins:
                self._leaving.discard(id(plugin))
                life = self._lives.get(id(plugin))
                if life is not None and life.stopping.is_set():
                    await life.stopped.wait()
                    self._lives.pop(id(plugin), None)
                elif life is not None and again and life.stopped.is_set():
                    broken[id(plugin)] = self._lives.pop(id(plugin))
                elif life is not None:
                    continue
                if self._over:
                    raise HostNotRunning("the host stops, so no plugin starts")
                life = _Life(plugin, _hook(hooks, "start", plugin), _hook(hooks, "stop", plugin))
                self._lives[id(plugin)] = life
                new.append(life)
                self._group.start_soon(self._live, life)
                await life.started.wait()
                if life.failure is None:
                    continue
                message = f"plugin {plugin.name!r} did not start: {life.failure}"
                if id(plugin) not in broken:
                    raise PluginStartError(message) from life.failure
                # The host has gone on without it, and does so.
                _log.error("%s", message)
                new.remove(life)
                self._lives[id(plugin)] = broken.pop(id(plugin))
            complete = True
        finally:
            if not complete:
                await self._stop(new)
                self._lives.update(broken)

    async def keep(self, plugins: Iterable[Plugin]) -> None:
        """Stop all other plugins, in the reverse of the order in which they were started."""
        kept = {id(plugin) for plugin in plugins}
        await self._stop([life for key, life in self._lives.items() if key not in kept])

    async def stop(self) -> None:
        """Stop the plugins in reverse order; all of them, whatever fails, cancelled or not."""
        self._over = True
        await self.keep(())

    async def _stop(self, lives: Sequence[_Life]) -> None:
        self._leaving.update(id(life.plugin) for life in lives)
        with anyio.CancelScope(shield=True):
            for life in reversed(lives):
                key = id(life.plugin)
                if key not in self._leaving or self._lives.get(key) is not life:
                    continue  # it is wanted again, or was stopped meanwhile
                life.leave()
                await life.stopped.wait()
                if self._lives.get(key) is life:
                    del self._lives[key]
                    self._leaving.discard(key)

    def background(
        self, plugin: Plugin | None, task: Callable[[], Awaitable[object]], name: str = ""
    ) -> None:
        """Run ``task`` in the plugin's own task group; its failure is reported, not raised.

        Raises:
            HostNotRunning: the plugin is not running, or is not known.
        """
        life = self._lives.get(id(plugin))
        if plugin is None or life is None or life.tasks is None:
            who = "the plugin" if plugin is None else f"plugin {plugin.name!r}"
            message = f"{who} does not run, so it can have no background tasks"
            raise HostNotRunning(message)
        label = name or f"{plugin.name}.background"
        life.tasks.start_soon(self._guarded, plugin.name, task, label)

    async def _live(self, life: _Life) -> None:
        """Keep to the plugin what it breaks: a task group that it opened and did not close."""
        try:
            async with anyio.create_task_group() as own:
                own.start_soon(self._run, life)
        except Exception as error:  # noqa: BLE001 - boundary: plugin
            life.failure = life.failure or error
            if life.started.is_set():
                await self._report(life.stop, error)
        finally:
            started, broke = life.started.is_set(), not life.stopping.is_set()
            if broke and life.failure is None:
                when = "ran" if started else "started"
                life.failure = PluginStartError(
                    f"plugin {life.plugin.name!r} ended while it {when}"
                )
            life.started.set()
            life.stopped.set()
            if started and broke and life.failure and self.on_broken is not None:
                self.on_broken(life.plugin, life.failure)

    async def _run(self, life: _Life) -> None:
        """Be one plugin's task, from its start to its stop."""
        # The shield: a plugin is stopped in its turn, not when the host's group is cancelled.
        life.guard = guard = self.funnel.watchdog.guard(shield=True)
        with guard:
            life.failure = await self._call(life.start, guard)
            if life.failure is None and not guard.expired:
                await self._serve_and_stop(life, guard)
        if guard.expired and not life.started.is_set():
            life.failure = _late(life.start)
        elif guard.expired:
            await self._report(life.stop, _late(life.stop))

    async def _serve_and_stop(self, life: _Life, guard: Guard) -> None:
        guard.rest()
        try:
            async with anyio.create_task_group() as life.tasks:
                life.started.set()
                await life.stopping.wait()
                life.tasks.cancel_scope.cancel()
        finally:
            # Also when a task group that the plugin opened in ``start`` broke down: ``stop``
            # closes that group, and its error comes out of there.
            life.tasks = None
            failure = await self._call(life.stop, guard)
            if failure is not None and not guard.expired:  # lateness is reported by ``_live``
                life.failure = failure
                await self._report(life.stop, failure)
            guard.dismiss()

    async def _call(self, hook: Hook | None, guard: Guard) -> Exception | None:
        """Call ``start`` or ``stop`` under its deadline; return its failure."""
        if hook is None:
            return None
        guard.arm(hook, hook.deadline)
        try:
            await hook.invoke()
        except thrown() as error:  # boundary: plugin
            return await as_failure(hook, error, guard.asked)
        return None

    async def _report(self, hook: Hook | None, error: Exception) -> None:
        if hook is not None:
            await self.funnel.report(hook, error)
        else:
            _log.error("a plugin without a stop broke down", exc_info=error)

    async def _guarded(self, plugin: str, task: Callable[[], Awaitable[object]], name: str) -> None:
        try:
            await task()
        except thrown() as error:  # boundary: plugin
            failure = await as_failure(f"background task {name!r}", error)
            _log.error("background task %r of plugin %r failed", name, plugin, exc_info=failure)


def _hook(hooks: HookTable, name: str, plugin: Plugin) -> Hook | None:
    return next((hook for hook in hooks[name] if hook.plugin == plugin.name), None)


def _late(hook: Hook | None) -> HookTimeout:
    seconds = hook.deadline if hook is not None else 0
    return HookTimeout(f"{hook} took longer than {seconds:g} s")
