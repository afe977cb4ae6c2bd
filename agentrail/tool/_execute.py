"""The execution of a tool call: whatever happens, it ends in exactly one result."""

import logging
from collections.abc import Sequence
from typing import Final, cast, get_args

import msgspec
from msgspec.structs import replace

from agentrail.errors import ToolError, unwrapped
from agentrail.hook import Call, Watchdog, as_failure, calling, thrown
from agentrail.messages import Image, ToolCall, ToolOutcome, ToolResult
from agentrail.requests import ToolRequest
from agentrail.tool._toolset import Toolset

OUTCOMES: Final[tuple[str, ...]] = get_args(ToolOutcome)

_log = logging.getLogger("agentrail.tool")


def tool_endpoint(
    toolset: Toolset, watchdog: Watchdog, timeout: float
) -> Call[ToolRequest, ToolResult]:
    """Return the call that executes tools; middleware wraps it.

    An unknown tool, arguments that could not be read, a failure and a missed deadline are results
    too; cancellation from outside passes.

    Args:
        toolset: the tools that exist.
        watchdog: who keeps the deadlines.
        timeout: seconds for a tool that has no ``timeout`` of its own.
    """

    async def endpoint(request: ToolRequest) -> ToolResult:
        call = request.call
        tool = toolset.tools.get(call.name)
        if tool is None:
            known = ", ".join(spec.name for spec in toolset.specs) or "none"
            return _result(call, f"there is no tool {call.name!r}; the tools are: {known}")
        if call.invalid:
            return _result(call, call.invalid)
        seconds: float = getattr(tool, "timeout", None) or timeout
        calling.set(toolset.owners.get(call.name, ""))
        result: ToolResult | None = None
        with watchdog.guard() as guard:
            guard.arm(f"tool {call.name}", seconds)
            try:
                result = _answer(call, await tool.call(call.arguments, request.context))
            except thrown() as error:  # boundary: tool
                failure = await as_failure(f"tool {call.name}", error)
                result = _result(call, _told(call, failure))
        if result is None or guard.expired:
            return _result(call, f"tool {call.name} took longer than {seconds:g} s", "timeout")
        return result

    return endpoint


async def run_tool(call_tool: Call[ToolRequest, ToolResult], request: ToolRequest) -> ToolResult:
    """Return the result of a tool call, also when a middleware on the way raises.

    The result answers the request's call: it has its id and name, and text that can be stored.
    """
    call = request.call
    try:
        return settle(await call_tool(request), call)
    except thrown() as error:  # boundary: tool
        failure = await as_failure(f"tool {call.name}", error)
        return settle(_result(call, _told(call, failure)), call)


def settle(result: object, call: ToolCall) -> ToolResult:
    """Return the result as one of ``call``, with a text that can be stored.

    Raises:
        TypeError: it is no result, or its fields hold something else than they are to hold.
    """
    if not isinstance(result, ToolResult):
        raise TypeError(f"a middleware returned {type(result).__name__}, not ToolResult")
    content = cast("object", result.content)
    if not isinstance(content, str):
        raise TypeError(f"the result's content is {type(content).__name__}, not text")
    if result.outcome not in OUTCOMES:
        raise TypeError(f"the result's outcome is {result.outcome!r}, not one of {OUTCOMES}")
    if not all(isinstance(image, Image) for image in cast("Sequence[object]", result.images)):
        raise TypeError("the result's images hold something else than images")
    if not content.isascii():
        # Half of a surrogate pair, as from the name of a file that is no UTF-8, is no UTF-8 either.
        content = content.encode(errors="replace").decode()
    if (result.call_id, result.name, result.content) == (call.id, call.name, content):
        return result
    return replace(result, call_id=call.id, name=call.name, content=content)


def _answer(call: ToolCall, value: object) -> ToolResult:
    """Return what a tool returned: images among it are shown, the rest is told."""
    if isinstance(value, ToolResult):
        return value
    items = _items(value)
    images = tuple([item for item in items if isinstance(item, Image)])
    if not images:
        return _result(call, as_text(value), "ok")
    content = "\n".join([as_text(item) for item in items if not isinstance(item, Image)])
    return replace(_result(call, content, "ok"), images=images)


def _items(value: object) -> Sequence[object]:
    return cast("Sequence[object]", value) if isinstance(value, list | tuple) else (value,)


def _result(call: ToolCall, content: str, outcome: ToolOutcome = "error") -> ToolResult:
    return ToolResult(call_id=call.id, name=call.name, content=content, outcome=outcome)


def _told(call: ToolCall, error: Exception) -> str:
    """Return what the model is told of a failure; one that nobody meant is logged."""
    error = unwrapped(error)
    if isinstance(error, ToolError):
        return str(error)
    _log.warning("tool %s failed", call.name, exc_info=error)
    return f"tool {call.name} failed: {type(error).__name__}: {error}"


def as_text(value: object) -> str:
    """Return what a model is told of a value: a text as it is, nothing for None, else JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    try:
        return msgspec.json.encode(value, enc_hook=str).decode()
    except (TypeError, ValueError, OverflowError, RecursionError):
        return str(value)
