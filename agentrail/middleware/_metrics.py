"""Metrics of model calls and tool calls, by the GenAI semantic conventions.

Source of names, units, attributes and bucket boundaries: ``docs/gen-ai/gen-ai-metrics.md`` of
https://github.com/open-telemetry/semantic-conventions-genai, status Development.
"""

from typing import Final

from msgspec.structs import replace
from opentelemetry.metrics import Histogram, Meter, get_meter
from opentelemetry.util.types import AttributeValue

from agentrail.clock import SYSTEM_CLOCK, Clock
from agentrail.messages import ToolResult, Usage
from agentrail.middleware._observe import OK, Result, outcome_of
from agentrail.middleware._seams import BothSeams, ModelCall, ToolCaller
from agentrail.requests import Delta, ModelReply, ModelRequest, ToolRequest, ignore_delta
from agentrail.telemetry import OTHER, names

OPERATION_DURATION: Final = "gen_ai.client.operation.duration"
TOKEN_USAGE: Final = "gen_ai.client.token.usage"  # noqa: S105 - no password
TIME_TO_FIRST_CHUNK: Final = "gen_ai.client.operation.time_to_first_chunk"
TOOL_DURATION: Final = "gen_ai.execute_tool.duration"

SECONDS: Final = tuple(0.01 * 2**power for power in range(14))
TOKENS: Final = tuple(4**power for power in range(14))

MOST_NAMES: Final = 500
"""A model can make up names of tools without end; those after so many are counted as one."""

Attributes = dict[str, AttributeValue]


def metrics(*, meter: Meter | None = None, clock: Clock = SYSTEM_CLOCK) -> BothSeams:
    """Return a middleware that measures calls with OpenTelemetry.

    It records ``gen_ai.client.operation.duration``, ``gen_ai.client.token.usage`` and, for answers
    that stream, ``gen_ai.client.operation.time_to_first_chunk`` of model calls, and
    ``gen_ai.execute_tool.duration`` of tool calls.  Without a meter provider it does next to
    nothing.

    It keeps the names of the first 500 tools that were called; those after them are ``_OTHER``.

    Args:
        meter: makes the instruments; None means that of the process's meter provider.
        clock: measures.
    """
    measured = _Metrics(get_meter("agentrail") if meter is None else meter, clock)
    return BothSeams(measured.model, measured.tool)


class _Metrics:
    """The instruments, and what goes into them."""

    def __init__(self, meter: Meter, clock: Clock) -> None:
        self._clock = clock
        self._tools: set[str] = set()
        self._operation = _histogram(meter, OPERATION_DURATION, "s", "GenAI operation duration.")
        self._first = _histogram(
            meter, TIME_TO_FIRST_CHUNK, "s", "Time to receive the first chunk."
        )
        self._tokens = _histogram(meter, TOKEN_USAGE, "{token}", "Number of tokens used.")
        self._tool = _histogram(meter, TOOL_DURATION, "s", "The duration of a tool execution.")

    async def model(self, request: ModelRequest, call_next: ModelCall) -> ModelReply:
        began, first = self._clock.monotonic(), -1.0

        async def emit(delta: Delta) -> None:
            nonlocal first
            if first < 0:
                first = self._clock.monotonic() - began
            await request.emit(delta)

        streams = request.emit is not ignore_delta
        reply: ModelReply | None = None
        try:
            reply = await call_next(replace(request, emit=emit) if streams else request)
            return reply
        finally:
            seconds = self._clock.monotonic() - began
            attributes: Attributes = {
                names.OPERATION_NAME: "chat",
                names.PROVIDER_NAME: request.provider,
                names.REQUEST_MODEL: request.model,
            }
            if reply is not None and reply.model:  # another one may have stood in for it
                provider, _, model = reply.model.partition(":")
                attributes |= {names.PROVIDER_NAME: provider, names.RESPONSE_MODEL: model}
            self._operation.record(seconds, attributes | _error(reply))
            if first >= 0:
                self._first.record(first, attributes)
            if reply is not None:
                self._count(reply.usage, attributes)

    async def tool(self, request: ToolRequest, call_next: ToolCaller) -> ToolResult:
        began = self._clock.monotonic()
        result: ToolResult | None = None
        try:
            result = await call_next(request)
            return result
        finally:
            attributes = {
                names.OPERATION_NAME: "execute_tool",
                names.TOOL_NAME: self._known(request.call.name),
                names.TOOL_TYPE: "function",
            }
            self._tool.record(self._clock.monotonic() - began, attributes | _error(result))

    def _count(self, used: Usage, attributes: Attributes) -> None:
        """Record the tokens where their number is known: no call takes in none."""
        if used.input_tokens or used.output_tokens:
            self._tokens.record(used.input_tokens, attributes | {names.TOKEN_TYPE: "input"})
            self._tokens.record(used.output_tokens, attributes | {names.TOKEN_TYPE: "output"})

    def _known(self, name: str) -> str:
        if len(self._tools) < MOST_NAMES:
            self._tools.add(name)
        return name if name in self._tools else OTHER


def _histogram(meter: Meter, name: str, unit: str, description: str) -> Histogram:
    bounds = SECONDS if unit == "s" else TOKENS
    return meter.create_histogram(
        name, unit, description, explicit_bucket_boundaries_advisory=bounds
    )


def _error(result: Result | None) -> Attributes:
    outcome = outcome_of(result)
    return {} if outcome is OK else {names.ERROR_TYPE: outcome.error or outcome.outcome}
