"""Profiles: who answers."""

from collections.abc import Awaitable, Callable, Sequence

from attrs import field, frozen

from agentrail.agent import Limits, Prices
from agentrail.hook import ContextProvider, Tool
from agentrail.requests import RequestContext
from agentrail.tool import Rule

Prompt = str | Callable[[RequestContext], str | Awaitable[str]]
"""The system prompt, or a function of the request that returns it."""


@frozen(kw_only=True)
class Profile:
    """An agent's identity: its model, prompt, tools, context and limits."""

    id: str
    """What requests call it; an identifier (see ``agentrail.ids``)."""
    model: str
    """The model, as ``provider:model``."""
    name: str = ""
    """What people call it; the id when left out."""
    prompt: Prompt = ""
    tools: Sequence[Tool] = ()
    context_providers: Sequence[ContextProvider] = ()
    limits: Limits = field(factory=Limits)
    context_window: int = 8192
    """Tokens that the model takes in, answer included."""
    images: bool = False
    """Whether the model takes images: those among the attachments are then shown to it."""
    compact: bool = True
    """Whether the history is summarized by the model, in the background, when it gets too long for
    the window; otherwise its oldest part is left out."""
    temperature: float | None = None
    """The model's sampling temperature; None leaves it to the model."""
    fallbacks: Sequence[str] = ()
    """The models that are asked, one after another, when the one before is out of order."""
    prices: Prices | None = None
    """What the model's tokens cost."""
    permissions: Sequence[Rule] = ()
    """Which tool calls may be made, as ``allow``, ``ask`` and ``deny`` say."""
    output: object = None
    """The type of the answer, where it is more than text: a dataclass, msgspec Struct, attrs class
    or TypedDict.  The model is told its JSON Schema, and may try again once when it misses."""

    @property
    def room(self) -> int:
        """Tokens of the window that are there for messages and tools: all but the answer's."""
        return self.context_window - (self.limits.max_tokens or self.context_window // 4)

    def history_tokens(self, message_tokens: int) -> int:
        """Return how much of the window the history may take beside a new message.

        What the tools take counts with the message.  The answer's room comes off first: its limit,
        or a quarter of the window.  A quarter of the rest is left for the prompt, for context
        providers, and for counting tokens too low.
        """
        return max(0, (self.room - message_tokens) * 3 // 4)
