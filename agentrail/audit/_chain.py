"""The chain of audit entries in a SQLite file.

An entry is written in the transaction of the change that it tells of, so neither is there without
the other.  Changing, removing or moving an entry breaks the chain.  Cutting off its end, or writing
the whole of it anew, shows only against a head that was noted elsewhere before.
"""

import math
import sqlite3
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from typing import Any, Final, Literal

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

_COLUMNS: Final = (
    "seq, at, actor, action, object, outcome, detail, before, after, request, previous, hash"
)
_TYPES: Final = (int, float, *[str] * 10)
"""Of these columns; SQLite keeps whatever is written, and JSON shows bytes as a text."""
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
    newest = "select seq, hash from audit order by seq desc limit 1"
    with _whatever_it_is(connection):
        last = connection.execute(newest).fetchone()
    seq, previous = (last[0] + 1, _hash_in(last[1])) if last else (1, START)
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
    """Return the newest entries first, those with numbers under ``before``.

    A value of another type than was written, of which ``verify`` tells, is shown as a text.
    """
    with _whatever_it_is(connection):
        rows = connection.execute(
            f"select {_COLUMNS} from audit"  # noqa: S608 - columns of ours
            " where seq < ? and substr(cast(object as text), 1, ?) = ? order by seq desc limit ?",
            (1 << 62 if before is None else before, len(object_prefix), object_prefix, limit),
        ).fetchall()
    return [_entry(tuple(map(_shown, row, _TYPES))) for row in rows]


def verify(connection: sqlite3.Connection, head: tuple[int, str] | None = None) -> AuditReport:
    """Return whether the chain is whole.

    ``head`` is the number and the hash of an entry, as they were noted elsewhere before.
    """
    faults: list[AuditFault] = []
    expected, previous = 1, START
    noted = "" if head is None else f"there is no entry {head[0]}, which was noted as the head"
    with _whatever_it_is(connection):
        for row in connection.execute(
            f"select {_COLUMNS} from audit order by seq"  # noqa: S608 - as above
        ):
            seq = row[0] if isinstance(row[0], int) else expected
            digest = _hash_in(row[-1])
            faults.extend(AuditFault(seq, fault) for fault in _faults(row, expected, previous))
            if head is not None and seq == head[0]:
                noted = "" if digest == head[1] else "it is another than the one noted as the head"
            expected, previous = seq + 1, digest
    if noted and head is not None:
        faults.append(AuditFault(head[0], noted))
    return AuditReport(expected - 1, previous, tuple(faults))


def _faults(row: tuple[Any, ...], expected: int, previous: str) -> Iterator[str]:
    """Yield what is wrong with a row whose number and the hash before it are due to be these."""
    *told, chained, digest = row
    if row[0] != expected:
        yield f"entry {expected} is missing before it"
    elif chained != previous:
        yield "it does not follow from the entry before it"
    if tuple(map(type, row)) != _TYPES:
        yield "it has a value of another type than was written"
    elif _hash(tuple(told), chained) != digest:
        yield "it is not what was written"


@contextmanager
def _whatever_it_is(connection: sqlite3.Connection) -> Generator[None]:
    """Let texts be read that are none, as the bytes that they are; else reading them fails."""
    before = connection.text_factory
    connection.text_factory = _text
    try:
        yield
    finally:
        connection.text_factory = before


def _text(data: bytes) -> str | bytes:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _hash_in(value: object) -> str:
    return value if isinstance(value, str) else ""


def _shown(value: object, kind: type) -> object:
    """Return a value of a row as one of its kind, whatever it is."""
    if isinstance(value, kind) and value not in {math.inf, -math.inf}:  # for JSON has no such
        return value
    return _plain(repr(value)) if kind is str else kind(0)


def _entry(row: tuple[object, ...]) -> AuditEntry:
    fields = dict(zip(AuditEntry.__struct_fields__, row, strict=True))
    return msgspec.convert(fields, AuditEntry)


def _hash(row: tuple[object, ...], previous: str) -> str:
    return sha256(previous.encode() + msgspec.json.encode(row)).hexdigest()


def _plain(text: str) -> str:
    """Return a text without what could forge a line of a log or turn its direction."""
    cut = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in cut)
