"""The one interception mechanism: a middleware wraps a call, and a wrapped call is a call."""

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

Q = TypeVar("Q")
R = TypeVar("R")

Call = Callable[[Q], Awaitable[R]]
"""Answers one request."""

Middleware = Callable[[Q, Call[Q, R]], Awaitable[R]]
"""Wraps one call: acts before it, after it, instead of it, or when it raises."""


def chain(middleware: Iterable[Middleware[Q, R]], endpoint: Call[Q, R]) -> Call[Q, R]:
    """Fold the middleware around the endpoint, the first one outermost.

    A request goes in through the list in order, its answer or error comes out in reverse.
    """
    call = endpoint
    for each in reversed(list(middleware)):
        call = _wrap(each, call)
    return call


def _wrap(middleware: Middleware[Q, R], call_next: Call[Q, R]) -> Call[Q, R]:
    async def call(request: Q) -> R:
        return await middleware(request, call_next)

    return call
