"""What happens in a session, as data.

One type serves the log and the wire.  A session's log is a gapless sequence of these events, ``id``
is the number in it.  The events of ``WIRE`` are what a client of ``/stream`` reads; the others
are only kept: the full messages, what attachments and context providers added, and the markers.
"""

from collections.abc import Mapping
from typing import ClassVar, Final, Literal

import msgspec

from agentrail.messages import AttachedFile, Message, StopReason, ToolOutcome, Usage, Wire

SCHEMA_VERSION: Final = 1
"""The version of the shapes in this module; it changes when a field changes its meaning."""

Audience = Literal["reader", "log", "both"]
"""Whom an event is for; what a reader is shown is logged before."""

TurnOutcome = Literal["completed", "intercepted", "cancelled", "suspended"]
"""How a run ended without an error."""


class Event(Wire, omit_defaults=False):
    """What all events have in common.

    ``id`` is 0 until the log has numbered the event; ``step`` counts the model calls of the turn
    from 1; ``depth`` is 0 for the agent that the user talks to.
    """

    id: int = 0
    turn_id: str = ""
    session_id: str = ""
    step: int = 0
    depth: int = 0
    schema_version: int = SCHEMA_VERSION

    audience: ClassVar[Audience] = "reader"
    """``reader``: it is made for a stream alone; ``log``: it is kept and never sent."""

    @property
    def type(self) -> str:
        """The event's name, as ``message.delta``."""
        return str(self.__struct_config__.tag)

    @property
    def window_tokens(self) -> int:
        """How many tokens of a model's window the event takes; 0 when the model never sees it."""
        return 0


class TurnStart(Event, tag_field="type", tag="turn.start"):
    """A turn begins; its user message is in the log."""

    audience: ClassVar[Audience] = "both"

    agent_id: str = ""
    generation: int = 0
    fingerprint: str = ""
    """What was asked, where the request came with an idempotency key."""


class StepStart(Event, tag_field="type", tag="step.start"):
    """A model call begins."""


class StepEnd(Event, tag_field="type", tag="step.end"):
    """A model call and the tools that it asked for are done."""


class MessageStart(Event, tag_field="type", tag="message.start"):
    """A message begins to arrive."""

    message_id: str = ""
    role: str = "assistant"


class MessageDelta(Event, tag_field="type", tag="message.delta"):
    """A new piece of a message: the piece alone, never what came before it."""

    message_id: str = ""
    text: str = ""
    reasoning: str = ""


class MessageEnd(Event, tag_field="type", tag="message.end"):
    """A message is whole."""

    message_id: str = ""
    stop_reason: StopReason | None = None
    usage: Usage = Usage()
    model: str = ""
    """Which model said it, as ``provider:model``; empty where none was asked."""


class ToolStart(Event, tag_field="type", tag="tool.start"):
    """A tool call begins."""

    audience: ClassVar[Audience] = "both"

    call_id: str = ""
    name: str = ""
    arguments: Mapping[str, object] = msgspec.field(default_factory=dict[str, object])


class ToolProgress(Event, tag_field="type", tag="tool.progress"):
    """A tool tells how far it is."""

    call_id: str = ""
    text: str = ""


class ToolEnd(Event, tag_field="type", tag="tool.end"):
    """A tool call is over."""

    audience: ClassVar[Audience] = "both"

    call_id: str = ""
    name: str = ""
    outcome: ToolOutcome = "ok"
    content: str = ""
    duration_ms: float = 0.0


class ApprovalRequired(Event, tag_field="type", tag="approval.required"):
    """A tool call waits for somebody's approval; the run ends, suspended."""

    audience: ClassVar[Audience] = "both"

    call_id: str = ""
    name: str = ""
    arguments: Mapping[str, object] = msgspec.field(default_factory=dict[str, object])
    reason: str = ""
    origin: str = ""
    """Which package's tool it is, as ``id@version sha256:…``; empty for an application's own."""


class ApprovalDecided(Event, tag_field="type", tag="approval.decided"):
    """Somebody approved a tool call that waited, or did not."""

    audience: ClassVar[Audience] = "both"

    call_id: str = ""
    approved: bool = False
    by: str = ""
    """The user who decided."""
    reason: str = ""


class ContextCompacted(Event, tag_field="type", tag="context.compacted"):
    """From here on the model sees a summary in place of what was said up to an event.

    The history stays as it is.
    """

    audience: ClassVar[Audience] = "both"

    until: int = 0
    """The number of the last event that the summary covers."""
    summary: str = ""
    tokens: int = 0
    """What the summary takes of a model's window."""
    usage: Usage = Usage()
    """What it took to write the summary."""


class Notice(Event, tag_field="type", tag="notice"):
    """Something that the reader should know and that is no part of the answer."""

    text: str = ""
    source: str = ""


class TurnEnd(Event, tag_field="type", tag="turn.end"):
    """The run is over, and what it did is durable.  Terminal."""

    audience: ClassVar[Audience] = "both"

    outcome: TurnOutcome = "completed"
    message: str = ""
    stop_reason: StopReason | None = None
    usage: Usage = Usage()
    output: object = None
    """The answer as JSON, where the profile has an output type."""


class TurnError(Event, tag_field="type", tag="turn.error"):
    """The run failed; the fields are those of an RFC 9457 problem document.  Terminal."""

    audience: ClassVar[Audience] = "both"

    code: str = ""
    title: str = ""
    status: int = 500
    detail: str = ""
    retryable: bool = False
    trace_id: str = ""
    usage: Usage = Usage()


class MessageRecorded(Event, kw_only=True, tag_field="type", tag="message"):
    """A whole message, as the model will see it in later turns."""

    audience: ClassVar[Audience] = "log"

    message: Message
    tokens: int

    @property
    def window_tokens(self) -> int:
        """The message's tokens, as they were counted when it was recorded."""
        return self.tokens


class AttachmentsKept(Event, kw_only=True, tag_field="type", tag="attachments.kept"):
    """The files that came with the turn's message; their content is kept outside the log."""

    audience: ClassVar[Audience] = "log"

    files: tuple[AttachedFile, ...]


class AttachmentsAdded(Event, kw_only=True, tag_field="type", tag="attachments"):
    """What the attachment handlers made of the turn's files; put before the user's message."""

    audience: ClassVar[Audience] = "log"

    text: str
    tokens: int

    @property
    def window_tokens(self) -> int:
        """The text's tokens, as they were counted when it was recorded."""
        return self.tokens


class ContextAdded(Event, kw_only=True, tag_field="type", tag="context"):
    """What a context provider added for this turn alone."""

    audience: ClassVar[Audience] = "log"

    source: str
    messages: tuple[Message, ...]


class ArtifactKept(Event, kw_only=True, tag_field="type", tag="artifact"):
    """The whole of a tool's result that the model is shown a part of."""

    audience: ClassVar[Audience] = "log"

    artifact_id: str
    text: str


class HookDid(msgspec.Struct, array_like=True, gc=False):
    """What a hook did in a run besides being called."""

    changed: int = 0
    """How often it returned something else in place of what it was given."""
    answered: int = 0
    """How often it gave an answer, a result or an addition of its own."""
    errors: int = 0
    timeouts: int = 0
    cancelled: int = 0
    """How often it was cut off because the run was ended."""
    skipped: int = 0
    """How often it was left alone because it kept failing."""
    error: str = ""
    """The type of its last error."""


class HookRan(msgspec.Struct, frozen=True):
    """The calls of one hook of one plugin in a run; times are in microseconds."""

    hook: str
    plugin: str
    micros: int
    """What all its calls took."""
    calls: int
    """How often it was called, whatever became of it."""
    longest: int
    did: HookDid | None


class HooksRan(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The hooks of a run by columns, which cost little: each run writes them, and few are read."""

    hooks: tuple[str, ...] = ()
    plugins: tuple[str, ...] = ()
    micros: tuple[int, ...] = ()
    often: tuple[tuple[int, int, int], ...] = ()
    """The place, the calls and the longest of them, of each that was not called just once."""
    did: tuple[tuple[int, HookDid], ...] = ()
    """The place of each that did something, and what."""


class ModelAsked(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One model call of a run, with the hooks and the middleware around it."""

    model: str
    """The model that answered, as ``provider:model``, or else the one that was asked."""
    micros: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    outcome: str = "ok"
    """``ok``, ``cancelled``, or the error's code."""


class RunRecorded(Event, tag_field="type", tag="run"):
    """How a run went: who had a part in it, and for how long.  Written with the run's end.

    Times are in microseconds.
    """

    audience: ClassVar[Audience] = "log"

    transport: str = ""
    micros: int = 0
    """From the run's beginning to the writing of its end."""
    waited: int = 0
    """Until it had its session, the writing of its beginning included."""
    first_text: int | None = None
    """From its beginning to the first piece of an answer."""
    ran: HooksRan = HooksRan()
    """The hooks in the order in which they were called first."""
    models: tuple[ModelAsked, ...] = ()
    traceparent: str = ""
    """The run's span, as W3C trace context writes it."""

    @property
    def hooks(self) -> tuple[HookRan, ...]:
        """The hooks one by one."""
        ran, did = self.ran, dict(self.ran.did)
        often = {place: (calls, longest) for place, calls, longest in ran.often}
        rows = enumerate(zip(ran.hooks, ran.plugins, ran.micros, strict=True))
        return tuple(
            [
                HookRan(hook, plugin, micros, *often.get(place, (1, micros)), did.get(place))
                for place, (hook, plugin, micros) in rows
            ]
        )


class SessionReset(Event, tag_field="type", tag="session.reset"):
    """The model's window begins after this event; the history before it stays."""

    audience: ClassVar[Audience] = "log"


WireEvent = (
    TurnStart
    | StepStart
    | StepEnd
    | MessageStart
    | MessageDelta
    | MessageEnd
    | ToolStart
    | ToolProgress
    | ToolEnd
    | ApprovalRequired
    | ApprovalDecided
    | ContextCompacted
    | Notice
    | TurnEnd
    | TurnError
)
"""What a client reads."""

Recorded = (
    WireEvent
    | MessageRecorded
    | AttachmentsKept
    | AttachmentsAdded
    | ContextAdded
    | ArtifactKept
    | RunRecorded
    | SessionReset
)
"""What a session's log holds."""

TERMINAL: Final = (TurnEnd, TurnError)
"""Each run ends in exactly one of these, and nothing comes after it."""

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Recorded] = msgspec.json.Decoder(Recorded)


def encode(event: Event) -> bytes:
    """Return the event as JSON: its ``type`` and all of its fields."""
    return _encoder.encode(event)


def decode(data: bytes) -> Recorded:
    """Return the event that ``encode`` wrote.

    Raises:
        msgspec.DecodeError: the bytes are no event of this schema version.
    """
    return _decoder.decode(data)
