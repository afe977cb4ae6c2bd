"""What packages keep for themselves: bytes by key, in the host's database."""

import sqlite3
from collections.abc import Sequence
from typing import Final

from attrs import define, field

from agentrail.errors import PackageError
from agentrail.storage import Database

LONGEST_KEY: Final = 256
LARGEST_VALUE: Final = 256 * 1024
MOST_KEYS: Final = 4_096
MOST_BYTES: Final = 16 * 1024 * 1024


@define(slots=True)
class PackageValues:
    """The values of one package."""

    database: Database
    package: str
    _closed: bool = field(default=False, init=False)

    def close(self) -> None:
        """Keep nothing any more: the package was unloaded, and another may have its id."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise PackageError(f"package {self.package!r} was unloaded, and keeps nothing any more")

    async def get(self, key: str) -> bytes | None:
        """Return the value of a key, None when there is none."""
        self._check_open()

        def read(connection: sqlite3.Connection) -> bytes | None:
            found = connection.execute(
                "select value from package_value where id = ? and key = ?", (self.package, key)
            ).fetchone()
            return None if found is None else bytes(found[0])

        return await self.database.read(read)

    async def put(self, key: str, value: bytes) -> None:
        """Set the value of a key; it is durable when this returns.

        Raises:
            PackageError: key or value is too long, or the package keeps too much.
        """
        self._check_open()
        if not 0 < len(key) <= LONGEST_KEY or "\0" in key:
            raise PackageError(f"a key has 1 to {LONGEST_KEY} characters, and no null among them")
        if len(value) > LARGEST_VALUE:
            raise PackageError(
                f"the value has {len(value)} bytes; at most {LARGEST_VALUE} are kept"
            )

        def write(connection: sqlite3.Connection) -> None:
            keys, size = connection.execute(
                "select count(*), coalesce(sum(length(value)), 0) from package_value"
                " where id = ? and key <> ?",
                (self.package, key),
            ).fetchone()
            if keys >= MOST_KEYS or size + len(value) > MOST_BYTES:
                message = (
                    f"package {self.package!r} keeps {keys} values of {size} bytes together; "
                    f"at most {MOST_KEYS} of {MOST_BYTES} are kept: delete some"
                )
                raise PackageError(message)
            connection.execute(
                "insert or replace into package_value values (?, ?, ?)",
                (self.package, key, bytes(value)),
            )

        await self.database.write(write)

    async def delete(self, key: str) -> None:
        """Forget a key."""
        self._check_open()
        sql = "delete from package_value where id = ? and key = ?"
        await self.database.write(lambda connection: connection.execute(sql, (self.package, key)))

    async def keys(self, prefix: str = "") -> Sequence[str]:
        """Return the keys that begin with a text, in order."""
        self._check_open()
        sql = "select key from package_value where id = ? and substr(key, 1, ?) = ? order by key"
        arguments = (self.package, len(prefix), prefix)
        return await self.database.read(
            lambda connection: [row[0] for row in connection.execute(sql, arguments)]
        )
