"""Watching calls: what ended, how, and how long it took."""

import sys
from collections.abc import Callable, Mapping
from typing import TypeVar

from attrs import frozen

from agentrail.clock import Clock
from agentrail.errors import AgentrailError
from agentrail.hook import Call
from agentrail.messages import ToolResult
from agentrail.middleware._seams import BothSeams
from agentrail.requests import ModelReply, ModelRequest, ToolRequest

Request = ModelRequest | ToolRequest
Result = ModelReply | ToolResult

Q = TypeVar("Q", bound=Request)
R = TypeVar("R", bound=Result)


@frozen(slots=True)
class Outcome:
    """How a call ended."""

    outcome: str
    """``ok``, ``error`` or ``cancelled``; of a tool call, its result's outcome."""
    error: str = ""
    """An error's ``code``, or its type's name where it has none; empty when nothing was raised."""


OK = Outcome("ok")


def observer(tell: Callable[[Request, Result | None, float], None], clock: Clock) -> BothSeams:
    """Return a middleware that tells of every call that ended; it changes nothing.

    ``tell`` gets the request, the result, None when something was raised, and the seconds it took.
    It is called where ``outcome_of`` can see what was raised.
    """

    async def observe(request: Q, call_next: Call[Q, R]) -> R:
        began = clock.monotonic()
        result: R | None = None
        try:
            result = await call_next(request)
            return result
        finally:
            tell(request, result, clock.monotonic() - began)

    # It goes by the name of the middleware that it is, where middleware is listed.
    observe.__qualname__ = getattr(tell, "__qualname__", observe.__qualname__)
    return BothSeams(observe, observe)


def outcome_of(result: Result | None) -> Outcome:
    """Return how a call ended that came to ``result``, or raised what is being handled."""
    if isinstance(result, ToolResult):
        return OK if result.outcome == "ok" else Outcome(result.outcome)
    if result is not None:
        return OK
    # Asked for only now: within somebody's `except`, a call that went well sees an error too.
    error = sys.exception()
    if isinstance(error, AgentrailError):
        return Outcome("error", error.code)
    if error is None or isinstance(error, Exception):
        return Outcome("error", type(error).__name__)
    return Outcome("cancelled", "cancelled")


def what(request: Request) -> tuple[str, str]:
    """Return the kind of call, and the name of the tool or model."""
    if isinstance(request, ToolRequest):
        return "tool", request.call.name
    return "model", request.model


def who(request: Request) -> Mapping[str, object]:
    """Return who waits for the call, as fields of a log record."""
    context = request.context
    if context is None:
        return {}
    return {
        "tenant_id": context.tenant_id,
        "user_id": context.user_id,
        "agent_id": context.agent_id,
        "session_id": context.session_id,
        "turn_id": context.turn_id,
    }
