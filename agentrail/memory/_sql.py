"""What is done with the tables of the memory, in one transaction each."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from math import log1p
from typing import Final

from attrs import frozen

from agentrail.errors import RequestError
from agentrail.memory._terms import names, phrases, terms
from agentrail.messages import Wire
from agentrail.requests import Principal

MIGRATIONS: Final = (
    """
create table owner (
    key integer primary key autoincrement,
    tenant text not null, user text not null, unique (tenant, user)
);
-- A turn without a text is one whose text is still to be read.
create table turn (
    key integer primary key autoincrement,
    id text not null unique,
    owner integer not null references owner,
    session text not null,
    at real not null,
    asked text,
    answered text,
    embedded integer not null default 0
);
create index turn_of_owner on turn (owner);
create index turn_of_session on turn (session);
create index turn_to_embed on turn (key) where embedded = 0 and asked is not null;
create table forgotten (id text primary key) without rowid;
-- The owner is a word too: the index then reads nobody else's rows.
create virtual table words using fts5 (
    owner, said, tokenize = "porter unicode61 remove_diacritics 0 categories 'L* N* Co M*'"
);
insert into words (words, rank) values ('rank', 'bm25(0.0, 1.0)');
-- The numbers rise in the order of the commits, so that a reader knows what is new to it.
create table vector (
    seq integer primary key autoincrement,
    key integer not null unique references turn,
    owner integer not null,
    value blob not null
);
create index vector_of_owner on vector (owner, seq);
create table model (name text not null);
""",
)

LOOKED_FOR: Final = 32
"""How many different words of a query are looked for."""

COMMON: Final = (5, 2_000)
"""A word is common when a fifth of the user's turns has it; these are the bounds of the fifth."""

_HEAD: Final = 20 * COMMON[1] // 4
"""Turns that are counted to know what a fifth is."""

TOLD: Final = 5
"""How many of the turns that were forgotten are told."""


class Remembered(Wire):
    """A turn of the memory."""

    turn_id: str
    session_id: str
    at: float
    """When it was taken in, in seconds since 1970."""
    asked: str
    answered: str
    score: float = 0.0
    """How well it fits a query; good for comparing within one search."""


class Forgotten(Wire, omit_defaults=False):
    """What is not remembered any more."""

    count: int
    """How many turns."""
    turns: tuple[Remembered, ...] = ()
    """The newest five of them, for whoever asked to see what it was."""


def prepare(connection: sqlite3.Connection, model: str) -> int:
    """Return how many turns are to be embedded; those that another model embedded, anew.

    What is deleted from now on is overwritten in the file.
    """
    connection.execute("pragma secure_delete = 1")
    row = connection.execute("select name from model").fetchone()
    if model and row != (model,):
        connection.execute("delete from model")
        connection.execute("insert into model values (?)", (model,))
        connection.execute("delete from vector")
        connection.execute("update turn set embedded = 0 where embedded = 1")
    (count,) = connection.execute(
        "select count(*) from turn where embedded = 0 and asked is not null"
    ).fetchone()
    return int(count)


def begin(
    connection: sqlite3.Connection, turn_id: str, who: Principal, session_id: str, at: float
) -> int | None:
    """Return the key of a turn whose text is wanted; None when it was read, or is forgotten."""
    if connection.execute("select 1 from forgotten where id = ?", (turn_id,)).fetchone():
        return None
    owner = owner_of(connection, who)
    if owner is None:
        values = (who.tenant_id, who.user_id)
        owner = connection.execute(
            "insert into owner (tenant, user) values (?, ?)", values
        ).lastrowid
    connection.execute(
        "insert or ignore into turn (id, owner, session, at) values (?, ?, ?, ?)",
        (turn_id, owner, session_id, at),
    )
    row = connection.execute(
        "select key from turn where id = ? and asked is null", (turn_id,)
    ).fetchone()
    return None if row is None else int(row[0])


def fill(connection: sqlite3.Connection, key: int, asked: str, answered: str) -> bool:
    """Index what was said in a turn; False when that is nothing, or the turn is gone or filled."""
    if not asked and not answered:
        connection.execute("delete from turn where key = ? and asked is null", (key,))
        return False
    row = connection.execute(
        "update turn set asked = ?, answered = ? where key = ? and asked is null returning owner",
        (asked, answered, key),
    ).fetchone()
    if row is None:
        return False
    said = " ".join(terms(f"{asked}\n{answered}"))
    connection.execute(
        "insert into words (rowid, owner, said) values (?, ?, ?)", (key, _word(row[0]), said)
    )
    return True


def unembedded(
    connection: sqlite3.Connection, after: int, limit: int
) -> list[tuple[int, str, str]]:
    """Return turns with keys over ``after`` that are to be embedded, in order.

    Each is a key, a question and an answer.
    """
    return connection.execute(
        "select key, asked, answered from turn"
        " where embedded = 0 and asked is not null and key > ? order by key limit ?",
        (after, limit),
    ).fetchall()


def embed(connection: sqlite3.Connection, vectors: Iterable[tuple[int, bytes]]) -> None:
    """Note the vectors of turns, of those that are still there."""
    for key, value in vectors:
        row = connection.execute(
            "update turn set embedded = 1 where key = ? and embedded = 0 returning owner", (key,)
        ).fetchone()
        if row is not None:
            connection.execute(
                "insert into vector (key, owner, value) values (?, ?, ?)", (key, row[0], value)
            )


def owner_of(connection: sqlite3.Connection, who: Principal) -> int | None:
    """Return the key of a user, or None when nothing of theirs is there."""
    row = connection.execute(
        "select key from owner where tenant = ? and user = ?", (who.tenant_id, who.user_id)
    ).fetchone()
    return None if row is None else int(row[0])


def matching(
    connection: sqlite3.Connection, owner: int, query: str, but: str, limit: int
) -> list[tuple[int, float]]:
    """Return the turns in which words of the query stand, best first by BM25.

    With each comes its share of what the query's words weigh, from 0 to 1; a word weighs the more
    the fewer of the user's turns have it, and most when none has.  Common words weigh nothing:
    turns are found by them only where there are no others.  Those of session ``but`` are left out.
    """
    found = _occurrences(connection, owner, phrases(query, LOOKED_FOR))
    rare = {word: each for word, each in found.words.items() if 0 < len(each) < found.common}
    there = rare or [word for word, each in found.words.items() if each]
    if not there:
        return []
    rows = connection.execute(
        "select key from words join turn on key = words.rowid"
        " where words match ? and session != ? order by rank limit ?",
        (f"{_mine(owner)} AND said : ({' OR '.join(there)})", but, limit),
    ).fetchall()
    weights = {word: log1p(found.turns / (len(each) + 0.5)) for word, each in found.words.items()}
    whole = sum(weights.values())
    return [
        (key, sum([weights[word] for word, each in rare.items() if key in each]) / whole)
        for (key,) in rows
    ]


@frozen(slots=True)
class _Occurrences:
    """Where words stand."""

    turns: int
    """How many there are; no more are counted than is needed to know what is common."""
    common: int
    """In how many turns a common word stands."""
    words: Mapping[str, AbstractSet[int]]
    """The keys of turns by words; of a common one, some."""


def _occurrences(connection: sqlite3.Connection, owner: int, words: Sequence[str]) -> _Occurrences:
    (turns,) = connection.execute(
        "select count(*) from (select 1 from turn where owner = ? limit ?)", (owner, _HEAD)
    ).fetchone()
    least, most = COMMON
    common = min(max(turns // 5, least), most)
    found = {
        word: {
            key
            for (key,) in connection.execute(
                "select rowid from words where words match ? limit ?",
                (f"{_mine(owner)} AND said : {word}", common),
            )
        }
        for word in words
    }
    return _Occurrences(turns, common, found)


def times(
    connection: sqlite3.Connection, owner: int, keys: Sequence[int]
) -> list[tuple[int, float]]:
    """Return when turns were, of those that are still there and the owner's.

    The plus keeps SQLite from looking through all turns of the owner for the keys.
    """
    marks = ", ".join("?" * len(keys))
    return connection.execute(
        f"select key, at from turn where key in ({marks}) and +owner = ?",  # noqa: S608 - marks
        (*keys, owner),
    ).fetchall()


def read(
    connection: sqlite3.Connection, owner: int, scores: Iterable[tuple[int, float]]
) -> list[Remembered]:
    """Return the turns of the keys, with their scores, in that order."""
    return [
        Remembered(*row)
        for key, score in scores
        for row in connection.execute(
            "select id, session, at, asked, answered, ? from turn"
            " where key = ? and owner = ? and asked is not null",
            (score, key, owner),
        )
    ]


def key_of(connection: sqlite3.Connection, who: Principal, turn_id: str) -> int | None:
    """Return the key of a user's turn, or None when it is not there."""
    row = connection.execute(
        "select turn.key from turn join owner on owner.key = turn.owner"
        " where id = ? and tenant = ? and user = ?",
        (turn_id, who.tenant_id, who.user_id),
    ).fetchone()
    return None if row is None else int(row[0])


def page(
    connection: sqlite3.Connection, who: Principal, after: int, limit: int
) -> list[tuple[int, Remembered]]:
    """Return a user's turns with keys over ``after``, oldest first, with their keys."""
    rows = connection.execute(
        "select turn.key, id, session, at, asked, answered from turn"
        " join owner on owner.key = turn.owner"
        " where tenant = ? and user = ? and turn.key > ? and asked is not null"
        " order by turn.key limit ?",
        (who.tenant_id, who.user_id, after, limit),
    )
    return [(key, Remembered(*row)) for key, *row in rows]


def forget(
    connection: sqlite3.Connection,
    who: Principal,
    *,
    turn_id: str | None = None,
    session_id: str | None = None,
    query: str | None = None,
) -> tuple[int, Forgotten]:
    """Delete the turns for which all that is given holds; return the owner, and what it was.

    A query holds for a turn in which each of its words stands as it is: the index finds other
    forms of them too.  The index is written anew: its rows are words, and a word that is only
    marked as deleted can still be read in the file.
    """
    owner = owner_of(connection, who)
    if owner is None:
        return 0, Forgotten(0)
    conditions: list[str] = []
    values: list[object] = []
    if turn_id is not None:
        conditions.append("id = ?")
        values.append(turn_id)
    if session_id is not None:
        conditions.append("session = ?")
        values.append(session_id)
    if query is not None:
        conditions.append("key in (select rowid from words where words match ?)")
        values.append(f"{_mine(owner)} AND said : ({' AND '.join(_all_of(query))})")
    # The plus: with conditions, not all turns of the owner need be looked through.
    mine = "+owner = ?" if conditions else "owner = ?"
    said = "''" if query is None else "asked || char(10) || answered"
    rows = connection.execute(
        f"select key, id, {said} from turn where {' and '.join([mine, *conditions])} order by key",  # noqa: S608
        (owner, *values),
    )
    found = [(key, turn) for key, turn, text in rows if query is None or names(query, text)]
    told: list[Remembered] = []
    if found:
        keys = [(key,) for key, _ in found]
        told = read(connection, owner, [(key, 0.0) for (key,) in keys[: -TOLD - 1 : -1]])
        connection.executemany(
            "insert or ignore into forgotten values (?)", [(turn,) for _, turn in found]
        )
        for table, column in (("words", "rowid"), ("vector", "key"), ("turn", "key")):
            connection.executemany(f"delete from {table} where {column} = ?", keys)  # noqa: S608
        connection.execute("insert into words (words) values ('optimize')")
    # A user of whom nothing is left is not named any more either.
    left = "exists (select 1 from turn where owner = owner.key)"
    connection.execute(f"delete from owner where key = ? and not {left}", (owner,))  # noqa: S608
    return owner, Forgotten(len(found), tuple(told))


def _all_of(query: str) -> list[str]:
    """Return all words of a query: with one of them left out, too much would be forgotten."""
    wanted = phrases(query, LOOKED_FOR + 1)
    if not wanted:
        raise RequestError("there is no word in what is to be forgotten")
    if len(wanted) > LOOKED_FOR:
        message = f"what is to be forgotten has more than {LOOKED_FOR} different words: use fewer"
        raise RequestError(message)
    return wanted


def _mine(owner: int) -> str:
    return f'owner : "{_word(owner)}"'


def _word(owner: int) -> str:
    return f"o{owner}"
