"""Spans, by opentelemetry-api alone: without a configured tracer provider nothing is made."""

import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode, Tracer
from opentelemetry.util.types import AttributeValue

from agentrail.errors import AgentrailError, HookTimeout
from agentrail.hook._order import Hook
from agentrail.hook._watchdog import Guard

HOOK_NAME = "agentrail.hook.name"
HOOK_OUTCOME = "agentrail.hook.outcome"
PLUGIN_NAME = "agentrail.plugin.name"
PLUGIN_VERSION = "agentrail.plugin.version"
GENERATION = "agentrail.generation"
ERROR_TYPE = "error.type"

Attributes = Mapping[str, AttributeValue]
"""Of a span."""

NO_ATTRIBUTES: Attributes = {}

Watcher = Callable[[Hook, float, str, Exception | None, Attributes], None]
"""Is told of each hook call that is over: the seconds it took, its outcome, its error, and what all
spans of the run have.

The outcome is ``ok``, ``error``, ``timeout``, ``cancelled``, or ``skipped`` for no call at all.
"""


def kind_of(error: Exception) -> str:
    """Return an error's ``code``, or its type's name where it has none."""
    return error.code if isinstance(error, AgentrailError) else type(error).__name__


def active_tracer() -> Tracer | None:
    """Return the tracer to use, or None when the application set no tracer provider."""
    provider = trace.get_tracer_provider()
    if isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider):
        return None
    return provider.get_tracer("agentrail")


@contextmanager
def span(
    tracer: Tracer,
    name: str,
    attributes: Mapping[str, AttributeValue],
    kind: SpanKind = SpanKind.INTERNAL,
    links: Sequence[Link] = (),
    context: Context | None = None,
) -> Generator[Span]:
    """Make a span current around a block of one task.

    The block must not yield to other code of the same context, as a generator would.
    """
    with tracer.start_as_current_span(
        name,
        context,
        attributes=dict(attributes),
        kind=kind,
        links=links,
        record_exception=False,
        set_status_on_exception=False,
    ) as current:
        over = False
        try:
            yield current
            over = True
        finally:
            # Without one of the block's own, this would be what the caller is handling.
            error = None if over else sys.exception()
            if isinstance(error, Exception):
                _fail(current, kind_of(error))


@contextmanager
def hook_span(
    tracer: Tracer, hook: Hook, generation: int, guard: Guard, common: Attributes
) -> Generator[Span]:
    """Make the span of one hook call current around the call."""
    outcome = "cancelled"
    with tracer.start_as_current_span(
        f"agentrail.hook {hook.name}",
        attributes=_attributes(hook, generation, common),
        record_exception=False,
        set_status_on_exception=False,
    ) as current:
        try:
            yield current
            outcome = "ok"
        finally:
            error = None if outcome == "ok" else sys.exception()
            if isinstance(error, Exception):
                outcome = "error"
                _fail(current, kind_of(error))
                _raised(current, error)
            elif guard.expired:
                outcome = "timeout"
                _fail(current, HookTimeout.code, _late(hook))
            current.set_attribute(HOOK_OUTCOME, outcome)


def late_spans(tracer: Tracer, generation: int, slow: float) -> Watcher:
    """Return what makes a span of a hook call when it is over, if it failed or was slow.

    The spans that a hook makes itself are children of what the hook was called in.

    Args:
        tracer: makes the spans.
        generation: of the composition that the hooks belong to.
        slow: seconds from which on a call is slow.
    """

    def tell(
        hook: Hook, seconds: float, outcome: str, error: Exception | None, common: Attributes
    ) -> None:
        if outcome == "skipped" or (error is None and seconds < slow):
            return
        end = time.time_ns()
        attributes = _attributes(hook, generation, common) | {HOOK_OUTCOME: outcome}
        made = tracer.start_span(
            f"agentrail.hook {hook.name}",
            attributes=attributes,
            start_time=end - int(seconds * 1e9),
        )
        if isinstance(error, HookTimeout):
            _fail(made, error.code, _late(hook))
        elif error is not None:
            _fail(made, kind_of(error))
            _raised(made, error, end)
        made.end(end)

    return tell


async def apart(
    tracer: Tracer | None,
    name: str,
    task: Callable[[], Awaitable[object]],
    link: SpanContext | None,
    attributes: Mapping[str, AttributeValue],
) -> None:
    """Run work that outlives a run, in a trace of its own that links to the run's span.

    Baggage stays what it was there.
    """
    if tracer is None:
        await task()
        return
    context = trace.set_span_in_context(trace.INVALID_SPAN)
    links = () if link is None else (Link(link),)
    with span(tracer, f"agentrail.background {name}", attributes, links=links, context=context):
        await task()


def _attributes(hook: Hook, generation: int, common: Attributes) -> dict[str, AttributeValue]:
    attributes: dict[str, AttributeValue] = {
        **common,
        HOOK_NAME: hook.name,
        PLUGIN_NAME: hook.plugin,
        GENERATION: generation,
    }
    if hook.version:
        attributes[PLUGIN_VERSION] = hook.version
    return attributes


def _fail(current: Span, kind: str, why: str | None = None) -> None:
    """Mark a span as failed; an error's text may hold what somebody said, and is no ``why``."""
    current.set_attribute(ERROR_TYPE, kind)
    current.set_status(Status(StatusCode.ERROR, why))


def _raised(current: Span, error: Exception, at: int | None = None) -> None:
    """Note where an error was raised; its text is in the log."""
    attributes = {
        "exception.type": type(error).__qualname__,
        "exception.stacktrace": "".join(traceback.format_tb(error.__traceback__)),
    }
    current.add_event("exception", attributes, at)


def _late(hook: Hook) -> str:
    return f"it took longer than {hook.deadline:g} s"
