"""Telemetry: names of attributes, trace context, instruments, and setup from the environment."""

from agentrail.telemetry import names
from agentrail.telemetry._context import incoming, outgoing, span_of, traceparent
from agentrail.telemetry._instruments import Instruments, active_instruments
from agentrail.telemetry._log import trace_ids
from agentrail.telemetry._prometheus import prometheus_text
from agentrail.telemetry._setup import configure

__all__ = [
    "Instruments",
    "active_instruments",
    "configure",
    "incoming",
    "names",
    "outgoing",
    "prometheus_text",
    "span_of",
    "trace_ids",
    "traceparent",
]
