"""The packages of a running host go by other settings, in one swap with what else changes."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress

import anyio
from attrs import define, field, frozen

from agentrail.errors import AgentrailError, PackageError, PackageStateError
from agentrail.hook import Plugin
from agentrail.package import Loaded, Version
from agentrail.plugin import PackageSettings
from agentrail.registry._context import check_surroundings, configuration
from agentrail.registry._known import Entry, Known, Retired
from agentrail.registry._machine import Event, State
from agentrail.registry._order import needs
from agentrail.registry._running import Running
from agentrail.registry._wanted import missing_of, switch_wanted_on

Settle = Callable[[Sequence[Plugin]], Awaitable[Retired]]
"""Serves the host's new composition with these plugins of packages."""


@frozen(slots=True)
class _Said:
    """What a package is to be."""

    on: bool | None
    """Whether it is to be on, as far as settings say."""
    wanted: bool
    version: Known | None
    config: Mapping[str, object] | None = field(repr=False)
    """None where it cannot be had; whoever loads the package tells why."""

    @classmethod
    def of(cls, settings: PackageSettings, entry: Entry) -> "_Said":
        version, config = entry.active, None
        if version is not None:
            with suppress(AgentrailError):
                config = configuration(settings, entry, version)
        return cls(entry.said.on(entry.id), entry.wanted, version, config)


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
    settings switch, or of which they name another version, are switched.  One that failed is tried
    again when something else is said of it.  Runs that began before go on with what they had.  All
    others stay as they are.

    Raises:
        PackageError: one cannot be part of the host so; nothing has changed.
        Exception: what ``swap`` raises; nothing has changed.
    """
    before, entries = running.settings, running.entries
    were = {id_: (entry.on, _Said.of(before, entry)) for id_, entry in entries.items()}
    running.use(settings)
    changes, done = list[_Change](), False
    try:
        _check_there(running)
        for id_, (on, was) in were.items() if before.enabled else ():
            entry = entries[id_]
            now = _Said.of(settings, entry)
            anew = id_ in again or now.config != was.config
            new = _wanted(running, on, was, now, anew=anew)
            if new is not on or (new is not None and anew):
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
            with anyio.CancelScope(shield=True):
                for change in reversed(changes):
                    await _take_back(running, change)
    for change in changes:
        _tell(running, change, retired)
    if settings.enabled and not before.enabled:
        await switch_wanted_on(entries, running)


def _check_there(running: Running) -> None:
    for package, missing in missing_of(running.entries, running.said):
        raise PackageStateError(f"the settings name package {package!r}, and {missing}")


def _wanted(
    running: Running, on: Known | None, was: _Said, now: _Said, *, anew: bool
) -> Known | None:
    """Return which version is to be on; what is off stays so until something else is said of it."""
    version = now.version
    if not running.settings.enabled or not now.wanted or version is None:
        return None
    if on is not None or (now.wanted, version) != (was.wanted, was.version):
        return version
    mended = version.state is State.FAILED and (anew or now.on != was.on)
    return version if mended else None


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
    try:
        await running.put_in(entry, new)
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
