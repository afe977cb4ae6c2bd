"""Errors as problem documents.

Source: RFC 9457, https://www.rfc-editor.org/rfc/rfc9457
"""

import logging
import math
from collections.abc import Callable

import msgspec
from msgspec.structs import replace
from starlette.responses import Response

from agentrail.errors import AgentrailError, ConfigRefused, PackageRefused, Unauthenticated
from agentrail.events import TurnError
from agentrail.hook import Call, Middleware
from agentrail.messages import ToolResult, Usage
from agentrail.requests import ToolRequest
from agentrail.session import KEY_USED
from agentrail.telemetry import trace_id

_log = logging.getLogger("agentrail.host")

Hide = Callable[[str], str]
"""Returns a text without secrets."""

_json = msgspec.json.Encoder()


def title(error: AgentrailError) -> str:
    """Return the kind of error in words."""
    return error.code.replace("_", " ").capitalize()


def final(error: AgentrailError) -> AgentrailError:
    """Return the failure of a turn that came with a key: to ask with that again does not help."""
    if not error.retryable:
        return error
    kind, detail = type(error), error.detail + KEY_USED
    told = kind.__new__(kind, detail)  # a plugin's own may be made of something else than a text
    vars(told).update(vars(error), detail=detail, retryable=False)
    return told


def turn_error(error: AgentrailError, usage: Usage, hide: Hide) -> TurnError:
    """Return the terminal event of a run that failed."""
    return TurnError(
        code=error.code,
        title=title(error),
        status=error.status,
        # Half of a surrogate pair, as from a file's name, cannot be written.
        detail=hide(error.detail).encode(errors="replace").decode(),
        retryable=error.retryable,
        trace_id=trace_id(),
        usage=usage,
    )


def unexpected(error: Exception, turn_id: str) -> AgentrailError:
    """Return what a client is told of an error that nobody meant, and log that."""
    _log.error("turn %s failed", turn_id, exc_info=error)
    # Its text stays in the log: it may hold what a client must not see.
    return AgentrailError(f"the turn failed: {type(error).__name__}; see the host's log")


def hiding_failures(hide: Hide) -> Middleware[ToolRequest, ToolResult]:
    """Return what keeps secrets out of what a model is told of a tool that failed.

    What a tool returns is its own business; what an error says is often nobody's.
    """

    async def hidden(request: ToolRequest, call_next: Call[ToolRequest, ToolResult]) -> ToolResult:
        result = await call_next(request)
        if result.outcome != "error":
            return result
        return replace(result, content=hide(result.content))

    return hidden


def problem(error: AgentrailError, hide: Hide = str) -> Response:
    """Return the error as an HTTP response."""
    body: dict[str, object] = {
        "type": "about:blank",
        "title": title(error),
        "status": error.status,
        "code": error.code,
        "detail": hide(error.detail),
        "retryable": error.retryable,
    }
    if isinstance(error, PackageRefused | ConfigRefused):
        body["faults"] = error.faults
    current = trace_id()
    if current:
        body["traceId"] = current
    headers = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
    if error.retry_after is not None:
        headers["retry-after"] = str(math.ceil(error.retry_after))
    if isinstance(error, Unauthenticated):
        headers["www-authenticate"] = "Bearer"
    return Response(
        _json.encode(body), error.status, headers, media_type="application/problem+json"
    )
