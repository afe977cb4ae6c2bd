"""A cache of answers, in which equal calls that come together are made once."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Hashable
from hashlib import blake2b
from typing import Final, Generic, TypeVar

import anyio
import msgspec
from attrs import define, field
from msgspec.structs import replace

from agentrail.clock import SYSTEM_CLOCK, Clock
from agentrail.errors import ConfigError
from agentrail.messages import NO_USAGE, Reasoning, ToolResult
from agentrail.middleware._seams import BothSeams, ModelCall, ToolCaller, is_as_permitted
from agentrail.requests import (
    Delta,
    ModelReply,
    ModelRequest,
    RequestContext,
    ToolRequest,
    ignore_delta,
)

T = TypeVar("T")

_encoder: Final = msgspec.msgpack.Encoder(order="deterministic")

LARGEST: Final = 100_000
"""Of a result, the characters and the bytes of images up to which it is kept."""


def cache(
    ttl: float, *, tools: Collection[str] = (), size: int = 1024, clock: Clock = SYSTEM_CLOCK
) -> BothSeams:
    """Return a middleware that answers equal calls of one tenant and agent with the same answer.

    Model calls are equal when everything that decides the answer is: provider, model, messages,
    tools and their choice, temperature, token limit and output type.  Kept are replies with stop
    reason ``stop``; a kept one is said in one piece and has used nothing.

    Of tools only those named are cached: a call that changes something must be made each time, and
    so must one whose answer depends on who the user is.  Their calls are equal when the arguments
    are, whatever their order, and when the callers have the same roles.  Kept are results with
    outcome ``ok`` that are no longer than 100,000 characters.

    Of equal calls that come together one is made, and the others wait for its answer.  Does it
    fail, or is it cancelled, then one of the others is made; does it end with an answer that is not
    kept, then all of them are.  A model call of a turn that somebody reads as a stream neither
    waits nor is waited for: it goes at its reader's pace.  Calls that nobody asked for, those that
    a middleware before it has changed after they were permitted, and what cannot be encoded go
    through uncached.

    It keeps ``size`` answers at most; the one that was used longest ago goes first.

    Args:
        ttl: seconds that an answer holds.
        tools: the names of tools whose calls change nothing and are answered alike for everybody
            with the same roles.
        size: how many answers are kept.
        clock: measures.

    Raises:
        ConfigError: a number is not over 0, or ``tools`` is a text.
    """
    if ttl <= 0 or size < 1:
        raise ConfigError(f"cache({ttl:g}, size={size}) keeps nothing: both must be over 0")
    if isinstance(tools, str):
        raise ConfigError(f"cache takes a collection of names of tools, not the text {tools!r}")
    named = frozenset(tools)
    replies = Shared[ModelReply](ttl, size, clock)
    results = Shared[ToolResult](ttl, size, clock)

    async def model(request: ModelRequest, call_next: ModelCall) -> ModelReply:
        context = request.context
        key = None if context is None else _key(context, _deciding(request))
        if context is None or key is None:
            return await call_next(request)
        get = replies.get_alone if context.kind == "stream" else replies.get
        reply, is_own = await get(key, lambda: call_next(request), _is_whole)
        if is_own:
            return reply
        if request.emit is not ignore_delta:
            await request.emit(_said(reply))
        return replace(reply, usage=NO_USAGE)

    async def tool(request: ToolRequest, call_next: ToolCaller) -> ToolResult:
        call = request.call
        if call.name not in named or call.invalid or not is_as_permitted(request):
            return await call_next(request)
        # The roles: what stands further in the list may tell callers apart by them.
        key = _key(request.context, (call.name, call.arguments, request.context.roles))
        if key is None:
            return await call_next(request)
        result, is_own = await results.get(key, lambda: call_next(request), _is_ok)
        return result if is_own else replace(result, call_id=call.id, name=call.name)

    return BothSeams(model, tool)


def _deciding(request: ModelRequest) -> object:
    """Return everything that decides the answer; not the ids of messages, which no model sees."""
    return (
        request.provider,
        request.model,
        [(message.role, message.parts) for message in request.messages],
        request.tools,
        request.tool_choice,
        request.max_tokens,
        request.temperature,
        request.output,
    )


def _key(context: RequestContext, deciding: object) -> Hashable | None:
    """Return what equal calls have in common; None when there is no way to tell."""
    try:
        digest = blake2b(_encoder.encode(deciding), digest_size=32).digest()
    except (TypeError, ValueError, OverflowError, RecursionError):
        return None
    # Two agents may have different tools under one name.
    return context.tenant_id, context.agent_id, digest


def _is_whole(reply: ModelReply) -> bool:
    return reply.stop_reason == "stop" and not reply.message.tool_calls


def _is_ok(result: ToolResult) -> bool:
    size = len(result.content) + sum([len(image.data) for image in result.images])
    return result.outcome == "ok" and size <= LARGEST


def _said(reply: ModelReply) -> Delta:
    parts = reply.message.parts
    reasoning = "".join([part.text for part in parts if isinstance(part, Reasoning)])
    return Delta(text=reply.message.text, reasoning=reasoning)


@define(eq=False)
class _Flight(Generic[T]):
    """A call that others may wait for."""

    ended: anyio.Event = field(factory=anyio.Event)
    answer: T | None = None
    """What it ended with, when that may be shared."""
    is_private: bool = False
    """Whether it ended with what may not be shared."""


class Shared(Generic[T]):
    """Answers by key: those that still hold, and those that are on their way."""

    def __init__(self, ttl: float, size: int, clock: Clock) -> None:
        self._ttl, self._size, self._clock = ttl, size, clock
        self._kept: OrderedDict[Hashable, tuple[float, T]] = OrderedDict()
        self.flights: dict[Hashable, _Flight[T]] = {}

    def __len__(self) -> int:
        """Return how many answers are kept."""
        return len(self._kept)

    async def get(
        self, key: Hashable, make: Callable[[], Awaitable[T]], may_share: Callable[[T], bool]
    ) -> tuple[T, bool]:
        """Return the key's answer, and whether it was made for this caller.

        Raises:
            Exception: what this caller's own ``make`` raised.
        """
        while True:
            kept = self._find(key)
            if kept is not None:
                return kept, False
            flight = self.flights.get(key)
            if flight is None:
                return await self._make(key, make, may_share), True
            await flight.ended.wait()
            if flight.answer is not None:
                return flight.answer, False
            if flight.is_private:
                return await make(), True
            # It failed or was cancelled: whoever wakes first makes the next one.

    async def get_alone(
        self, key: Hashable, make: Callable[[], Awaitable[T]], may_share: Callable[[T], bool]
    ) -> tuple[T, bool]:
        """Do as ``get``, but neither wait for an answer on its way nor let others wait.

        Raises:
            Exception: what ``make`` raised.
        """
        kept = self._find(key)
        if kept is not None:
            return kept, False
        answer = await make()
        if may_share(answer):
            self._keep(key, answer)
        return answer, True

    async def _make(
        self, key: Hashable, make: Callable[[], Awaitable[T]], may_share: Callable[[T], bool]
    ) -> T:
        flight = self.flights[key] = _Flight[T]()
        try:
            answer = await make()
            if may_share(answer):
                flight.answer = answer
                self._keep(key, answer)
            else:
                flight.is_private = True
        finally:
            del self.flights[key]
            flight.ended.set()
        return answer

    def _find(self, key: Hashable) -> T | None:
        if key not in self._kept:
            return None
        expires, answer = self._kept[key]
        if expires <= self._clock.monotonic():
            del self._kept[key]
            return None
        self._kept.move_to_end(key)
        return answer

    def _keep(self, key: Hashable, answer: T) -> None:
        self._kept[key] = (self._clock.monotonic() + self._ttl, answer)
        self._kept.move_to_end(key)
        if len(self._kept) > self._size:
            self._kept.popitem(last=False)
