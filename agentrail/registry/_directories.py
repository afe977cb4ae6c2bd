"""Packages in directories that an application names: what is there now is what is used."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, TypeGuard

import anyio.to_thread
from attrs import define, evolve, field

from agentrail.audit import Audit
from agentrail.errors import AgentrailError, PackageRefused, PackageStateError
from agentrail.package import Package
from agentrail.registry._audited import APPLICATION, By, Change, audit
from agentrail.registry._inventory import Inventory
from agentrail.registry._known import Entry, Known
from agentrail.registry._machine import WAITING, State
from agentrail.registry._order import Circle, in_order, needs
from agentrail.registry._rows import write_package, write_version
from agentrail.registry._running import Running
from agentrail.registry._scan import scan

_log = logging.getLogger("agentrail.registry")

_DISPLACES: Final = By(APPLICATION.actor, "the application's own version takes its place")

Taken = Mapping[str, tuple[Path, Package]]
"""The packages that are in a directory now, by their ids."""

Own = tuple[Path, Entry, Known]
"""A package that was taken from a directory, and from where."""


@define(slots=True, eq=False)
class Directories:
    """Looks at directories, and uses what has changed in them."""

    inventory: Inventory
    running: Running
    broken: dict[Path, str] = field(factory=dict[Path, str], init=False)
    """What in the directories is not used as it is now, and why."""
    _ids: dict[Path, str] = field(factory=dict[Path, str], init=False)
    """Which package is at a path, where that could be read."""

    async def look(self, directory: Path, *, on: bool) -> None:
        """Take what is in a directory as it is now; with ``on``, use it at once.

        What is broken leaves what ran before it running.
        """
        host = self.inventory.host
        try:
            found = dict(await anyio.to_thread.run_sync(scan, directory, host))
        except OSError as error:
            self._broke(directory, f"it cannot be read: {error.strerror or error}")
            return
        packages = self._by_id(directory, found)
        needed = await self._put_away(self._gone(directory, found, packages))
        done = set[str]()
        for id_ in sorted(packages):
            await self._use(id_, packages, done, on=on)
        # What it was needed by may have changed too.
        needed = await self._put_away([own for own, _ in needed])
        for (path, _, _), reason in needed:
            self._broke(path, reason)
        kept = {*found, *(path for (path, _, _), _ in needed)}
        for path in list(self.broken):
            if path == directory or (path.parent == directory and path not in kept):
                del self.broken[path]
        for entry in self.inventory.entries.values():
            entry.leaving = [known for known in entry.leaving if not known.drained.is_set()]
        await self.inventory.tidy()

    def _by_id(self, directory: Path, found: Mapping[Path, Package | PackageRefused]) -> Taken:
        """Return the packages of what was found; of two with one id, the one that is used."""
        ids = {path: each.manifest.id for path, each in found.items() if isinstance(each, Package)}
        self._ids = {p: id_ for p, id_ in self._ids.items() if p.parent != directory} | ids
        used = {(path, entry.id) for path, entry, _ in self._own()}
        packages = dict[str, tuple[Path, Package]]()
        for path in sorted(found, key=lambda path: (path, ids.get(path)) not in used):
            package = found[path]
            if isinstance(package, PackageRefused):
                self._broke(path, package.detail)
            elif package.manifest.id in packages:
                other = packages[package.manifest.id][0].name
                self._broke(path, f"{other} is package {package.manifest.id!r} already")
            else:
                packages[package.manifest.id] = (path, package)
        return packages

    async def _use(self, id_: str, packages: Taken, done: set[str], *, on: bool) -> None:
        """Take a package, after those that it depends on, unless it is done."""
        if id_ in done:
            return
        tied = self._tied(id_, packages)
        come = [each for each in tied if _changes(tied[each], packages)] or [id_]
        done.update(come)
        for need in [need.id for each in come for need in needs(packages[each][1])]:
            if need in packages:
                await self._use(need, packages, done, on=on)
        paths = [packages[each][0] for each in come]
        try:
            if tied:
                await self._take_together(tied, packages)
            else:
                await self._take(*packages[id_], on=on)
            for path in paths:
                self.broken.pop(path, None)
        except AgentrailError as error:
            for path in paths:
                self._broke(path, error.detail)

    def _tied(self, id_: str, packages: Taken) -> Mapping[str, Known]:
        """Return what has to change at once with a package, as it cannot one after the other.

        It is nothing where one after the other will do, or the new versions do not go together.
        """
        on = {each.id: each.on for each in self.inventory.entries.values() if each.on is not None}
        new = {each: packages[each][1] for each in on if _changes(on[each], packages)}
        if id_ not in new or all(_fits(known.package, new[id_]) for known in on.values()):
            return {}
        tied, more = set[str](), {id_}
        while more:
            tied |= more
            more = {each for each in on if any(n.id in tied for n in needs(on[each].package))}
            more |= {n.id for each in tied & new.keys() for n in needs(new[each]) if n.id in new}
            more -= tied
        after = [new.get(each, on[each].package) for each in tied]
        together = all(_fits(one, other) for one in after for other in after)
        return {each: on[each] for each in tied} if together else {}

    async def _take_together(self, tied: Mapping[str, Known], packages: Taken) -> None:
        """Switch packages off, and on again with what is new of them; or else as they were."""
        entries = self.inventory.entries
        old = {id_: known.package for id_, known in tied.items()}
        new = {id_: packages[id_][1] for id_ in tied if _changes(tied[id_], packages)}
        before = [(entries[id_], tied[id_]) for id_ in in_order(old)]
        after = in_order({**old, **new})
        try:
            for entry, known in reversed(before):
                await self.running.switch_off(entry, known, _nothing)
            for id_ in after:
                if id_ in new:
                    await self._take(*packages[id_], on=True)
                else:
                    await self.running.switch_on(entries[id_], tied[id_])
        except AgentrailError:
            await self._bring_back(before)
            raise

    async def _bring_back(self, before: Sequence[tuple[Entry, Known]]) -> None:
        for entry, known in reversed(before):
            new = entry.on
            if new is not None and new is not known:
                try:
                    await self.running.switch_off(entry, new, _nothing)
                except AgentrailError as error:
                    _log.error("%s was not switched off: %s", new, error.detail)
        for entry, known in before:
            if entry.on is None:
                try:
                    if entry.active is not known:
                        await self._write(entry, known, leads=True)
                    await self.running.switch_on(entry, known)
                except AgentrailError as error:
                    _log.error("%s did not come back: %s", known, error.detail)

    async def _take(self, path: Path, package: Package, *, on: bool) -> None:
        manifest, version = package.manifest, str(package.manifest.version)
        entry = self.inventory.entries.get(manifest.id) or self.inventory.new_entry(manifest.id)
        there = entry.versions.get(version)
        self._move(entry, path)
        if _is_upload(there) and there.row.state not in WAITING:
            message = f"{there} was uploaded and promoted too: give this one another version"
            raise PackageStateError(message)
        if _is_same(there, package):
            entry.trouble = ""
            return
        known = self._known(await self.inventory.installed(package), there)
        known.path = path
        old = entry.active
        leads = old is None or old.row.source == "directory" or old.state is State.DELETED
        leads = leads and entry.said.versions.get(entry.id, version) == version
        commit = partial(self._write, entry, known, leads=leads)
        if leads and old is not None and old is entry.on:
            entry.coming = known
            try:
                await self.running.exchange(entry, old, known, commit)
            finally:
                entry.coming = None
            self.inventory.events.emit("reload", entry.id, version)
            return
        await commit()
        if old is not None and not leads:
            self._tell_unused(known, old)
        if (
            on
            and leads
            and entry.wanted
            and known.state is State.DISABLED
            and self.running.settings.enabled
        ):
            await self.running.switch_on(entry, known)

    def _tell_unused(self, known: Known, uploaded: Known) -> None:
        id_, version = known.row.id, known.row.version
        message = (
            f"{uploaded.row.version} was uploaded and is used; "
            f"`agentrail plugin upgrade {id_} --version {version}` uses this one"
        )
        _log.warning("%s is not used: %s", known.path, message)
        self.inventory.events.emit("find", id_, version, message=message)

    def _known(self, package: Package, there: Known | None) -> Known:
        known = self.inventory.new(package, "", State.DISABLED, APPLICATION, source="directory")
        if there is not None and not _is_upload(there) and there.row.digest == package.digest:
            quarantined = there.row.state is State.QUARANTINED
            known.row = there.row
            known.state = State.QUARANTINED if quarantined else State.DISABLED
        return known

    async def _write(self, entry: Entry, known: Known, *, leads: bool) -> None:
        """Make a version that was found durable, if it is not so, and the one that is used."""
        version, there = known.row.version, entry.versions.get(known.row.version)
        row = entry.row
        if leads and (row.active != version or self.inventory.entries.get(entry.id) is None):
            previous = row.previous if row.previous in _uploads(entry) else None
            row = evolve(entry.row.next, active=version, previous=previous)
        changes, audits = list[Change](), list[Audit]()
        if there is None or there.row != known.row:
            audits.extend(_found(known, there))
            changes.append(partial(write_version, row=known.row))
        if row != entry.row:
            audits = audits or [audit(APPLICATION, "use", known, entry.row.active or "", version)]
            changes.append(partial(write_package, row=row))

        def committed() -> None:
            if _is_upload(there):
                emit = self.inventory.events.emit
                emit("delete", entry.id, version, message=_DISPLACES.reason)
            for other in list(entry.versions.values()):
                if other.row.source == "directory" or other is there:
                    del entry.versions[other.row.version]
                    if other.state is not State.DELETED:
                        entry.leaving.append(other)
            entry.row, entry.trouble = row, ""
            self.inventory.add(entry, known)

        if changes:
            await self.inventory.write(audits, changes, committed)
        else:
            committed()

    def _own(self) -> Iterator[Own]:
        for entry in self.inventory.entries.values():
            for known in entry.present:
                if known.path is not None:
                    yield known.path, entry, known

    def _move(self, entry: Entry, path: Path) -> None:
        """Have a package at a path, when it is at no other any more.

        Raises:
            PackageStateError: it is.
        """
        for known in entry.present:
            place = known.path
            if place is None or place == path:
                continue
            if place.exists() and self._ids.get(place, entry.id) == entry.id:
                raise PackageStateError(f"{known} is in {place} already")
            known.path = path

    def _gone(
        self, directory: Path, found: Mapping[Path, object], packages: Taken
    ) -> Sequence[Own]:
        """Return what is no longer in a directory, each before those that it depends on."""
        gone = {
            entry.id: (path, entry, known)
            for path, entry, known in self._own()
            if path.parent == directory
            and entry.id not in packages
            and (path not in found or self._ids.get(path, entry.id) != entry.id)
        }
        order = _ordered({id_: known.package for id_, (_, _, known) in gone.items()})
        return [gone[id_] for id_ in reversed(order)]

    async def _put_away(self, gone: Sequence[Own]) -> Sequence[tuple[Own, str]]:
        """Put packages away; return those that could not be, and why."""
        left: list[tuple[Own, str]] = []
        for path, entry, known in gone:
            try:
                await self._leave(entry, known)
            except AgentrailError as error:
                left.append(((path, entry, known), error.detail))
        return left

    async def _leave(self, entry: Entry, gone: Known) -> None:
        async def commit() -> None:
            change = audit(APPLICATION, "gone", gone, gone.row.digest, "")
            await self.inventory.write([change], [], lambda: None)

        if gone is entry.on:
            await self.running.switch_off(entry, gone, commit)
        else:
            await commit()
        del entry.versions[gone.row.version]
        entry.leaving.append(gone)
        self.inventory.events.emit("delete", entry.id, gone.row.version, message="it is gone")

    def _broke(self, path: Path, reason: str) -> None:
        here = [entry for place, entry, _ in self._own() if place == path]
        for entry in here:
            active = entry.active
            entry.trouble = reason if active is None or not active.reason else ""
        if self.broken.get(path) != reason:
            self.broken[path] = reason
            _log.error("%s is not used: %s", path, reason)
            for id_ in [entry.id for entry in here] or [path.stem]:
                self.inventory.events.emit("error", id_, error=reason)


async def _nothing() -> None:
    """Make nothing durable: what is switched off for a moment is to be on all the same."""


def _ordered(packages: Mapping[str, Package | None]) -> Sequence[str]:
    try:
        return in_order(packages)
    except Circle:  # each is told when it is switched on
        return list(packages)


def _changes(known: Known, packages: Taken) -> bool:
    """Tell whether something else is to take the place of what came from a directory."""
    return (
        known.row.source == "directory"
        and known.row.id in packages
        and packages[known.row.id][1].digest != known.row.digest
    )


def _fits(package: Package | None, other: Package | None) -> bool:
    """Tell whether a package can do with another."""
    if other is None:
        return True
    manifest = other.manifest
    return all(manifest.version in n.versions for n in needs(package) if n.id == manifest.id)


def _found(known: Known, there: Known | None) -> Sequence[Audit]:
    before = there.row.digest if there is not None else ""
    found = audit(APPLICATION, "find", known, before, known.row.digest)
    if not _is_upload(there):
        return [found]
    return [audit(_DISPLACES, "delete", there, there.state, State.DELETED), found]


def _is_same(there: Known | None, package: Package) -> bool:
    return (
        there is not None
        and there.row.source == "directory"
        and there.package is not None
        and there.row.digest == package.digest
    )


def _is_upload(there: Known | None) -> TypeGuard[Known]:
    """Tell whether a version was uploaded and is there."""
    return there is not None and there.row.source == "upload" and there.state is not State.DELETED


def _uploads(entry: Entry) -> list[str]:
    return [known.row.version for known in entry.present if known.row.source == "upload"]
