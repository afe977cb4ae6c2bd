"""Tracing set up from the standard OTEL_* variables."""

import os
from collections.abc import Callable

from opentelemetry import trace

from agentrail.errors import ConfigError

_INSTALL = "pip install '/path/to/agentrail[otlp]'"


def configure(service_name: str = "agentrail") -> Callable[[], None]:
    """Set the process's tracer provider as the environment says; return what flushes and ends it.

    ``OTEL_TRACES_EXPORTER`` lists ``otlp`` (HTTP with protobuf), ``console`` or ``none``; without
    it, an OTLP endpoint in the environment means ``otlp``, and without that nothing is set up and
    the SDK is not imported.  ``OTEL_SDK_DISABLED=true`` switches all off.  The SDK reads the other
    variables: resource attributes, sampler, headers, limits.  A provider that the application has
    set stays.

    The returned function blocks until the last spans are sent, or the exporter gives up.

    Args:
        service_name: the service's name unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES give
            one.

    Raises:
        ConfigError: an exporter or a protocol is unknown, or the SDK is not installed.
    """
    names = _exporters()
    if "otlp" in names:
        _check_protocol()
    if not names or not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return _nothing
    try:
        return _start(service_name, names)
    except ImportError as error:
        message = f"tracing is switched on by OTEL_* variables and needs {error.name}: {_INSTALL}"
        raise ConfigError(message) from error


def _exporters() -> list[str]:
    """Return the exporters that the environment asks for."""
    if _variable("OTEL_SDK_DISABLED").lower() == "true":
        return []
    listed = [each.strip() for each in _variable("OTEL_TRACES_EXPORTER").split(",")]
    names = list(dict.fromkeys(filter(None, listed)))
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    if not names and any(map(_variable, endpoints)):
        names = ["otlp"]
    if unknown := set(names) - {"otlp", "console", "none"}:
        message = f"OTEL_TRACES_EXPORTER names {sorted(unknown)}: use otlp, console or none"
        raise ConfigError(message)
    return [name for name in names if name != "none"]


def _start(service_name: str, names: list[str]) -> Callable[[], None]:
    # Imported here: a host without telemetry has no SDK, or does not pay for its import.
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource  # noqa: PLC0415
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
    resource = Resource.create()
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: service_name}))
    provider = TracerProvider(resource=resource)
    for exporter in exporters:
        provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return provider.shutdown


def _check_protocol() -> None:
    protocol = _variable("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
    protocol = protocol or _variable("OTEL_EXPORTER_OTLP_PROTOCOL")
    if protocol not in ("", "http/protobuf"):
        raise ConfigError(f"the OTLP protocol {protocol!r} is not spoken here: use http/protobuf")


def _variable(name: str) -> str:
    return os.environ.get(name, "").strip()


def _nothing() -> None:
    """Have nothing to flush."""
