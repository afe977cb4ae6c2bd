"""A suspended turn goes on: what its log says it was about to do."""

from collections.abc import Callable, Sequence
from contextlib import suppress

from attrs import define

from agentrail.errors import LeaseLost, NotPending, SessionNotFound
from agentrail.events import ContextAdded, ContextCompacted, Event
from agentrail.host._core import Core
from agentrail.host._past import Past, no_turn, past_of
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


async def write_on(
    core: Core,
    record: TurnRecord,
    events_of: Callable[[Past], Sequence[Event]],
    window: int = 0,
) -> tuple[Lease, Past]:
    """Write to a turn's log what it needs, as it stands when its session is held.

    Returns the right to write more there, with what was written as its opening events, and the
    turn as it was before; the caller releases the lease.  Where another process writes first,
    ``events_of`` is asked again.

    Raises:
        TurnNotFound: the turn is gone.
        SessionBusy: the session was held for too long.
    """
    while True:
        with suppress(LeaseLost):
            return await _write_on(core, record, events_of, window)


async def _write_on(
    core: Core, record: TurnRecord, events_of: Callable[[Past], Sequence[Event]], window: int
) -> tuple[Lease, Past]:
    store, written = core.store, False
    try:
        lease = await store.acquire(
            record.session_id,
            record.owner,
            window=window,
            wait=core.config.session_wait,
            create=False,
        )
    except SessionNotFound:
        raise no_turn(record.turn_id) from None
    try:
        present = await store.turn(record.turn_id)
        if present is None:
            raise no_turn(record.turn_id)
        past = await past_of(store, present)
        lease.opening = await store.append(lease, events_of(past))
        written = True
        return lease, past
    finally:
        if not written:
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
