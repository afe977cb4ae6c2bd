"""Reading declared tables of a SQLite file, and nothing else."""

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Final
from urllib.parse import quote

import anyio.to_thread

from agentrail.errors import PackageError, PermissionDenied

Rows = Sequence[Mapping[str, object]]

SECONDS: Final = 2.0
"""How long a query may take."""

MOST_ROWS: Final = 10_000
"""How many rows it may return."""

MOST_BYTES: Final = 16 * 1024 * 1024
"""How long one value, and the texts and bytes of all rows together, may be."""

_LONGEST_SQL: Final = 64 * 1024

_STEPS: Final = 10_000
"""How many instructions of SQLite's machine lie between two looks at the clock."""

_NAMES: Final = "select name from sqlite_master"
_OF_SQLITE: Final = ("sqlite_", "pragma_")
_HARMLESS: Final = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_RECURSIVE)
_REFUSED: Final = frozenset({"load_extension", "readfile", "writefile", "edit", "fts3_tokenizer"})


async def read_tables(
    path: Path, tables: Sequence[str], sql: str, parameters: Sequence[object] = ()
) -> Rows:
    """Return the rows of a query that reads only ``tables``.

    A query that is cancelled goes on in its thread for as long as it may take.

    Raises:
        PermissionDenied: it does something else.
        PackageError: it is no query, took too long, or has too much to say.
    """
    return await anyio.to_thread.run_sync(
        _read, path, tables, sql, parameters, abandon_on_cancel=True
    )


def _read(path: Path, tables: Sequence[str], sql: str, parameters: Sequence[object]) -> Rows:
    denied: list[str] = []
    late = monotonic() + SECONDS
    uri = f"file:{quote(str(path.resolve()))}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            connection.execute("pragma query_only = on")
            connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_BYTES)
            connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, _LONGEST_SQL)
            there = {str(name).lower() for (name,) in connection.execute(_NAMES)}
            granted = {name.lower() for name in tables}
            connection.set_authorizer(_authorizer(granted, there, denied))
            connection.set_progress_handler(lambda: monotonic() > late, _STEPS)
            cursor = connection.execute(sql, tuple(parameters))
            columns = [column[0] for column in cursor.description or ()]
            twice = {name for name in columns if columns.count(name) > 1}
            if twice:
                message = f"two columns are named {twice.pop()!r}: give one another name with AS"
                raise PackageError(message)
            return _mapped(columns, islice(cursor, MOST_ROWS))
    # A second statement is a warning, half a character a ValueError.
    except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError) as error:
        if denied:
            message = f"a query may read {', '.join(tables)}, and not {denied[0]}"
            raise PermissionDenied(message) from error
        if monotonic() > late:
            raise PackageError(f"a query took longer than {SECONDS:g} s") from error
        raise PackageError(f"a query failed: {error}") from error


def _mapped(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Rows:
    found: list[Mapping[str, object]] = []
    size = 0
    for row in rows:
        size += sum(len(value) for value in row if isinstance(value, str | bytes))
        if size > MOST_BYTES:
            raise PackageError(f"a query returned more than {MOST_BYTES} characters and bytes")
        found.append(dict(zip(columns, row, strict=True)))
    return found


def _authorizer(
    granted: set[str], there: set[str], denied: list[str]
) -> Callable[[int, str | None, str | None, str | None, str | None], int]:
    def allows(
        action: int, one: str | None, two: str | None, _database: str | None, _by: str | None
    ) -> int:
        if action in _HARMLESS:
            return sqlite3.SQLITE_OK
        name = (one or "").lower()
        # No column is named where a part of the query itself, as of WITH, is only counted.
        own = not two and name not in there and not name.startswith(_OF_SQLITE)
        if action == sqlite3.SQLITE_READ and (own or name in granted):
            return sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_FUNCTION and (two or "").lower() not in _REFUSED:
            return sqlite3.SQLITE_OK
        denied.append(one or two or f"action {action}")
        return sqlite3.SQLITE_DENY

    return allows
