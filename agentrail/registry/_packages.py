"""The packages of a host, and everything that an administrator does to them."""

from collections.abc import AsyncIterable, Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup
from attrs import define, evolve, field

from agentrail.config import check_watch, watch
from agentrail.errors import (
    Forbidden,
    PackageNotFound,
    PackageStateError,
)
from agentrail.package import Permissions
from agentrail.plugin import PackageSettings
from agentrail.registry._audited import By, audit
from agentrail.registry._directories import Directories
from agentrail.registry._events import Events
from agentrail.registry._idle import put_idle_away
from agentrail.registry._info import info_of
from agentrail.registry._inventory import Inventory
from agentrail.registry._known import Entry, Known, PackageInfo
from agentrail.registry._machine import Crashes, Event, State, step
from agentrail.registry._running import Running
from agentrail.registry._settle import Settle, settle
from agentrail.registry._wanted import switch_wanted_on

T = TypeVar("T")


@define(slots=True, eq=False)
class Packages:
    """The packages of a host.

    Whatever changes them is done one after the other and to its end, also when who asked for it is
    gone.  It is written with its audit entry, and is true again after a restart.
    """

    inventory: Inventory
    running: Running
    _directories: Directories = field(init=False)

    def __attrs_post_init__(self) -> None:
        """Prepare to look at directories."""
        self._directories = Directories(self.inventory, self.running)

    @property
    def settings(self) -> PackageSettings:
        """What they go by."""
        return self.running.settings

    @property
    def events(self) -> Events:
        """What happens to packages."""
        return self.inventory.events

    def follow(self) -> None:
        """Take the packages as another process has left them, and change nothing."""
        self.inventory.follows = self.running.follows = True

    async def start(self, group: TaskGroup) -> None:
        """Find out which packages there are, and switch on those that are to be on.

        A package that fails is ``failed``, and the host starts without it.

        Raises:
            ConfigError: directories cannot be watched.
        """
        directories = [Path(each) for each in self.settings.directories]
        watched = self.settings.watch and not self.running.follows
        if watched:
            check_watch(directories)
        async with self.running.lock:
            await self.running.begin(group)
            await self.inventory.read()
            for directory in directories:
                await self._directories.look(directory, on=False)
            await self.inventory.tidy()
            if self.settings.enabled:
                await switch_wanted_on(self.inventory.entries, self.running)
        if not self.running.follows:  # else they are the other's to tell
            group.start_soon(self.events.run)
        group.start_soon(put_idle_away, self.running)
        if watched:
            for directory in directories:
                group.start_soon(watch, directory, self.settings.quiet_seconds, self.refresh)

    async def rest(self) -> None:
        """Let the change under way end, and no other begin; what turns call is still loaded."""
        await self.running.rest()

    async def close(self) -> None:
        """Put away what is loaded; its plugins were stopped."""
        await self.running.close()
        if not self.running.follows:
            await self.events.flush()

    async def list(
        self,
        *,
        state: str | None = None,
        kind: str | None = None,
        tag: str | None = None,
        keyword: str | None = None,
    ) -> Sequence[PackageInfo]:
        """Return the packages that fit all that is asked for, by their ids."""
        entries = sorted(self.inventory.entries.items())
        word = (keyword or "").casefold()
        return [
            info
            for info in [self._info(entry) for _, entry in entries if entry.present]
            if state in (None, info.state)
            and kind in (None, info.type)
            and (tag is None or tag in info.tags)
            and word in f"{info.id} {info.name} {info.description}".casefold()
        ]

    @property
    def broken(self) -> Mapping[str, str]:
        """What is used of no directory, and why: by the directory's name and the file's."""
        broken = self._directories.broken.items()
        return {f"{path.parent.name}/{path.name}": why for path, why in sorted(broken)}

    async def get(self, package: str) -> PackageInfo:
        """Return a package.

        Raises:
            PackageNotFound: there is none of that id.
        """
        return self._info(self.inventory.entry(package))

    async def upload(self, chunks: AsyncIterable[bytes], name: str, by: By) -> PackageInfo:
        """Take in an archive or a module; none of its code runs.

        ``name`` is what the file was called.  The same content again changes nothing.

        Raises:
            PackageRefused: it is no package, or a bad one; nothing of it is kept.
            PackageStateError: that version is there with other content.
            Forbidden: this host takes no uploads.
        """
        if not self.settings.uploads:
            raise Forbidden("this host takes no uploads of packages")
        store = self.inventory.store
        received = await store.receive(chunks)
        try:
            package = await anyio.to_thread.run_sync(self.inventory.examine, received.path, name)
            take_in = partial(self.inventory.take_in, package, received.sha256, by)
            return self._info(await self.change(take_in))
        finally:
            with anyio.CancelScope(shield=True):
                await store.discard(received)

    async def approve(
        self,
        package: str,
        by: By,
        *,
        version: str | None = None,
        digest: str | None = None,
        promote: bool = False,
    ) -> PackageInfo:
        """Grant a version what it asks for; ``promote`` lets its code run in the host's process.

        ``version`` may be left out when one version waits for it.  ``digest`` is of what was looked
        at: anything else is not approved.

        Raises:
            PackageNotFound: there is no such version.
            PackageStateError: it was approved before, has another digest, or several wait.
        """

        async def work() -> PackageInfo:
            entry = self.inventory.entry(package)
            known = entry.version(version) if version is not None else entry.waiting(digest)
            if digest is not None and digest != known.row.digest:
                message = f"{known} has the digest {known.row.digest}, and not the one approved"
                raise PackageStateError(message)
            before = after = known.state
            if not (promote and before is State.APPROVED):
                after = step(before, Event.APPROVE, str(known))
            if promote:
                after = step(after, Event.PROMOTE, str(known))
            granted = known.package.manifest.permissions if known.package else Permissions()
            action = "promote" if promote else "approve"
            await self.inventory.write_version(
                audit(by, action, known, before, known.row.digest),
                entry,
                known,
                evolve(known.row, state=after, granted=granted),
            )
            self.events.emit(action, entry.id, known.row.version, message=f"by {by.actor}")
            return self._info(entry)

        return await self.change(work)

    async def switch(self, package: str, by: By, *, on: bool | None) -> PackageInfo:
        """Switch a package on or off; None leaves it to its manifest again.

        Raises:
            PackageNotFound: there is none of that id.
            PackageStateError: it cannot be, as one cannot that was not promoted.
            PackageError: it failed; it is tried again when the host starts.
        """
        await self.change(partial(self._switch, package, by, on))
        entry = self.inventory.entry(package)
        known = entry.active
        if known is not None and known.retired is not None and not known.retired.busy:
            await known.drained.wait()
        return self._info(entry)

    async def upgrade(self, package: str, by: By, *, version: str | None = None) -> PackageInfo:
        """Use another version, by default the newest; runs under way go on with the old one.

        Raises:
            PackageNotFound: there is no such version.
            PackageStateError: it was not approved and promoted, or is in use already.
            PackageError: it failed; the old version is in use as before.
        """

        async def work() -> PackageInfo:
            entry = self.inventory.entry(package)
            new = entry.version(version) if version is not None else entry.present[-1]
            return await self._use(entry, new, by, "upgrade")

        return await self.change(work)

    async def rollback(self, package: str, by: By, *, version: str | None = None) -> PackageInfo:
        """Use the version that was used before, or another one, again.

        Raises:
            PackageNotFound: there is none.
            PackageStateError: it is in use already, or quarantined.
            PackageError: it failed; the present version is in use as before.
        """

        async def work() -> PackageInfo:
            entry = self.inventory.entry(package)
            back = version or entry.row.previous
            if back is None:
                raise PackageNotFound(f"package {package!r} has no version before this one")
            return await self._use(entry, entry.version(back), by, "rollback")

        return await self.change(work)

    async def release(self, package: str, by: By, *, version: str | None = None) -> PackageInfo:
        """Let a quarantined version be switched on again, by default the newest of them.

        Raises:
            PackageStateError: none is quarantined.
        """

        async def work() -> PackageInfo:
            entry = self.inventory.entry(package)
            held = [known for known in entry.present if known.state is State.QUARANTINED]
            if version is not None or not held:
                held = [entry.version(version)]
            known = held[-1]
            after = step(known.state, Event.RELEASE, str(known))
            row = evolve(known.row, state=after)
            change = audit(by, "release", known, known.state, after)
            await self.inventory.write_version(change, entry, known, row)
            known.crashes = Crashes()
            return self._info(entry)

        return await self.change(work)

    async def delete(self, package: str, by: By, *, version: str | None = None) -> None:
        """Delete a package with all that it kept, or one version of it.

        One that is on is switched off first, and the runs that use it may end.  Who does not wait
        for that has it switched off, and not deleted.

        Raises:
            PackageNotFound: there is no such package, or version.
            PackageStateError: it is the application's own, another package depends on it, or it
                was switched on meanwhile.
        """
        for known in await self.change(partial(self._let_go, package, by, version)):
            await known.drained.wait()
        await self.change(partial(self._delete, package, by, version))

    async def refresh(self, directory: Path) -> None:
        """Look at a directory of packages again, and use what has changed in it.

        What is broken leaves what ran before it running.
        """
        await self.change(partial(self._directories.look, directory, on=True))

    async def settle(self, settings: PackageSettings, swap: Settle) -> None:
        """Go by other settings, in one swap with what else of the host changes.

        Raises:
            PackageError: one cannot do with its new configuration; nothing has changed.
            Exception: what ``swap`` raises; nothing has changed.
        """
        scope = anyio.CancelScope()

        async def work() -> None:
            with scope:
                await settle(self.running, settings, swap)

        try:
            await self.change(work)
        finally:
            scope.cancel()  # whoever does not wait for its end, as a host that stops, ends it

    async def change(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do what somebody asks for while nothing else is done.

        Raises:
            PackageStateError: another process changes the packages.
        """
        if self.running.follows:
            message = "another process changes the packages of this data directory: ask that one"
            raise PackageStateError(message)
        return await self.running.alone(work, change=True)

    async def _switch(self, package: str, by: By, on: bool | None) -> PackageInfo:
        entry = self.inventory.entry(package)
        entry.check_switch(on)
        known = entry.version(None)
        wanted = entry.wants(on)
        row = evolve(entry.row.next, enabled=on)
        if wanted and not (entry.pinned and row.active):  # else the choice is not theirs
            row = evolve(row, active=known.row.version)
        is_on = known is entry.on
        action = "enable" if wanted else "disable"
        change = audit(by, action, known, _on(entry.wanted), _on(wanted))
        if wanted and not is_on:
            self.running.check_enabled()
            known.check_ready()
            await self.inventory.write_row(change, entry, row)
            await self.running.switch_on(entry, known)
            return self._info(entry)
        commit = partial(self.inventory.write_row, change, entry, row)
        if not wanted and (is_on or known.state is State.FAILED):
            await self.running.switch_off(entry, known, commit)
        else:
            await commit()
        return self._info(entry)

    async def _use(self, entry: Entry, new: Known, by: By, action: str) -> PackageInfo:
        entry.check_use()
        old = entry.active if entry.active in entry.present else None
        if new is old:
            if new.state is State.QUARANTINED:
                new.check_ready()
            raise PackageStateError(f"{new} is the version that is used already")
        new.check_ready()
        before, wanted = (old.row.version if old is not None else ""), entry.wanted
        row = evolve(entry.row.next, active=new.row.version, previous=before or None)
        if wanted and new.row.source == "upload":  # its manifest does not switch it on
            row = evolve(row, enabled=True)
        change = audit(by, action, new, before, new.row.version)
        commit = partial(self.inventory.write_row, change, entry, row)
        if old is not None and old is entry.on:
            await self.running.exchange(entry, old, new, commit)
        else:
            await commit()
            if entry.wanted and self.settings.enabled:
                await self.running.switch_on(entry, new)
        self.events.emit(
            action, entry.id, new.row.version, message=f"from {before}" if before else ""
        )
        return self._info(entry)

    async def _let_go(self, package: str, by: By, version: str | None) -> Sequence[Known]:
        """Switch what is to be deleted off, and return it."""
        entry = self.inventory.entry(package)
        doomed = self._doomed(entry, version)
        if entry.on in doomed:
            await self._switch(package, by, on=False)
        return doomed

    async def _delete(self, package: str, by: By, version: str | None) -> None:
        entry = self.inventory.entry(package)
        await self.inventory.delete(entry, self._doomed(entry, version), by)
        if not entry.present:
            await self.running.forget(entry.id)

    def _doomed(self, entry: Entry, version: str | None) -> Sequence[Known]:
        doomed = [entry.version(version)] if version is not None else entry.present
        own = next((known for known in doomed if known.row.source == "directory"), None)
        if own is not None:
            message = f"{own} is in a directory of the application: delete it there"
            raise PackageStateError(message)
        return doomed

    def _info(self, entry: Entry) -> PackageInfo:
        return info_of(entry, self.inventory.entries.values(), runs=self.settings.enabled)


def _on(on: bool) -> str:
    return "on" if on else "off"
