"""The command by which users look into their memory, and empty it."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Final, Literal, Protocol

from msgspec import json

from agentrail.command import Command, command
from agentrail.memory._sql import Forgotten, Remembered
from agentrail.requests import ANSWER_CHARS, ChatResponse, Principal, RequestContext

_FOUND: Final = 5
_SHOWN: Final = 300

_EXPORTED: Final = ANSWER_CHARS // 2
"""How many characters of an export stand in one answer."""

_NOTHING: Final = "Nothing of that is remembered."

_USAGE: Final = {
    "search": "Say what to search for: /memory search WORDS",
    "forget": (
        "Say what to forget; it cannot be brought back.\n"
        "/memory forget WORDS: the turns in which all of the words stand\n"
        "/memory forget --session ID: what was said in that session\n"
        "/memory forget --turn ID: that turn\n"
        "/memory forget --everything: all turns"
    ),
    "export": "Say nothing more, or the turn to go on after: /memory export [TURN]",
}
_UNFIT: Final = 422


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
    ) -> Forgotten:
        """Forget a user's turns for which all that is given holds."""
        ...

    async def forget_all(self, who: Principal, /) -> Forgotten:
        """Forget everything of a user."""
        ...

    def export(self, who: Principal, /, *, after: str | None) -> AsyncGenerator[Remembered]:
        """Yield what is remembered of a user."""
        ...


def memory_command(memory: Kept) -> Command:
    """Return ``/memory``."""

    @command(name="memory", scope="user")
    async def look(
        action: Literal["search", "forget", "export"],
        words: str | None = None,
        *,
        session: str | None = None,
        turn: str | None = None,
        everything: bool = False,
        context: RequestContext,
    ) -> str | ChatResponse:
        """Search what is remembered of you, forget some of it, or write all of it down.

        Args:
            action: what to do; an export is one JSON object a line.
            words: what to search for; what stands in the turns that are to be forgotten; of an
                export, the turn that it goes on after.
            session: forget what was said in this session.
            turn: forget this turn.
            everything: forget everything.
            context: who asks.
        """
        options = {
            "words": words is not None,
            "session": session is not None,
            "turn": turn is not None,
            "everything": everything,
        }
        if not _fits(action, {name for name, given in options.items() if given}):
            return ChatResponse(_USAGE[action], status=_UNFIT)
        who = Principal(tenant_id=context.tenant_id, user_id=context.user_id)
        if action == "export":
            return ChatResponse(text_stream=_lines(memory.export(who, after=words)))
        if action == "search":
            found = await memory.search(who, words or "", limit=_FOUND)
            return "\n\n".join(map(_shown, found)) or _NOTHING
        if everything:
            return _told(await memory.forget_all(who))
        return _told(await memory.forget(who, turn_id=turn, session_id=session, query=words))

    return look


def _fits(action: str, given: set[str]) -> bool:
    """Tell whether the action is told all that it needs, and nothing that it would not heed."""
    if action == "search":
        return given == {"words"}
    if action == "export":
        return given <= {"words"}
    return given == {"everything"} or (bool(given) and given <= {"words", "session", "turn"})


async def _lines(turns: AsyncGenerator[Remembered]) -> AsyncIterator[str]:
    """Yield the turns as lines; where an answer can hold no more, how to get the rest."""
    size, last = 0, ""
    async with aclosing(turns):
        async for turn in turns:
            line = json.encode(turn).decode() + "\n"
            more = json.encode({"next": f"/memory export {last}"}).decode() + "\n"
            if size + len(line) + len(more) > _EXPORTED:
                yield more
                return
            yield line
            size, last = size + len(line), turn.turn_id


def _told(forgotten: Forgotten) -> str:
    """Return what was forgotten, in words."""
    count, shown = forgotten.count, list(map(_shown, forgotten.turns))
    if not count:
        return _NOTHING
    told = f"Forgotten: {count} turn{'' if count == 1 else 's'}."
    if count > len(shown):
        shown.append(f"and {count - len(shown)} more")
    return "\n\n".join([told, *shown])


def _shown(turn: Remembered) -> str:
    day = datetime.fromtimestamp(turn.at, UTC).date()
    said = f"user: {turn.asked}\nassistant: {turn.answered}"
    said = said if len(said) <= _SHOWN else f"{said[: _SHOWN - 1]}…"
    return f"{day}, session {turn.session_id}, turn {turn.turn_id}\n{said}"
