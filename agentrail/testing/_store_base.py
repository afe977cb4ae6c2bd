"""What the parts of the session store's contract share."""

from collections.abc import AsyncGenerator, Awaitable, Callable

import pytest

from agentrail.events import Event, MessageRecorded, TurnEnd, TurnStart
from agentrail.messages import Message, Usage
from agentrail.session import Owner, SessionStore, recorded

OWNER = Owner("tenant", "user", "agent")
USAGE = Usage(input_tokens=7, output_tokens=5, cache_read_tokens=3, cache_write_tokens=1, cost=0.25)

Revive = Callable[[], Awaitable[SessionStore]]


def said(text: str, turn_id: str = "", *, tokens: int | None = None) -> MessageRecorded:
    """Return the log's entry for a message of the user."""
    entry = recorded(Message.user(text), turn_id)
    return entry if tokens is None else with_tokens(entry, tokens)


def answered(text: str, turn_id: str = "", *, tokens: int | None = None) -> MessageRecorded:
    """Return the log's entry for a message of the model."""
    entry = recorded(Message.assistant(text), turn_id)
    return entry if tokens is None else with_tokens(entry, tokens)


def with_tokens(entry: MessageRecorded, tokens: int) -> MessageRecorded:
    """Return the entry, counted as ``tokens``."""
    return MessageRecorded(message=entry.message, tokens=tokens, turn_id=entry.turn_id)


def whole_turn(turn_id: str, text: str = "hi", answer: str = "hello") -> list[Event]:
    """Return the events of a turn that ended well."""
    return [
        said(text, turn_id),
        TurnStart(turn_id=turn_id),
        answered(answer, turn_id),
        TurnEnd(turn_id=turn_id, message=answer, usage=USAGE),
    ]


async def keep(store: SessionStore, session_id: str, *events: Event, owner: Owner = OWNER) -> None:
    """Append events to a session that nobody holds."""
    store.release(await store.acquire(session_id, owner, events=events))


class StoreContract:
    """The fixtures of the contract."""

    @pytest.fixture
    def make(self) -> Callable[[], SessionStore]:
        """Return what makes a store over this test's storage; override it."""
        raise NotImplementedError

    @pytest.fixture
    async def store(self, make: Callable[[], SessionStore]) -> AsyncGenerator[SessionStore]:
        """Yield a store that is started."""
        store = make()
        await store.start()
        yield store
        await store.stop()

    async def crash(self, store: SessionStore) -> None:
        """Have others take a store for dead; override it where stores tell whether others live.

        As when its process is killed, nothing more is written.  It is stopped later all the same.
        """

    @pytest.fixture
    async def revive(
        self, store: SessionStore, make: Callable[[], SessionStore]
    ) -> AsyncGenerator[Revive]:
        """Yield what opens the storage again, as if ``store`` had been killed with its process."""
        opened: list[SessionStore] = []

        async def _open_again() -> SessionStore:
            await self.crash(store)
            other = make()
            await other.start()
            opened.append(other)
            return other

        yield _open_again
        for other in opened:
            await other.stop()
