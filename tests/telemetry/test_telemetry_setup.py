"""Tracing as the environment asks for it, each time in a process of its own."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from anyio import to_thread
from opentelemetry.proto.trace.v1.trace_pb2 import Span

import agentrail.telemetry

ROOT = Path(agentrail.telemetry.__file__).parents[2]

ONE_SPAN = """
from opentelemetry import trace
from agentrail.telemetry import configure, names
stop = configure()
with trace.get_tracer("test").start_as_current_span("execute_tool greet") as span:
    span.set_attribute(names.TOOL_NAME, "greet")
stop()
"""


def run(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs Python code with these and no other OTEL_* variables."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=clean | {"PYTHONPATH": str(ROOT)} | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_TRACES_EXPORTER": " "},
        {"OTEL_SERVICE_NAME": "shop"},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
        {"OTEL_TRACES_EXPORTER": "console", "OTEL_SDK_DISABLED": "True"},
        {"OTEL_TRACES_EXPORTER": "none,"},
    ],
)
def test_without_an_exporter_nothing_happens_and_no_sdk_is_imported(
    variables: dict[str, str],
) -> None:
    done = run(
        ONE_SPAN
        + "import sys\n"
        + "assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)\n"
        + "print([name for name in sys.modules if name.startswith('opentelemetry.sdk')])",
        **variables,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


@pytest.mark.parametrize(
    ("variables", "service"),
    [
        ({}, "agentrail"),
        ({"OTEL_SERVICE_NAME": "shop"}, "shop"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=store,region=eu"}, "store"),
    ],
)
def test_the_console_exporter_prints_spans_of_the_named_service(
    variables: dict[str, str], service: str
) -> None:
    done = run(ONE_SPAN, OTEL_TRACES_EXPORTER="none, console", **variables)

    assert done.returncode == 0, done.stderr
    span = json.loads(done.stdout)
    assert span["name"] == "execute_tool greet"
    assert span["resource"]["attributes"]["service.name"] == service
    assert span["resource"]["attributes"].get("region") == ("eu" if service == "store" else None)


def test_a_provider_of_the_application_stays() -> None:
    done = run(
        """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from agentrail.telemetry import configure
own = TracerProvider()
trace.set_tracer_provider(own)
configure()()
assert trace.get_tracer_provider() is own
""",
        OTEL_TRACES_EXPORTER="console",
    )

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        ({"OTEL_TRACES_EXPORTER": "otlp,zipkin"}, "names ['zipkin']: use otlp, console or none"),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "the OTLP protocol 'grpc' is not spoken here: use http/protobuf",
        ),
    ],
)
def test_what_is_not_supported_is_a_config_error(variables: dict[str, str], complaint: str) -> None:
    done = run(ONE_SPAN, **variables)

    assert done.returncode == 1
    assert "agentrail.errors.ConfigError: " in done.stderr
    assert complaint in done.stderr


@pytest.mark.parametrize(
    "missing", ["opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http.trace_exporter"]
)
def test_a_missing_package_is_a_config_error_that_says_what_to_install(missing: str) -> None:
    # None in sys.modules is how Python itself marks a module as not there.
    code = f"import sys\nsys.modules[{missing!r}] = None\n{ONE_SPAN}"
    done = run(code, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1")

    assert done.returncode == 1
    assert "agentrail.errors.ConfigError: " in done.stderr
    assert "pip install 'agentrail-host[otlp]'" in done.stderr


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # what the receiver is written for
async def test_a_span_arrives_at_a_real_receiver() -> None:
    oteltap = pytest.importorskip("oteltap", reason="oteltap, an OTLP receiver, is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    settings = oteltap.OtelTapHttpProtobufReceiverSettings(http_port=port)

    spans: list[Span] = []

    def wanted(span: Span) -> bool:
        return span.name == "execute_tool greet"

    async with oteltap.OtelTapHttpProtobufReceiver(settings) as receiver:

        async def receive() -> None:
            spans.append(await receiver.await_trace(wanted))

        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                group.start_soon(receive)  # first: what nobody waits for is not kept
                done = await to_thread.run_sync(
                    lambda: run(
                        # Out at once: nothing but what `configure` returned can have sent it.
                        f"{ONE_SPAN}import os\nos._exit(0)",
                        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}",
                    )
                )
                assert (done.returncode, done.stderr) == (0, "")

    assert [(each.key, each.value.string_value) for each in spans[0].attributes] == [
        ("gen_ai.tool.name", "greet")
    ]
