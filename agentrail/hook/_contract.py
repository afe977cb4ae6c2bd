"""The plugin contract: what a plugin is, and what each of its members may be.

A plugin is any object with a ``name``.  Every other member is optional, hooks may be sync or
async, and a member that a plugin does not have costs nothing.  ``docs/reference/plugin.md`` lists
all members with their order, deadline and error policy; ``HOOKS`` is the same list as data.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal, Protocol, runtime_checkable

from attrs import frozen

from agentrail.messages import Attachment, Message, ToolCall, ToolResult, ToolSpec
from agentrail.requests import (
    ChatRequest,
    ChatResponse,
    Delta,
    ModelReply,
    ModelRequest,
    RequestContext,
)


@frozen(slots=True)
class Fallback:
    """What stands in for a hook that failed."""

    value: object
    """What the hook would have returned; or, as a string, the plugin whose hook is asked."""


def fallback(value: object) -> Fallback:
    """Return the policy that ``value`` stands in for a hook that failed.

    A string names a plugin: its hook of the same name is asked instead.
    """
    return Fallback(value)


Policy = Literal["abort", "skip"] | Fallback
"""What the failure of a hook around a model call or a tool call means: the request is refused, the
hook is as if it were not there, or something stands in for it."""


class Plugin(Protocol):
    """Behavior that holds for every profile and every route of a host.

    Would it still exist with many profiles and many routes?  Then it belongs in a plugin.
    """

    @property
    def name(self) -> str:
        """The plugin's stable identifier, in logs, spans and messages; unique in its host."""
        ...


@runtime_checkable
class Tool(Protocol):
    """Something that the model may call."""

    @property
    def spec(self) -> ToolSpec:
        """The name, description and JSON Schema that the model is told."""
        ...

    async def call(self, arguments: Mapping[str, object], context: RequestContext, /) -> object:
        """Do the work; what is returned is told to the model, as text or as JSON.

        Raises:
            ToolError: its text is told to the model as it is.
        """
        ...


ContextProvider = Callable[
    [RequestContext, Sequence[Message]], Awaitable[Sequence[Message]] | Sequence[Message]
]
"""Returns what it adds to the request's messages, and only that; it does not change them.

It is called once a turn with the history and the new message, and what it adds is placed between
the history and the new message, for this turn alone.
"""

Lifecycle = Callable[[], Awaitable[None] | None]
"""``start`` and ``stop``."""

Observer = Callable[[RequestContext], Awaitable[None] | None]
"""``on_request_start``, ``on_turn_persisted``, ``on_request_end`` and ``on_session_deleted``."""

Interceptor = Callable[
    [ChatRequest, RequestContext], Awaitable[ChatResponse | None] | ChatResponse | None
]
"""``intercept_chat_request``: an answer instead of the profile's, or None."""

AttachmentHandler = Callable[[Sequence[Attachment], RequestContext], Awaitable[str] | str]
"""``attachment_handler``: text about the files, put before the message."""

BeforeRequest = Callable[
    [ModelRequest, RequestContext],
    Awaitable[ModelRequest | ModelReply | None] | ModelRequest | ModelReply | None,
]
"""``before_request``: another request, an answer instead of the model's, or None for no change."""

OnChunk = Callable[[Delta, RequestContext], Awaitable[Delta | None] | Delta | None]
"""``on_chunk``: the piece to send on, or None to withhold it."""

AfterResponse = Callable[
    [ModelReply, RequestContext], Awaitable[ModelReply | None] | ModelReply | None
]
"""``after_response``: another reply, or None for no change."""

OnError = Callable[[Exception, RequestContext], Awaitable[ModelReply | None] | ModelReply | None]
"""``on_error``: a reply that makes up for the failed call, or None."""

BeforeToolCall = Callable[
    [ToolCall, RequestContext],
    Awaitable[ToolCall | ToolResult | None] | ToolCall | ToolResult | None,
]
"""``before_tool_call``: another call, a result that denies it, or None for no change."""

AfterToolCall = Callable[
    [ToolCall, ToolResult, RequestContext], Awaitable[ToolResult | None] | ToolResult | None
]
"""``after_tool_call``: another result, or None for no change."""
