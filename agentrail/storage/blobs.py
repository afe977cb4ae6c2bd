"""Files by the hash of their content, each kept once a tenant, and who refers to them.

The content is in files, outside any database.  A small database beside them knows which sessions
refer to which of them: a file is written after the reference to it, and removed with the last one,
so after a crash no file is there that nobody refers to.  A session is one of its tenant and user:
what a crash left of a deleted one is not shown to whoever takes its id next.
"""

import os
import sqlite3
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Final

import anyio
from anyio import to_thread

from agentrail.clock import Clock
from agentrail.errors import PayloadTooLarge, StorageError
from agentrail.messages import AttachedFile
from agentrail.storage.sqlite import Database

_MIGRATIONS: Final = (
    """
    create table reference(
        tenant text not null,
        user text not null,
        session text not null,
        sha256 text not null,
        size integer not null,
        name text not null,
        type text not null,
        primary key (tenant, user, session, sha256)
    ) without rowid;
    create index reference_by_file on reference(tenant, sha256, size);
    """,
)

_ABANDONED: Final = 3600.0
"""Seconds after which a file that is being written is one whose process has died."""

_HEX: Final = frozenset("0123456789abcdef")


class Blobs:
    """The files of all sessions of a host; several processes may share the directory.

    Without a directory they are in a temporary one, which is removed by ``stop``.  Nothing is made
    or opened before the first file comes.
    """

    def __init__(self, directory: Path | None, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._database: Database | None = None
        self._opening = anyio.Lock()

    async def stop(self) -> None:
        """Close what is open; files may be kept again after it."""
        database, self._database = self._database, None
        if database is not None:
            await database.stop()
        temporary, self._temporary = self._temporary, None
        if temporary is not None:
            self._directory = None
            await to_thread.run_sync(temporary.cleanup)

    async def check_room(self, tenant: str, files: Sequence[AttachedFile], limit: int) -> None:
        """Return when the tenant's files and these take no more than ``limit`` bytes.

        Raises:
            PayloadTooLarge: they take more.
            StorageError: the index cannot be read.
        """
        database = await self._open(create=False)
        if database is None:
            _check(0, sum(_sizes(files).values()), limit)
        else:
            job = partial(self._check_room, tenant=tenant, sizes=_sizes(files), limit=limit)
            await database.read(job)

    async def keep(
        self,
        tenant: str,
        user: str,
        session: str,
        files: Sequence[tuple[AttachedFile, bytes]],
        limit: int,
    ) -> None:
        """Keep files for a session; they are on the disk, whole, when this returns.

        When one cannot be written, the session refers to what it did before.

        Raises:
            PayloadTooLarge: the tenant's files would take more than ``limit`` bytes.
            StorageError: the disk is full, or cannot be written to.
        """
        database = await self._open(create=True)
        entries = [file for file, _ in files]

        def refer(connection: sqlite3.Connection) -> Sequence[str]:
            self._check_room(connection, tenant, _sizes(entries), limit)
            return [
                f.sha256
                for f in entries
                if connection.execute(
                    "insert or ignore into reference(tenant, user, session, sha256, size, name,"
                    " type) values (?, ?, ?, ?, ?, ?, ?)",
                    (tenant, user, session, f.sha256, f.size, f.filename, f.mime_type),
                ).rowcount
            ]

        def settle(connection: sqlite3.Connection, undone: Sequence[str]) -> None:
            connection.executemany(
                "delete from reference"
                " where tenant = ? and user = ? and session = ? and sha256 = ?",
                [(tenant, user, session, digest) for digest in undone],
            )
            self._remove(connection, tenant, _sizes(entries))

        if database is None:
            return
        new = await database.write(refer)
        with anyio.CancelScope(shield=True):  # what is referred to has its file
            try:
                await to_thread.run_sync(self._write, tenant, files)
            except StorageError:
                # Where not even this can be written: what has no file is not counted nor listed.
                with suppress(StorageError):
                    await database.write(partial(settle, undone=new))
                raise
            # The session may have been deleted meanwhile.
            await database.write(partial(settle, undone=()))

    async def find(
        self, tenant: str, user: str, session: str, digest: str
    ) -> tuple[AttachedFile, bytes] | None:
        """Return a file that the session refers to, or None when it refers to no such file.

        Raises:
            StorageError: it is there and cannot be read.
        """
        database = await self._open(create=False)
        if database is None or not set(digest) <= _HEX:
            return None

        def look_up(connection: sqlite3.Connection) -> AttachedFile | None:
            row = connection.execute(
                "select name, type, size from reference"
                " where tenant = ? and user = ? and session = ? and sha256 = ?",
                (tenant, user, session, digest),
            ).fetchone()
            return row and AttachedFile(digest, *row)

        file = await database.read(look_up)
        if file is None:
            return None
        data = await to_thread.run_sync(self._read, tenant, digest)
        return None if data is None else (file, data)

    async def list(self, tenant: str, user: str, session: str) -> Sequence[AttachedFile]:
        """Return the files that the session refers to and that are there, by name.

        Raises:
            StorageError: the index cannot be read.
        """
        database = await self._open(create=False)
        if database is None:
            return []
        return await database.read(partial(self._listed, tenant=tenant, user=user, session=session))

    async def forget(self, tenant: str, user: str, session: str) -> None:
        """Remove the session's references, and the files that no other session refers to.

        Raises:
            StorageError: the disk cannot be written to; it may be tried again.
        """
        database = await self._open(create=False)
        if database is not None:
            await database.write(partial(self._forget, tenant=tenant, user=user, session=session))

    async def _open(self, *, create: bool) -> Database | None:
        """Return the index; None when there is none yet and none is to be made."""
        async with self._opening:
            if self._database is None:
                if self._directory is None and create:
                    self._temporary = tempfile.TemporaryDirectory(prefix="agentrail-")
                    self._directory = Path(self._temporary.name)
                if self._directory is None:
                    return None
                index = self._directory / "index.db"
                if not create and not index.exists():
                    return None
                database = Database(index, _MIGRATIONS)
                await database.start()
                await to_thread.run_sync(self._clean)
                self._database = database
        return self._database

    # What follows runs in threads.

    @property
    def _root(self) -> Path:
        if self._directory is None:
            raise StorageError("the attachments are closed")
        return self._directory

    def _path(self, tenant: str, digest: str) -> Path:
        # Tenants' names are of more characters, and longer, than file systems take.
        whose = sha256(tenant.encode()).hexdigest()[:32]
        return self._root / whose / digest[:2] / digest[2:]

    def _clean(self) -> None:
        """Remove what processes that died were writing."""
        unfinished = self._root / "unfinished"
        try:
            unfinished.mkdir(mode=0o700, exist_ok=True)
            for path in unfinished.iterdir():
                with suppress(FileNotFoundError):
                    if self._clock.now() - path.stat().st_mtime > _ABANDONED:
                        path.unlink()
        except OSError as error:
            raise _failed("opened", error) from error

    def _write(self, tenant: str, files: Sequence[tuple[AttachedFile, bytes]]) -> None:
        try:
            for file, data in files:
                path = self._path(tenant, file.sha256)
                if not path.exists():
                    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                    self._write_file(path, data)
        except OSError as error:
            raise _failed("written", error) from error

    def _write_file(self, path: Path, data: bytes) -> None:
        """Write a file as a whole or not at all, whenever the machine stops."""
        descriptor, temporary = tempfile.mkstemp(dir=self._root / "unfinished")
        try:
            with open(descriptor, "wb") as file:  # noqa: PTH123 - there is no path to open
                file.write(data)
                file.flush()
                os.fsync(descriptor)
            Path(temporary).replace(path)
        finally:
            Path(temporary).unlink(missing_ok=True)

    def _read(self, tenant: str, digest: str) -> bytes | None:
        try:
            return self._path(tenant, digest).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _failed("read", error) from error

    def _is_there(self, tenant: str, digest: str) -> bool:
        try:
            return self._path(tenant, digest).exists()
        except OSError as error:
            raise _failed("read", error) from error

    def _check_room(
        self, connection: sqlite3.Connection, tenant: str, sizes: Mapping[str, int], limit: int
    ) -> None:
        kept: dict[str, int] = dict(
            connection.execute(
                "select distinct sha256, size from reference where tenant = ?", (tenant,)
            )
        )
        new = {
            digest: size
            for digest, size in sizes.items()
            if digest not in kept or not self._is_there(tenant, digest)
        }
        if not new:  # what is there already may be referred to however full it is
            return
        added = sum(new.values())
        others = {digest: size for digest, size in kept.items() if digest not in new}
        if sum(others.values()) + added > limit:  # a process that died left some without a file
            others = {
                digest: size for digest, size in others.items() if self._is_there(tenant, digest)
            }
        _check(sum(others.values()), added, limit)

    def _listed(
        self, connection: sqlite3.Connection, tenant: str, user: str, session: str
    ) -> Sequence[AttachedFile]:
        rows = connection.execute(
            "select sha256, name, type, size from reference"
            " where tenant = ? and user = ? and session = ? order by name, sha256",
            (tenant, user, session),
        )
        files = [AttachedFile(*row) for row in rows]
        return [file for file in files if self._is_there(tenant, file.sha256)]

    def _forget(self, connection: sqlite3.Connection, tenant: str, user: str, session: str) -> None:
        rows = connection.execute(
            "delete from reference where tenant = ? and user = ? and session = ? returning sha256",
            (tenant, user, session),
        ).fetchall()
        self._remove(connection, tenant, [digest for (digest,) in rows])

    def _remove(self, connection: sqlite3.Connection, tenant: str, digests: Iterable[str]) -> None:
        """Remove those of the files that nobody refers to."""
        # They go while nobody can add a reference to them: the database is locked.
        referred = "select 1 from reference where tenant = ? and sha256 = ? limit 1"
        try:
            for digest in digests:
                if connection.execute(referred, (tenant, digest)).fetchone() is None:
                    self._path(tenant, digest).unlink(missing_ok=True)
        except OSError as error:
            raise _failed("removed", error) from error


def _sizes(files: Iterable[AttachedFile]) -> Mapping[str, int]:
    """Return the sizes of the files by their hashes, each content once."""
    return {file.sha256: file.size for file in files}


def _check(kept: int, added: int, limit: int) -> None:
    if kept + added > limit:
        message = (
            f"the attachments are {added} bytes that are new, and {kept} bytes are kept for the "
            f"tenant already; at most {limit} are kept: delete sessions that have some"
        )
        raise PayloadTooLarge(message)


def _failed(what: str, error: OSError) -> StorageError:
    return StorageError(f"an attachment could not be {what}: {error.strerror or error}")
