"""Packages in directories that an application names: what is there now is what is used."""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import anyio.to_thread
from attrs import define, evolve, field

from agentrail.audit import Audit
from agentrail.errors import AgentrailError, PackageRefused, PackageStateError
from agentrail.package import Package
from agentrail.registry._audited import APPLICATION, Change, audit
from agentrail.registry._inventory import Inventory
from agentrail.registry._known import Entry, Known
from agentrail.registry._machine import State
from agentrail.registry._order import Circle, in_order
from agentrail.registry._rows import PackageRow, write_package, write_version
from agentrail.registry._running import Running
from agentrail.registry._scan import scan

_log = logging.getLogger("agentrail.registry")


@define(slots=True, eq=False)
class Directories:
    """Looks at directories, and uses what has changed in them."""

    inventory: Inventory
    running: Running
    _broken: dict[str, str] = field(factory=dict[str, str], init=False)
    """What in the directories is no package, and why."""

    async def look(self, directory: Path, *, on: bool) -> None:
        """Take what is in a directory as it is now; with ``on``, use it at once.

        What is broken leaves what ran before it running.
        """
        host = self.inventory.host
        try:
            found = await anyio.to_thread.run_sync(scan, directory, host)
        except OSError as error:
            self._broke(directory, f"it cannot be read: {error.strerror or error}")
            return
        packages: dict[str, tuple[Path, Package]] = {}
        for path, package in found:
            if isinstance(package, PackageRefused):
                self._broke(path, package.detail)
            elif package.manifest.id in packages:
                other = packages[package.manifest.id][0].name
                self._broke(path, f"{other} is package {package.manifest.id!r} already")
            else:
                packages[package.manifest.id] = (path, package)
        for path, package in _ordered(packages):
            try:
                await self._take(path, package, on=on)
                self._broken.pop(str(path), None)
            except AgentrailError as error:
                self._broke(path, error.detail)
        await self._drop(directory, [path for path, _ in found])

    async def _take(self, path: Path, package: Package, *, on: bool) -> None:
        manifest, version = package.manifest, str(package.manifest.version)
        entry = self.inventory.entries.get(manifest.id) or Entry(PackageRow(id=manifest.id))
        there = entry.versions.get(version)
        self._check_place(entry, path)
        if there is not None and there.row.source == "upload" and there.state is not State.DELETED:
            raise PackageStateError(f"{there} was uploaded too, and that one is used")
        if there is not None and there.package is not None and there.row.digest == package.digest:
            entry.trouble = ""
            return
        known = self._known(await self.inventory.installed(package), there)
        known.path = path
        old = entry.active
        leads = old is None or old.row.source == "directory" or old.state is State.DELETED
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
        if on and leads and entry.wanted and known.state is State.DISABLED:
            await self.running.switch_on(entry, known)

    def _known(self, package: Package, there: Known | None) -> Known:
        known = self.inventory.new(package, "", State.DISABLED, APPLICATION, source="directory")
        if there is not None and there.row.digest == package.digest:
            quarantined = there.row.state is State.QUARANTINED
            known.row = there.row
            known.state = State.QUARANTINED if quarantined else State.DISABLED
        return known

    async def _write(self, entry: Entry, known: Known, *, leads: bool) -> None:
        """Make a version that was found durable, if it is not so, and the one that is used."""
        version, there = known.row.version, entry.versions.get(known.row.version)
        was = there.row if there is not None else None
        row = entry.row
        if leads and (row.active != version or self.inventory.entries.get(entry.id) is None):
            previous = row.previous if row.previous in _uploads(entry) else None
            row = evolve(entry.row.next, active=version, previous=previous)
        changes, audits = list[Change](), list[Audit]()
        if was != known.row:
            before = was.digest if was is not None else ""
            audits.append(audit(APPLICATION, "find", known, before, known.row.digest))
            changes.append(partial(write_version, row=known.row))
        if row != entry.row:
            audits = audits or [audit(APPLICATION, "use", known, entry.row.active or "", version)]
            changes.append(partial(write_package, row=row))

        def committed() -> None:
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

    def _check_place(self, entry: Entry, path: Path) -> None:
        for known in entry.present:
            if known.path is not None and known.path != path and known.path.exists():
                raise PackageStateError(f"{known} is in {known.path} already")

    async def _drop(self, directory: Path, paths: Sequence[Path]) -> None:
        """Put away what is no longer in the directory."""
        for entry in list(self.inventory.entries.values()):
            gone = next(
                (
                    known
                    for known in entry.present
                    if known.path is not None
                    and known.path.parent == directory
                    and known.path not in paths
                ),
                None,
            )
            if gone is not None:
                try:
                    await self._leave(entry, gone)
                except AgentrailError as error:
                    self._broke(gone.path or directory, error.detail)
            entry.leaving = [known for known in entry.leaving if not known.drained.is_set()]
        await self.inventory.tidy()

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
        entries = self.inventory.entries.values()
        for entry in entries:
            if any(known.path == path for known in entry.present):
                active = entry.active
                entry.trouble = reason if active is None or not active.reason else ""
        if self._broken.get(str(path)) != reason:
            self._broken[str(path)] = reason
            _log.warning("%s is not used: %s", path, reason)
            self.inventory.events.emit("error", path.stem, error=reason)


def _ordered(packages: dict[str, tuple[Path, Package]]) -> list[tuple[Path, Package]]:
    try:
        return [packages[id_] for id_ in in_order({id_: p for id_, (_, p) in packages.items()})]
    except Circle:  # each is told when it is switched on
        return list(packages.values())


def _uploads(entry: Entry) -> list[str]:
    return [known.row.version for known in entry.present if known.row.source == "upload"]
