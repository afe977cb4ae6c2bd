"""What a session store does.

A session is an append-only log of events with one gapless sequence, owned by (tenant, user,
agent).  Whoever runs a turn holds the session's lease; a lease names its epoch, and a writer
whose epoch is over cannot append.  Turns and messages are read from the same log.
"""

from collections.abc import Sequence
from typing import Final, Protocol

from attrs import define, field, frozen

from agentrail.events import Event, Recorded
from agentrail.messages import Message, Usage
from agentrail.requests import SessionSummary, StoredMessage

ANNOUNCED: Final = ("completed", "intercepted")
"""The outcomes that put a turn on the list of those to be announced."""


@frozen(slots=True)
class Owner:
    """Whose a session is."""

    tenant_id: str
    user_id: str
    agent_id: str


@define(slots=True)
class Lease:
    """The right to write to one session, from ``acquire`` to ``release``."""

    session_id: str
    owner: Owner
    epoch: int
    head: int
    """The number of the log's last event; a store moves it on with each append."""
    created: bool = False
    """Whether the session was made by this lease."""
    history: tuple[Message, ...] = ()
    """The newest messages before the lease that fit its window, oldest first."""
    tokens: int = 0
    """What the history takes, when the window has room for it; else more than the window."""
    since: int = 0
    """The number of the event after which the history begins: a reset, or the last summarized."""
    summary: str = ""
    """What was said before that, in short."""
    opening: tuple[Event, ...] = ()
    """The numbered events that were appended when the lease was taken."""
    written: Sequence[Event] = field(default=(), eq=False)
    """What ``append`` was given and has written last: known though the call was cancelled then."""


@frozen(slots=True)
class TurnRecord:
    """A turn, as the log tells it."""

    turn_id: str
    session_id: str
    owner: Owner
    status: str
    """``running``, an outcome of ``turn.end``, or ``failed``."""
    usage: Usage
    started_at: float
    ended_at: float | None
    first: int
    """The number of its first event."""
    elsewhere: bool = False
    """Whether it runs in another process, which is alive."""


@frozen(slots=True)
class Deletion:
    """A session that was deleted."""

    deletion_id: str
    """Never the same for two deletions, though they be of one session's id."""
    session_id: str
    owner: Owner


class SessionStore(Protocol):
    """Keeps sessions.  All times are seconds since 1970, all limits are counts."""

    async def start(self) -> None:
        """Open what the store needs."""
        ...

    async def stop(self) -> None:
        """Write what is still to be written, and close."""
        ...

    async def find(self, session_id: str) -> Owner | None:
        """Return the session's owner, or None when there is no such session."""
        ...

    async def acquire(
        self,
        session_id: str,
        owner: Owner,
        *,
        events: Sequence[Event] = (),
        window: int = 0,
        wait: float = 30.0,
        create: bool = True,
    ) -> Lease:
        """Take the session for one writer: in one transaction, and durable when it returns.

        A session that is not there yet is made, if ``create`` says so.  A turn that was left
        unfinished, because its host died, is closed first (see ``closing_events``); so is a
        suspended one when ``events`` begin another turn or reset the session.  Then ``history``
        is read, at most ``window`` tokens of it and never beyond the last reset, and ``events``
        are appended.

        ``wait`` is how many seconds to wait while another turn holds the session, in this process
        or in another.  Cancelled while it waits, it takes nothing.

        Raises:
            SessionNotFound: the session belongs to another tenant or user, or is not to be made.
            AgentMismatch: it belongs to another agent of the same user.
            SessionBusy: it was still held after ``wait`` seconds.
            TurnExists: ``events`` begin a turn that was begun before.
            StorageError: the storage failed; nothing was written.
        """
        ...

    async def append(self, lease: Lease, events: Sequence[Event]) -> tuple[Event, ...]:
        """Append events in one transaction and return them numbered; durable on return.

        The turn records follow from the events: ``turn.start`` opens one, ``turn.end`` and
        ``turn.error`` close it.  A turn that ends with an outcome of ``ANNOUNCED`` is also put on
        the list of turns to be announced.

        Raises:
            LeaseLost: the lease is released or another writer took the session; nothing written.
            StorageError: the storage failed; nothing was written.
        """
        ...

    def release(self, lease: Lease) -> None:
        """Let the next writer in; releasing twice does nothing.

        It does no I/O, so that it is done whether or not its caller is being cancelled.
        """
        ...

    async def read(
        self, session_id: str, *, after: int = 0, limit: int = 500
    ) -> Sequence[Recorded]:
        """Return the log's events with numbers over ``after``, in order.

        Of very large ones there may be fewer than ``limit``; there are none only at the log's end.
        """
        ...

    async def window(self, session_id: str, tokens: int) -> tuple[Message, ...]:
        """Return the newest messages since the last reset that fit in ``tokens``, oldest first."""
        ...

    async def messages(
        self, session_id: str, *, before: int | None = None, limit: int = 50
    ) -> Sequence[StoredMessage]:
        """Return messages with numbers under ``before``, newest first."""
        ...

    async def sessions(
        self, tenant_id: str, user_id: str, *, before: float | None = None, limit: int = 50
    ) -> Sequence[SessionSummary]:
        """Return a user's sessions changed before ``before``, the one changed last first."""
        ...

    async def unused(self, before: float, *, limit: int = 100) -> Sequence[str]:
        """Return the ids of sessions changed last before ``before``, the oldest change first.

        Those that a turn holds are left out, in this process or in another; those with a
        suspended turn are not.
        """
        ...

    async def turn(self, turn_id: str) -> TurnRecord | None:
        """Return the record of a turn."""
        ...

    async def delete(
        self, session_id: str, *, unused_since: float | None = None
    ) -> Deletion | None:
        """Erase a session with its events, turns and announcements; None when there is none.

        In the same transaction the deletion is put on the list of those to be announced.  Of
        several deletions at a time, one erases the session and the others find none.

        A writer that holds the session loses its lease.  With ``unused_since``, the session is
        erased only when ``unused`` would return it for that time.
        """
        ...

    async def unannounced(self, limit: int = 100) -> Sequence[TurnRecord]:
        """Return persisted turns whose hooks were never reported done, oldest first."""
        ...

    async def announced(self, turn_id: str) -> None:
        """Note that a turn's ``on_turn_persisted`` hooks are done.

        The note may be written later, with the next append or at ``stop``: after a crash a turn
        is announced again rather than never.
        """
        ...

    async def unannounced_deletions(self) -> Sequence[Deletion]:
        """Return deletions whose hooks were never reported done, oldest first.

        Where several processes share the storage, those of living ones are left out.
        """
        ...

    async def deletion_announced(self, deletion_id: str) -> None:
        """Note that a deletion's ``on_session_deleted`` hooks are done.

        The note may be written later, as that of ``announced``.
        """
        ...
