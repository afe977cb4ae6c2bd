"""Remembers what was said across sessions: a full-text index of every persisted turn."""

import os
import re
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import anyio

from agentrail import Message, RequestContext

T = TypeVar("T")

_SCHEMA = """
create table if not exists indexed (turn text primary key);
create virtual table if not exists memory using fts5 (
    said, tenant unindexed, user unindexed, session unindexed, tokenize = 'porter unicode61'
);
"""
_RECALL = """
select said from memory
where memory match ? and tenant = ? and user = ? and session != ?
order by rank limit ?
"""


class MemoryIndex:
    """Indexes each persisted turn once, and brings back what fits a new message.

    A turn is known by its id, and is indexed in the same transaction that notes the id: a turn that
    is announced again after a crash changes nothing.
    """

    name = "memory-index"

    def __init__(self, path: Path | None = None, recalled: int = 2) -> None:
        self._path = path or Path(os.environ.get("AGENTRAIL_DATA_DIR", "data")) / "memory.db"
        self._recalled = recalled
        self._db: sqlite3.Connection | None = None
        self._one_at_a_time = anyio.Lock()
        self.context_providers = [self.recall]

    async def start(self) -> None:
        """Open the index."""

        def connect() -> sqlite3.Connection:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            db = sqlite3.connect(self._path, check_same_thread=False)
            db.execute("pragma journal_mode = wal")
            db.executescript(_SCHEMA)
            return db

        self._db = await anyio.to_thread.run_sync(connect)

    async def stop(self) -> None:
        """Close the index."""
        if self._db is not None:
            await anyio.to_thread.run_sync(self._db.close)
            self._db = None

    async def on_turn_persisted(self, context: RequestContext) -> None:
        """Index what was said in the turn."""
        messages = await context.services.session.turn()
        said = "\n".join(f"{each.role}: {each.text}" for each in messages if each.text)

        def index(db: sqlite3.Connection) -> None:
            with db:
                new = db.execute("insert or ignore into indexed values (?)", [context.turn_id])
                if new.rowcount and said:
                    db.execute(
                        "insert into memory values (?, ?, ?, ?)",
                        [said, context.tenant_id, context.user_id, context.session_id],
                    )

        await self._run(index)

    async def recall(
        self, context: RequestContext, messages: Sequence[Message]
    ) -> Sequence[Message]:
        """Return what the user said in other sessions that fits the new message."""
        words = re.findall(r"\w{3,}", messages[-1].text)[:32]
        if not words:
            return []
        query = " OR ".join(f'"{word}"' for word in words)

        def search(db: sqlite3.Connection) -> list[str]:
            where = [query, context.tenant_id, context.user_id, context.session_id, self._recalled]
            return [said[:400] for (said,) in db.execute(_RECALL, where)]

        found = await self._run(search)
        if not found:
            return []
        return [Message.system("From earlier conversations:\n\n" + "\n\n".join(found))]

    async def _run(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """Do a job on the database, in a thread, one at a time."""
        if self._db is None:
            message = "the memory index is not open"
            raise RuntimeError(message)
        async with self._one_at_a_time:
            return await anyio.to_thread.run_sync(job, self._db)
