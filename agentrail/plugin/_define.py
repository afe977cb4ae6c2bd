"""The object-literal form of a plugin."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import TypedDict, Unpack, cast

from agentrail.hook import (
    AfterResponse,
    AfterToolCall,
    AttachmentHandler,
    BeforeRequest,
    BeforeToolCall,
    ContextProvider,
    Interceptor,
    Lifecycle,
    Observer,
    OnChunk,
    OnError,
    Plugin,
    Policy,
    Tool,
)


class Members(TypedDict, total=False):
    """Everything that a plugin may have besides its name."""

    version: str
    priority: int
    critical: bool
    deadlines: Mapping[str, float]
    on_failure: Mapping[str, Policy]
    start: Lifecycle
    stop: Lifecycle
    on_request_start: Observer
    intercept_chat_request: Interceptor
    attachment_handler: AttachmentHandler
    context_providers: Sequence[ContextProvider]
    tools: Sequence[Tool]
    before_request: BeforeRequest
    on_chunk: OnChunk
    after_response: AfterResponse
    on_error: OnError
    before_tool_call: BeforeToolCall
    after_tool_call: AfterToolCall
    on_turn_persisted: Observer
    on_request_end: Observer
    on_session_deleted: Observer


def define_plugin(name: str, /, **members: Unpack[Members]) -> Plugin:
    """Return a plugin with the given members; a class with the same members is the other form.

    A name that is no member is refused when the application is composed.
    """
    return cast("Plugin", SimpleNamespace(name=name, **members))
