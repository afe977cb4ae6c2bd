"""Objects with ``pre_process`` and ``post_process``, as middleware."""

import logging
from collections.abc import Callable
from copy import deepcopy
from inspect import isawaitable
from typing import Final, TypeVar

from attrs import define, field, frozen
from msgspec.structs import replace

from agentrail.errors import AgentrailError, ConfigError, HookError, RequestRefused, ToolError
from agentrail.hook import as_failure, thrown
from agentrail.messages import Message, ToolResult, as_messages
from agentrail.middleware._seams import BothSeams, ModelCall, ToolCaller, answer
from agentrail.requests import (
    Delta,
    ModelReply,
    ModelRequest,
    RequestContext,
    ToolRequest,
    ignore_delta,
)

_log: Final = logging.getLogger("agentrail.middleware")

T = TypeVar("T")


@define
class CallContext:
    """What ``pre_process`` and ``post_process`` are told of one call."""

    context: RequestContext | None
    """The request that the call is made for."""
    tool_name: str = ""
    """Empty for a model call."""
    params: dict[str, object] = field(factory=dict[str, object])
    """The arguments, a copy: what is changed in it goes on to the tool."""
    model: str = ""
    """Empty for a tool call."""
    messages: list[Message] = field(factory=list[Message])
    """What the model is asked, a copy: what is changed in it goes on to the model."""


def from_pre_post(handler: object) -> BothSeams:
    """Return a middleware made of an object with ``pre_process``, ``post_process`` or both.

    ``pre_process(ctx)`` is called before each call, ``post_process(ctx, result)`` after each that
    came to a result; both may be sync or async, and ``ctx`` is one ``CallContext`` for both.  What
    ``post_process`` returns stands in place of the result, None leaves it.

    When ``pre_process`` raises, the call is not made: a tool call ends as ``denied``, a model call
    raises ``RequestRefused``, or what was raised if it is an ``AgentrailError``.  The model is told
    the text of a ``ToolError`` and of nothing else.  When ``post_process`` raises, or returns
    something that is no result, the log of ``agentrail.middleware`` tells, and the result is kept.
    So it is with another text for an answer that a reader of the stream has already seen.

    It keeps nothing between calls; the object may.

    Raises:
        ConfigError: the object has neither.
    """
    pair = _PrePost(
        type(handler).__name__,
        getattr(handler, "pre_process", None),
        getattr(handler, "post_process", None),
    )
    if pair.pre is None and pair.post is None:
        raise ConfigError(f"{pair.name} has neither pre_process nor post_process")
    return BothSeams(pair.model, pair.tool)


@frozen(slots=True)
class _PrePost:
    """An object's two functions; ``None`` is one that it does not have."""

    name: str
    pre: Callable[[CallContext], object] | None
    post: Callable[[CallContext, object], object] | None

    async def model(self, request: ModelRequest, call_next: ModelCall) -> ModelReply:
        ctx = CallContext(request.context, model=request.model, messages=[*request.messages])
        failure = await self._before(ctx)
        messages = as_messages(ctx.messages)
        if failure is None and messages is None:
            failure = TypeError("pre_process left something else than messages")
        if failure is not None or messages is None:
            raise self._refusal(failure)
        is_shown = False

        async def emit(delta: Delta) -> None:
            nonlocal is_shown
            is_shown = request.context is None or request.context.kind == "stream"
            await request.emit(delta)

        request = replace(request, messages=messages)
        streams = request.emit is not ignore_delta
        reply = await call_next(replace(request, emit=emit) if streams else request)
        changed = await self._after(ctx, reply)
        if is_shown and changed.message.text != reply.message.text:
            _log.error("%s changed a text that its reader has already seen", self.name)
            return reply
        return changed

    async def tool(self, request: ToolRequest, call_next: ToolCaller) -> ToolResult:
        call = request.call
        params = deepcopy(dict(call.arguments))
        ctx = CallContext(request.context, tool_name=call.name, params=params)
        failure = await self._before(ctx)
        if isinstance(failure, ToolError):
            return answer(request, str(failure), "denied")
        if failure is not None:
            _log.error("%s failed in pre_process", self.name, exc_info=failure)
            return answer(request, "denied: a check of this call failed", "denied")
        if ctx.params != call.arguments:
            request = replace(request, call=replace(call, arguments=ctx.params))
        return await self._after(ctx, await call_next(request))

    async def _before(self, ctx: CallContext) -> Exception | None:
        """Return what keeps the call from being made."""
        if self.pre is None:
            return None
        try:
            await _settled(self.pre(ctx))
        except thrown() as error:  # boundary: plugin
            return await as_failure(self.name, error)
        return None

    async def _after(self, ctx: CallContext, result: T) -> T:
        """Return the result, or what stands in its place."""
        if self.post is None:
            return result
        try:
            other = await _settled(self.post(ctx, result))
        except thrown() as error:  # boundary: plugin
            failure = await as_failure(self.name, error)
            _log.error("%s failed in post_process", self.name, exc_info=failure)
            return result
        if isinstance(other, type(result)):
            return other
        if other is not None:
            _log.error("%s returned %s from post_process", self.name, type(other).__name__)
        return result

    def _refusal(self, failure: Exception | None) -> AgentrailError:
        if isinstance(failure, AgentrailError) and not isinstance(failure, HookError):
            return failure
        _log.error("%s failed in pre_process", self.name, exc_info=failure)
        # What went wrong stays in the log: it may hold what a client must not see.
        return RequestRefused(f"{self.name} kept the model from being asked")


async def _settled(value: object) -> object:
    return await value if isawaitable(value) else value
