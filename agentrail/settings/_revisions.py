"""The settings that a host went by, one revision after the other, in a SQLite file.

What was in the file of settings is sealed, for it may hold what nobody else is to read; what is
shown of a revision has no secrets.
"""

import sqlite3
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

import msgspec
from attrs import frozen

from agentrail.audit import Audit
from agentrail.errors import ConfigError
from agentrail.messages import Wire
from agentrail.secret import KeyRing, sealed_with
from agentrail.settings._shown import ShownSetting
from agentrail.storage import read_only

SCHEMA: Final = """
create table config_revision (
    number integer primary key,
    at real not null,
    actor text not null,
    action text not null,
    file text not null,
    digest text not null,
    changes text not null,
    settings text not null,
    sealed blob not null
);
create table config_pin (
    id integer primary key check (id = 1),
    revision integer not null,
    file_digest text not null
);
"""
"""A migration of the file that revisions are kept in; the audit log is in it too."""

KEPT: Final = 50
"""How many revisions are kept; the oldest go."""

Action = Literal["start", "reload", "rollback"]


@frozen(slots=True)
class Asked:
    """Who asks for what."""

    action: Action
    actor: str
    request: str = ""
    """The id of the request."""


_COLUMNS: Final = "number, at, actor, action, file, digest, changes"
_decode_settings = msgspec.json.Decoder(tuple[ShownSetting, ...])


class SettingChange(Wire, frozen=True, omit_defaults=False):
    """A setting that is another than in the revision before."""

    path: str
    before: object
    """Null where it was not there; secrets are hidden, here and in ``after``."""
    after: object


_decode_changes = msgspec.json.Decoder(tuple[SettingChange, ...])


class Revision(Wire, frozen=True, kw_only=True, omit_defaults=False):
    """Settings that a host went by."""

    number: int
    """From 1, without a gap."""
    at: float
    """Since when, in seconds since 1970."""
    actor: str
    """Who asked for them; ``host`` when the file had changed."""
    action: Action
    file: str
    """The name of the file; empty when there was none."""
    digest: str
    """The SHA-256 of the settings, as hexadecimal digits."""
    changes: Sequence[SettingChange] = ()


class WholeRevision(Revision, frozen=True, kw_only=True):
    """A revision with all its settings."""

    settings: Sequence[ShownSetting]


@frozen(slots=True)
class Pin:
    """A revision that somebody went back to, until the file says something else."""

    revision: int
    file_digest: str
    """The SHA-256 of the file that it is used instead of, as hexadecimal digits."""


def changes_between(
    before: Sequence[ShownSetting], after: Sequence[ShownSetting]
) -> Sequence[SettingChange]:
    """Return which settings are others."""
    old, new = ({each.path: each.value for each in some} for some in (before, after))
    return [
        SettingChange(path, old.get(path), new.get(path))
        for path in dict.fromkeys([*old, *new])
        if old.get(path) != new.get(path)
    ]


def entry_of(whole: WholeRevision, number: int, before: str, request: str) -> Audit:
    """Return the audit entry of what was asked for, and led to a revision.

    ``before`` is the digest of the settings that were in force.
    """
    return Audit(
        actor=whole.actor,
        action=f"config.{whole.action}",
        object=f"config:{number}",
        detail=", ".join(change.path for change in whole.changes),
        before=before,
        after=whole.digest,
        request=request,
    )


def refusal_of(asked: Asked, before: str, why: str) -> Audit:
    """Return the audit entry of what was asked for, and led to none."""
    return Audit(
        actor=asked.actor,
        action=f"config.{asked.action}",
        object="config",
        outcome="failed",
        detail=why,
        before=before,
        request=asked.request,
    )


def add_revision(
    connection: sqlite3.Connection, whole: WholeRevision, text: bytes, ring: KeyRing
) -> WholeRevision:
    """Write a revision in the transaction under way, and return it with its number."""
    (last,) = connection.execute("select coalesce(max(number), 0) from config_revision").fetchone()
    made = msgspec.structs.replace(whole, number=last + 1)
    connection.execute(
        "insert into config_revision values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            made.number,
            made.at,
            made.actor,
            made.action,
            made.file,
            made.digest,
            msgspec.json.encode(made.changes).decode(),
            msgspec.json.encode(made.settings).decode(),
            ring.seal(text, _about(made.number)),
        ),
    )
    connection.execute(
        "delete from config_revision where number <= ?"
        " and number not in (select revision from config_pin)",
        (made.number - KEPT,),
    )
    return made


def revisions(
    connection: sqlite3.Connection, *, before: int | None = None, limit: int = KEPT
) -> Sequence[Revision]:
    """Return the newest revisions first, those with numbers under ``before``."""
    rows = connection.execute(
        f"select {_COLUMNS} from config_revision"  # noqa: S608 - columns of ours
        " where number < ? order by number desc limit ?",
        (1 << 62 if before is None else before, limit),
    ).fetchall()
    return [_revision(row) for row in rows]


def revision(connection: sqlite3.Connection, number: int) -> WholeRevision | None:
    """Return a revision, or None when there is none of that number."""
    row = connection.execute(
        f"select {_COLUMNS}, settings from config_revision where number = ?",  # noqa: S608 - as above
        (number,),
    ).fetchone()
    if row is None:
        return None
    told = msgspec.structs.asdict(_revision(row[:-1]))
    return WholeRevision(**told, settings=_decode_settings.decode(row[-1]))


def newest(connection: sqlite3.Connection) -> WholeRevision | None:
    """Return the newest revision, or None when there is none."""
    found = revisions(connection, limit=1)
    return revision(connection, found[0].number) if found else None


def sealed_text(connection: sqlite3.Connection, number: int) -> tuple[str, bytes] | None:
    """Return the file's name and its sealed content of a revision; None when there is none."""
    found: tuple[str, bytes] | None = connection.execute(
        "select file, sealed from config_revision where number = ?", (number,)
    ).fetchone()
    return found


def opened(number: int, sealed: bytes, ring: KeyRing) -> bytes:
    """Return the content of a revision's file.

    Raises:
        ConfigError: it was sealed with another key, or is damaged.
    """
    return ring.open(sealed, _about(number))


def seal_anew(connection: sqlite3.Connection, ring: KeyRing) -> None:
    """Seal the content of revisions with the first key of a ring; leave what it cannot open."""
    rows = connection.execute("select number, sealed from config_revision").fetchall()
    for number, sealed in rows:
        with suppress(ConfigError):
            again = ring.seal(opened(number, sealed, ring), _about(number))
            connection.execute(
                "update config_revision set sealed = ? where number = ?", (again, number)
            )


def unopened(connection: sqlite3.Connection, keys: Collection[str]) -> int:
    """Return how many revisions are sealed with none of these keys, which are told by their ids."""
    rows = connection.execute("select sealed from config_revision").fetchall()
    return sum(sealed_with(sealed) not in keys for (sealed,) in rows)


def mark_anew(
    connection: sqlite3.Connection, number: int, settings: Sequence[ShownSetting], digest: str
) -> None:
    """Write how a revision is shown, in the transaction under way."""
    connection.execute(
        "update config_revision set digest = ?, settings = ? where number = ?",
        (digest, msgspec.json.encode(settings).decode(), number),
    )


def pin(connection: sqlite3.Connection) -> Pin | None:
    """Return which revision is used instead of the file; None when none is."""
    row = connection.execute("select revision, file_digest from config_pin").fetchone()
    return None if row is None else Pin(*row)


def write_pin(connection: sqlite3.Connection, pin: Pin | None) -> None:
    """Write which revision is used instead of the file, in the transaction under way."""
    connection.execute("delete from config_pin")
    if pin is not None:
        connection.execute(
            "insert into config_pin values (1, ?, ?)", (pin.revision, pin.file_digest)
        )


def pinned(database: Path) -> tuple[Pin, str, bytes] | None:
    """Return the revision that is used instead of the file, its file's name and sealed content.

    Raises:
        StorageError: the database cannot be read.
    """
    if not database.exists():
        return None
    with read_only(database) as connection:
        tables = "select 1 from sqlite_master where name = 'config_pin'"
        found = pin(connection) if connection.execute(tables).fetchone() else None
        kept = None if found is None else sealed_text(connection, found.revision)
    return None if found is None or kept is None else (found, *kept)


def _about(number: int) -> str:
    return f"config revision {number}"


def _revision(row: tuple[object, ...]) -> Revision:
    *told, changes = row
    fields = dict(zip(Revision.__struct_fields__, told, strict=False))
    made = msgspec.convert(fields, Revision)
    return msgspec.structs.replace(made, changes=_decode_changes.decode(str(changes)))
