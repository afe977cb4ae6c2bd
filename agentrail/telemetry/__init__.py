"""Telemetry: the names of span attributes, and tracing set up from the environment."""

from agentrail.telemetry import names
from agentrail.telemetry._setup import configure

__all__ = ["configure", "names"]
