"""From a log to what a model sees, and from a broken log to a whole one.  No I/O."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace

from agentrail.events import (
    AttachmentsAdded,
    Event,
    MessageDelta,
    MessageEnd,
    MessageRecorded,
    MessageStart,
    SessionReset,
    TurnError,
    TurnStart,
)
from agentrail.messages import (
    Message,
    Part,
    Text,
    ToolCall,
    ToolResult,
    Usage,
    estimate_tokens,
)

INTERRUPTED = "the turn was interrupted before this tool call was done"
"""What the model is told about a tool call that never ended."""

DIED = "the host ended before the turn did; what it had done is kept, send the message again"
"""What the reader of a turn is told that was left unfinished."""


def recorded(message: Message, turn_id: str = "", step: int = 0) -> MessageRecorded:
    """Return the log's entry for a message."""
    tokens = estimate_tokens(message)
    return MessageRecorded(message=message, tokens=tokens, turn_id=turn_id, step=step)


def with_attachments(message: Message, text: str) -> Message:
    """Return the message with ``text`` and a blank line before what it says."""
    parts: tuple[Part, ...] = (Text(text + "\n\n"), *message.parts)
    return Message(role=message.role, parts=parts, id=message.id)


class Transcript:
    """The messages that a log's events make, and the end of them that fits a window.

    What attachment handlers added is put before the user's message of the same turn.  Every tool
    result follows its call and every call has its result, whatever the events lack: a result
    without a call is left out, a call without a result gets one, and what the application said
    in between comes after them.
    """

    __slots__ = ("_befores", "_late", "_messages", "_open", "_starts", "_turn_id", "tokens")

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.tokens = 0
        """What all that was added takes, left out or not, and the results that were missing."""
        self._messages: list[Message] = []
        self._starts: list[int] = []  # where a window may begin
        self._befores: list[int] = []  # what was added before each of these took
        self._open: dict[str, ToolCall] = {}  # calls without a result yet
        self._late: list[tuple[MessageRecorded, int]] = []  # notes that wait for those results
        self._turn_id = ""  # of the last message of a user
        for event in events:
            self.add(event)

    def add(self, event: Event) -> None:
        """Take the log's next event."""
        if isinstance(event, MessageRecorded):
            before = self.tokens
            self.tokens += event.tokens
            self._take(event, before)
        elif isinstance(event, AttachmentsAdded):
            self.tokens += event.tokens
            if self._messages and self._messages[-1].role == "user":
                self._attach(event)
        elif isinstance(event, SessionReset):
            self.tokens = 0
            for part in (self._messages, self._starts, self._befores, self._open, self._late):
                part.clear()

    def window(self, tokens: int) -> tuple[Message, ...]:
        """Return the newest messages that fit in ``tokens``, oldest first.

        They begin with a message of the user or the application.  What is left out of them takes
        its room all the same: so the window of a log's end is that of the whole log.  The cost
        is that of a search and a copy.
        """
        over = self.tokens - tokens
        index = bisect_left(self._befores, over)
        if index == len(self._starts):  # the notes wait for calls that are not in the window
            return tuple([entry.message for entry, before in self._late if before >= over])
        return tuple(self._messages[self._starts[index] :])

    def _take(self, event: MessageRecorded, before: int) -> None:
        message = event.message
        if message.role == "tool":
            self._take_results(message)
            return
        if self._open:
            if message.role == "system":
                self._late.append((event, before))
                return
            before += self._cancel()
        if message.role == "assistant":
            self._open.update({call.id: call for call in message.tool_calls})
        else:
            self._starts.append(len(self._messages))
            self._befores.append(before)
            self._turn_id = event.turn_id
        self._messages.append(message)

    def _take_results(self, message: Message) -> None:
        parts: tuple[Part, ...] = tuple([part for part in message.parts if self._answers(part)])
        if parts:
            whole = len(parts) == len(message.parts)
            self._messages.append(message if whole else replace(message, parts=parts))
        if self._late and not self._open:
            late, self._late = self._late, []
            for entry, before in late:
                self._take(entry, before)

    def _cancel(self) -> int:
        """Give the open calls results, and return the tokens of these."""
        results = recorded(Message(role="tool", parts=_cancelled(self._open)))
        self.tokens += results.tokens
        # They come before the notes that wait: a window that begins with one does not hold them.
        self._late = [(entry, before + results.tokens) for entry, before in self._late]
        self._take_results(results.message)
        return results.tokens

    def _answers(self, part: Part) -> bool:
        return isinstance(part, ToolResult) and self._open.pop(part.call_id, None) is not None

    def _attach(self, event: AttachmentsAdded) -> None:
        if event.turn_id == self._turn_id:
            self._messages[-1] = with_attachments(self._messages[-1], event.text)


def closing_events(events: Sequence[Event], *, code: str, detail: str) -> tuple[Event, ...]:
    """Return what ends a turn that was left unfinished; ``events`` are all that it logged.

    A tool call without a result gets one (``cancelled``), the pieces of an answer that had begun
    are kept as a message, and the turn ends with ``turn.error``.
    """
    start = next((event for event in events if isinstance(event, TurnStart)), None)
    if start is None:
        return ()
    turn_id, session_id = start.turn_id, start.session_id
    closing: list[Event] = []
    results = unanswered(events)
    if results:
        closing.append(recorded(Message(role="tool", parts=results), turn_id))
    partial = _unfinished_text(events)
    if partial:
        parts: tuple[Part, ...] = (Text(partial),)
        message = Message(role="assistant", parts=parts, stop_reason="error")
        closing.append(recorded(message, turn_id))
    closing.append(
        TurnError(
            turn_id=turn_id,
            session_id=session_id,
            code=code,
            title="The turn was interrupted",
            status=500,
            detail=detail,
            retryable=True,
            usage=_spent(events),
        )
    )
    return tuple([replace(event, session_id=session_id) for event in closing])


def unanswered(events: Iterable[Event]) -> tuple[ToolResult, ...]:
    """Return a ``cancelled`` result for every recorded tool call that has no result."""
    calls: dict[str, ToolCall] = {}
    for event in events:
        if isinstance(event, MessageRecorded):
            for part in event.message.parts:
                if isinstance(part, ToolCall):
                    calls[part.id] = part
                elif isinstance(part, ToolResult):
                    calls.pop(part.call_id, None)
    return _cancelled(calls)


def _cancelled(calls: Mapping[str, ToolCall]) -> tuple[ToolResult, ...]:
    return tuple(
        [
            ToolResult(call_id=call.id, name=call.name, content=INTERRUPTED, outcome="cancelled")
            for call in calls.values()
        ]
    )


def _spent(events: Iterable[Event]) -> Usage:
    """Return what the turn's last run used; the runs before it have told theirs."""
    usage = Usage()
    for event in events:
        if isinstance(event, TurnStart):
            usage = Usage()
        elif isinstance(event, MessageEnd):
            usage += event.usage
    return usage


def _unfinished_text(events: Sequence[Event]) -> str:
    """Return the text of the last message that began to arrive and was never recorded."""
    pieces: list[str] = []
    for event in events:
        if isinstance(event, MessageDelta):
            pieces.append(event.text)
        elif isinstance(event, MessageStart) or (
            isinstance(event, MessageRecorded) and event.message.role == "assistant"
        ):
            pieces.clear()
    return "".join(pieces)
