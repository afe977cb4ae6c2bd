"""What is read of a turn in its log, while it runs and after."""

from collections.abc import Mapping, Sequence
from typing import Final

from attrs import define, frozen

from agentrail.agent import Decision
from agentrail.errors import AgentrailError, CompositionError, SessionBusy, TurnNotFound
from agentrail.events import (
    TERMINAL,
    ApprovalDecided,
    ApprovalRequired,
    ArtifactKept,
    Event,
    ToolEnd,
    TurnEnd,
    TurnError,
    TurnStart,
)
from agentrail.messages import ToolCall
from agentrail.requests import Asked, ChatResponse, TurnStatus
from agentrail.session import SessionStore, TurnRecord

PAGE: Final = 500
"""Events that are read at a time."""


@frozen(slots=True)
class Past:
    """The events of one turn, without its artifacts."""

    record: TurnRecord
    events: Sequence[Event]

    @property
    def waiting(self) -> tuple[Asked, ...]:
        """The tool calls that wait for approval, in their order."""
        waiting: dict[str, Asked] = {}
        for event in self.events:
            if isinstance(event, ApprovalRequired):
                call = ToolCall(id=event.call_id, name=event.name, arguments=event.arguments)
                waiting[event.call_id] = Asked(call=call, reason=event.reason)
            elif isinstance(event, ApprovalDecided):
                waiting.pop(event.call_id, None)
        return tuple(waiting.values()) if self.record.status == "suspended" else ()

    @property
    def decisions(self) -> Mapping[str, Decision]:
        """What people decided, by the ids of the calls."""
        shown: dict[str, ToolCall] = {}
        origins: dict[str, str] = {}
        decisions: dict[str, Decision] = {}
        for event in self.events:
            if isinstance(event, ApprovalRequired):
                shown[event.call_id] = ToolCall(
                    id=event.call_id, name=event.name, arguments=event.arguments
                )
                origins[event.call_id] = event.origin
                decisions.pop(event.call_id, None)
            elif isinstance(event, ApprovalDecided) and event.call_id in shown:
                decisions[event.call_id] = Decision(
                    event.approved, shown[event.call_id], event.reason, origins[event.call_id]
                )
        return decisions

    @property
    def unspent(self) -> Mapping[str, Decision]:
        """Those decisions whose calls have no result yet; later calls may have the same ids."""
        spent: set[str] = set()
        for event in self.events:
            if isinstance(event, ToolEnd):
                spent.add(event.call_id)
            elif isinstance(event, ApprovalDecided):
                spent.discard(event.call_id)
        return {key: said for key, said in self.decisions.items() if key not in spent}

    @property
    def status(self) -> TurnStatus:
        """Where the turn stands."""
        record = self.record
        return TurnStatus(
            turn_id=record.turn_id,
            session_id=record.session_id,
            agent_id=record.owner.agent_id,
            status=record.status,
            usage=record.usage,
            started_at=record.started_at,
            ended_at=record.ended_at,
            approvals=self.waiting,
        )

    def answer(self) -> ChatResponse:
        """Return what the turn was answered with.

        Raises:
            AgentrailError: it failed with that.
            SessionBusy: it has not ended.
        """
        bounds = [event for event in self.events if isinstance(event, (*TERMINAL, TurnStart))]
        end = bounds[-1]
        if isinstance(end, TurnError):
            error = _error_of(end.code, end.detail)
            error.retryable = end.retryable
            raise error
        if not isinstance(end, TurnEnd):
            raise SessionBusy(f"turn {self.record.turn_id!r} has not ended", retry_after=1.0)
        return response_of(end, self.record, self.waiting)


def response_of(end: TurnEnd, record: TurnRecord, waiting: tuple[Asked, ...] = ()) -> ChatResponse:
    """Return the answer that a terminal event tells."""
    return ChatResponse(
        end.message,
        session_id=record.session_id,
        turn_id=record.turn_id,
        agent_id=record.owner.agent_id,
        stop_reason=end.stop_reason,
        usage=record.usage,
        outcome=end.outcome,
        output=end.output,
        approvals=waiting,
    )


@define(slots=True)
class Reading:
    """Reads the events of one turn from its log."""

    store: SessionStore
    record: TurnRecord
    after: int
    """The number of the last event that was read, of any turn."""
    ended: bool = False
    """Whether nothing of the turn can come any more."""

    async def more(self) -> Sequence[Event]:
        """Return the next events of the turn that are in the log; nothing when it has no more."""
        while not self.ended:
            page = await self.store.read(self.record.session_id, after=self.after, limit=PAGE)
            if not page:
                return ()
            self.after = page[-1].id
            if mine := self._mine(page):
                return mine
        return ()

    def _mine(self, page: Sequence[Event]) -> Sequence[Event]:
        """Return what is the turn's of a page: nothing after its end, or when another began."""
        mine: list[Event] = []
        for event in page:
            if event.turn_id == self.record.turn_id:
                mine.append(event)
                suspended = isinstance(event, TurnEnd) and event.outcome == "suspended"
                self.ended = isinstance(event, TERMINAL) and not suspended
            elif isinstance(event, TurnStart):
                self.ended = True
            if self.ended:
                break
        return mine


async def artifact_of(store: SessionStore, session_id: str, artifact_id: str) -> str | None:
    """Return the text of a session's artifact, or None when it has no such one."""
    record = await store.turn(artifact_id.partition(".")[0])
    if record is None or record.session_id != session_id:
        return None
    reading = Reading(store, record, record.first - 1)
    while more := await reading.more():
        for event in more:
            if isinstance(event, ArtifactKept) and event.artifact_id == artifact_id:
                return event.text
    return None


async def past_of(store: SessionStore, record: TurnRecord) -> Past:
    """Return all that is in the log of a turn, but for its artifacts, which may be large.

    Raises:
        TurnNotFound: it was deleted meanwhile.
    """
    reading = Reading(store, record, record.first - 1)
    events: list[Event] = []
    while more := await reading.more():
        events += [event for event in more if not isinstance(event, ArtifactKept)]
    if not events:
        raise no_turn(record.turn_id)
    return Past(record, events)


def no_turn(turn_id: str) -> TurnNotFound:
    """Return what is told of a turn that is not there."""
    message = (
        f"there is no turn {turn_id!r}; what a plugin answers, as a command does, is kept "
        "only if it asks for that"
    )
    return TurnNotFound(message)


def _error_of(code: str, detail: str) -> AgentrailError:
    """Return the error with that code, or an ``AgentrailError`` when there is none."""
    kinds = [AgentrailError]
    for kind in kinds:  # grows while it is gone through
        if kind.code == code:
            return kind(detail)
        if kind is not CompositionError:  # which is made of faults
            kinds += kind.__subclasses__()
    return AgentrailError(detail)
