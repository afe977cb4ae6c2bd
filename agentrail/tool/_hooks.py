"""The plugins' tool hooks, as one middleware."""

from collections.abc import Sequence
from copy import deepcopy

import msgspec

from agentrail.errors import HookTypeError
from agentrail.hook import Call, Funnel, Hook, Middleware
from agentrail.messages import ToolCall, ToolResult
from agentrail.requests import ToolRequest
from agentrail.tool._execute import run_tool, settle


def hook_middleware(
    before_hooks: Sequence[Hook], after_hooks: Sequence[Hook], funnel: Funnel
) -> Middleware[ToolRequest, ToolResult]:
    """Return the middleware that calls ``before_tool_call`` and ``after_tool_call``.

    The before hooks run in order: each sees the call as the ones before left it, the first result
    stands instead of the tool's.  One that fails denies the call.  The after hooks run in reverse
    order for every result, denials and failures among them; one that fails changes nothing.  Each
    hook gets a copy of the arguments of its own.

    Args:
        before_hooks: in plugin order.
        after_hooks: in plugin order too.
        funnel: calls them and reports failures.
    """
    after_in_turn = tuple(reversed(after_hooks))

    async def middleware(
        request: ToolRequest, call_next: Call[ToolRequest, ToolResult]
    ) -> ToolResult:
        call = request.call
        result: ToolResult | None = None
        for hook in before_hooks:
            answer = await _before(funnel, hook, call, request)
            if isinstance(answer, ToolResult):
                result = answer
                break
            call = answer
        if result is None:
            if call is not request.call:
                request = msgspec.structs.replace(request, call=call)
            result = await run_tool(call_next, request)
        for hook in after_in_turn:
            result = await _after(funnel, hook, call, result, request)
        return result

    return middleware


async def _before(
    funnel: Funnel, hook: Hook, call: ToolCall, request: ToolRequest
) -> ToolCall | ToolResult:
    """Return the call to go on with, or the result that ends it."""
    called = await funnel.collect((hook,), object, _copy(call), request.context)
    if called:
        answer = called[0][1]
        if answer is None:
            return call
        if isinstance(answer, ToolResult):
            return settle(answer, call)
        if isinstance(answer, ToolCall) and (answer.id, answer.name) == (call.id, call.name):
            return _copy(answer)
        await funnel.report(hook, HookTypeError(f"{hook} returned {_shown(answer)}"))
    return ToolResult(
        call_id=call.id,
        name=call.name,
        content=f"denied: plugin {hook.plugin!r} failed while it decided about this call",
        outcome="denied",
    )


async def _after(
    funnel: Funnel, hook: Hook, call: ToolCall, result: ToolResult, request: ToolRequest
) -> ToolResult:
    called = await funnel.collect((hook,), object, _copy(call), result, request.context)
    answer = called[0][1] if called else None
    if isinstance(answer, ToolResult):
        return settle(answer, call)
    if answer is not None:
        await funnel.report(hook, HookTypeError(f"{hook} returned {_shown(answer)}"))
    return result


def _copy(call: ToolCall) -> ToolCall:
    return msgspec.structs.replace(call, arguments=deepcopy(dict(call.arguments)))


def _shown(answer: object) -> str:
    """Return what a hook returned against its contract."""
    if isinstance(answer, ToolCall):
        return "a call with another id or name"
    return f"{type(answer).__name__}, neither ToolCall, ToolResult nor None"
