"""Secrets that are kept sealed in a SQLite file."""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from attrs import define

from agentrail.audit import Audit, append
from agentrail.clock import Clock
from agentrail.errors import ConfigError, RequestError, SecretNotFound, StorageError
from agentrail.messages import Wire
from agentrail.secret._files import LARGEST, sync
from agentrail.secret._keys import (
    KEY_VARIABLE,
    KeyRing,
    read_keys,
    sealed_with,
    with_new_key,
    write_keys,
)
from agentrail.secret._names import check_name
from agentrail.storage import Database

SCHEMA: Final = """
create table secret (
    name text primary key not null,
    sealed blob not null,
    changed_at real not null,
    changed_by text not null
) without rowid;
"""
"""A migration of the file that the secrets are kept in; the audit log is in it too."""


class SecretInfo(Wire, frozen=True, kw_only=True):
    """A sealed secret, as it is shown."""

    name: str
    changed_at: float
    """When it was set, in seconds since 1970."""
    changed_by: str
    key: str
    """The id of the key that it is sealed with; empty when it is damaged."""


@define(slots=True, eq=False)
class Vault:
    """The sealed secrets of a host."""

    database: Database
    clock: Clock
    keys: Callable[[], KeyRing]
    """Returns the ring that is in force at that moment, and makes one where there is none.

    It is called in a thread, while nobody else can write to the file.
    """

    async def list(self) -> Sequence[SecretInfo]:
        """Return what is kept, by name."""
        return await self.database.read(_all)

    async def set(self, name: str, value: str, by: str, *, request: str = "") -> None:
        """Keep a value, in the place of the one before; ``by`` is who asks for it.

        Raises:
            InvalidId: the name is none.
            RequestError: the value is empty, longer than 64 KiB, or not a text of UTF-8.
            ConfigError: the keys cannot be read.
        """
        check_name(name)
        data = _encoded(value)
        if data is None or b"\0" in data or not 0 < len(data) <= LARGEST:
            raise RequestError(
                f"the value of a secret is a text of 1 to {LARGEST} bytes in UTF-8, without NUL"
            )
        await self.database.write(partial(self._set, name=name, data=data, by=by, request=request))

    async def delete(self, name: str, by: str, *, request: str = "") -> None:
        """Keep a secret no more.

        Raises:
            SecretNotFound: there is none of that name.
        """
        await self.database.write(partial(self._delete, name=name, by=by, request=request))

    async def rotate(self, ring: KeyRing, by: str, *, request: str = "") -> int:
        """Seal every value anew with the first key of a ring; return how many there are.

        Raises:
            ConfigError: one cannot be opened with the ring; none was changed.
        """
        at = self.clock.now()
        return await self.database.write(partial(_rotate, ring=ring, by=by, request=request, at=at))

    # What follows runs in the thread that writes: a value is sealed with a key that nobody drops
    # between that and the commit.

    def _set(
        self, connection: sqlite3.Connection, name: str, data: bytes, by: str, request: str
    ) -> None:
        now = self.clock.now()
        connection.execute(
            "insert or replace into secret values (?, ?, ?, ?)",
            (name, self.keys().seal(data, about(name)), now, by),
        )
        append(connection, _audit("set", name, by, request), now)

    def _delete(self, connection: sqlite3.Connection, name: str, by: str, request: str) -> None:
        remove = "delete from secret where name = ?"
        if _encoded(name) is None or not connection.execute(remove, (name,)).rowcount:
            raise SecretNotFound(f"there is no sealed secret {name[:64]!r}")
        append(connection, _audit("delete", name, by, request), self.clock.now())


SealAnew = Callable[[sqlite3.Connection, KeyRing], object]
"""Seals what else is sealed in a file with the first key of a ring, in the transaction under way.
"""


def _nothing_else(_connection: sqlite3.Connection, _ring: KeyRing) -> None:
    pass


async def rotate_keys(
    vault: Vault, file: Path, by: str, *, request: str = "", also: SealAnew = _nothing_else
) -> int:
    """Seal every value with a new key, and drop the keys before it from a key file.

    Returns how many values there are.  Whenever it is ended, the keys in the file open all of
    them; what it left undone is done by the next one.  A copy of the database from before can be
    opened only with a copy of the key file from before.

    Raises:
        ConfigError: a value cannot be opened, or the keys are not in that file.
        StorageError: the file or the database could not be written.
    """
    count = await vault.database.write(
        partial(_renew, vault=vault, file=file, by=by, request=request, also=also)
    )
    await vault.database.write(partial(_drop_unused, file=file))
    return count


def sealed_in(connection: sqlite3.Connection) -> Mapping[str, bytes]:
    """Return what is sealed in a file, by name; nothing when it has no secrets."""
    if not connection.execute("select 1 from sqlite_master where name = 'secret'").fetchone():
        return {}
    return dict(connection.execute("select name, cast(sealed as blob) from secret order by name"))


def about(name: str) -> str:
    """Return what a value is sealed as, so that no other can be put in its place."""
    return f"secret:{name}"


def _rotate(connection: sqlite3.Connection, ring: KeyRing, by: str, request: str, at: float) -> int:
    rows = sealed_in(connection)
    connection.executemany(
        "update secret set sealed = ? where name = ?",
        [
            (ring.seal(ring.open(sealed, about(name)), about(name)), name)
            for name, sealed in rows.items()
        ],
    )
    detail = f"{len(rows)} sealed with key {ring.ids[0]}"
    append(connection, _audit("rotate", "*", by, request, detail), at)
    return len(rows)


def _renew(
    connection: sqlite3.Connection,
    vault: Vault,
    file: Path,
    by: str,
    request: str,
    also: SealAnew,
) -> int:
    """Rotate to a new key, which is in the file before anything is sealed with it."""
    ring = vault.keys()
    if read_keys({}, file) != ring:
        raise ConfigError(
            f"the keys of this host are not those of {str(file)!r}, for {KEY_VARIABLE} counts "
            "before it: put a new key first there, and the others behind it"
        )
    for name, sealed in sealed_in(connection).items():  # or a key would be made for nothing
        ring.open(sealed, about(name))
    ring = with_new_key(ring)
    write_keys(file, ring)
    also(connection, ring)
    return _rotate(connection, ring, by, request, vault.clock.now())


def _all(connection: sqlite3.Connection) -> Sequence[SecretInfo]:
    rows = connection.execute(
        "select name, changed_at, changed_by, cast(sealed as blob) from secret order by name"
    )
    return [
        SecretInfo(name=name, changed_at=at, changed_by=by, key=sealed_with(sealed))
        for name, at, by, sealed in rows
    ]


def _drop_unused(connection: sqlite3.Connection, file: Path) -> None:
    """Drop from a key file what is not the first and seals nothing."""
    _sync(connection)
    ring = read_keys({}, file)
    if ring is not None:
        needed = {ring.ids[0], *map(sealed_with, sealed_in(connection).values())}
        pairs = zip(ring.ids, ring.keys, strict=True)
        write_keys(file, KeyRing(tuple(key for id_, key in pairs if id_ in needed)))


def _sync(connection: sqlite3.Connection) -> None:
    """Have on the disk what was committed: a power cut might take it back else, not the key."""
    _, _, path = connection.execute("pragma database_list").fetchone()
    try:
        log = Path(f"{path}-wal")
        if log.exists():  # a file system without shared memory has none
            sync(log)
        sync(log.parent)
    except OSError as error:
        message = f"the database {path!r} cannot be synced: {error.strerror or error}"
        raise StorageError(message) from error


def _encoded(value: str) -> bytes | None:
    try:
        return value.encode()
    except UnicodeEncodeError:  # it has the value in it, and is not passed on
        return None


def _audit(action: str, name: str, by: str, request: str, detail: str = "") -> Audit:
    return Audit(
        actor=by, action=f"secret.{action}", object=about(name), detail=detail, request=request
    )
