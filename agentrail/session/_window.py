"""From a log to what a model sees, and from a broken log to a whole one.  No I/O."""

from bisect import bisect_left, bisect_right
from collections.abc import Container, Iterable, Mapping, Sequence

from msgspec.structs import replace

from agentrail.events import (
    AttachmentsAdded,
    ContextCompacted,
    Event,
    MessageDelta,
    MessageEnd,
    MessageRecorded,
    MessageStart,
    SessionReset,
    ToolEnd,
    ToolStart,
    TurnEnd,
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

INTERRUPTED = "the turn was interrupted before this tool call was begun"
"""What the model is told about a tool call that never began."""

BROKEN_OFF = "the turn was interrupted while this tool call ran; it may have had its effects"
"""What the model is told about a tool call that began and never ended."""

DIED = "the host ended before the turn did; what it had done is kept, send the message again"
"""What the reader of a turn is told that was left unfinished."""

KEY_USED = "; the idempotency key gets this answer from now on: try again with a new one"
"""What is told besides of a failure that may pass, when the request came with a key."""


def recorded(message: Message, turn_id: str = "", step: int = 0) -> MessageRecorded:
    """Return the log's entry for a message."""
    tokens = estimate_tokens(message)
    if message.role == "tool" and len(message.parts) > 1:  # in a window, each result has its own
        tokens = sum([estimate_tokens(replace(message, parts=(part,))) for part in message.parts])
    return MessageRecorded(message=message, tokens=tokens, turn_id=turn_id, step=step)


def with_attachments(message: Message, text: str) -> Message:
    """Return the message with ``text`` and a blank line before what it says."""
    parts: tuple[Part, ...] = (Text(text + "\n\n"), *message.parts)
    return Message(role=message.role, parts=parts, id=message.id)


def summary_message(summary: ContextCompacted) -> Message:
    """Return what a model is told in place of what a summary covers."""
    return Message.system(f"What was said before, in short:\n{summary.summary}")


class Transcript:
    """The messages that a log's events make, and the end of them that fits a window.

    What attachment handlers added is put before the user's message of the same turn.  A summary
    stands before what it does not cover, in every window that has room for it.  Every tool
    result follows its call, in a message of its own and in the order of the calls, and every call
    has its result, whatever the events lack: a result without a call is left out, a call without
    a result gets one, and what the application said in between comes after them.
    """

    __slots__ = (
        "_befores",
        "_ids",
        "_late",
        "_messages",
        "_open",
        "_places",
        "_starts",
        "_summary",
        "_turn_id",
        "since",
        "tokens",
    )

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.tokens = 0
        """What all that was added takes, left out or not, and the results that were missing;
        without what a summary stands for."""
        self._messages: list[Message] = []
        self._starts: list[int] = []  # where a window may begin
        self._ids: list[int] = []  # the events of these
        self._befores: list[int] = []  # what was added before each of these took
        self._open: dict[str, ToolCall] = {}  # calls without a result yet
        self._places: dict[str, int] = {}  # of the last calls, in the model's order
        self._late: list[tuple[MessageRecorded, int]] = []  # notes that wait for those results
        self._turn_id = ""  # of the last message of a user
        self._summary: ContextCompacted | None = None
        self.since = 0
        """The number of the event after which the messages begin."""
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
            self._summary, self.since = None, event.id
            lists = (self._messages, self._starts, self._ids, self._befores, self._late)
            for part in (*lists, self._open):
                part.clear()
        elif isinstance(event, ContextCompacted) and event.until > self.since:
            self._compact(event)

    @property
    def summary(self) -> str:
        """What stands for what was said before the messages; empty when nothing does."""
        return "" if self._summary is None else self._summary.summary

    def window(self, tokens: int) -> tuple[Message, ...]:
        """Return the newest messages that fit in ``tokens``, oldest first.

        They begin with a message of the user or the application.  What is left out of them takes
        its room all the same: so the window of a log's end is that of the whole log.  The cost
        is that of a search and a copy.
        """
        summary = self._summary
        if summary is not None and summary.tokens <= tokens:
            return (summary_message(summary), *self._end(tokens - summary.tokens))
        return tuple(self._end(tokens))

    def left_out(self, tokens: int) -> int:
        """Return what is taken by that which is not in the window of so many tokens."""
        summary = self._summary
        if summary is not None and summary.tokens <= tokens:
            tokens -= summary.tokens
        befores = (*self._befores, *[before for _, before in self._late])
        return next((b for b in befores if b >= self.tokens - tokens), self.tokens)

    def _end(self, tokens: int) -> list[Message]:
        over = self.tokens - tokens
        index = bisect_left(self._befores, over)
        if index == len(self._starts):  # the notes wait for calls that are not in the window
            return [entry.message for entry, before in self._late if before >= over]
        return self._messages[self._starts[index] :]

    def _compact(self, summary: ContextCompacted) -> None:
        """Let the summary stand for the messages that it covers."""
        cut = bisect_right(self._ids, summary.until)
        whole = cut == len(self._ids)
        first = len(self._messages) if whole else self._starts[cut]
        tokens = self.tokens if whole else self._befores[cut]
        del self._messages[:first]
        self._starts = [start - first for start in self._starts[cut:]]
        self._befores = [before - tokens for before in self._befores[cut:]]
        self._ids = self._ids[cut:]
        self.tokens -= tokens
        self._summary, self.since = summary, summary.until
        if whole:  # calls that are open are covered too, and nothing waits for their results
            late, self._late = self._late, []
            self._open.clear()
            self.tokens = 0
            for entry, _ in late:
                if entry.id > summary.until:
                    self.add(entry)

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
            if self._open:
                self._places = {call_id: place for place, call_id in enumerate(self._open)}
        else:
            self._starts.append(len(self._messages))
            self._befores.append(before)
            self._ids.append(event.id)
            self._turn_id = event.turn_id
        self._messages.append(message)

    def _take_results(self, message: Message) -> None:
        for part in message.parts:
            if self._answers(part):
                alone = len(message.parts) == 1
                self._put_in_place(message if alone else replace(message, parts=(part,)))
        if self._late and not self._open:
            late, self._late = self._late, []
            for entry, before in late:
                self._take(entry, before)

    def _put_in_place(self, result: Message) -> None:
        """Put a result where its call is: results come as the tools are done."""
        at = len(self._messages)
        while self._messages[at - 1].role == "tool" and self._place(result) < self._place(
            self._messages[at - 1]
        ):
            at -= 1
        self._messages.insert(at, result)

    def _place(self, result: Message) -> int:
        (part,) = result.parts
        return self._places.get(part.call_id, 0) if isinstance(part, ToolResult) else 0

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

    A tool call without a result gets one (``cancelled``), one that began its end too, the pieces of
    an answer that had begun are kept as a message, and the turn ends with ``turn.error``.
    """
    start = next((event for event in events if isinstance(event, TurnStart)), None)
    if start is None:
        return ()
    turn_id, session_id = start.turn_id, start.session_id
    closing = list(call_ends(events, turn_id))
    partial = _unfinished(events)
    if partial is not None:
        closing.append(recorded(partial, turn_id))
    closing.append(
        TurnError(
            turn_id=turn_id,
            session_id=session_id,
            code=code,
            title="The turn was interrupted",
            status=500,
            detail=detail + KEY_USED if start.fingerprint else detail,
            retryable=not start.fingerprint,
            usage=_spent(events),
        )
    )
    return tuple([replace(event, session_id=session_id) for event in closing])


def superseding_events(events: Sequence[Event], next_events: Iterable[Event]) -> tuple[Event, ...]:
    """Return what ends a suspended turn, of which ``events`` are all, when others come after it.

    That is nothing unless they begin another turn or reset the session.  The calls that wait for
    approval get results (``cancelled``), and so does the turn.
    """
    start = next((event for event in events if isinstance(event, TurnStart)), None)
    if start is None or not any(_supersedes(event, start.turn_id) for event in next_events):
        return ()
    return cancelling_events(events, start.turn_id, start.session_id)


def cancelling_events(events: Sequence[Event], turn_id: str, session_id: str) -> tuple[Event, ...]:
    """Return what ends a suspended turn, of which ``events`` are all."""
    end = TurnEnd(turn_id=turn_id, outcome="cancelled", stop_reason="cancelled")
    closing = (*call_ends(events, turn_id), end)
    return tuple([replace(event, session_id=session_id) for event in closing])


def _supersedes(event: Event, turn_id: str) -> bool:
    other_turn = isinstance(event, TurnStart) and event.turn_id != turn_id
    return other_turn or isinstance(event, SessionReset)


def call_ends(events: Sequence[Event], turn_id: str = "") -> tuple[Event, ...]:
    """Return what ends the tool calls that have no result: results, and a ``tool.end`` if begun."""
    results = _unanswered(events)
    if not results:
        return ()
    steps = {event.call_id: event.step for event in events if isinstance(event, ToolStart)}
    ends = [
        ToolEnd(
            turn_id=turn_id,
            step=steps[result.call_id],
            call_id=result.call_id,
            name=result.name,
            outcome="cancelled",
            content=result.content,
        )
        for result in results
        if result.content == BROKEN_OFF
    ]
    return recorded(Message(role="tool", parts=results), turn_id), *ends


def _unanswered(events: Iterable[Event]) -> tuple[ToolResult, ...]:
    """Return a ``cancelled`` result for every recorded tool call that has no result."""
    calls: dict[str, ToolCall] = {}
    begun: set[str] = set()
    for event in events:
        if isinstance(event, ToolStart):
            begun.add(event.call_id)
        elif isinstance(event, MessageRecorded):
            for part in event.message.parts:
                if isinstance(part, ToolCall):
                    calls[part.id] = part
                    begun.discard(part.id)  # an earlier call had the id
                elif isinstance(part, ToolResult):
                    calls.pop(part.call_id, None)
    return _cancelled(calls, begun)


def _cancelled(calls: Mapping[str, ToolCall], begun: Container[str] = ()) -> tuple[ToolResult, ...]:
    return tuple(
        [
            ToolResult(
                call_id=call.id,
                name=call.name,
                content=BROKEN_OFF if call.id in begun else INTERRUPTED,
                outcome="cancelled",
            )
            for call in calls.values()
        ]
    )


def _spent(events: Iterable[Event]) -> Usage:
    """Return what the turn's last run used; the runs before it have told theirs."""
    usage = Usage()
    for event in events:
        if isinstance(event, TurnStart):
            usage = Usage()
        elif isinstance(event, MessageEnd | ContextCompacted):
            usage += event.usage
    return usage


def _unfinished(events: Sequence[Event]) -> Message | None:
    """Return what there is of the last message that began to arrive and was never recorded."""
    message_id, pieces = "", list[str]()
    for event in events:
        if isinstance(event, MessageDelta):
            message_id = event.message_id
            pieces.append(event.text)
        elif isinstance(event, MessageStart) or (
            isinstance(event, MessageRecorded) and event.message.role == "assistant"
        ):
            pieces.clear()
    text = "".join(pieces)
    if not text:
        return None
    return Message(role="assistant", parts=(Text(text),), id=message_id, stop_reason="error")
