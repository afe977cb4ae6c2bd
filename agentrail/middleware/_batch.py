"""Calls of one tool that come together, handled together."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import anyio
from attrs import define, field
from msgspec.structs import replace

from agentrail.errors import ConfigError, ToolError
from agentrail.hook import as_failure, thrown
from agentrail.messages import ToolResult
from agentrail.middleware._seams import ToolCaller, ToolMiddleware, answer, is_as_permitted
from agentrail.requests import ToolRequest
from agentrail.tool import as_text

_log: Final = logging.getLogger("agentrail.middleware")

Handler = Callable[[Sequence[ToolRequest]], Awaitable[Sequence[object]]]
"""Handles calls of one tool together; returns a result for each, in their order."""


def batch(
    tool: str,
    handler: Handler,
    *,
    window: float = 0.01,
    max_size: int = 32,
    timeout: float = 60.0,
) -> ToolMiddleware:
    """Return a middleware that joins calls of one tool into one call of ``handler``.

    Calls of one tenant that come within ``window`` seconds of the first are handled together, in
    the order in which they came; of different tenants, never.  The handler stands in place of the
    tool: the tool is not called, and its arguments are as the model sent them, not checked.  It
    returns a result for each request: a text, what can be told as JSON, a ``ToolResult``, or an
    exception for a call that failed.  When it raises, all of them failed.  The model is told the
    text of a ``ToolError``, and of others their type too.

    The handler runs in the task of the first caller that is still there.  When that one is
    cancelled, another takes over and the handler is called again, so it should be able to do its
    work twice.  A caller that is cancelled takes nothing from the others.

    A call that cannot be read, or that a middleware before it has changed after it was permitted,
    goes on to the tool.

    It keeps the calls that are under way.

    Args:
        tool: the tool's name.
        handler: handles the calls.
        window: seconds that the first call waits for others.
        max_size: calls that are handled together at most; with so many nobody waits any longer.
        timeout: seconds that the handler may take; then its calls end as ``timeout``.

    Raises:
        ConfigError: ``max_size`` or ``timeout`` is not over 0.
    """
    if max_size < 1 or timeout <= 0:
        sizes = f"max_size={max_size}, timeout={timeout:g}"
        raise ConfigError(f"batch({tool!r}, {sizes}) would handle no call: both must be over 0")
    joint = Joint(handler, window, max_size, timeout)

    async def join(request: ToolRequest, call_next: ToolCaller) -> ToolResult:
        call = request.call
        if call.name != tool or call.invalid or not is_as_permitted(request):
            return await call_next(request)
        return await joint.call(request)

    return join


@define(eq=False)
class _Caller:
    """A call in a batch, and what wakes the task that waits for it."""

    request: ToolRequest
    wake: anyio.Event = field(factory=anyio.Event)
    result: ToolResult | None = None


@define(eq=False)
class _Batch:
    """Calls that are handled together."""

    tenant: str
    closes: float
    """When nobody may join any more, by ``anyio.current_time``."""
    full: anyio.Event = field(factory=anyio.Event)
    callers: list[_Caller] = field(factory=list[_Caller])
    leader: _Caller | None = None
    """In whose task the handler runs."""


@define(eq=False)
class Joint:
    """The batches of one tool."""

    handler: Handler
    window: float
    max_size: int
    timeout: float
    open: dict[str, _Batch] = field(factory=dict[str, _Batch])
    """The batch of each tenant that may still be joined."""

    async def call(self, request: ToolRequest) -> ToolResult:
        """Return the result of one call."""
        tenant = request.context.tenant_id
        group = self.open.get(tenant)
        if group is None:
            group = _Batch(tenant, anyio.current_time() + self.window)
            self.open[tenant] = group
        caller = _Caller(request)
        group.callers.append(caller)
        if len(group.callers) >= self.max_size:
            self._close(group)
        try:
            while caller.result is None:
                if group.leader is None:
                    group.leader = caller
                    await self._lead(group)
                else:
                    caller.wake = anyio.Event()
                    await caller.wake.wait()
            return caller.result
        finally:
            group.callers.remove(caller)
            if group.leader is caller:
                group.leader = None
            if group.leader is None and group.callers:
                group.callers[0].wake.set()
            elif not group.callers:
                self._close(group)

    def _close(self, group: _Batch) -> None:
        """Let nobody join any more, and nobody wait for it."""
        if self.open.get(group.tenant) is group:
            del self.open[group.tenant]
        group.full.set()

    async def _lead(self, group: _Batch) -> None:
        """Wait for the batch to fill up, then get all of it handled."""
        with anyio.CancelScope(deadline=group.closes):
            await group.full.wait()
        self._close(group)
        callers = [*group.callers]
        results = await self._handle([caller.request for caller in callers])
        for caller, result in zip(callers, results, strict=True):
            caller.result = result
            caller.wake.set()

    async def _handle(self, requests: Sequence[ToolRequest]) -> Sequence[ToolResult]:
        with anyio.move_on_after(self.timeout):
            try:
                values = await self.handler(requests)
                return [_result(*each) for each in zip(requests, values, strict=True)]
            except thrown() as error:  # boundary: tool
                failure = await as_failure("what handles them together", error)
                _log.warning("%d calls failed together", len(requests), exc_info=failure)
                return [_failed(request, failure) for request in requests]
        late = f"took longer than {self.timeout:g} s"
        return [answer(each, f"tool {each.call.name} {late}", "timeout") for each in requests]


def _result(request: ToolRequest, value: object) -> ToolResult:
    """Return what the model is told of one call."""
    call = request.call
    if isinstance(value, ToolResult):
        return replace(value, call_id=call.id, name=call.name)
    if isinstance(value, Exception):
        _log.warning("tool %s failed", call.name, exc_info=value)
        return _failed(request, value)
    return answer(request, as_text(value), "ok")


def _failed(request: ToolRequest, error: Exception) -> ToolResult:
    if isinstance(error, ToolError):
        return answer(request, str(error), "error")
    told = f"tool {request.call.name} failed: {type(error).__name__}: {error}"
    return answer(request, told, "error")
