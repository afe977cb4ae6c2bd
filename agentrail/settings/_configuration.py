"""The settings of a running host: read anew, gone back from, and told of."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from hashlib import sha256
from pathlib import Path
from sqlite3 import Connection

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup
from attrs import define, evolve, field

from agentrail.audit import Audit, append
from agentrail.clock import Clock
from agentrail.errors import (
    ConfigError,
    ConfigRefused,
    Fault,
    HostNotRunning,
    PreconditionFailed,
    RevisionNotFound,
    StorageError,
)
from agentrail.secret import KeyRing, Secrets
from agentrail.settings._job import FOLLOWS, STOPPED, Job
from agentrail.settings._read import Reading
from agentrail.settings._revisions import (
    Action,
    Pin,
    Revision,
    WholeRevision,
    add_revision,
    changes_between,
    entry_of,
    newest,
    opened,
    pin,
    revision,
    revisions,
    sealed_text,
    write_pin,
)
from agentrail.settings._shown import digest_of, shown_settings
from agentrail.settings._source import SettingsSource
from agentrail.settings._state import ConfigState, faults_of_error, waiting_for_restart
from agentrail.settings._watched import watch_file
from agentrail.storage import Database

_log = logging.getLogger("agentrail.settings")

Commit = Callable[[], Awaitable[None]]
"""Makes settings those of the host, when all that they need has started."""

Apply = Callable[[Reading, Secrets, Commit], Awaitable[None]]
"""Has a host go by settings, or raises why it cannot and leaves it as it is."""


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
    follows: bool = field(default=False, init=False)
    """Whether another process has the data directory, and writes the revisions."""
    faults: Sequence[Fault] = field(default=(), init=False)
    _started: Reading = field(init=False)
    _revision: WholeRevision = field(init=False)
    _pin: Pin | None = field(default=None, init=False)
    _group: TaskGroup | None = field(default=None, init=False)
    _lock: anyio.Lock = field(factory=anyio.Lock, init=False)
    _coming: Job | None = field(default=None, init=False)
    """A reload that was asked for and has not begun; whoever asks meanwhile waits for it too."""

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
            restart=waiting_for_restart(self._started, self.reading),
            pinned=self._pin is not None,
            revision=self._revision,
        )

    async def start(self, group: TaskGroup, *, serving: bool = True) -> None:
        """Allow changes from now on, in tasks of the group.

        A host that is ``serving`` takes what it started with for a revision, and watches the file.

        Raises:
            StorageError: it cannot be written.
        """
        mark = await anyio.to_thread.run_sync(self.source.mark)
        last = await self.database.read(newest)
        held = await self.database.read(pin)
        self._pin = held if held is not None and held.file_digest == mark else None
        if serving and not self.follows and not self.secrets.keyed:
            # What is hidden in the first revision is to be told from what is in later ones.
            await anyio.to_thread.run_sync(self.keys)
            self.secrets = await anyio.to_thread.run_sync(self.look, self.reading)
        whole = self._whole(self.reading, self.secrets, last, "start", "application")
        if last is not None and (last.digest == whole.digest or not serving):
            self._revision = last
        elif self.follows or not serving:
            self._revision = whole
        else:
            self._revision = await self._write(whole, self.reading, self._pin)
        self._group = group
        reload = self.reading.settings.reload
        if serving and reload.watch and not self.follows:
            watch_file(group, self.source, reload.quiet_seconds, self._changed)

    async def stop(self) -> None:
        """Let the change under way end, and no other begin."""
        self._group = None
        async with self._lock:  # those who wait for it come before, and find the host stopped
            pass

    async def reload(
        self, actor: str, *, request: str = "", match: int | None = None
    ) -> WholeRevision:
        """Go by what the file, the variables and the secrets say now, and return the revision.

        Whoever asks while a reload waits to begin gets that one's.  Refused settings change
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
        """
        work = partial(self._from_file, actor, request)
        if match is not None:
            return await self._alone(work, match)
        return await self._joined(work, stays=False)

    async def refresh(self, actor: str, *, request: str = "") -> WholeRevision:
        """Do as ``reload``, but stay at a revision that somebody went back to.

        It does so until the file is changed.
        """
        return await self._joined(partial(self._as_it_is, actor, request), stays=True)

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
        """
        return await self._alone(partial(self._back, number, actor, request), match)

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

    async def _alone(
        self, work: Callable[[], Awaitable[WholeRevision]], match: int | None
    ) -> WholeRevision:
        """Do it after what is under way, if a revision is in force then."""

        async def matched() -> WholeRevision:
            if match not in (None, self._revision.number):
                number = self._revision.number
                raise PreconditionFailed(
                    f"the settings were changed since: revision {number} is used"
                )
            return await work()

        job = Job(matched)
        self._start(job)
        return await job.wait()

    async def _joined(
        self, work: Callable[[], Awaitable[WholeRevision]], *, stays: bool
    ) -> WholeRevision:
        """Do it, or wait for what was asked for and has not begun.

        What goes by the file does not wait for what ``stays`` where somebody went back to.
        """
        job = self._coming
        if job is None or (job.stays and not stays):
            job = Job(work, stays)
            self._start(job)
            self._coming = job
        return await job.wait()

    def _start(self, job: Job) -> None:
        if self._group is None or self.follows:
            raise HostNotRunning(FOLLOWS if self.follows else STOPPED)
        self._group.start_soon(self._run, job)

    async def _run(self, job: Job) -> None:
        try:
            async with self._lock:
                if self._coming is job:
                    self._coming = None
                if self._group is not None:
                    job.result = await job.work()
        except Exception as error:  # noqa: BLE001 - boundary: plugin, and raised in who waits
            job.error = error
        finally:
            job.over.set()

    async def _from_file(self, actor: str, request: str) -> WholeRevision:
        return await self._use(self.source.read_settled, None, "reload", actor, request)

    async def _as_it_is(self, actor: str, request: str) -> WholeRevision:
        held, mark = self._pin, await anyio.to_thread.run_sync(self.source.mark)
        if held is None or held.file_digest != mark:
            return await self._from_file(actor, request)
        read = await self._text_of(held.revision)
        return await self._use(read, held, "reload", actor, request)

    async def _back(self, number: int, actor: str, request: str) -> WholeRevision:
        read = await self._text_of(number)
        held = Pin(0, await anyio.to_thread.run_sync(self.source.mark))
        return await self._use(read, held, "rollback", actor, request)

    async def _text_of(self, number: int) -> Callable[[], Reading]:
        found = await self.database.read(partial(sealed_text, number=number))
        if found is None:
            raise RevisionNotFound(f"there is no revision {number} of the settings")
        name, sealed = found
        try:
            text = opened(number, sealed, await anyio.to_thread.run_sync(self.keys))
        except ConfigError as error:
            raise ConfigRefused([Fault("config_secret", error.detail, name)]) from error
        return partial(self.source.read_text, name, text)

    async def _use(
        self,
        read: Callable[[], Reading],
        held: Pin | None,
        action: Action,
        actor: str,
        request: str,
    ) -> WholeRevision:
        """Read settings, and have the host go by them.

        Raises:
            ConfigRefused: it cannot.
        """
        secrets = self.secrets
        try:
            reading = await anyio.to_thread.run_sync(read)
            secrets = await anyio.to_thread.run_sync(self.look, reading)
            whole = self._whole(reading, secrets, self._revision, action, actor)
            if held is not None and held.file_digest == sha256(reading.text).hexdigest():
                held = None  # the file says the same
            if self._revision.digest == whole.digest:
                held = evolve(held, revision=self._revision.number) if held is not None else None
                if held != self._pin:
                    await self._repin(whole, held, request)
                self.secrets = secrets
                self._mend()
                return self._revision

            async def commit() -> None:
                self._revision = await self._write(whole, reading, held, request)
                self.reading, self.secrets = reading, secrets

            await self.apply(reading, secrets, commit)
        except (StorageError, HostNotRunning):
            raise
        except Exception as error:  # boundary: plugin
            raise await self._refused(error, secrets, action, actor, request) from error
        self._mend()
        _log.info("revision %d of the settings is used", self._revision.number)
        if waiting := self.state.restart:
            _log.warning("%s: these count from the next start on", ", ".join(waiting))
        return self._revision

    async def _refused(
        self, error: Exception, secrets: Secrets, action: str, actor: str, request: str
    ) -> ConfigRefused:
        """Note that settings are not used, and return why."""
        name = self.source.path.name if self.source.path is not None else ""
        faults = faults_of_error(error, name)
        self.faults = [evolve(each, message=secrets.hide(each.message)) for each in faults]
        told = "; ".join(map(str, self.faults))
        _log.error(
            "settings are refused, and revision %d is used still: %s", self._revision.number, told
        )
        entry = Audit(
            actor=actor,
            action=f"config.{action}",
            object="config",
            outcome="failed",
            detail=told,
            before=self._revision.digest,
            request=request,
        )
        await self.database.write(partial(append, audit=entry, at=self.clock.now()))
        return ConfigRefused(self.faults)

    def _mend(self) -> None:
        if self.faults:
            _log.info("the settings can be used again")
        self.faults = ()

    async def _repin(self, whole: WholeRevision, held: Pin | None, request: str) -> None:
        """Make it durable that the present revision counts instead of the file, or no more."""
        entry = entry_of(whole, self._revision.number, self._revision.digest, request)

        def job(connection: Connection) -> None:
            write_pin(connection, held)
            append(connection, entry, whole.at)

        await self.database.write(job)
        self._pin = held

    def _whole(
        self,
        reading: Reading,
        secrets: Secrets,
        before: WholeRevision | None,
        action: Action,
        actor: str,
    ) -> WholeRevision:
        """Return a revision that has no number yet."""
        settings = shown_settings(reading, secrets)
        return WholeRevision(
            number=0,
            at=self.clock.now(),
            actor=actor,
            action=action,
            file=reading.path.name if reading.path is not None else "",
            digest=digest_of(settings),
            changes=() if before is None else changes_between(before.settings, settings),
            settings=settings,
        )

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
        with suppress(ConfigRefused, HostNotRunning):  # these are told where they arise
            await self.refresh("host")
