"""The command by which users look into their memory, and empty it."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Final, Literal, Protocol

from msgspec import json

from agentrail.command import Command, command
from agentrail.memory._sql import Remembered
from agentrail.requests import ChatResponse, Principal, RequestContext

_FOUND: Final = 5
_SHOWN: Final = 300


class Kept(Protocol):
    """What the command works on."""

    async def search(self, who: Principal, query: str, /, *, limit: int) -> Sequence[Remembered]:
        """Return a user's turns that fit the query."""
        ...

    async def forget(
        self,
        who: Principal,
        /,
        *,
        turn_id: str | None,
        session_id: str | None,
        query: str | None,
    ) -> int:
        """Forget a user's turns for which all that is given holds."""
        ...

    async def forget_all(self, who: Principal, /) -> int:
        """Forget everything of a user."""
        ...

    def export(self, who: Principal, /) -> AsyncIterator[Remembered]:
        """Yield all that is remembered of a user."""
        ...


def memory_command(memory: Kept) -> Command:
    """Return ``/memory``."""

    @command(name="memory", scope="user")
    async def look(
        action: Literal["search", "forget", "export"],
        words: str = "",
        *,
        session: str = "",
        turn: str = "",
        everything: bool = False,
        context: RequestContext,
    ) -> str | ChatResponse:
        """Search what is remembered of you, forget some of it, or write all of it down.

        Args:
            action: what to do; an export is one JSON object a line.
            words: what to search for, or all of what stands in a turn that is to be forgotten.
            session: forget what was said in this session.
            turn: forget this turn.
            everything: forget everything.
            context: who asks.
        """
        who = Principal(tenant_id=context.tenant_id, user_id=context.user_id)
        if action == "export":
            return ChatResponse(text_stream=_lines(memory.export(who)))
        if action == "search":
            found = await memory.search(who, words, limit=_FOUND)
            return "\n\n".join(map(_shown, found)) or "Nothing of that is remembered."
        if everything:
            count = await memory.forget_all(who)
        else:
            count = await memory.forget(
                who, turn_id=turn or None, session_id=session or None, query=words or None
            )
        return f"Forgotten: {count} turn{'' if count == 1 else 's'}."

    return look


async def _lines(turns: AsyncIterator[Remembered]) -> AsyncIterator[str]:
    async for turn in turns:
        yield json.encode(turn).decode() + "\n"


def _shown(turn: Remembered) -> str:
    day = datetime.fromtimestamp(turn.at, UTC).date()
    said = f"user: {turn.asked}\nassistant: {turn.answered}"
    said = said if len(said) <= _SHOWN else f"{said[: _SHOWN - 1]}…"
    return f"{day}, session {turn.session_id}, turn {turn.turn_id}\n{said}"
