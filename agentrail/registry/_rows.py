"""What is kept of packages over a restart, and how it is read and written; one transaction each."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

import msgspec
from attrs import asdict, evolve, frozen

from agentrail.messages import Wire
from agentrail.package import Permissions
from agentrail.registry._machine import State

Source = Literal["upload", "directory"]
"""Where a version came from."""

SCHEMA: Final = """
create table package (
    id text primary key,
    active text,
    previous text,
    enabled integer,
    config text not null default '{}',
    revision integer not null default 1
) without rowid;
create table package_version (
    id text not null,
    version text not null,
    digest text not null,
    archive text not null,
    source text not null,
    state text not null,
    granted text not null,
    received_at real not null,
    received_by text not null,
    primary key (id, version)
) without rowid;
create table package_value (
    id text not null, key text not null, value blob not null, primary key (id, key)
) without rowid;
create table package_event (
    seq integer primary key autoincrement,
    at real not null,
    id text not null,
    version text not null,
    type text not null,
    success integer not null,
    message text not null,
    error text not null,
    metadata text not null
);
create index package_event_of on package_event (id, seq);
"""
"""A migration of the file that the registry is kept in."""

EVENTS_KEPT: Final = 10_000
"""How many events the history has; the oldest go."""


@frozen(slots=True, kw_only=True)
class PackageRow:
    """What is to be true of a package."""

    id: str
    active: str | None = None
    """The version that is used when the package is on."""
    previous: str | None = None
    """The version that was used before it."""
    enabled: bool | None = None
    """What an administrator said; None: what its manifest says."""
    config: str = "{}"
    """What an administrator set of its configuration, as JSON."""
    revision: int = 0
    """How often it was changed."""

    @property
    def next(self) -> "PackageRow":
        """The same, to be changed."""
        return evolve(self, revision=self.revision + 1)


@frozen(slots=True, kw_only=True)
class VersionRow:
    """What is kept of a version of a package."""

    id: str
    version: str
    digest: str
    archive: str
    """The SHA-256 of what was uploaded; empty for a directory."""
    source: Source
    state: State
    granted: Permissions
    received_at: float
    received_by: str


class PackageEvent(Wire, frozen=True):
    """Something that happened to a package."""

    seq: int
    at: float
    """When, in seconds since 1970."""
    plugin: str
    version: str
    type: str
    """As ``load``, ``unload``, ``enable``, ``disable``, ``execute``, ``error``."""
    success: bool
    message: str
    error: str
    metadata: Mapping[str, object]


def read_packages(connection: sqlite3.Connection) -> list[PackageRow]:
    """Return all packages, in the order of their ids."""
    rows = connection.execute(
        "select id, active, previous, enabled, config, revision from package order by id"
    )
    return [
        PackageRow(
            id=row[0],
            active=row[1],
            previous=row[2],
            enabled=None if row[3] is None else bool(row[3]),
            config=row[4],
            revision=row[5],
        )
        for row in rows
    ]


def read_versions(connection: sqlite3.Connection) -> list[VersionRow]:
    """Return all versions of all packages, deleted ones too."""
    rows = connection.execute(
        "select id, version, digest, archive, source, state, granted, received_at, received_by"
        " from package_version order by id, received_at"
    )
    return [
        VersionRow(
            id=row[0],
            version=row[1],
            digest=row[2],
            archive=row[3],
            source=row[4],
            state=State(row[5]),
            granted=msgspec.convert(msgspec.json.decode(row[6]), Permissions),
            received_at=row[7],
            received_by=row[8],
        )
        for row in rows
    ]


def write_package(connection: sqlite3.Connection, row: PackageRow) -> None:
    """Set what is to be true of a package."""
    connection.execute(
        "insert into package values (?, ?, ?, ?, ?, ?) on conflict (id) do update set"
        " active = excluded.active, previous = excluded.previous, enabled = excluded.enabled,"
        " config = excluded.config, revision = excluded.revision",
        (row.id, row.active, row.previous, row.enabled, row.config, row.revision),
    )


def write_version(connection: sqlite3.Connection, row: VersionRow) -> None:
    """Set what is kept of a version."""
    connection.execute(
        "insert or replace into package_version values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            row.id,
            row.version,
            row.digest,
            row.archive,
            row.source,
            str(row.state),
            msgspec.json.encode(asdict(row.granted)).decode(),
            row.received_at,
            row.received_by,
        ),
    )


def forget_values(connection: sqlite3.Connection, package: str) -> None:
    """Erase what a package kept for itself."""
    connection.execute("delete from package_value where id = ?", (package,))


def add_events(
    connection: sqlite3.Connection, events: Iterable[PackageEvent]
) -> Sequence[PackageEvent]:
    """Add events to the history, and return them with their numbers."""
    numbered: list[PackageEvent] = []
    for event in events:
        cursor = connection.execute(
            "insert into package_event (at, id, version, type, success, message, error, metadata)"
            " values (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                event.at,
                event.plugin,
                event.version,
                event.type,
                event.success,
                event.message,
                event.error,
                msgspec.json.encode(event.metadata).decode(),
            ),
        )
        numbered.append(msgspec.structs.replace(event, seq=cursor.lastrowid or 0))
    if numbered:
        connection.execute(
            "delete from package_event where seq <= ?", (numbered[-1].seq - EVENTS_KEPT,)
        )
    return numbered


def read_events(
    connection: sqlite3.Connection,
    *,
    package: str | None = None,
    kind: str | None = None,
    after: int = 0,
    limit: int = 100,
) -> list[PackageEvent]:
    """Return the last events with numbers over ``after``, the oldest of them first."""
    rows = connection.execute(
        "select seq, at, id, version, type, success, message, error, metadata from package_event"
        " where seq > ? and (? is null or id = ?) and (? is null or type = ?)"
        " order by seq desc limit ?",
        (after, package, package, kind, kind, limit),
    )
    return [
        PackageEvent(
            seq=row[0],
            at=row[1],
            plugin=row[2],
            version=row[3],
            type=row[4],
            success=bool(row[5]),
            message=row[6],
            error=row[7],
            metadata=msgspec.json.decode(row[8]),
        )
        for row in rows
    ][::-1]
