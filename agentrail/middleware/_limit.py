"""A limit to how often somebody's calls are made."""

import math
from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

from agentrail.clock import SYSTEM_CLOCK, Clock
from agentrail.errors import ConfigError, TooManyRequests
from agentrail.messages import ToolResult
from agentrail.middleware._seams import Asker, BothSeams, ModelCall, ToolCaller, answer, by_user
from agentrail.requests import ModelReply, ModelRequest, RequestContext, ToolRequest

MOST_ASKERS: Final = 100_000
"""Of so many at most it is known what they asked; whoever asked longest ago is forgotten."""

_WHOLE: Final = 0.999999
"""As good as one token: adding up loses a little."""


def rate_limit(
    calls: int, per: float, *, by: Asker = by_user, clock: Clock = SYSTEM_CLOCK
) -> BothSeams:
    """Return a middleware that lets through so many calls in ``per`` seconds, of each user.

    It is a token bucket: after a pause ``calls`` may come at once, then one each ``per / calls``
    seconds.  A call over the limit is not made and does not count.  A model call then raises
    ``TooManyRequests`` with ``retry_after``; a tool call ends as ``denied`` and says when to try
    again.  In both lists, the same object counts model calls and tool calls together.

    Calls that nobody asked for, those of the host's own, pass.

    It keeps two numbers for each user of the last ``per`` seconds, and of 100,000 at most.

    Args:
        calls: how many.
        per: in how many seconds.
        by: whom a call is counted for.
        clock: measures.

    Raises:
        ConfigError: a number is not over 0.
    """
    if calls < 1 or per <= 0:
        raise ConfigError(f"rate_limit({calls}, {per:g}) lets nothing through: both must be over 0")
    buckets = Buckets(calls, per)
    limit = f"no more than {calls} calls in {per:g} s are allowed"

    def wait(context: RequestContext | None) -> float:
        return 0.0 if context is None else buckets.take(by(context), clock.monotonic())

    async def model(request: ModelRequest, call_next: ModelCall) -> ModelReply:
        if seconds := wait(request.context):
            raise TooManyRequests(f"{limit}; {_again(seconds)}", retry_after=seconds)
        return await call_next(request)

    async def tool(request: ToolRequest, call_next: ToolCaller) -> ToolResult:
        if seconds := wait(request.context):
            return answer(request, f"denied: {limit}; {_again(seconds)}", "denied")
        return await call_next(request)

    return BothSeams(model, tool)


def _again(seconds: float) -> str:
    return f"try again in {max(1, math.ceil(round(seconds, 3)))} s"


class Buckets:
    """Token buckets, of which those that are full are forgotten.

    Args:
        calls: the tokens of a full bucket.
        per: the seconds in which an empty one fills.
        most: how many buckets are remembered.
    """

    def __init__(self, calls: int, per: float, most: int = MOST_ASKERS) -> None:
        self._calls, self._rate, self._most = calls, calls / per, most
        self._left: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()
        """The tokens in a bucket, and when so many were in it; the last one used is the last."""

    def __len__(self) -> int:
        """Return how many buckets are remembered."""
        return len(self._left)

    def take(self, key: Hashable, now: float) -> float:
        """Take a token out of a bucket and return 0; or the seconds until there is one."""
        self._forget(now)
        left = self._now_in(self._left.get(key, (self._calls, now)), now)
        if left < _WHOLE:
            return (1 - left) / self._rate
        self._left[key] = (left - 1, now)
        self._left.move_to_end(key)
        if len(self._left) > self._most:
            self._left.popitem(last=False)
        return 0.0

    def _now_in(self, bucket: tuple[float, float], now: float) -> float:
        left, at = bucket
        return min(self._calls, left + (now - at) * self._rate)

    def _forget(self, now: float) -> None:
        """Forget up to two buckets that are full again: more than a call can add.

        The first one was used longest ago; ``per`` seconds later, at most, it is full.
        """
        for _ in range(2):
            if not self._left or self._now_in(next(iter(self._left.values())), now) < self._calls:
                return
            self._left.popitem(last=False)
