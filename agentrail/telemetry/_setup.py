"""Tracing and metrics set up from the standard OTEL_* variables."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Final

from attrs import frozen
from opentelemetry import trace

from agentrail.errors import ConfigError
from agentrail.extras import pip_install
from agentrail.telemetry._instruments import has_meter_provider
from agentrail.telemetry._log import trace_ids


@frozen
class _Signal:
    """What is exported, and the variables that say how."""

    exporter: str
    known: Sequence[str]
    """What the variable may list."""
    protocol: str
    endpoints: Sequence[str]
    """Of which one is enough to export by OTLP."""


_TRACES: Final = _Signal(
    "OTEL_TRACES_EXPORTER",
    ("otlp", "console", "none"),
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
)
_METRICS: Final = _Signal(
    "OTEL_METRICS_EXPORTER",
    ("otlp", "prometheus", "console", "none"),
    "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
    ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",),  # a collector of traces may take nothing else
)


def configure(service_name: str = "agentrail") -> Callable[[], None]:
    """Set the process's tracer and meter providers as the environment says; return what ends them.

    ``OTEL_TRACES_EXPORTER`` lists ``otlp`` (HTTP with protobuf), ``console`` or ``none``; without
    it, an OTLP endpoint in the environment means ``otlp``.  ``OTEL_METRICS_EXPORTER`` lists the
    same, or ``prometheus`` for ``GET /metrics``; without it there are no metrics, unless the
    environment has an OTLP endpoint for them alone.  Where nothing is asked for, nothing is set up
    and the SDK is not imported.  ``OTEL_SDK_DISABLED=true`` switches all off.  The SDK reads the
    other variables: resource attributes, sampler, headers, limits, intervals.  A provider that the
    application has set stays.

    With tracing, the records of the root logger's handlers get the ids of their trace and span.

    The returned function blocks until what is left is sent, or the exporter gives up.

    Args:
        service_name: the service's name unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES give
            one.

    Raises:
        ConfigError: an exporter or a protocol is unknown, or the SDK is not installed.
    """
    traces, metrics = _exporters(_TRACES), _exporters(_METRICS)
    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        traces = []
    if has_meter_provider():
        metrics = []
    stops = ExitStack()
    try:
        if metrics:
            stops.callback(_start_metrics(service_name, metrics))
        if traces:
            stops.callback(_start_traces(service_name, traces))
            for handler in logging.getLogger().handlers:
                handler.addFilter(trace_ids)
    except ImportError as error:
        needs = f"{error.name}: {pip_install('otlp')}"
        message = f"telemetry is switched on by OTEL_* variables and needs {needs}"
        raise ConfigError(message) from error
    return stops.close


def _exporters(signal: _Signal) -> list[str]:
    """Return the exporters that the environment asks for."""
    if _variable("OTEL_SDK_DISABLED").lower() == "true":
        return []
    listed = [each.strip() for each in _variable(signal.exporter).split(",")]
    names = list(dict.fromkeys(filter(None, listed)))
    if not names and any(map(_variable, signal.endpoints)):
        names = ["otlp"]
    if unknown := set(names).difference(signal.known):
        choice = f"{', '.join(signal.known[:-1])} or {signal.known[-1]}"
        message = f"{signal.exporter} names {sorted(unknown)}: use {choice}"
        raise ConfigError(message)
    if "otlp" in names:
        _check_protocol(signal)
    return [name for name in names if name != "none"]


# The SDK is imported inside: a host without telemetry has none, or does not pay for its import.


def _start_traces(service_name: str, names: list[str]) -> Callable[[], None]:
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import (  # noqa: PLC0415
        BatchSpanProcessor,
        ConsoleSpanExporter,
        SpanExporter,
    )

    exporters: list[SpanExporter] = []
    if "otlp" in names:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )

        exporters.append(OTLPSpanExporter())
    if "console" in names:
        exporters.append(ConsoleSpanExporter())
    provider = TracerProvider(resource=Resource.create(_named(service_name)))
    for exporter in exporters:
        provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return provider.shutdown


def _start_metrics(service_name: str, names: list[str]) -> Callable[[], None]:
    from opentelemetry.metrics import set_meter_provider  # noqa: PLC0415
    from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415
    from opentelemetry.sdk.metrics.export import (  # noqa: PLC0415
        ConsoleMetricExporter,
        MetricReader,
        PeriodicExportingMetricReader,
    )
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415

    readers: list[MetricReader] = []
    if "otlp" in names:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import (  # noqa: PLC0415
            OTLPMetricExporter,
        )

        readers.append(PeriodicExportingMetricReader(OTLPMetricExporter()))
    if "prometheus" in names:
        from opentelemetry.exporter.prometheus import PrometheusMetricReader  # noqa: PLC0415

        readers.append(PrometheusMetricReader())
    if "console" in names:
        readers.append(PeriodicExportingMetricReader(ConsoleMetricExporter()))
    resource = Resource.create(_named(service_name))
    provider = MeterProvider(readers, resource)
    set_meter_provider(provider)
    return provider.shutdown


def _named(service_name: str) -> Mapping[str, str]:
    """Return the attribute with the service's name, unless the environment gives it one."""
    listed = [each.partition("=")[0] for each in _variable("OTEL_RESOURCE_ATTRIBUTES").split(",")]
    if _variable("OTEL_SERVICE_NAME") or "service.name" in map(str.strip, listed):
        return {}
    return {"service.name": service_name}


def _check_protocol(signal: _Signal) -> None:
    protocol = _variable(signal.protocol)
    protocol = protocol or _variable("OTEL_EXPORTER_OTLP_PROTOCOL")
    if protocol not in ("", "http/protobuf"):
        raise ConfigError(f"the OTLP protocol {protocol!r} is not spoken here: use http/protobuf")


def _variable(name: str) -> str:
    return os.environ.get(name, "").strip()
