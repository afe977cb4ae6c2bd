"""Telemetry: names of attributes, trace context, instruments, and setup from the environment."""

from agentrail.telemetry import names
from agentrail.telemetry._content import Content, captures_content
from agentrail.telemetry._context import Answering, incoming, outgoing, run_began, span_of, trace_id
from agentrail.telemetry._instruments import OTHER, Instruments, active_instruments
from agentrail.telemetry._log import trace_ids
from agentrail.telemetry._prometheus import prometheus_text
from agentrail.telemetry._setup import configure

__all__ = [
    "OTHER",
    "Answering",
    "Content",
    "Instruments",
    "active_instruments",
    "captures_content",
    "configure",
    "incoming",
    "names",
    "outgoing",
    "prometheus_text",
    "run_began",
    "span_of",
    "trace_id",
    "trace_ids",
]
