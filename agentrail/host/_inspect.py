"""What a model is given in a session, and why: read from the log, without running anything."""

from collections.abc import Iterator, Sequence

from attrs import define, field, frozen

from agentrail.agent import fit
from agentrail.errors import SessionNotFound
from agentrail.events import (
    AttachmentsAdded,
    ContextAdded,
    ContextCompacted,
    Event,
    MessageRecorded,
    TurnStart,
)
from agentrail.host._compose import Served
from agentrail.host._past import PAGE
from agentrail.host._resume import history_before
from agentrail.messages import (
    Message,
    ToolResult,
    estimate_spec_tokens,
    estimate_tokens,
    told_files,
)
from agentrail.session import SessionStore, Transcript

_ALL = 1_000_000_000
"""More tokens than any session has."""


@frozen(slots=True)
class Seen:
    """A piece of what a model is given."""

    why: str
    """Where it is from: the profile, the history, a provider, the turn itself."""
    role: str
    tokens: int
    """As estimated; see ``estimate_tokens``."""
    text: str


@define(slots=True)
class _Last:
    """A session's last turn, and what was there before it."""

    served: Served
    turn_id: str = ""
    events: list[Event] = field(factory=list[Event])
    history: tuple[Message, ...] = ()
    left_out: int = 0
    """Tokens of what did not fit the window."""
    summarized: int = 0
    """The number of the last event that the history's summary covers; 0 without one."""

    def take(self, event: Event, transcript: Transcript) -> None:
        """Take the log's next event; the transcript has all that came before it."""
        if isinstance(event, TurnStart) and event.turn_id != self.turn_id:
            self.turn_id, self.events = event.turn_id, []
        if event.turn_id != self.turn_id:
            return
        self.events.append(event)
        if isinstance(event, MessageRecorded) and event.message.id == f"{self.turn_id}.0":
            self._begin(event.tokens, transcript)
        elif isinstance(event, ContextCompacted):
            # Written while the turn ran: the model was asked again, with it.
            transcript.add(event)
            self.history = history_before(self.turn_id, transcript.window(_ALL))
            self.left_out, self.summarized = 0, event.until

    def _begin(self, tokens: int, transcript: Transcript) -> None:
        """Cut the window that the turn began with, its question having so many tokens."""
        room = self.served.history_tokens(tokens)
        self.history = transcript.window(room)
        summary = transcript.summary
        has_summary = bool(summary and self.history and summary in self.history[0].text)
        self.summarized = transcript.since if has_summary else 0
        self.left_out = transcript.left_out(room)


async def inspect_context(store: SessionStore, served: Served, session_id: str) -> Sequence[Seen]:
    """Return what the model was given by the end of a session's last turn, in order.

    Raises:
        SessionNotFound: there is no such session, or it has no turn.
    """
    transcript, last = Transcript(), _Last(served)
    after = 0
    while page := await store.read(session_id, after=after, limit=PAGE):
        after = page[-1].id
        for event in page:
            last.take(event, transcript)
            transcript.add(event)
    if not last.events:
        raise SessionNotFound(f"there is no turn in session {session_id!r}")
    return [*_before(served, last), *_turn(served, last)]


def _before(served: Served, last: _Last) -> Iterator[Seen]:
    """Yield what the model is given before the turn's own messages."""
    prompt = served.profile.prompt
    if isinstance(prompt, str) and prompt:
        yield _seen("the profile's prompt", Message.system(prompt))
    elif prompt:
        yield Seen("the profile's prompt, made for each request", "system", 0, "")
    specs = served.agent.request.tools
    if specs:
        names = ", ".join(spec.name for spec in specs)
        yield Seen("the tools", "", estimate_spec_tokens(specs), names)
    if last.left_out:
        yield Seen("left out: it does not fit the window", "", last.left_out, "")
    for place, message in enumerate(last.history):
        is_summary = last.summarized and place == 0
        why = f"a summary of all up to event {last.summarized}" if is_summary else "the history"
        yield _seen(why, message)


def _turn(served: Served, last: _Last) -> Iterator[Seen]:
    """Yield what the turn itself added: what is for it alone stands before its question."""
    for event in last.events:
        if isinstance(event, ContextAdded):
            for message in event.messages:
                yield _seen(f"for this turn, from {event.source}", message)
    for event in last.events:
        if isinstance(event, AttachmentsAdded):
            yield Seen("attachments, put before the message", "user", event.tokens, event.text)
    said_in_turn = Transcript(e for e in last.events if isinstance(e, MessageRecorded)).window(_ALL)
    taken = sum(map(estimate_tokens, last.history))
    for message, shown in zip(
        said_in_turn, fit(said_in_turn, served.agent.room - taken), strict=True
    ):
        short = "" if message is shown else ", shown short for it did not fit any more"
        yield _seen(f"this turn{short}", shown)


def said(message: Message) -> str:
    """Return what a message says, calls and returns, and what came with it, as one text."""
    pieces = [message.text, told_files(message)]
    pieces += [f"calls {call.name}" for call in message.tool_calls]
    pieces += [part.content for part in message.parts if isinstance(part, ToolResult)]
    return " ".join(piece for piece in pieces if piece)


def _seen(why: str, message: Message) -> Seen:
    return Seen(why, message.role, estimate_tokens(message), said(message))
