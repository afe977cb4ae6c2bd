"""Which packages a host has: read from its database and directories, and written with audit."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import anyio.to_thread
from attrs import define, evolve, field

from agentrail.audit import Audit
from agentrail.clock import Clock
from agentrail.errors import AgentrailError, PackageNotFound, PackageStateError
from agentrail.package import (
    Package,
    PackageFiles,
    PackageStore,
    Permissions,
    check_content,
    files_of,
    read_package,
)
from agentrail.registry._audited import By, Change, Log, audit
from agentrail.registry._events import Events
from agentrail.registry._known import Entry, Known, Said
from agentrail.registry._machine import LASTING, WAITING, Event, State, step
from agentrail.registry._rows import (
    PackageRow,
    Source,
    VersionRow,
    forget_values,
    read_packages,
    read_versions,
    write_package,
    write_version,
)
from agentrail.storage import Database

MOST_VERSIONS: Final = 20
"""How many versions of one package may wait for approval…"""

MOST_BYTES: Final = 1 << 30
"""…and how much all that wait may take on disk."""

_log = logging.getLogger("agentrail.registry")


@define(slots=True, eq=False)
class Inventory:
    """All packages with all their versions, and what is to be true of them.

    What is here is what the file says: it changes when a change was committed, and not before.
    """

    database: Database
    store: PackageStore
    events: Events
    clock: Clock
    host: str
    """The host's version."""
    entries: dict[str, Entry] = field(factory=dict[str, Entry])
    said: Said = field(factory=Said)
    """What the application says of packages."""
    follows: bool = field(default=False, init=False)
    """Whether another process changes the packages: then nothing is written here."""

    def entry(self, package: str) -> Entry:
        """Return a package.

        Raises:
            PackageNotFound: there is none of that id.
        """
        entry = self.entries.get(package)
        if entry is None or not entry.present:
            raise PackageNotFound(f"there is no package {package[:64]!r}")
        return entry

    def new_entry(self, package: str) -> Entry:
        """Return a package of which nothing is kept yet."""
        return Entry(PackageRow(id=package), self.said)

    async def read(self) -> None:
        """Read what was true when the host stopped, and check the files of uploaded packages."""
        await self.store.start()
        self.entries.clear()
        for row in await self.database.read(read_packages):
            self.entries[row.id] = Entry(row, self.said)
        for version in await self.database.read(read_versions):
            entry = self.entries.setdefault(version.id, self.new_entry(version.id))
            entry.versions[version.version] = await self._known(version)

    async def tidy(self) -> None:
        """Remove the files of which no version is there, as of a host that died meanwhile."""
        if self.follows:
            return
        kept = self._digests()
        for digest in await self.store.installed():
            if digest not in kept:
                await self.store.remove(digest)

    async def _known(self, row: VersionRow) -> Known:
        if row.state is State.DELETED or row.source == "directory":
            # What is in a directory now is found by looking there.
            return Known(row, None, State.DELETED)
        try:
            files = await self.store.verify(row.digest)
            package = await anyio.to_thread.run_sync(read_package, files, self.host)
        except (AgentrailError, OSError) as error:
            reason = error.detail if isinstance(error, AgentrailError) else str(error)
            _log.error("package %r %s cannot be used: %s", row.id, row.version, reason)
            return Known(row, None, State.FAILED, reason)
        return Known(row, package, _lasting(row))

    def examine(self, path: Path, name: str) -> Package:
        """Return the package that a file or directory is; none of its code runs.

        Raises:
            PackageRefused: it is none, or a bad one.
        """
        return examined(files_of(path, name), self.host)

    async def take_in(self, package: Package, archive: str, by: By) -> Entry:
        """Keep a package that was uploaded.

        Raises:
            PackageStateError: the version is there with other content.
        """
        manifest = package.manifest
        entry = self.entries.get(manifest.id) or self.new_entry(manifest.id)
        there = entry.versions.get(str(manifest.version))
        if there is not None and there.state is State.DELETED:
            there = None
        if there is not None and there.row.digest != package.digest:
            message = f"{there} is there with other content: give the new one another version"
            raise PackageStateError(message)
        if there is not None and there.package is not None:
            return entry
        self._check_room(entry, package, there)
        complete = False
        try:
            kept = await self.installed(package)
            if there is not None:  # its files were gone or changed, and are what they were again
                there.package, there.state, there.reason = kept, _lasting(there.row), ""
            else:
                state = State.STAGED if entry.in_use is not None else State.RECEIVED
                known = self.new(kept, archive, state, by)
                await self.write_new(audit(by, "upload", known, "", package.digest), entry, known)
            complete = True
        finally:
            if not complete and package.digest not in self._digests():
                with anyio.CancelScope(shield=True):
                    await self.store.remove(package.digest)
        message = f"by {by.actor}"
        self.events.emit("upload", manifest.id, str(manifest.version), message=message)
        return entry

    def _check_room(self, entry: Entry, package: Package, there: Known | None) -> None:
        """Return when there is room for one more version that nobody has approved.

        Raises:
            PackageStateError: there is none.
        """
        waiting = [
            known
            for each in self.entries.values()
            for known in each.present
            if known.state in WAITING and known is not there
        ]
        size = sum(_size(known.package) for known in waiting) + _size(package)
        mine = sum(known.row.id == entry.id for known in waiting)
        if size > MOST_BYTES or mine >= MOST_VERSIONS:
            message = (
                f"{len(waiting)} uploads wait for approval, {mine} of package {entry.id!r}; at "
                f"most {MOST_VERSIONS} of one and {MOST_BYTES >> 20} MiB of all may: approve or "
                "delete some"
            )
            raise PackageStateError(message)

    async def installed(self, package: Package) -> Package:
        """Return a package as it is in the store, put there and checked."""
        await self.store.install(package.files)
        files = await self.store.verify(package.digest)
        return evolve(package, files=files)

    def new(
        self, package: Package, archive: str, state: State, by: By, *, source: Source = "upload"
    ) -> Known:
        """Return a version that is not there yet."""
        row = VersionRow(
            id=package.manifest.id,
            version=str(package.manifest.version),
            digest=package.digest,
            archive=archive,
            source=source,
            state=state,
            granted=package.manifest.permissions if source == "directory" else Permissions(),
            received_at=self.clock.now(),
            received_by=by.actor,
        )
        return Known(row, package, state)

    async def write_new(self, change: Audit, entry: Entry, known: Known) -> None:
        """Add a version."""
        row = entry.row.next

        def committed() -> None:
            entry.row = row
            self.add(entry, known)

        changes: list[Change] = [
            partial(write_version, row=known.row),
            partial(write_package, row=row),
        ]
        await self.write([change], changes, committed)

    def add(self, entry: Entry, known: Known) -> None:
        """Have a version among those of its package."""
        entry.versions[known.row.version] = known
        self.entries[entry.id] = entry

    async def write(
        self, audits: list[Audit], changes: list[Change], committed: Callable[[], object]
    ) -> None:
        """Make changes durable with their audit entries; ``committed`` is called if they are."""
        if self.follows:
            committed()
            return
        await Log(self.database, self.clock).write(audits, changes, committed)

    async def write_row(self, change: Audit, entry: Entry, row: PackageRow) -> None:
        """Set what is to be true of a package."""

        def committed() -> None:
            entry.row = row

        await self.write([change], [partial(write_package, row=row)], committed)

    async def write_version(
        self, change: Audit, entry: Entry, known: Known, row: VersionRow
    ) -> None:
        """Set what is kept of a version, which is in the row's state then."""
        package = entry.row.next

        def committed() -> None:
            entry.row = package
            known.row, known.state, known.reason = row, row.state, ""

        changes: list[Change] = [
            partial(write_version, row=row),
            partial(write_package, row=package),
        ]
        await self.write([change], changes, committed)

    async def delete(self, entry: Entry, doomed: Sequence[Known], by: By) -> None:
        """Delete versions that are not in use, and their files; all of them or none.

        Raises:
            PackageStateError: one is in use.
        """
        audits, changes = list[Audit](), list[Change]()
        for known in doomed:
            step(known.state, Event.DELETE, str(known))
            audits.append(audit(by, "delete", known, known.state, State.DELETED))
            gone = evolve(known.row, state=State.DELETED)
            changes.append(partial(write_version, row=gone))
        left = [known for known in entry.present if known not in doomed]
        row = _row_without(entry, doomed, left)
        changes.append(partial(write_package, row=row))
        if not left:
            changes.append(partial(forget_values, package=entry.id))

        def committed() -> None:
            entry.row = row
            for known in doomed:
                known.row = evolve(known.row, state=State.DELETED)
                known.state, known.package, known.reason = State.DELETED, None, ""

        await self.write(audits, changes, committed)
        for known in doomed:
            if known.row.digest not in self._digests():
                try:
                    await self.store.remove(known.row.digest)
                except AgentrailError as error:  # the next start removes it
                    _log.error("the files of %s were not removed: %s", known, error.detail)
            self.events.emit("delete", entry.id, known.row.version, message=f"by {by.actor}")

    def _digests(self) -> set[str]:
        entries = self.entries.values()
        return {known.row.digest for each in entries for known in (*each.present, *each.leaving)}


def examined(files: PackageFiles, host: str) -> Package:
    """Return the package that files are, with all that is in it checked.

    Raises:
        PackageRefused: they are none, or a bad one.
    """
    package = read_package(files, host)
    check_content(files, native=package.manifest.permissions.native)
    return package


def _size(package: Package | None) -> int:
    return sum(file.size for file in package.files.values()) if package is not None else 0


def _lasting(row: VersionRow) -> State:
    return row.state if row.state in LASTING else State.DISABLED


def _row_without(entry: Entry, doomed: Sequence[Known], left: Sequence[Known]) -> PackageRow:
    """Return what is to be true of a package without some of its versions."""
    if not left:
        return evolve(entry.row.next, active=None, previous=None, enabled=None, config="{}")
    gone = {known.row.version for known in doomed}
    previous = None if entry.row.previous in gone else entry.row.previous
    if entry.row.active not in gone:
        return evolve(entry.row.next, previous=previous)
    # It is off, and stays so, also where the application's own version is on by itself.
    own = next((known.row.version for known in left if known.row.source == "directory"), None)
    return evolve(
        entry.row.next, active=own, previous=previous, enabled=None if own is None else False
    )
