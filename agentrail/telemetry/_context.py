"""W3C trace context, in from who asks and out to whom we ask."""

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from attrs import define
from opentelemetry import context, propagate, trace
from opentelemetry.trace import SpanContext
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_W3C: Final = TraceContextTextMapPropagator()


@define(slots=True, eq=False)
class Answering:
    """An HTTP request that is being answered."""

    traceparent: str = ""
    """The span of the first run that began for it, in whichever task; empty without one."""


_answering: ContextVar[Answering | None] = ContextVar("agentrail_answering", default=None)


@contextmanager
def incoming(headers: Iterable[tuple[bytes, bytes]]) -> Generator[Answering]:
    """Make the caller's trace and baggage current around a block of one task that answers it.

    ``OTEL_PROPAGATORS`` says in which headers they are; without it, in W3C's.
    """
    carrier: dict[str, list[str]] = {}
    for name, value in headers:
        carrier.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    token = context.attach(propagate.extract(carrier))
    answering = Answering()
    before = _answering.set(answering)
    try:
        yield answering
    finally:
        _answering.reset(before)
        context.detach(token)


def outgoing() -> dict[str, str]:
    """Return the headers that tell an upstream of the present span; none without one.

    Baggage is not among them: it may say what is no business of others.
    """
    headers: dict[str, str] = {}
    _W3C.inject(headers)
    return headers


def traceparent() -> str:
    """Return the present span as W3C trace context writes it; empty without one."""
    return outgoing().get("traceparent", "")


def run_began() -> str:
    """Return the present span as ``traceparent`` does, having noted it as that of a run."""
    present = traceparent()
    answering = _answering.get()
    if answering is not None and not answering.traceparent:
        answering.traceparent = present
    return present


def trace_id() -> str:
    """Return the trace of the present span, or of the run that was asked for; empty without."""
    answering = _answering.get()
    present = traceparent() or ("" if answering is None else answering.traceparent)
    return present[3:35]


def span_of(traceparent: str) -> SpanContext | None:
    """Return the span that ``traceparent`` wrote, or None."""
    found = _W3C.extract({"traceparent": traceparent}, context.Context())
    span = trace.get_current_span(found).get_span_context()
    return span if span.is_valid else None
