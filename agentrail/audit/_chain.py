"""The chain of audit entries in a SQLite file.

An entry is written in the transaction of the change that it tells of, so neither is there without
the other.  Changing, removing or moving an entry breaks the chain.  Cutting off its end, or writing
the whole of it anew, shows only against a head that was noted elsewhere before.
"""

import sqlite3
from collections.abc import Sequence
from hashlib import sha256
from typing import Final, Literal

import msgspec
from attrs import frozen

from agentrail.messages import Wire

SCHEMA: Final = """
create table audit (
    seq integer primary key,
    at real not null,
    actor text not null,
    action text not null,
    object text not null,
    outcome text not null,
    detail text not null,
    before text not null,
    after text not null,
    request text not null,
    previous text not null,
    hash text not null
);
create trigger audit_is_not_changed before update on audit
begin select raise(abort, 'an audit entry is never changed'); end;
create trigger audit_is_not_removed before delete on audit
begin select raise(abort, 'an audit entry is never removed'); end;
"""
"""A migration of the file that the chain is kept in."""

START: Final = "0" * 64
"""What stands for the hash before the first entry."""

LONGEST: Final = 2_000
"""How many characters of a text are kept."""

_COLUMNS: Final = "seq, at, actor, action, object, outcome, detail, before, after, request"
_INSERT: Final = "insert into audit values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


@frozen(slots=True, kw_only=True)
class Audit:
    """What is to be recorded of a change."""

    actor: str
    """Who: a user's id, ``application`` for what its code says, or ``host``."""
    action: str
    """What was done, as ``package.enable``."""
    object: str
    """To what, as ``package:weather@1.2.0``."""
    outcome: Literal["ok", "denied", "failed"] = "ok"
    detail: str = ""
    """Why, in the words of who did it or of the error."""
    before: str = ""
    """What it was, or the hash of it; never a secret."""
    after: str = ""
    """What it is now, or the hash of it."""
    request: str = ""
    """The id of the request that asked for it."""


class AuditEntry(Wire, frozen=True):
    """An entry of the chain."""

    seq: int
    """Its number, from 1, without a gap."""
    at: float
    """When, in seconds since 1970."""
    actor: str
    action: str
    object: str
    outcome: str
    detail: str
    before: str
    after: str
    request: str
    previous: str
    """The hash of the entry before it."""
    hash: str
    """Of everything above, as lower-case hexadecimal SHA-256."""


@frozen(slots=True)
class AuditFault:
    """Where the chain is broken."""

    seq: int
    message: str


@frozen(slots=True)
class AuditReport:
    """What was found in a chain."""

    entries: int
    head: str
    """The hash of the last entry; note it elsewhere to prove later that none was cut off."""
    faults: tuple[AuditFault, ...]


def append(connection: sqlite3.Connection, audit: Audit, at: float) -> AuditEntry:
    """Write an entry in the transaction under way, and return it."""
    last = connection.execute("select seq, hash from audit order by seq desc limit 1").fetchone()
    seq, previous = (last[0] + 1, last[1]) if last else (1, START)
    texts = (
        audit.actor,
        audit.action,
        audit.object,
        audit.outcome,
        audit.detail,
        audit.before,
        audit.after,
        audit.request,
    )
    row = (seq, at, *map(_plain, texts))
    digest = _hash(row, previous)
    connection.execute(_INSERT, (*row, previous, digest))
    return _entry((*row, previous, digest))


def entries(
    connection: sqlite3.Connection,
    *,
    before: int | None = None,
    limit: int = 100,
    object_prefix: str = "",
) -> Sequence[AuditEntry]:
    """Return the newest entries first, those with numbers under ``before``."""
    rows = connection.execute(
        f"select {_COLUMNS}, previous, hash from audit"  # noqa: S608 - columns of ours
        " where seq < ? and substr(object, 1, ?) = ? order by seq desc limit ?",
        (1 << 62 if before is None else before, len(object_prefix), object_prefix, limit),
    )
    return [_entry(row) for row in rows]


def verify(connection: sqlite3.Connection, head: tuple[int, str] | None = None) -> AuditReport:
    """Return whether the chain is whole.

    ``head`` is the number and the hash of an entry, as they were noted elsewhere before.
    """
    faults: list[AuditFault] = []
    expected, previous = 1, START
    noted = "" if head is None else f"there is no entry {head[0]}, which was noted as the head"
    rows = connection.execute(
        f"select {_COLUMNS}, previous, hash from audit order by seq"  # noqa: S608 - as above
    )
    for *row, chained, digest in rows:
        seq = row[0]
        if seq != expected:
            faults.append(AuditFault(seq, f"entry {expected} is missing before it"))
        elif chained != previous:
            faults.append(AuditFault(seq, "it does not follow from the entry before it"))
        if _hash(tuple(row), chained) != digest:
            faults.append(AuditFault(seq, "it is not what was written"))
        if head is not None and seq == head[0]:
            noted = "" if digest == head[1] else "it is another than the one noted as the head"
        expected, previous = seq + 1, digest
    if noted and head is not None:
        faults.append(AuditFault(head[0], noted))
    return AuditReport(expected - 1, previous, tuple(faults))


def _entry(row: tuple[object, ...]) -> AuditEntry:
    fields = dict(zip(AuditEntry.__struct_fields__, row, strict=True))
    return msgspec.convert(fields, AuditEntry)


def _hash(row: tuple[object, ...], previous: str) -> str:
    return sha256(previous.encode() + msgspec.json.encode(row)).hexdigest()


def _plain(text: str) -> str:
    """Return a text without what could forge a line of a log or turn its direction."""
    cut = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in cut)
