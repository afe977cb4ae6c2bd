"""The worker that embeds what was taken in, off the request's path."""

import logging
import sqlite3
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final, Protocol

import anyio
import anyio.to_thread
from attrs import define, field

from agentrail.clock import Timer
from agentrail.memory import _sql
from agentrail.memory._model import Embedder
from agentrail.storage import Database

_log = logging.getLogger("agentrail.memory")

READ_CHARS: Final = 4_000
"""Of a query, a question and an answer, the characters that are embedded."""

BATCH: Final = 64
"""How many turns are embedded at a time."""

LAG: Final = 1_000
"""How many turns may wait to be embedded before new ones are held up."""

HOLD_SECONDS: Final = 1.0
"""How long a turn is held up for that at most."""

RETRY_SECONDS: Final = 30.0
"""How long after a failure embedding is tried again."""


class Vectors(Protocol):
    """Compares embeddings; the one that there is needs numpy."""

    def stored(self, vectors: Iterable[Iterable[float]]) -> list[bytes]:
        """Return vectors as they are stored."""
        ...

    def likest(
        self, connection: sqlite3.Connection, owner: int, wanted: bytes, but: str, limit: int
    ) -> list[tuple[int, float]]:
        """Return the turns of a user that are most like ``wanted``, with their cosines."""
        ...

    def drop(self, owner: int) -> None:
        """Let go of a user's embeddings."""
        ...


@define(slots=True, eq=False)
class Meaning:
    """Embeds turns and queries, and finds what is alike."""

    vectors: Vectors
    _db: Database
    _embed: Embedder
    _clock: Timer
    _waiting: int
    """How many turns are to be embedded."""
    _wake: anyio.Event = field(factory=anyio.Event, init=False)
    _progress: anyio.Event = field(factory=anyio.Event, init=False)
    _asking: anyio.CapacityLimiter = field(factory=partial(anyio.CapacityLimiter, 4), init=False)
    _working: anyio.CapacityLimiter = field(factory=partial(anyio.CapacityLimiter, 1), init=False)
    _ready: bool = field(default=False, init=False)
    """Whether it has embedded anything; no request waits for a model to be loaded."""
    _batch: int = field(default=BATCH, init=False)
    """How many are embedded at a time; 1 after a failure, to find out which of them it was."""
    _after: int = field(default=0, init=False)
    """The turns up to here are embedded, or wait for the next start, since they failed."""

    async def run(self) -> None:
        """Have the model loaded, embed what waits, and then what comes."""
        while True:
            self._wake = anyio.Event()
            turns: Sequence[tuple[int, str, str]] = ()
            try:
                if not self._ready:
                    await self._embedded(["ready"], self._working)
                    self._ready = True
                turns = await self._db.read(
                    partial(_sql.unembedded, after=self._after, limit=self._batch)
                )
                if turns:
                    await self._take(turns)
            except Exception:  # noqa: BLE001 - boundary: plugin
                _log.exception("turns could not be embedded; they are tried again in a while")
                self._retreat(turns)
                await self._clock.sleep(RETRY_SECONDS)
                continue
            if not turns and not self._wake.is_set():
                self._waiting, self._batch = 0, BATCH
                self._moved()
                await self._wake.wait()

    async def added(self) -> None:
        """Wake the worker for a new turn; where too many wait, wait until there are fewer."""
        self._waiting += 1
        self._wake.set()
        if self._batch == BATCH:
            with anyio.move_on_after(HOLD_SECONDS):
                while self._waiting > LAG:
                    await self._progress.wait()

    async def settled(self) -> None:
        """Return when the model is loaded and nothing waits for it any more."""
        while self._waiting or not self._ready:
            await self._progress.wait()

    async def of(self, query: str) -> bytes | None:
        """Return what a query is compared by; None when it cannot be embedded, or not yet."""
        if not self._ready:
            return None
        try:
            (vector,) = await self._embedded([query[:READ_CHARS]], self._asking)
        except Exception:  # noqa: BLE001 - boundary: plugin
            _log.exception("a query could not be embedded; its words alone decide")
            return None
        return vector

    async def _take(self, turns: Sequence[tuple[int, str, str]]) -> None:
        vectors = await self._embedded(
            [f"{asked[:READ_CHARS]}\n{answered[:READ_CHARS]}" for _, asked, answered in turns],
            self._working,
        )
        keyed = [(key, vector) for (key, _, _), vector in zip(turns, vectors, strict=True)]
        await self._db.write(partial(_sql.embed, vectors=keyed))
        self._waiting -= len(turns)
        self._moved()

    async def _embedded(self, texts: Sequence[str], limiter: anyio.CapacityLimiter) -> list[bytes]:
        """Return the texts' vectors; a cancellation leaves a thread that hangs behind."""
        return await anyio.to_thread.run_sync(
            lambda: self.vectors.stored(self._embed(texts)),
            abandon_on_cancel=True,
            limiter=limiter,
        )

    def _moved(self) -> None:
        self._progress.set()
        self._progress = anyio.Event()

    def _retreat(self, turns: Sequence[tuple[int, str, str]]) -> None:
        """Take the turns one by one from now on; leave one that failed alone for the next start."""
        if self._batch > 1:
            self._batch = 1
        elif turns:
            self._after, self._batch = turns[0][0], BATCH
