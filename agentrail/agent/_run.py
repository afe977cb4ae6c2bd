"""What the loop works with: an agent that is ready, and the run that it works in."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from attrs import define, field, frozen
from opentelemetry.trace import Tracer
from opentelemetry.util.types import AttributeValue

from agentrail.agent._journal import Journal
from agentrail.agent._limits import Limits, Prices
from agentrail.agent._output import Output
from agentrail.clock import Clock
from agentrail.hook import Call
from agentrail.messages import NO_USAGE, Message, ToolCall, Usage
from agentrail.requests import ModelReply, ModelRequest, RequestContext
from agentrail.telemetry import Content
from agentrail.tool import Gate

Compact = Callable[[Sequence[Message]], Awaitable[list[Message] | None]]
"""Returns the messages with a summary of the history, or None when there is nothing to gain."""


@define(slots=True)
class Agent:
    """What the loop needs of a profile, ready to run."""

    reference: str
    """The model as ``provider:model``, for spans."""
    request: ModelRequest
    """The call's fixed part: model, tools, temperature, token limit, output."""
    model: Call[ModelRequest, ModelReply]
    gate: Gate
    limits: Limits
    result_chars: int = 100_000
    """How much of a tool's result the model is shown."""
    room: int = 1_000_000_000
    """Tokens that all messages of a call may take, beside the tools and the answer."""
    concurrent: frozenset[str] = frozenset()
    """The tools whose calls may run at the same time."""
    origins: Mapping[str, str] = field(factory=dict[str, str])
    """Which code each tool is of, by the tool's name; empty for what is the application's own."""
    prices: Prices | None = None
    output: Output | None = None


@frozen(slots=True)
class Decision:
    """What somebody said of a call that waited for approval."""

    approved: bool
    call: ToolCall
    """The call as it was shown to whoever decided."""
    reason: str = ""
    origin: str = ""
    """Which code the call was to run."""


@define(slots=True)
class Run:
    """Where the loop runs: its request, its journal, and how it is traced."""

    context: RequestContext
    journal: Journal
    clock: Clock
    tracer: Tracer | None = None
    attributes: Mapping[str, AttributeValue] = field(factory=dict[str, AttributeValue])
    """What the spans of its model calls and tool calls have in common."""
    content: Content | None = None
    """Puts what is said into these spans, where the application wants that."""
    decisions: Mapping[str, Decision] = field(factory=dict[str, Decision])
    """What people decided, by the ids of the calls."""
    pending: Sequence[ToolCall] = ()
    """The calls of the last message that have no result yet, where a turn goes on."""
    spent: Usage = NO_USAGE
    """What the turn's earlier runs used."""
    compact: Compact | None = None
    """Makes messages shorter that a model finds too long."""
