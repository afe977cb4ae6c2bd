"""Profiles: who answers."""

from collections.abc import Awaitable, Callable, Sequence

from attrs import field, frozen

from agentrail.agent import Limits
from agentrail.hook import ContextProvider, Tool
from agentrail.requests import RequestContext

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
    temperature: float | None = None
    """The model's sampling temperature; None leaves it to the model."""

    def history_tokens(self, message_tokens: int) -> int:
        """Return how much of the window the history may take beside a new message.

        The answer's room comes off first: its limit, or a quarter of the window.  A quarter of the
        rest is left for the prompt, for context providers, and for counting tokens too low.
        """
        answer = self.limits.max_tokens or self.context_window // 4
        return max(0, (self.context_window - answer - message_tokens) * 3 // 4)
