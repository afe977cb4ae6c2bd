"""Trying again what failed and may go well the next time."""

import logging
from collections.abc import Collection
from random import Random
from typing import Final

from attrs import frozen
from msgspec.structs import replace

from agentrail.clock import SYSTEM_CLOCK, Timer
from agentrail.errors import ConfigError, ModelError
from agentrail.messages import ToolResult
from agentrail.middleware._seams import BothSeams, ModelCall, ToolCaller
from agentrail.requests import Delta, ModelReply, ModelRequest, ToolRequest, ignore_delta

_log: Final = logging.getLogger("agentrail.middleware")

_AGAIN: Final = ("error", "timeout")
"""The outcomes of a tool call that may be another one the next time."""

_MOST_DOUBLINGS: Final = 30
"""Then the longest wait is reached, whatever it is."""


def retry(
    attempts: int = 3,
    *,
    tools: Collection[str] = (),
    base: float = 0.5,
    longest: float = 30.0,
    random: Random | None = None,
    clock: Timer = SYSTEM_CLOCK,
) -> BothSeams:
    """Return a middleware that makes a failed call again, ``attempts`` times in all.

    A model call is made again after a ``ModelError`` that is ``retryable``, unless a piece of the
    answer was already passed on.  Between attempts it waits a random time between 0 and ``base``
    seconds, doubled with each attempt, no more than ``longest``; and on top of that ``retry_after``
    where the error has one.  With a ``retry_after`` over ``longest`` it gives up.

    Of tools only those named are tried again, after a result with outcome ``error`` or ``timeout``:
    a call that ended so may have done its work all the same, so name only tools that may do theirs
    twice.  Why a call failed is not known here: one that the tool itself refused is tried again
    too.

    It keeps nothing between calls.

    Args:
        attempts: how often a call is made, the first time among them.
        tools: the names of tools whose calls may be repeated.
        base: seconds that the first wait takes at most.
        longest: seconds that any wait takes at most, ``retry_after`` apart.
        random: draws the waits.
        clock: waits.

    Raises:
        ConfigError: ``attempts`` is not over 0, a wait is negative, or ``tools`` is a text.
    """
    if attempts < 1 or base < 0 or longest < 0:
        sizes = f"{attempts}, base={base:g}, longest={longest:g}"
        raise ConfigError(f"retry({sizes}): it needs one attempt, and waits are not negative")
    if isinstance(tools, str):
        raise ConfigError(f"retry takes a collection of names of tools, not the text {tools!r}")
    # Not for secrets: it keeps hosts from coming back all at once.
    waits = Waits(attempts, base, longest, random or Random())  # noqa: S311
    again = _Retry(waits, frozenset(tools), clock)
    return BothSeams(again.model, again.tool)


@frozen(slots=True)
class Waits:
    """How long to wait between attempts: exponential backoff with full jitter."""

    attempts: int
    base: float
    longest: float
    random: Random

    def after(self, attempt: int, retry_after: float | None = None) -> float | None:
        """Return the seconds to wait after an attempt, counted from 1; None to give up."""
        least = max(0.0, retry_after or 0.0)
        if attempt >= self.attempts or least > self.longest:
            return None
        doublings = min(attempt - 1, _MOST_DOUBLINGS)
        return least + self.random.uniform(0.0, min(self.longest, self.base * 2**doublings))


@frozen(slots=True)
class _Retry:
    waits: Waits
    tools: frozenset[str]
    clock: Timer

    async def model(self, request: ModelRequest, call_next: ModelCall) -> ModelReply:
        attempt, is_shown = 0, False

        async def emit(delta: Delta) -> None:
            nonlocal is_shown
            is_shown = True
            await request.emit(delta)

        streams = request.emit is not ignore_delta
        passed = replace(request, emit=emit) if streams else request
        while True:
            attempt += 1
            try:
                return await call_next(passed)
            except ModelError as error:
                wait = self.waits.after(attempt, error.retry_after)
                if wait is None or is_shown or not error.retryable:
                    raise
                _log.info("model %r failed, again in %.1f s: %s", request.model, wait, error)
            await self.clock.sleep(wait)

    async def tool(self, request: ToolRequest, call_next: ToolCaller) -> ToolResult:
        call, attempt = request.call, 0
        while True:
            attempt += 1
            result = await call_next(request)
            if result.outcome not in _AGAIN or call.name not in self.tools or call.invalid:
                return result
            wait = self.waits.after(attempt)
            if wait is None:
                return result
            _log.info("tool %r ended as %s, again in %.1f s", call.name, result.outcome, wait)
            await self.clock.sleep(wait)
