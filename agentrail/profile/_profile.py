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

    @property
    def history_tokens(self) -> int:
        """How much of the window the history may take: three quarters.

        The rest is for the prompt, the context providers, the new message and the answer.
        """
        return self.context_window * 3 // 4
