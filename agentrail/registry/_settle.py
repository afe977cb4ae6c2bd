"""The packages of a running host go by other settings, in one swap with what else changes."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial

from attrs import define

from agentrail.errors import AgentrailError, PackageError, PackageStateError
from agentrail.hook import Plugin
from agentrail.package import Loaded, Version
from agentrail.plugin import PackageSettings
from agentrail.registry._context import check_surroundings, configuration
from agentrail.registry._known import Entry, Known, Retired
from agentrail.registry._lazy import is_lazy, lazy_plugin
from agentrail.registry._machine import Event
from agentrail.registry._order import needs
from agentrail.registry._running import Running
from agentrail.registry._wanted import missing_of

Settle = Callable[[Sequence[Plugin]], Awaitable[Retired]]
"""Serves the host's new composition with these plugins of packages."""


@define(slots=True)
class _Change:
    """A package of which something else is to be part of the host."""

    entry: Entry
    old: Known | None
    new: Known | None
    """The same version as the old one, when that is loaded anew."""
    loaded: Loaded | None = None
    plugin: Plugin | None = None
    """What is part of the host before the change."""


async def settle(
    running: Running, settings: PackageSettings, swap: Settle, again: Collection[str] = ()
) -> None:
    """Have packages go by other settings.

    Those whose configuration changes are loaded anew, and those named in ``again``; those that the
    settings switch, or of which they name another version, are switched.  Runs that began before
    go on with what they had.  All others stay as they are.

    Raises:
        PackageError: one cannot be part of the host so; nothing has changed.
        Exception: what ``swap`` raises; nothing has changed.
    """
    before, entries = running.settings, running.entries
    were = {id_: (entry.on, entry.active, entry.wanted) for id_, entry in entries.items()}
    kept = {id_: configuration(before, entries[id_], on) for id_, (on, *_) in were.items() if on}
    running.use(settings)
    changes, done = list[_Change](), False
    try:
        _check_there(running)
        for id_, (on, *was) in were.items():
            entry = entries[id_]
            new = _wanted(running, entry, on, was)
            same = new is on and (on is None or configuration(settings, entry, on) == kept[id_])
            if not same or (new is not None and id_ in again):
                changes.append(_Change(entry, on, new))
        for change in changes:
            _take_out(change)
        for change in changes:
            await _put_in(running, change)
        _check_needs(entries, changes)
        retired = await swap(running.plugins())
        done = True
    finally:
        if not done:
            running.use(before)
            for change in reversed(changes):
                await _take_back(running, change)
    for change in changes:
        _tell(running, change, retired)


def _check_there(running: Running) -> None:
    for package, missing in missing_of(running.entries, running.said):
        raise PackageStateError(f"the settings name package {package!r}, and {missing}")


def _wanted(
    running: Running, entry: Entry, on: Known | None, was: Sequence[object]
) -> Known | None:
    """Return which version is to be on; what failed before stays off until it is said again."""
    if not running.settings.enabled or not entry.wanted:
        return None
    if on is None and [entry.active, entry.wanted] == list(was):
        return None
    return entry.active


def _take_out(change: _Change) -> None:
    old = change.old
    if old is not None:
        change.loaded, change.plugin = old.loaded, old.plugin
        old.loaded = old.plugin = None


async def _put_in(running: Running, change: _Change) -> None:
    entry, new = change.entry, change.new
    if new is None:
        return
    if new is not change.old:
        new.check_ready()
    check_surroundings(running.settings, entry, new)
    if new.package is not None and is_lazy(new.package.manifest):
        new.plugin = lazy_plugin(new.package.manifest, partial(running.wake, entry, new))
        return
    try:
        await running.load(entry, new)
    except AgentrailError:
        raise
    except Exception as error:  # boundary: plugin
        why = running.events.hide(entry.id, f"{type(error).__name__}: {error}")
        raise PackageError(f"{new} was not loaded with its new settings: {why}") from error


def _check_needs(entries: Mapping[str, Entry], changes: Sequence[_Change]) -> None:
    """Return when what comes has what it depends on, and what stays can do without what leaves.

    Raises:
        PackageStateError: something has not.
    """
    on = {
        entry.id: known
        for entry in entries.values()
        for known in entry.versions.values()
        if known.plugin is not None
    }
    changed = {change.entry.id for change in changes}
    for id_, known in on.items():
        for need in needs(known.package):
            other = on.get(need.id)
            if not changed & {id_, need.id}:
                continue  # it is as it was
            if other is None or Version.parse(other.row.version) not in need.versions:
                raise PackageStateError(f"{known} depends on another package: {need} is not on")


async def _take_back(running: Running, change: _Change) -> None:
    fresh: Loaded | None = None
    if change.new is not None:
        fresh, change.new.loaded, change.new.plugin = change.new.loaded, None, None
    if change.old is not None:
        change.old.loaded, change.old.plugin = change.loaded, change.plugin
    await running.unload(fresh)


def _tell(running: Running, change: _Change, retired: Retired) -> None:
    """Have what left unloaded when no run uses it, and tell what became of the package."""
    entry, old, new = change.entry, change.old, change.new
    fresh, plugin = (new.loaded, new.plugin) if new is not None else (None, None)
    if old is not None:
        old.loaded, old.plugin = change.loaded, change.plugin
        old.step(Event.DISABLE)
        running.let_go(entry, old, retired)
    if new is not None:
        new.loaded, new.plugin = fresh, plugin
        new.step(Event.ENABLE)
        new.step(Event.DEFER if fresh is None else Event.STARTED)
    told = new or old
    kind = "disable" if new is None else "enable" if old is None else "reload"
    running.events.emit(kind, entry.id, told.row.version if told is not None else "")
