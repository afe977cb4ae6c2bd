"""Sessions in this process's memory, for tests and for hosts that need not remember."""

from bisect import bisect_left
from collections.abc import Sequence
from heapq import nsmallest
from itertools import islice
from operator import attrgetter
from typing import Final, cast

from attrs import define, field
from msgspec.structs import replace

from agentrail.clock import Clock, SystemClock
from agentrail.events import (
    TERMINAL,
    ContextCompacted,
    Event,
    MessageRecorded,
    Recorded,
    TurnEnd,
    TurnError,
    TurnStart,
)
from agentrail.ids import new_id
from agentrail.messages import Message, Usage
from agentrail.requests import SessionSummary, StoredMessage
from agentrail.session._owner import check_owner, lease_lost, not_found, turn_exists
from agentrail.session._store import ANNOUNCED, Deletion, Lease, Owner, TurnRecord
from agentrail.session._turnstile import Turnstile
from agentrail.session._window import DIED, Transcript, closing_events, superseding_events

_NOTHING = Usage()

_BOUNDS: Final = (TurnStart, *TERMINAL)


@define(slots=True, eq=False)
class _Turn:
    id: str
    started_at: float
    first: int
    """The number of its first event."""
    status: str = "running"
    usage: Usage = _NOTHING
    ended_at: float | None = None


@define(slots=True, eq=False)
class _Session:
    id: str
    owner: Owner
    created_at: float
    updated_at: float
    epoch: int = 0
    events: list[Event] = field(factory=list[Event])
    said: list[MessageRecorded] = field(factory=list[MessageRecorded])
    transcript: Transcript = field(factory=Transcript)
    turns: dict[str, _Turn] = field(factory=dict[str, _Turn])
    unfinished: dict[str, _Turn] = field(factory=dict[str, _Turn])


class MemorySessionStore:
    """A ``SessionStore`` that forgets everything when the process ends.

    It keeps the events as the objects that they are.  No cost depends on how long a session is.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._now = (clock or SystemClock()).now
        self._sessions: dict[str, _Session] = {}
        self._turns: dict[str, _Session] = {}
        self._unannounced: dict[str, None] = {}
        self._deletions: dict[str, Deletion] = {}
        self._held: dict[str, tuple[_Session, Lease]] = {}
        self._turnstile = Turnstile()

    async def start(self) -> None:
        """Do nothing."""

    async def stop(self) -> None:
        """Do nothing."""

    async def find(self, session_id: str) -> Owner | None:
        """See ``SessionStore``."""
        session = self._sessions.get(session_id)
        return None if session is None else session.owner

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
        """See ``SessionStore``."""
        session = self._sessions.get(session_id)
        if session is not None:  # nobody waits in line for what is not theirs
            check_owner(session_id, session.owner, owner)
        await self._turnstile.enter(session_id, wait)
        try:
            if not create and session_id not in self._sessions:
                raise not_found(session_id)
            self._check_new(events)
            held = self._held[session_id] = self._open(session_id, owner, events, window)
            return held[1]
        finally:
            if session_id not in self._held:
                self._turnstile.leave(session_id)

    async def append(self, lease: Lease, events: Sequence[Event]) -> tuple[Event, ...]:
        """See ``SessionStore``."""
        session, held = self._held.get(lease.session_id, (None, None))
        if (
            session is None
            or held is not lease
            or session.epoch != lease.epoch
            or self._sessions.get(lease.session_id) is not session
        ):
            raise lease_lost(lease)
        written = self._write(session, events) if events else ()
        lease.head = len(session.events)
        return written

    def release(self, lease: Lease) -> None:
        """See ``SessionStore``."""
        held = self._held.get(lease.session_id)
        if held is not None and held[1] is lease:
            del self._held[lease.session_id]
            self._turnstile.leave(lease.session_id)

    async def read(
        self, session_id: str, *, after: int = 0, limit: int = 500
    ) -> Sequence[Recorded]:
        """See ``SessionStore``."""
        session = self._sessions.get(session_id)
        return [] if session is None else cast("list[Recorded]", session.events[after:][:limit])

    async def window(self, session_id: str, tokens: int) -> tuple[Message, ...]:
        """See ``SessionStore``."""
        session = self._sessions.get(session_id)
        return () if session is None else session.transcript.window(tokens)

    async def messages(
        self, session_id: str, *, before: int | None = None, limit: int = 50
    ) -> Sequence[StoredMessage]:
        """See ``SessionStore``."""
        session = self._sessions.get(session_id)
        if session is None:
            return []
        said = session.said
        end = len(said) if before is None else bisect_left(said, before, key=attrgetter("id"))
        return [
            StoredMessage(seq=entry.id, turn_id=entry.turn_id, message=entry.message)
            for entry in reversed(said[max(end - limit, 0) : end])
        ]

    async def sessions(
        self, tenant_id: str, user_id: str, *, before: float | None = None, limit: int = 50
    ) -> Sequence[SessionSummary]:
        """See ``SessionStore``."""
        found = [
            session
            for session in self._sessions.values()
            if (session.owner.tenant_id, session.owner.user_id) == (tenant_id, user_id)
            and (before is None or session.updated_at < before)
        ]
        found.sort(key=attrgetter("updated_at"), reverse=True)
        return [
            SessionSummary(
                session_id=session.id,
                agent_id=session.owner.agent_id,
                created_at=session.created_at,
                updated_at=session.updated_at,
                turns=len(session.turns),
            )
            for session in found[:limit]
        ]

    async def unused(self, before: float, *, limit: int = 100) -> Sequence[str]:
        """See ``SessionStore``."""
        found = [each for each in self._sessions.values() if self._is_unused(each, before)]
        return [each.id for each in nsmallest(limit, found, attrgetter("updated_at"))]

    async def turn(self, turn_id: str) -> TurnRecord | None:
        """See ``SessionStore``."""
        return self._record(turn_id) if turn_id in self._turns else None

    async def delete(
        self, session_id: str, *, unused_since: float | None = None
    ) -> Deletion | None:
        """See ``SessionStore``."""
        session = self._sessions.get(session_id)
        if session is None or (
            unused_since is not None and not self._is_unused(session, unused_since)
        ):
            return None
        del self._sessions[session_id]
        for turn_id in session.turns:
            del self._turns[turn_id]
            self._unannounced.pop(turn_id, None)
        deletion = Deletion(new_id("del"), session_id, session.owner)
        self._deletions[deletion.deletion_id] = deletion
        return deletion

    async def unannounced(self, limit: int = 100) -> Sequence[TurnRecord]:
        """See ``SessionStore``."""
        return [self._record(turn_id) for turn_id in islice(self._unannounced, limit)]

    async def announced(self, turn_id: str) -> None:
        """See ``SessionStore``."""
        self._unannounced.pop(turn_id, None)

    async def unannounced_deletions(self) -> Sequence[Deletion]:
        """See ``SessionStore``."""
        return list(self._deletions.values())

    async def deletion_announced(self, deletion_id: str) -> None:
        """See ``SessionStore``."""
        self._deletions.pop(deletion_id, None)

    def _is_unused(self, session: _Session, since: float) -> bool:
        return session.updated_at < since and session.id not in self._turnstile.held

    def _check_new(self, events: Sequence[Event]) -> None:
        told = set[str]()
        for event in events:
            if isinstance(event, TurnStart) and (
                event.turn_id in self._turns or event.turn_id in told
            ):
                raise turn_exists(event.turn_id)
            if isinstance(event, _BOUNDS):
                told.add(event.turn_id)

    def _open(
        self, session_id: str, owner: Owner, events: Sequence[Event], window: int
    ) -> tuple[_Session, Lease]:
        session = self._sessions.get(session_id)
        created = session is None
        if session is None:
            now = self._now()
            session = _Session(session_id, owner, now, now)
        else:
            check_owner(session_id, session.owner, owner)
            for turn in tuple(session.unfinished.values()):
                logged = [e for e in session.events[turn.first - 1 :] if e.turn_id == turn.id]
                if turn.status == "suspended":
                    closing = superseding_events(logged, events)
                else:
                    closing = closing_events(logged, code="interrupted", detail=DIED)
                if closing:
                    self._write(session, closing)
        session.epoch += 1
        history = session.transcript.window(window) if window else ()
        before = session.transcript.tokens, session.transcript.since, session.transcript.summary
        opening = self._write(session, events) if events else ()
        self._sessions[session_id] = session  # a new one only now, when nothing can fail any more
        head = len(session.events)
        lease = Lease(session_id, owner, session.epoch, head, created, history, *before, opening)
        return session, lease

    def _write(self, session: _Session, events: Sequence[Event]) -> tuple[Event, ...]:
        first = len(session.events) + 1
        written = tuple([replace(event, id=number) for number, event in enumerate(events, first)])
        now = session.updated_at = self._now()
        for event in written:
            if event.audience == "log" or isinstance(event, ContextCompacted):
                session.transcript.add(event)
                if isinstance(event, MessageRecorded):
                    session.said.append(event)
            elif isinstance(event, TurnStart):
                self._begin(session, event, now)
            elif isinstance(event, TERMINAL):
                self._end(session, event, now)
        session.events += written
        return written

    def _turn(self, session: _Session, event: Event, now: float) -> _Turn | None:
        """Return the event's turn, made when it is new; None when it is another session's."""
        if self._turns.setdefault(event.turn_id, session) is not session:
            return None
        turn = session.turns.get(event.turn_id)
        if turn is None:
            turn = session.turns[event.turn_id] = _Turn(event.turn_id, now, event.id)
        return turn

    def _begin(self, session: _Session, event: TurnStart, now: float) -> None:
        turn = self._turn(session, event, now)
        if turn is not None:
            turn.status, turn.ended_at = "running", None
            session.unfinished[turn.id] = turn

    def _end(self, session: _Session, event: TurnEnd | TurnError, now: float) -> None:
        turn = self._turn(session, event, now)
        if turn is not None:
            turn.status = event.outcome if isinstance(event, TurnEnd) else "failed"
            if turn.status != "suspended":
                session.unfinished.pop(turn.id, None)
            turn.usage, turn.ended_at = turn.usage + event.usage, now
            if turn.status in ANNOUNCED:
                self._unannounced[turn.id] = None

    def _record(self, turn_id: str) -> TurnRecord:
        session = self._turns[turn_id]
        turn = session.turns[turn_id]
        return TurnRecord(
            turn_id,
            session.id,
            session.owner,
            turn.status,
            turn.usage,
            turn.started_at,
            turn.ended_at,
            turn.first,
        )
