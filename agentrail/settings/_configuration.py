"""The settings of a running host: read anew, gone back from, and told of."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from hashlib import sha256
from pathlib import Path
from sqlite3 import Connection
from typing import Final

import anyio
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint
from anyio.to_thread import run_sync
from attrs import define, evolve, field

from agentrail.audit import append
from agentrail.clock import Clock
from agentrail.errors import (
    ConfigError,
    ConfigRefused,
    Fault,
    HostNotRunning,
    RevisionNotFound,
    StorageError,
)
from agentrail.secret import KeyRing, Secrets
from agentrail.settings._job import Jobs
from agentrail.settings._read import Reading
from agentrail.settings._revisions import (
    Asked,
    Pin,
    Revision,
    WholeRevision,
    add_revision,
    entry_of,
    mark_anew,
    newest,
    opened,
    pin,
    refusal_of,
    revision,
    revisions,
    seal_anew,
    sealed_text,
    write_pin,
)
from agentrail.settings._shown import digest_of, shown_settings
from agentrail.settings._source import SettingsSource, where
from agentrail.settings._state import (
    ELSEWHERE,
    FOLLOWS,
    HELD,
    ConfigState,
    check_match,
    faults_of_error,
    waiting_for_restart,
    whole_of,
)
from agentrail.settings._watched import watch_file
from agentrail.storage import Database

_log = logging.getLogger("agentrail.settings")

Commit = Callable[[], Awaitable[None]]
"""Makes settings those of the host, when all that they need has started."""

Apply = Callable[[Reading, Secrets, Commit], Awaitable[None]]
"""Has a host go by settings, or raises why it cannot and leaves it as it is."""

_AGAIN: Final = 1.0
"""Seconds after which a file is read again whose revision could not be written."""


@define(slots=True, eq=False)
class Configuration:
    """The settings of a host, one revision after the other."""

    source: SettingsSource
    database: Database
    clock: Clock
    keys: Callable[[], KeyRing]
    """Returns the keys that revisions are sealed with; it blocks."""
    look: Callable[[Reading], Secrets]
    """Returns the secrets that there are for settings; it blocks."""
    apply: Apply
    reading: Reading
    """What the host goes by."""
    secrets: Secrets
    revive: Callable[[], Awaitable[None]] = field(default=checkpoint, kw_only=True)
    """Has what broke down while it ran started again."""
    follows: bool = field(default=False, init=False)
    """Whether another process has the data directory, and writes the revisions."""
    faults: Sequence[Fault] = field(default=(), init=False)
    _started: Reading = field(init=False)
    _restart: Sequence[str] = field(factory=list[str], init=False)
    _revision: WholeRevision = field(init=False)
    _pin: Pin | None = field(default=None, init=False)
    _jobs: Jobs = field(factory=Jobs, init=False)

    def __attrs_post_init__(self) -> None:
        """Note what the host starts with."""
        self._started = self.reading

    @property
    def revision(self) -> WholeRevision:
        """The revision in force."""
        return self._revision

    @property
    def state(self) -> ConfigState:
        """What is in force, and what is wrong with what is not."""
        return ConfigState(
            state="degraded" if self.faults else "ok",
            faults=self.faults,
            restart=self._restart,
            pinned=self._pin is not None,
            revision=self._revision,
        )

    async def start(self, group: TaskGroup, *, serving: bool = True) -> None:
        """Allow changes from now on, in tasks of the group.

        A host that is ``serving`` takes what it started with for a revision, and watches the file.

        Raises:
            StorageError: it cannot be written.
        """
        mark = await run_sync(self.source.mark)
        last = await self.database.read(newest)
        held = await self.database.read(pin)
        self._pin = held if held is not None and held.file_digest == mark else None
        if serving and not self.follows and not self.secrets.keyed:
            # What is hidden in the first revision is to be told from what is in later ones.
            await run_sync(self.keys)
            self.secrets = await run_sync(self.look, self.reading)
        asked = Asked("start", "application")
        whole = await run_sync(whole_of, self.reading, self.secrets, last, asked, self.clock.now())
        if last is not None and (last.digest == whole.digest or not serving):
            self._revision = last
            if held != self._pin and serving and not self.follows:  # the file was changed
                await self.database.write(partial(write_pin, pin=None))
        elif self.follows or not serving:
            self._revision = whole
        else:
            self._revision = await self._write(whole, self.reading, self._pin)
        if self._pin is not None and serving:
            _log.warning(HELD, self._pin.revision)
        self._jobs.open(group)
        reload = self.reading.settings.reload
        if serving and reload.watch and not self.follows:
            watch_file(group, self.source, reload.quiet_seconds, self._changed)

    async def stop(self, grace: float) -> None:
        """Let the change under way end, for ``grace`` seconds, and no other begin."""
        await self._jobs.close(grace)

    def check_leads(self) -> None:
        """Return when this process is the one that changes what is in the data directory.

        Raises:
            HostNotRunning: it is another one.
        """
        if self.follows:
            raise HostNotRunning(FOLLOWS)

    async def reload(
        self, actor: str, *, request: str = "", match: int | None = None
    ) -> WholeRevision:
        """Go by what the file, the variables and the secrets say now, and return the revision.

        Whoever asks while the same waits to begin gets that one's.  Refused settings change
        nothing: the host goes on with the present ones, is ``degraded``, and the audit log has an
        entry of it.

        Args:
            actor: who asks for it.
            request: the id of the request.
            match: the revision that is to be in force before.

        Raises:
            ConfigRefused: something is wrong with them; all of it is told.
            PreconditionFailed: another revision is in force than ``match``.
            HostNotRunning: the host does not run.
            StorageError: the revision cannot be written; nothing has changed.
        """
        work = partial(self._use, self._from_file, Asked("reload", actor, request))
        return await self._do("reload", work, match)

    async def refresh(self, actor: str, *, request: str = "") -> WholeRevision:
        """Do as ``reload``, but stay at a revision that somebody went back to.

        It does so until the file is changed.
        """
        return await self._do("refresh", partial(self._as_it_is, Asked("reload", actor, request)))

    async def rollback(
        self, number: int, actor: str, *, request: str = "", match: int | None = None
    ) -> WholeRevision:
        """Go by the file of an earlier revision again, until the present file is changed.

        Variables and options are those of the process, as always.

        Raises:
            RevisionNotFound: there is none of that number, or it is too long ago.
            ConfigRefused: it cannot be opened, or the host cannot go by it; nothing has changed.
            PreconditionFailed: another revision is in force than ``match``.
            HostNotRunning: the host does not run.
            StorageError: the revision cannot be written; nothing has changed.
        """
        work = partial(self._back, number, Asked("rollback", actor, request))
        return await self._do(number, work, match)

    async def history(self, *, before: int | None = None, limit: int = 50) -> Sequence[Revision]:
        """Return the newest revisions first, those with numbers under ``before``."""
        return await self.database.read(partial(revisions, before=before, limit=limit))

    async def get(self, number: int) -> WholeRevision:
        """Return a revision with its settings.

        Raises:
            RevisionNotFound: there is none of that number, or it is too long ago.
        """
        found = await self.database.read(partial(revision, number=number))
        if found is None:
            raise RevisionNotFound(f"there is no revision {number} of the settings")
        return found

    def seal_anew(self, connection: Connection, ring: KeyRing) -> None:
        """Seal the revisions with the first key of a ring, in the transaction under way.

        What the present one hides is told from other secrets by that key from then on.
        """
        seal_anew(connection, ring)
        settings = shown_settings(self.reading, self.secrets)
        if digest_of(self.reading, settings) == self._revision.digest:
            # It is what this process goes by.
            settings = shown_settings(self.reading, evolve(self.secrets, ring=ring))
            digest = digest_of(self.reading, settings)
            mark_anew(connection, self._revision.number, settings, digest)

    async def _do(
        self, what: object, work: Callable[[], Awaitable[WholeRevision]], match: int | None = None
    ) -> WholeRevision:
        """Do it after what was asked for before, if a revision is in force then."""
        self.check_leads()
        shared = True

        async def matched() -> WholeRevision:
            nonlocal shared
            shared = False
            check_match(match, self._revision.number)
            return await work()

        result = await self._jobs.do((what, match), matched)
        if shared:  # of those that expect the same, one has its way
            check_match(match, result.number)
        return result

    async def _from_file(self) -> Reading:
        return await run_sync(self.source.read_settled, abandon_on_cancel=True)

    async def _as_it_is(self, asked: Asked) -> WholeRevision:
        held, mark = self._pin, await run_sync(self.source.mark)
        if held is None or held.file_digest != mark:
            return await self._use(self._from_file, asked)
        return await self._use(partial(self._text_of, held.revision), asked, held)

    async def _back(self, number: int, asked: Asked) -> WholeRevision:
        held = Pin(0, await run_sync(self.source.mark))

        async def read() -> Reading:
            reading = await self._text_of(number)
            file = await run_sync(self.source.places)
            if not where(self._started) == where(file) == where(reading):
                raise ConfigRefused([Fault("config_conflict", ELSEWHERE)])
            return reading

        return await self._use(read, asked, held)

    async def _text_of(self, number: int) -> Reading:
        found = await self.database.read(partial(sealed_text, number=number))
        if found is None:
            raise RevisionNotFound(f"there is no revision {number} of the settings")
        name, sealed = found
        try:
            text = opened(number, sealed, await run_sync(self.keys))
        except ConfigError as error:
            raise ConfigRefused([Fault("config_secret", error.detail)]) from error
        return await run_sync(self.source.read_revision, number, name, text)

    async def _use(
        self, read: Callable[[], Awaitable[Reading]], asked: Asked, held: Pin | None = None
    ) -> WholeRevision:
        """Read settings, and have the host go by them, in the place of the file when ``held``.

        Raises:
            ConfigRefused: it cannot.
        """
        reading, secrets = None, self.secrets
        try:
            reading = await read()
            secrets = await run_sync(self.look, reading)
            kept = await self.get(self._revision.number)
            if kept.digest != self._revision.digest:  # what it hides is marked with a new key
                self._revision = kept
            before, now = self._revision, self.clock.now()
            whole = await run_sync(whole_of, reading, secrets, before, asked, now)
            restart = await run_sync(waiting_for_restart, self._started, reading)
            if held is not None and held.file_digest == sha256(reading.text).hexdigest():
                held = None  # the file says the same
            if before.digest == whole.digest:
                held = evolve(held, revision=before.number) if held is not None else None
                await self.revive()
                if held != self._pin:
                    await self._repin(whole, held, asked.request)
                self.secrets = secrets
                return self._mend()

            async def commit() -> None:
                self._revision = await self._write(whole, reading, held, asked.request)
                self.reading, self.secrets, self._restart = reading, secrets, restart

            await self.apply(reading, secrets, commit)
        except (HostNotRunning, RevisionNotFound):
            raise
        except Exception as error:  # boundary: plugin
            refused = await self._refused(error, reading, secrets, asked)
            if isinstance(error, StorageError):
                raise
            raise refused from error
        _log.info("revision %d of the settings is used", self._revision.number)
        if restart:
            _log.warning("%s: these count from the next start on", ", ".join(restart))
        return self._mend()

    async def _refused(
        self, error: Exception, reading: Reading | None, secrets: Secrets, asked: Asked
    ) -> ConfigRefused:
        """Note that settings are not used, and return why."""
        faults = faults_of_error(error, reading)
        self.faults = [evolve(each, message=secrets.hide(each.message)) for each in faults]
        told = "; ".join(map(str, self.faults))
        _log.error(
            "settings are refused, and revision %d is used still: %s", self._revision.number, told
        )
        entry = refusal_of(asked, self._revision.digest, told)
        try:
            await self.database.write(partial(append, audit=entry, at=self.clock.now()))
        except StorageError as unwritten:
            _log.error("that could not be audited: %s", unwritten.detail)
        return ConfigRefused(self.faults)

    def _mend(self) -> WholeRevision:
        if self.faults:
            _log.info("the settings can be used again")
        self.faults = ()
        return self._revision

    async def _repin(self, whole: WholeRevision, held: Pin | None, request: str) -> None:
        """Make it durable that the present revision counts instead of the file, or no more."""
        entry = entry_of(whole, self._revision.number, self._revision.digest, request)

        def job(connection: Connection) -> None:
            write_pin(connection, held)
            append(connection, entry, whole.at)

        await self.database.write(job)
        self._pin = held

    async def _write(
        self, whole: WholeRevision, reading: Reading, held: Pin | None, request: str = ""
    ) -> WholeRevision:
        """Make a revision durable with its audit entry, and return it with its number."""
        before = self._revision.digest if whole.action != "start" else ""

        def job(connection: Connection) -> tuple[WholeRevision, Pin | None]:
            # The keys as they are now: nobody drops one while this writes.
            made = add_revision(connection, whole, reading.text, self.keys())
            pinned = evolve(held, revision=made.number) if held is not None else None
            write_pin(connection, pinned)
            entry = entry_of(whole, made.number, before, request)
            append(connection, entry, whole.at)
            return made, pinned

        made, self._pin = await self.database.write(job)
        return made

    async def _changed(self, _directory: Path) -> None:
        while True:
            with suppress(ConfigRefused, HostNotRunning):  # these are told where they arise
                try:
                    await self.refresh("host")
                except StorageError:  # it is told too, and the file does not change again for it
                    await anyio.sleep(_AGAIN)
                    continue
            return
