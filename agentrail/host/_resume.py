"""A suspended turn goes on: what its log says it was about to do."""

from attrs import define

from agentrail.errors import NotPending, TurnNotFound
from agentrail.events import ContextAdded, ContextCompacted
from agentrail.host._core import Core
from agentrail.host._past import Past, past_of
from agentrail.messages import Message, ToolCall, ToolResult
from agentrail.session import Lease, Transcript, TurnRecord

_ALL = 1_000_000_000
"""More tokens than any turn has."""


@define(slots=True)
class TakenUp:
    """What a turn's earlier runs have left."""

    messages: list[Message]
    """What the model has seen of the turn: what providers added, the question, the steps."""
    pending: tuple[ToolCall, ...]
    """The calls of its last message that have no result."""
    asked: int
    """What the question takes of the window."""
    tokens: int
    """What all of the turn takes of it."""


async def hold(core: Core, record: TurnRecord, window: int = 0) -> tuple[Lease, Past]:
    """Return the right to write to a turn's session, and the turn as nobody else changes it now.

    A session that was deleted meanwhile is not made again.

    Raises:
        TurnNotFound: the turn is gone.
        SessionBusy: the session was held for too long.
    """
    store, found = core.store, None
    lease = await store.acquire(
        record.session_id, record.owner, window=window, wait=core.config.session_wait
    )
    try:
        if lease.created:
            await store.delete(record.session_id)
        present = await store.turn(record.turn_id)
        if present is None:
            raise TurnNotFound(f"there is no turn {record.turn_id!r}")
        found = await past_of(store, present)
        return lease, found
    finally:
        if found is None:
            store.release(lease)


def check_resumable(past: Past) -> None:
    """Return when the turn can go on.

    Raises:
        NotPending: it is not suspended, or calls still wait for approval.
    """
    record = past.record
    if record.status != "suspended":
        raise NotPending(f"turn {record.turn_id!r} is not suspended: it is {record.status}")
    if past.waiting:
        calls = ", ".join(repr(asked.call.id) for asked in past.waiting)
        raise NotPending(f"turn {record.turn_id!r} still waits for approval of {calls}")


def take_up(past: Past) -> TakenUp:
    """Return what a turn goes on with."""
    # A summary that the turn needed is about the history, which has it already.
    own = [event for event in past.events if not isinstance(event, ContextCompacted)]
    said = Transcript(own).window(_ALL)
    added = [
        message
        for event in past.events
        if isinstance(event, ContextAdded)
        for message in event.messages
    ]
    calls: dict[str, ToolCall] = {}
    for message in said:
        for part in message.parts:
            if isinstance(part, ToolCall):
                calls[part.id] = part
            elif isinstance(part, ToolResult):
                calls.pop(part.call_id, None)
    costs = [event.window_tokens for event in past.events if event.window_tokens]
    return TakenUp([*added, *said], tuple(calls.values()), costs[0], sum(costs))


def history_before(turn_id: str, history: tuple[Message, ...]) -> tuple[Message, ...]:
    """Return the messages that were there before the turn's own question."""
    for place, message in enumerate(history):
        if message.id == f"{turn_id}.0":
            return history[:place]
    return ()
