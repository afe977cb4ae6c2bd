"""Spans, by opentelemetry-api alone: without a configured tracer provider nothing is made."""

import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.util.types import AttributeValue

from agentrail.hook._order import Hook

HOOK_NAME = "agentrail.hook.name"
HOOK_OUTCOME = "agentrail.hook.outcome"
PLUGIN_NAME = "agentrail.plugin.name"
PLUGIN_VERSION = "agentrail.plugin.version"
GENERATION = "agentrail.generation"


def active_tracer() -> Tracer | None:
    """Return the tracer to use, or None when the application set no tracer provider."""
    provider = trace.get_tracer_provider()
    if isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider):
        return None
    return provider.get_tracer("agentrail")


@contextmanager
def span(
    tracer: Tracer | None,
    name: str,
    attributes: Mapping[str, AttributeValue],
    kind: SpanKind = SpanKind.INTERNAL,
) -> Generator[Span]:
    """Make a span current around a block of one task; without a tracer, do nothing.

    The block must not yield to other code of the same context, as a generator would.
    """
    if tracer is None:
        yield trace.INVALID_SPAN
        return
    with tracer.start_as_current_span(
        name, attributes=dict(attributes), kind=kind, record_exception=False
    ) as current:
        yield current


@contextmanager
def hook_span(tracer: Tracer, hook: Hook, generation: int) -> Generator[Span]:
    """Make the span of one hook call current around the call."""
    attributes: dict[str, AttributeValue] = {
        HOOK_NAME: hook.name,
        PLUGIN_NAME: hook.plugin,
        GENERATION: generation,
    }
    if hook.version:
        attributes[PLUGIN_VERSION] = hook.version
    outcome = "cancelled"
    with tracer.start_as_current_span(
        f"agentrail.hook {hook.name}", attributes=attributes, set_status_on_exception=False
    ) as current:
        try:
            yield current
            outcome = "ok"
        finally:
            error = sys.exception()
            if isinstance(error, Exception):
                outcome = "error"
                current.set_status(Status(StatusCode.ERROR, str(error)))
            current.set_attribute(HOOK_OUTCOME, outcome)
