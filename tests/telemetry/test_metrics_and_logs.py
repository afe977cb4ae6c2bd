"""What a host measures and logs, by the real SDK; each claim in a process of its own."""

import json
import re
from pathlib import Path

import pytest

from tests.cli.command import serving
from tests.telemetry.test_telemetry_setup import run

HOST = """
import anyio, json
from agentrail import (
    AppConfig, ChatRequest, MemorySessionStore, Profile, ScriptedModel, create_app, define_plugin,
)
from agentrail.telemetry import configure, prometheus_text
configure()
def boom(_context):
    raise OSError("lost")
def nothing(_context):
    pass
bad = define_plugin("bad", on_request_start=boom)
good = define_plugin("good", on_request_end=nothing)
plugins = [bad, good]
app = create_app(AppConfig(
    profiles=[Profile(id="assistant", model="scripted:any")],
    providers=[ScriptedModel.repeat("fine")],
    plugins=plugins,
    store=MemorySessionStore(),
    on_plugin_error=lambda failure: None,
))
async def main(turns):
    async with app.host as host:
        for _ in range(turns):
            await host.chat(ChatRequest("hi", session_id="s"))
        told = prometheus_text("application/openmetrics-text")
        print("" if told is None else told[0].decode())
"""


def test_a_host_measures_its_hooks_and_turns_and_counts_what_fails_and_is_left_alone() -> None:
    done = run(HOST + "anyio.run(main, 6)", OTEL_METRICS_EXPORTER="prometheus")

    assert done.returncode == 0, done.stderr
    found = samples(done.stdout)
    bad = 'agentrail_hook_name="on_request_start",agentrail_plugin_name="bad"'
    good = 'agentrail_hook_name="on_request_end",agentrail_plugin_name="good"'
    turn = 'agentrail_transport="python",agentrail_turn_outcome="completed"'
    assert found[f'agentrail_hook_errors_total{{{bad},error_type="OSError"}}'] == 5.0
    assert found[f"agentrail_hook_left_alone{{{bad}}}"] == 1.0
    assert (
        found[f"agentrail_hook_duration_seconds_count{{{outcome('error', bad)}}}"],
        found[f"agentrail_hook_duration_seconds_count{{{outcome('ok', good)}}}"],
    ) == (5.0, 6.0)
    assert (
        found[f'agentrail_turn_duration_seconds_count{{{turn},gen_ai_agent_id="assistant"}}'] == 6
    )
    assert found["agentrail_turn_running"] == 0.0
    assert found["agentrail_turn_waiting"] == 0.0


def outcome(how: str, who: str) -> str:
    name, plugin = who.split(",")
    return f'{name},agentrail_hook_outcome="{how}",{plugin}'


def samples(text: str) -> dict[str, float]:
    """Returns the values of a scrape, without the labels that are of the scope."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        if line.startswith("agentrail_"):
            name, _, value = re.sub(r" # .*", "", line).rpartition(" ")
            labels = re.findall(r'(\w+="[^"]*")', name)
            own = sorted(each for each in labels if not each.startswith("otel_scope"))
            found[name.partition("{")[0] + (f"{{{','.join(own)}}}" if own else "")] = float(value)
    return found


def test_without_a_meter_provider_nothing_is_measured_and_no_sdk_is_imported() -> None:
    code = "import sys\nfrom agentrail.telemetry import active_instruments\n"
    code += "print(active_instruments(), 'opentelemetry.sdk' in sys.modules)"
    assert run(code).stdout == "None False\n"


EXEMPLARS = """
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
reader = InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider([reader]))
trace.set_tracer_provider(TracerProvider())
"""

SHOW = """
anyio.run(main, 1)
found = {}
for resource in reader.get_metrics_data().resource_metrics:
    for scope in resource.scope_metrics:
        for metric in scope.metrics:
            for point in metric.data.data_points:
                found.setdefault(metric.name, []).extend(
                    [f"{each.trace_id:032x}" for each in point.exemplars]
                )
log = anyio.run(app.host.core.store.read, "s")
(run,) = [event for event in log if event.type == "run"]
print(json.dumps([run.traceparent.split("-")[1], found]))
"""


def test_exemplars_of_the_durations_lead_to_the_trace_of_their_turn() -> None:
    done = run(EXEMPLARS + HOST + SHOW)

    assert done.returncode == 0, done.stderr
    trace, found = json.loads(done.stdout.splitlines()[-1])
    assert found["agentrail.hook.duration"] == [trace] * 2
    assert found["agentrail.turn.duration"] == [trace]
    assert found["agentrail.turn.time_to_first_text"] == [trace]


LOGGED = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
import io, logging
from agentrail.telemetry import trace_ids
trace.set_tracer_provider(TracerProvider())
out = io.StringIO()
handler = logging.StreamHandler(out)
handler.addFilter(trace_ids)
none = {"trace_id": "-", "span_id": "-"}
handler.setFormatter(logging.Formatter("%(message)s %(trace_id)s %(span_id)s", defaults=none))
logging.basicConfig(handlers=[handler], force=True)
logging.warning("outside")
with trace.get_tracer("t").start_as_current_span("s") as span:
    logging.warning("inside")
    told = span.get_span_context()
assert out.getvalue() == f"outside - -\\ninside {told.trace_id:032x} {told.span_id:016x}\\n"
"""


def test_a_log_record_within_a_span_carries_its_ids_and_one_outside_none() -> None:
    done = run(LOGGED)
    assert (done.returncode, done.stderr) == (0, "")


APP = """
from agentrail import AppConfig, BearerTokens, Profile, ScriptedModel, create_app, standard_routes
from agentrail.requests import Principal
from agentrail.route import metrics_route
app = create_app(AppConfig(
    profiles=[Profile(id="assistant", model="scripted:any")],
    providers=[ScriptedModel.repeat("fine")],
    routes=[*standard_routes(), metrics_route()],
    authenticator=AUTHENTICATOR,
))
"""
TOKENS = "BearerTokens({'a': Principal(), 'b': Principal(roles=frozenset({'metrics'}))})"
PROMETHEUS = {"OTEL_METRICS_EXPORTER": "prometheus"}


def test_the_route_serves_a_scrape_where_it_is_set_up_and_404_where_not(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP.replace("AUTHENTICATOR", "None"))

    with serving(tmp_path, variables=PROMETHEUS) as server:
        server.client.post("/chat", json={"message": "hi"})
        answer = server.client.get("/metrics")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain")
        assert 'agentrail_turn_outcome="completed"' in answer.text
    with serving(tmp_path) as server:
        answer = server.client.get("/metrics")
        body = answer.json()
        assert (answer.status_code, body["code"], body["title"]) == (404, "not_found", "Not found")
        assert body["detail"] == (
            "GET /metrics: no metrics here: set OTEL_METRICS_EXPORTER=prometheus"
        )


def test_with_an_authenticator_the_route_is_for_those_with_its_role(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP.replace("AUTHENTICATOR", TOKENS))

    with serving(tmp_path, variables=PROMETHEUS) as server:
        told = [
            server.client.get("/metrics", headers={"authorization": f"Bearer {token}"}).status_code
            for token in ("a", "b", "c")
        ]
    assert told == [403, 200, 401]


@pytest.mark.parametrize("exporter", ["otlp,statsd", "zipkin"])
def test_an_unknown_exporter_of_metrics_is_a_config_error(exporter: str) -> None:
    done = run(
        "from agentrail.telemetry import configure\nconfigure()", OTEL_METRICS_EXPORTER=exporter
    )
    assert "use otlp, prometheus, console or none" in done.stderr


SPANS = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
"""

NAMES = """
anyio.run(main, 1)
print(json.dumps(sorted(span.name for span in exporter.get_finished_spans())))
"""


@pytest.mark.parametrize(
    ("mode", "of_hooks"),
    [
        ("all", ["agentrail.hook on_request_end", "agentrail.hook on_request_start"]),
        ("slow", ["agentrail.hook on_request_start"]),
        ("errors", ["agentrail.hook on_request_start"]),
    ],
)
def test_the_environment_says_which_hooks_make_spans(mode: str, of_hooks: list[str]) -> None:
    done = run(SPANS + HOST + NAMES, AGENTRAIL_HOOK_SPANS=mode)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [
        *of_hooks,
        "chat any",
        "invoke_agent assistant",
    ]


def test_an_unknown_mode_is_a_composition_error() -> None:
    done = run(HOST, AGENTRAIL_HOOK_SPANS="some")

    assert done.returncode == 1
    assert "hook_spans" in done.stderr.splitlines()[-1]


STRANGERS = """
from agentrail import ChatResponse, Message, Route, tool
from agentrail.messages import ToolCall
@tool
def ping() -> str:
    "Answer."
    return "pong"
def intercept(request, _context):
    return ChatResponse("mine") if request.text == "/mine" else None
call = ToolCall("1", "made up \\ud800" + "x" * 1_000)
app = create_app(AppConfig(
    profiles=[Profile(id="assistant", model="scripted:any", tools=[ping])],
    providers=[ScriptedModel([Message.assistant((call,)), "fine"])],
    plugins=[define_plugin("p", intercept_chat_request=intercept)],
    store=MemorySessionStore(),
))
async def main():
    async with app.host as host:
        await host.chat(ChatRequest("hi"))
        await host.chat(ChatRequest("/mine", agent_id="stranger-1"))
        try:
            await host.chat(ChatRequest("hi", agent_id="stranger-2"))
        except Exception as error:
            assert error.code == "agent_not_found", error
anyio.run(main)
measured = reader.get_metrics_data().to_json()
spans = exporter.get_finished_spans()
names = sorted({span.name for span in spans if "hook" not in span.name})
(tool,) = [span for span in spans if span.name == "execute_tool"]
print(json.dumps(["stranger" in measured, "_OTHER" in measured, names]))
print(json.dumps(tool.attributes["gen_ai.tool.name"]), tool.status.status_code.name)
"""


def test_agents_and_tools_that_there_are_not_make_no_series_and_no_names_of_spans() -> None:
    # What a caller or a model makes up can be anything, and as many as they like.
    done = run(SPANS + EXEMPLARS.replace("trace.set_tracer_provider", "") + HOST + STRANGERS)

    assert done.returncode == 0, done.stderr
    told, tool = done.stdout.splitlines()[-2:]
    spans = ["chat any", "execute_tool", "invoke_agent", "invoke_agent assistant"]
    assert json.loads(told) == [False, True, spans]
    assert tool == json.dumps("made up ?" + "x" * 247) + " ERROR"
