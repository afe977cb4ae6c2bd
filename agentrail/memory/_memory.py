"""The memory as a plugin: what it takes in, how it is searched, and how it forgets."""

import logging
import os
import sqlite3
from collections.abc import AsyncGenerator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from agentrail.clock import SYSTEM_CLOCK, Timer
from agentrail.errors import ConfigError, RequestError
from agentrail.extras import pip_install
from agentrail.memory import _sql
from agentrail.memory._commands import memory_command
from agentrail.memory._meaning import Meaning, Vectors
from agentrail.memory._model import Embedder, is_installed, word_vectors
from agentrail.memory._rank import DEPTH, fused, recalled
from agentrail.memory._sql import Forgotten, Remembered
from agentrail.memory._terms import clean
from agentrail.messages import Message, Role, told_files
from agentrail.requests import Principal, RequestContext
from agentrail.storage import Database, Job

_log = logging.getLogger("agentrail.memory")

KEPT_CHARS: Final = 16_000
"""Of a question, and of an answer, the characters that are kept."""

QUERY_CHARS: Final = 4_000
"""Of a query, the characters that are looked at."""

MOST_FOUND: Final = 1_000
"""How many turns a search returns at most."""

PAGE: Final = 200
"""How many turns ``export`` reads at a time."""


class Memory:
    """A plugin that remembers what users said, and brings back what fits a new message.

    Each turn is taken in once, after its commit, in a transaction that notes its id; its words can
    be found when the hook returns, its meaning when the worker has embedded it.  A turn that was
    not embedded when the process died is embedded after the next start.  When more than 1,000
    turns wait for that, a turn is held up, for a second at most.  No request waits for a model to
    be loaded.

    A user's memory is the tenant's and the user's alone.  What is forgotten, and what a session
    said that is deleted, is overwritten in the file and not only marked.

    Of a question or an answer 16,000 characters are kept, and of each the first 4,000 embedded.  A
    search looks at 4,000 characters and 32 different words of its query, and at the embeddings of
    the user's newest 131,072 turns.  Those of the users who asked last stay in memory: 1 KiB a
    turn, 256 MiB at most.

    Args:
        path: the SQLite file; ``memory.db`` in ``AGENTRAIL_DATA_DIR``, or in ``data``.
        embed: returns a vector for each text, in a worker thread.  Another function, by its name,
            embeds all turns anew.  The default is the model of the ``memory`` extra; without the
            extra, or with None, the words alone decide.
        budget: the tokens that recalled turns may take in a request.
        clock: dates the turns, and waits after failures.
    """

    name = "memory"

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        embed: Embedder | None = word_vectors,
        budget: int = 800,
        clock: Timer = SYSTEM_CLOCK,
    ) -> None:
        if path is None:
            path = Path(os.environ.get("AGENTRAIL_DATA_DIR", "data"), "memory.db")
        self.context_providers = (self.recall,)
        self.commands = (memory_command(self),)
        """``/memory``, for ``Commands``."""
        self._db = Database(path, _sql.MIGRATIONS)
        self._embed = embed
        self._budget = budget
        self._clock = clock
        self._meaning: Meaning | None = None
        self._tasks: TaskGroup

    async def start(self) -> None:
        """Open the file, and begin to embed what waits.

        Raises:
            StorageError: the file cannot be opened.
            ConfigError: there is something to embed with, and no numpy.
        """
        embed = self._embed
        if embed is word_vectors and not is_installed():
            _log.info("memory finds words, not what they mean; for that: %s", pip_install("memory"))
            embed = None
        vectors = None if embed is None else await anyio.to_thread.run_sync(_vectors)
        await self._db.start()
        prepared = False
        try:
            waiting = await self._db.write(partial(_sql.prepare, model=_name_of(embed)))
            await self._db.empty_log()  # a host that died may have left in it what was forgotten
            self._tasks = await anyio.create_task_group().__aenter__()
            prepared = True
        finally:
            if not prepared:
                await self._db.stop()
        if embed is not None and vectors is not None:
            self._meaning = Meaning(vectors, self._db, embed, self._clock, waiting)
            self._tasks.start_soon(self._meaning.run)

    async def stop(self) -> None:
        """Close the file; what is not embedded yet waits for the next start."""
        self._tasks.cancel_scope.cancel()
        await self._tasks.__aexit__(None, None, None)
        await self._db.stop()

    async def on_turn_persisted(self, context: RequestContext) -> None:
        """Take the turn in, unless it is known or was forgotten."""
        who = _who(context)
        key = await self._db.write(
            partial(
                _sql.begin,
                turn_id=context.turn_id,
                who=who,
                session_id=context.session_id,
                at=self._clock.now(),
            )
        )
        if key is None:
            return
        # Read only now: were the session deleted before, there would be nothing to read, and were
        # it deleted from now on, the turn's row would be gone.
        messages = await context.services.session.turn()
        asked, answered = _said(messages, "user"), _said(messages, "assistant")
        job = partial(_sql.fill, key=key, asked=asked, answered=answered)
        if await self._db.write(job) and self._meaning is not None:
            await self._meaning.added()

    async def on_session_deleted(self, context: RequestContext) -> None:
        """Forget what was said in the session."""
        await self.forget(_who(context), session_id=context.session_id)

    async def recall(
        self, context: RequestContext, messages: Sequence[Message]
    ) -> Sequence[Message]:
        """Return what was said in other sessions of the user that fits the new message."""
        turns = await self.search(
            _who(context), messages[-1].text, limit=DEPTH, but_session=context.session_id
        )
        return recalled(turns, self._budget)

    async def search(
        self, who: Principal, query: str, *, limit: int = 10, but_session: str = ""
    ) -> Sequence[Remembered]:
        """Return a user's turns that fit the query, the best first; new ones count a little more.

        Nothing in the query is syntax.  Turns of the session ``but_session`` are left out.
        ``limit`` is 1,000 at most.
        """
        limit = max(0, min(limit, MOST_FOUND))
        query = clean(query[:QUERY_CHARS])
        wanted = None if self._meaning is None else await self._meaning.of(query)

        def find(connection: sqlite3.Connection) -> list[Remembered]:
            owner = _sql.owner_of(connection, who)
            if owner is None:
                return []
            depth = max(DEPTH, limit)
            words = _sql.matching(connection, owner, query, but_session, depth)
            meanings: list[tuple[int, float]] | None = None
            if self._meaning is not None and wanted is not None:
                likest = self._meaning.vectors.likest
                meanings = likest(connection, owner, wanted, but_session, depth)
            keys = {key for key, _ in (*words, *(meanings or ()))}
            times = dict(_sql.times(connection, owner, list(keys)))
            best = fused(words, meanings, times, self._clock.now())[:limit]
            return _sql.read(connection, owner, best)

        return await self._db.read(find)

    async def forget(
        self,
        who: Principal,
        *,
        turn_id: str | None = None,
        session_id: str | None = None,
        query: str | None = None,
    ) -> Forgotten:
        """Forget a user's turns for which all that is given holds; return what they were.

        A query holds for turns in which each of its words stands, as a whole and in that form;
        32 different ones at most.  Case and accents do not count, and what is written without
        spaces holds where its characters stand side by side.

        The text is not in the file any more when this returns, and the turns are not taken in
        again.  With 100,000 turns it takes about half a second, in which nothing is taken in.

        Raises:
            RequestError: nothing is given, or a query without a word, or one that is too long.
        """
        if turn_id is None and session_id is None and query is None:
            raise RequestError("say which turns are to be forgotten: a turn, a session or words")
        if query is not None and len(query) > QUERY_CHARS:
            raise RequestError(f"what is to be forgotten has more than {QUERY_CHARS} characters")
        job = partial(
            _sql.forget,
            who=who,
            turn_id=None if turn_id is None else clean(turn_id),
            session_id=None if session_id is None else clean(session_id),
            query=query,
        )
        return await self._forget(job)

    async def forget_all(self, who: Principal) -> Forgotten:
        """Forget everything of a user, as ``forget`` does; return what it was."""
        return await self._forget(partial(_sql.forget, who=who))

    async def settled(self) -> None:
        """Return when the model is loaded, and no turn waits to be embedded."""
        if self._meaning is not None:
            await self._meaning.settled()

    async def export(
        self, who: Principal, *, after: str | None = None
    ) -> AsyncGenerator[Remembered]:
        """Yield all that is remembered of a user, oldest first; what came after a turn, by its id.

        Raises:
            RequestError: that turn is not remembered.
        """
        key = 0
        if after is not None:
            found = await self._db.read(partial(_sql.key_of, who=who, turn_id=clean(after)))
            if found is None:
                raise RequestError(f"turn {after[:80]!r} is not remembered: begin without it")
            key = found
        while rows := await self._db.read(partial(_sql.page, who=who, after=key, limit=PAGE)):
            for _, turn in rows:
                yield turn
            key = rows[-1][0]

    async def _forget(self, job: Job[tuple[int, Forgotten]]) -> Forgotten:
        owner, forgotten = await self._db.write(job)
        if forgotten.count:
            if self._meaning is not None:
                self._meaning.vectors.drop(owner)
            if not await self._db.empty_log():
                _log.warning("another process reads the memory: what was forgotten is in its log")
        return forgotten


def _who(context: RequestContext) -> Principal:
    return Principal(tenant_id=context.tenant_id, user_id=context.user_id)


def _said(messages: Sequence[Message], role: Role) -> str:
    said = [message for message in messages if message.role == role]
    texts = [text for message in said for text in (message.text, told_files(message))]
    return clean("\n".join(filter(None, texts))[:KEPT_CHARS])


def _vectors() -> Vectors:
    # Imported here, in a thread: numpy comes with the extra, and takes a while.
    try:
        from agentrail.memory._vectors import NumpyVectors  # noqa: PLC0415
    except ImportError as error:
        needs = f"{error.name}: {pip_install('memory')}"
        message = f"memory compares embeddings with {needs}"
        raise ConfigError(message) from error
    return NumpyVectors()


def _name_of(embed: Embedder | None) -> str:
    """Return what the embeddings are known by, to tell them from those of another function."""
    if embed is None:
        return ""
    named = embed if hasattr(embed, "__qualname__") else type(embed)
    return f"{named.__module__}.{named.__qualname__}"
