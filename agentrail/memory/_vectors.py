"""Embeddings, compared one by one in memory.  It is imported only where numpy is installed."""

import sqlite3
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from threading import Lock
from typing import Final

import numpy as np
from attrs import define, field, frozen
from numpy.typing import NDArray

CACHE_BYTES: Final = 256 * 1024 * 1024
"""What the embeddings of all users may take in memory; whoever asked longest ago goes first."""

NEWEST: Final = 131_072
"""How many of a user's turns are compared at most, the newest."""

LIKE: Final = 0.15
"""The cosine from which texts are taken for alike; unrelated ones have about 0, at times 0.2."""

BLOCK: Final = 4096
"""How many embeddings lie beside each other; what is new is copied together with so many."""

_OLD: Final = "select seq from vector where owner = ? order by seq desc limit 1 offset ?"
_NEW: Final = """
select seq, vector.key, session, value from vector join turn on turn.key = vector.key
where vector.owner = ? and seq > ? and length(value) = ? order by seq
"""

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@frozen(slots=True, eq=False)
class _Block:
    """Some of a user's embeddings."""

    values: Floats
    keys: Ints
    sessions: Ints
    """A number for each turn's session."""

    @classmethod
    def of(cls, rows: Sequence[tuple[int, int, str, bytes]]) -> "_Block":
        """Return the embeddings of rows of the database."""
        stored = np.frombuffer(b"".join([row[3] for row in rows]), "<f2")
        return cls(
            stored.astype(np.float32).reshape(len(rows), -1),
            np.array([row[1] for row in rows], np.int64),
            np.array([hash(row[2]) for row in rows], np.int64),
        )

    def joined(self, other: "_Block") -> "_Block":
        """Return both as one."""
        return _Block(
            np.concatenate([self.values, other.values]),
            np.concatenate([self.keys, other.keys]),
            np.concatenate([self.sessions, other.sessions]),
        )


@define(slots=True, eq=False)
class _Shelf:
    """The embeddings of one user, oldest first, as far as they were read."""

    blocks: deque[_Block] = field(factory=deque[_Block])
    seen: int = 0
    """The number of the last that was read."""

    def read(self, connection: sqlite3.Connection, owner: int, size: int) -> None:
        """Read what is new, of vectors of so many bytes."""
        if not self.seen:
            (self.seen,) = connection.execute(_OLD, (owner, NEWEST)).fetchone() or (0,)
        rows = connection.execute(_NEW, (owner, self.seen, size))
        while found := rows.fetchmany(BLOCK):
            block, self.seen = _Block.of(found), found[-1][0]
            if self.blocks and len(self.blocks[-1].keys) + len(found) <= BLOCK:
                block = self.blocks.pop().joined(block)
            self.blocks.append(block)
        while sum(len(block.keys) for block in self.blocks) >= NEWEST + BLOCK:
            self.blocks.popleft()

    @property
    def size(self) -> int:
        """What it takes, in bytes."""
        return sum(block.values.nbytes for block in self.blocks)

    def likest(self, wanted: Floats, but: str, limit: int) -> list[tuple[int, float]]:
        """Return the turns of the highest cosines from ``LIKE`` on, the highest first."""
        left_out = hash(but)
        keys: list[Ints] = []
        cosines: list[Floats] = []
        for block in self.blocks:
            found = np.vecdot(block.values, wanted)  # unlike a product of matrices, in one thread
            mask = (found >= LIKE) & (block.sessions != left_out)
            keys.append(block.keys[mask])
            cosines.append(found[mask])
        if not keys:
            return []
        key, cosine = np.concatenate(keys), np.concatenate(cosines)
        order = np.argsort(-cosine, kind="stable")[:limit]
        return list(zip(key[order].tolist(), cosine[order].tolist(), strict=True))


@define(slots=True, eq=False)
class NumpyVectors:
    """The embeddings of the users who asked last.  Its methods run in threads."""

    _shelves: OrderedDict[int, _Shelf] = field(factory=OrderedDict[int, _Shelf], init=False)
    _lock: Lock = field(factory=Lock, init=False)

    def stored(self, vectors: Iterable[Iterable[float]]) -> list[bytes]:
        """Return vectors as they are stored: of length 1, two bytes a number."""
        rows = np.asarray(vectors if isinstance(vectors, np.ndarray) else list(vectors), np.float32)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        return [row.tobytes() for row in (rows / np.where(lengths > 0, lengths, 1)).astype("<f2")]

    def likest(
        self, connection: sqlite3.Connection, owner: int, wanted: bytes, but: str, limit: int
    ) -> list[tuple[int, float]]:
        """Return the turns of a user that are most like ``wanted``, with their cosines.

        Those of session ``but`` are left out; ones that were forgotten may be among them.
        """
        with self._lock:
            shelf = self._shelves.pop(owner, None) or _Shelf()
            shelf.read(connection, owner, len(wanted))
            self._shelves[owner] = shelf
            while sum(each.size for each in self._shelves.values()) > CACHE_BYTES:
                self._shelves.popitem(last=False)
            return shelf.likest(np.frombuffer(wanted, "<f2").astype(np.float32), but, limit)

    def drop(self, owner: int) -> None:
        """Let go of a user's embeddings; they are read again when they are needed."""
        with self._lock:
            self._shelves.pop(owner, None)
