"""Switching packages on and off in a running host: loading, swapping, draining, unloading."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio
from anyio.abc import TaskGroup
from attrs import define, field

from agentrail.clock import Clock
from agentrail.errors import (
    AgentrailError,
    HostNotRunning,
    PackageError,
    PackageStateError,
    StorageError,
    unwrapped,
)
from agentrail.hook import Plugin
from agentrail.package import Loaded, Runner
from agentrail.plugin import PackageSettings
from agentrail.registry._audited import Log, quarantine
from agentrail.registry._context import check_surroundings
from agentrail.registry._events import Events
from agentrail.registry._known import Commit, Entry, Known, Retired, Said, Swap
from agentrail.registry._lazy import is_lazy, lazy_plugin
from agentrail.registry._loads import Loads, remove
from agentrail.registry._machine import Event, State
from agentrail.registry._order import check_dependencies, check_dependents, in_order
from agentrail.storage import Database

T = TypeVar("T")

_log = logging.getLogger("agentrail.registry")


@define(slots=True, eq=False)
class Running:
    """What of the packages is part of the host at the moment.

    But for ``wake`` and ``broke_down``, its methods are called through ``alone``.
    """

    settings: PackageSettings
    database: Database
    events: Events
    clock: Clock
    runner: Runner
    swap: Swap
    directory: Path
    """Under which packages have directories of their own."""
    sessions: Path | None
    """The session database, where there is a file of it."""
    entries: dict[str, Entry] = field(factory=dict[str, Entry])
    said: Said = field(factory=Said)
    lock: anyio.Lock = field(factory=anyio.Lock)
    """Held by whoever changes something; nobody waits for runs meanwhile."""
    follows: bool = field(default=False, init=False)
    """Whether another process changes the packages."""
    rests: bool = field(default=False, init=False)
    """Whether the host stops, and nobody changes them any more."""
    _group: TaskGroup | None = field(default=None, init=False)
    """Owns what goes on when nobody waits for it; None while the host does not run."""
    _loads: Loads | None = field(default=None, init=False)

    async def begin(self, group: TaskGroup) -> None:
        """Allow changes from now on, in tasks of the group."""
        self._group, self.rests = group, False
        self.use(self.settings)
        self._loads = Loads(
            self.settings, self.database, self.events, self.runner, self.directory, self.sessions
        )
        await self._loads.start()

    def use(self, settings: PackageSettings) -> None:
        """Go by other settings from now on."""
        self.settings = settings
        said = self.said
        said.only, said.switched = settings.only, settings.switched
        said.versions = settings.versions
        if self._loads is not None:
            self._loads.settings = settings

    async def rest(self) -> None:
        """Let the change under way end, and no other begin; what turns call is still loaded."""
        async with self.lock:
            self.rests = True

    async def close(self) -> None:
        """Unload all packages; the host has stopped, and uses none of them any more."""
        async with self.lock:
            self._group = None
        if self._loads is not None:
            await self._loads.close()

    async def alone(self, work: Callable[[], Awaitable[T]], *, change: bool = False) -> T:
        """Do something while nothing else is done, and return what it returns.

        It is done to its end, also when who asked for it is gone.

        Raises:
            HostNotRunning: the host does not run; or it stops, and this is a change.
        """
        over, results, failures = anyio.Event(), list[T](), list[Exception]()

        async def run() -> None:
            try:
                async with self.lock:
                    self._owner(change=change)
                    results.append(await work())
            except Exception as error:  # noqa: BLE001 - boundary: plugin, and raised below
                failures.append(error)
            finally:
                over.set()

        self._owner().start_soon(run)
        await over.wait()
        if failures:
            raise failures[0]
        if not results:
            raise HostNotRunning(_STOPPED)
        return results[0]

    async def switch_on(self, entry: Entry, known: Known) -> None:
        """Load a version and make it part of the host.

        Raises:
            PackageStateError: it cannot be switched on in its state, or misses what it depends on.
            PackageError: it was loaded and failed; it is ``failed`` now, and says why.
        """
        self.check_enabled()
        before = known.state
        known.step(Event.ENABLE)

        async def work() -> None:
            check_dependencies(known, self.entries)
            check_surroundings(self.settings, entry, known)
            await self.put_in(entry, known)
            await self.swap(self.plugins())

        await self._attempt(entry, known, before, work)
        known.step(Event.STARTED if known.loaded is not None else Event.DEFER)
        self.events.emit("enable", entry.id, known.row.version)

    def check_enabled(self) -> None:
        """Return when packages may run.

        Raises:
            PackageStateError: this host lets none run.
        """
        if not self.settings.enabled:
            raise PackageStateError("no package runs on this host: its plugins are switched off")

    async def switch_off(self, entry: Entry, known: Known, commit: Commit) -> None:
        """Take a version out of the host; runs that began with it go on with it.

        Raises:
            PackageStateError: another package that is on depends on it.
        """
        if known.state is State.FAILED:
            await commit()
            known.step(Event.DISABLE)
            return
        check_dependents(entry, known, None, self.entries)
        retired = await self.swap_without(known, None, commit)
        known.step(Event.DISABLE)
        self.let_go(entry, known, retired)
        self.events.emit("disable", entry.id, known.row.version)

    async def exchange(self, entry: Entry, old: Known, new: Known, commit: Commit) -> None:
        """Put one version in the place of another in one swap.

        Raises:
            PackageStateError: the new one cannot be switched on, or others cannot do with it.
            PackageError: it failed; the old one is as it was.
        """
        before = new.state
        check_dependents(entry, old, new, self.entries)
        new.step(Event.ENABLE)

        async def work() -> Retired:
            check_dependencies(new, self.entries)
            check_surroundings(self.settings, entry, new)
            await self.load(entry, new)
            return await self.swap_without(old, None, commit)

        retired = await self._attempt(entry, new, before, work, storm=False)
        new.step(Event.STARTED)
        old.step(Event.DISABLE)
        self.let_go(entry, old, retired)

    async def wake(self, entry: Entry, known: Known) -> Plugin:
        """Return the plugin of a package that is loaded on demand, loaded and started.

        Raises:
            PackageError: it could not be, or was switched off meanwhile.
        """
        if known.state is State.ACTIVE and known.loaded is not None:
            return known.loaded.plugin
        return await self.alone(partial(self._wake, entry, known))

    def broke_down(self, plugin: Plugin, why: Exception) -> None:
        """Have a package taken out of the host that broke down while it ran."""
        if self._group is not None:
            self._group.start_soon(self._take_out, plugin, why)

    async def forget(self, package: str) -> None:
        """Remove what a package kept in files."""
        await anyio.to_thread.run_sync(remove, self.directory / "data" / package)

    def plugins(self) -> list[Plugin]:
        """Return the plugins of the packages that are on, each after those that it depends on."""
        on = {
            entry.id: known
            for entry in self.entries.values()
            for known in (*entry.versions.values(), entry.coming)
            if known is not None and known.plugin is not None
        }
        order = in_order({package: known.package for package, known in on.items()})
        return [plugin for package in order if (plugin := on[package].plugin) is not None]

    def order(self, entries: Sequence[Entry]) -> list[str]:
        """Return the ids of packages, each after those that it depends on, else by name.

        Raises:
            PackageError: they depend on each other in a circle.
        """
        active = {entry.id: entry.active for entry in entries}
        return in_order({id_: known.package if known else None for id_, known in active.items()})

    async def _wake(self, entry: Entry, known: Known) -> Plugin:
        if known.state is State.ACTIVE and known.loaded is not None:
            return known.loaded.plugin
        if known.state is not State.IDLE:
            raise PackageStateError(f"{known} was switched off")
        lazy, woken = known.plugin, False
        known.called_at = self.clock.monotonic()

        async def work() -> Plugin:
            check_surroundings(self.settings, entry, known)
            plugin = await self.load(entry, known)
            await self.swap(self.plugins())
            return plugin

        try:
            plugin = await self._attempt(entry, known, State.IDLE, work)
            woken = True
        finally:
            if not woken and known.state is State.IDLE:
                known.plugin = lazy
            elif not woken:  # it is quarantined
                await self.swap(self.plugins())
        known.step(Event.WAKE)
        return plugin

    async def _take_out(self, plugin: Plugin, why: Exception) -> None:
        async with self.lock:
            for entry in self.entries.values():
                known = entry.on
                if self._group is None or known is None or known.plugin is not plugin:
                    continue  # it was switched off meanwhile
                try:
                    retired = await self.swap_without(known, None)
                except AgentrailError as error:
                    _log.error("%s could not be taken out: %s", known, error.detail)
                    continue
                self.let_go(entry, known, retired)
                await self._broke(entry, known, why, storm=True)

    async def swap_without(
        self, known: Known, instead: Plugin | None, commit: Commit | None = None
    ) -> Retired:
        """Take a version's plugin out of the host, or put another one in its place."""
        plugin, known.plugin, swapped = known.plugin, instead, False
        try:
            retired = await self.swap(self.plugins(), commit)
            swapped = True
        finally:
            if not swapped:
                known.plugin = plugin
        return retired

    def let_go(self, entry: Entry, known: Known, retired: Retired) -> None:
        """Have a version unloaded when no run uses it any more."""
        loaded, known.loaded, known.retired = known.loaded, None, retired
        if known.state is State.DRAINING:
            known.plugin = None
        if not known.draining:
            known.drained = anyio.Event()
        known.draining += 1
        self._owner().start_soon(self._drain, entry, known, retired, loaded)

    async def _drain(
        self, entry: Entry, known: Known, retired: Retired, loaded: Loaded | None
    ) -> None:
        await retired.wait()
        await self.unload(loaded)
        if loaded is not None:
            self.events.emit("unload", entry.id, known.row.version)
        known.draining -= 1
        if not known.draining:
            known.retired = None
            if known.state is State.DRAINING:
                known.step(Event.DRAINED)
            known.drained.set()

    async def put_in(self, entry: Entry, known: Known) -> None:
        """Have a version ready to be part of the host: loaded, unless that is done on demand."""
        known.plugin = self.lazy(entry, known)
        if known.plugin is None:
            await self.load(entry, known)

    def lazy(self, entry: Entry, known: Known) -> Plugin | None:
        """Return what loads a version on demand; None where it is not to be loaded so."""
        if known.package is None or not is_lazy(known.package.manifest):
            return None
        return lazy_plugin(known.package.manifest, partial(self.wake, entry, known))

    async def load(self, entry: Entry, known: Known) -> Plugin:
        """Load a version."""
        assert self._loads is not None  # noqa: S101 - as changes are allowed
        known.loaded = await self._loads.load(entry, known)
        known.plugin = known.loaded.plugin
        return known.plugin

    async def unload(self, loaded: Loaded | None) -> None:
        """Unload what was loaded, if anything was."""
        if loaded is not None and self._loads is not None:
            await self._loads.unload(loaded)

    async def _attempt(
        self,
        entry: Entry,
        known: Known,
        before: State,
        work: Callable[[], Awaitable[T]],
        *,
        storm: bool = True,
    ) -> T:
        """Do what makes a version part of the host.

        When it is cancelled, as by a host that stops, or what it is to be cannot be written, the
        version is as ``before``.
        What has failed is ``failed``; with ``storm`` it is quarantined when it fails too often.

        Raises:
            PackageError: it failed.
            StorageError: it could not be written.
            HostNotRunning: the host stops.
        """
        over = False
        try:
            result = await work()
            over = True
        except (StorageError, HostNotRunning):
            raise
        except Exception as error:  # boundary: plugin
            over = True
            raise await self._broke(entry, known, error, storm=storm) from error
        finally:
            if not over:
                await self._put_away(known)
                known.state = before
        return result

    async def _broke(
        self, entry: Entry, known: Known, error: Exception, *, storm: bool
    ) -> PackageError:
        await self._put_away(known)
        cause = unwrapped(error)
        reason = getattr(cause, "detail", f"{type(cause).__name__}: {cause}")
        known.reason = self.events.hide(entry.id, reason)
        crashed = storm and not self.follows and not isinstance(error, PackageStateError)
        if crashed and known.crashes.note(self.clock.monotonic()):
            await quarantine(known, Log(self.database, self.clock))
        elif known.state is not State.IDLE:  # what is loaded on demand is tried at the next call
            known.step(Event.FAIL, known.reason)
        _log.warning("%s failed: %s", known, known.reason)
        self.events.emit("error", entry.id, known.row.version, error=known.reason)
        if isinstance(error, PackageStateError):
            return error
        return PackageError(f"{known} was not switched on: {known.reason}")

    async def _put_away(self, known: Known) -> None:
        loaded, known.loaded, known.plugin = known.loaded, None, None
        await self.unload(loaded)

    def _owner(self, *, change: bool = False) -> TaskGroup:
        if self._group is None or (change and self.rests):
            raise HostNotRunning(_STOPPED)
        return self._group


_STOPPED = "the host does not run, so nothing is changed in its packages"
