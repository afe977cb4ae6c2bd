"""What middleware for model calls and for tool calls have in common."""

from collections.abc import Awaitable, Callable, Hashable
from typing import Any, cast, overload

from attrs import frozen

from agentrail.hook import Call, Middleware
from agentrail.messages import ToolOutcome, ToolResult
from agentrail.requests import ModelReply, ModelRequest, RequestContext, ToolRequest

ModelCall = Call[ModelRequest, ModelReply]
"""Answers a model request: what a model middleware is given to call."""

ToolCaller = Call[ToolRequest, ToolResult]
"""Answers a tool request: what a tool middleware is given to call."""

ModelMiddleware = Middleware[ModelRequest, ModelReply]
"""Wraps a model call; what ``AppConfig(model_middleware=…)`` lists."""

ToolMiddleware = Middleware[ToolRequest, ToolResult]
"""Wraps a tool call; what ``AppConfig(tool_middleware=…)`` lists."""

Asker = Callable[[RequestContext], Hashable]
"""Returns whom a call is counted for."""


@frozen(slots=True)
class BothSeams:
    """A middleware for model calls and for tool calls: the same object may stand in both lists.

    Args:
        model: wraps the model calls.
        tool: wraps the tool calls.
    """

    model: ModelMiddleware
    tool: ToolMiddleware

    @overload
    def __call__(self, request: ModelRequest, call_next: ModelCall) -> Awaitable[ModelReply]: ...

    @overload
    def __call__(self, request: ToolRequest, call_next: ToolCaller) -> Awaitable[ToolResult]: ...

    def __call__(
        self,
        request: ModelRequest | ToolRequest,
        call_next: Call[Any, Any],
    ) -> Awaitable[ModelReply] | Awaitable[ToolResult]:
        """Wrap one call."""
        if isinstance(request, ToolRequest):
            return self.tool(request, cast("ToolCaller", call_next))
        return self.model(request, cast("ModelCall", call_next))


def by_user(context: RequestContext) -> Hashable:
    """Return who asks: the tenant and the user."""
    return context.tenant_id, context.user_id


def by_tenant(context: RequestContext) -> Hashable:
    """Return for whom the user asks: the tenant."""
    return context.tenant_id


def is_as_permitted(request: ToolRequest) -> bool:
    """Tell whether the call is still the one that was permitted.

    What a middleware made of a call is judged again right before the tool; whoever answers in the
    tool's place would keep it from that.
    """
    return request.permitted is request.call or request.permitted == request.call


def answer(request: ToolRequest, content: str, outcome: ToolOutcome) -> ToolResult:
    """Return a result of the request's call."""
    call = request.call
    return ToolResult(call_id=call.id, name=call.name, content=content, outcome=outcome)
