"""A tool middleware that notes the calls of packages' tools."""

from collections.abc import Mapping

from agentrail.clock import Clock
from agentrail.hook import Call, Middleware
from agentrail.messages import ToolResult
from agentrail.registry._events import Events
from agentrail.registry._known import Entry
from agentrail.requests import ToolRequest


def note_calls(
    entries: Mapping[str, Entry], events: Events, clock: Clock
) -> Middleware[ToolRequest, ToolResult]:
    """Return what tells of each call of a package's tool, and keeps when it was called last."""

    async def note(request: ToolRequest, call_next: Call[ToolRequest, ToolResult]) -> ToolResult:
        if not request.origin:
            return await call_next(request)
        package, _, version = request.origin.partition(" ")[0].rpartition("@")
        entry = entries.get(package)
        known = entry.versions.get(version) if entry is not None else None
        if known is not None:
            known.called_at = clock.monotonic()
        result = await call_next(request)
        if known is not None:
            known.called_at = clock.monotonic()
        error = "" if result.outcome == "ok" else f"{result.outcome}: {result.content[:200]}"
        events.emit("execute", package, version, message=request.call.name, error=error)
        return result

    return note
