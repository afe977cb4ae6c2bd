"""W3C trace context, in from who asks and out to whom we ask."""

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Final

from opentelemetry import context, propagate, trace
from opentelemetry.trace import SpanContext
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_W3C: Final = TraceContextTextMapPropagator()


@contextmanager
def incoming(headers: Iterable[tuple[bytes, bytes]]) -> Generator[None]:
    """Make the caller's trace and baggage current around a block of one task.

    ``OTEL_PROPAGATORS`` says in which headers they are; without it, in W3C's.
    """
    carrier: dict[str, list[str]] = {}
    for name, value in headers:
        carrier.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    token = context.attach(propagate.extract(carrier))
    try:
        yield
    finally:
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


def span_of(traceparent: str) -> SpanContext | None:
    """Return the span that ``traceparent`` wrote, or None."""
    found = _W3C.extract({"traceparent": traceparent}, context.Context())
    span = trace.get_current_span(found).get_span_context()
    return span if span.is_valid else None
