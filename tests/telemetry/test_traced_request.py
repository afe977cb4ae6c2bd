"""One request to ``agentrail serve`` is one trace, as a real OTLP receiver in its own process sees
it: five plugins with every hook, a model behind HTTP, a tool call, and work after the request."""

import json
import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import anyio
import pytest
from anyio import to_thread
from attrs import define

from tests.cli.command import serving
from tests.model.upstream import Request, piece, running, says, streams, usage

pytest.importorskip("oteltap", reason="oteltap, an OTLP receiver, is not installed")

OTELTAP = Path(sys.executable).with_name("oteltap")
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE, PARENT = CALLER.split("-")[1:3]
PLUGINS = [f"p{number}" for number in range(1, 6)]
OF_A_MODEL_CALL = ("before_request", "after_response")
OF_A_TOOL_CALL = ("before_tool_call", "after_tool_call")
OF_THE_TURN = (
    "on_request_start",
    "intercept_chat_request",
    "attachment_handler",
    "context_providers",
    "on_turn_persisted",
    "on_request_end",
)


@define
class Seen:
    """A span as the receiver prints it."""

    raw: Mapping[str, Any]

    @property
    def name(self) -> str:
        return str(self.raw["name"])

    @property
    def span_id(self) -> str:
        return str(self.raw["spanId"])

    @property
    def parent(self) -> str:
        return str(self.raw["parentSpanId"])

    @property
    def attributes(self) -> dict[str, object]:
        return _attributes(self.raw["attributes"])

    @property
    def links(self) -> list[tuple[str, str]]:
        return [(each["traceId"], each["spanId"]) for each in self.raw["links"]]


@define
class Traced:
    """A request, and what came of it."""

    spans: Sequence[Seen]
    answer: Mapping[str, object]
    upstream: Sequence[Request]

    def named(self, name: str) -> list[Seen]:
        return [span for span in self.spans if span.name == name]

    @property
    def turn(self) -> Seen:
        (turn,) = self.named("invoke_agent assistant")
        return turn


def _attributes(pairs: Any) -> dict[str, object]:  # noqa: ANN401 - JSON
    return {pair["key"]: _value(pair["value"]) for pair in pairs}


def _value(value: Mapping[str, Any]) -> object:
    ((kind, plain),) = value.items()
    if kind == "arrayValue":
        return [_value(each) for each in plain["values"]]
    return int(plain) if kind == "intValue" else plain


@contextmanager
def receiver() -> Generator[tuple[int, IO[str]]]:
    """Runs an OTLP receiver; yields its port and what it prints, a line for each span."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    with subprocess.Popen(
        [OTELTAP, "--port", str(port)],
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("Listening")
            yield port, process.stdout
        finally:
            process.kill()


def spans_until(lines: IO[str], names: set[str]) -> list[Seen]:
    """Returns the spans that arrive until each of these has."""
    spans: list[Seen] = []
    while names - {span.name for span in spans}:
        raw = json.loads(lines.readline())
        if "spanId" in raw:
            spans.append(Seen(raw))
    return spans


def request(backend: str, base_url: str, data: Path, **variables: str) -> Traced:
    """Serves the application, asks once, stops, and returns what the receiver got."""
    with receiver() as (port, lines):
        variables |= {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OPENAI_BASE_URL": base_url,
            "OPENAI_API_KEY": "sk-of-a-test",
        }
        options = ("traced_app:app", "--backend", backend, "--data-dir", str(data))
        with serving(Path(__file__).parent, *options, variables=variables) as server:
            response = server.client.post("/chat", json=ASKED, headers=HEADERS)
            assert response.status_code == 200, response.text
            assert server.stop() == 0
        ends = {"invoke_agent assistant", "agentrail.background p5"}
        return Traced(spans_until(lines, ends), response.json(), ())


ASKED = {
    "message": "hi",
    "sessionId": "s",
    "tenantId": "acme",
    "attachments": [{"filename": "a.txt", "mimeType": "text/plain", "data": "eA=="}],
}
HEADERS = {"traceparent": CALLER, "tracestate": "vendor=1", "baggage": "user=alice"}


async def traced_request(backend: str, data: Path) -> Traced:
    """Runs the model's upstream beside the request."""
    call = {"index": 0, "id": "call_1", "function": {"name": "ping", "arguments": "{}"}}
    calls = streams(piece(tool_calls=[call]), piece("tool_calls"), usage(9, 3))
    with anyio.fail_after(50):
        async with running(calls, says("done")) as upstream:
            traced = await to_thread.run_sync(request, backend, upstream.base_url, data)
            traced.upstream = list(upstream.requests)
            return traced


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def traced(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Traced:
    data = tmp_path_factory.mktemp("data")
    return anyio.run(traced_request, request.param, data)


def test_there_is_a_span_for_each_hook_of_each_plugin_and_each_call_and_no_other(
    traced: Traced,
) -> None:
    counted = Counter(
        (span.name, span.attributes.get("agentrail.plugin.name")) for span in traced.spans
    )
    expected: Counter[tuple[str, object]] = Counter(
        {
            ("invoke_agent assistant", None): 1,
            ("chat small", None): 2,
            ("execute_tool ping", None): 1,
            ("agentrail.background p5", "p5"): 1,
        }
    )
    for plugin in PLUGINS:
        once = (*OF_THE_TURN, *OF_A_TOOL_CALL, "on_chunk")
        expected.update({(f"agentrail.hook {hook}", plugin): 1 for hook in once})
        expected.update({(f"agentrail.hook {hook}", plugin): 2 for hook in OF_A_MODEL_CALL})
    assert counted == expected
    assert len(traced.spans) == 70


def test_spans_are_nested_as_the_calls_were(traced: Traced) -> None:
    by_id = {span.span_id: span for span in traced.spans}
    for span in traced.spans:
        parent = by_id.get(span.parent)
        hook = str(span.attributes.get("agentrail.hook.name", ""))
        if hook in {*OF_A_MODEL_CALL, "on_chunk"}:
            assert parent in traced.named("chat small")
        elif hook in OF_A_TOOL_CALL:
            assert parent in traced.named("execute_tool ping")
        elif hook or span.name.startswith(("chat", "execute_tool")):
            assert parent is traced.turn
        else:
            assert parent is None
    (tool,) = traced.named("execute_tool ping")
    assert tool.parent == traced.turn.span_id


def test_the_turn_goes_on_with_the_callers_trace(traced: Traced) -> None:
    turn = traced.turn
    assert (turn.raw["traceId"], turn.parent) == (TRACE, PARENT)
    assert turn.raw["traceState"] == "vendor=1"
    ours = [span for span in traced.spans if "background" not in span.name]
    assert {span.raw["traceId"] for span in ours} == {TRACE}


def test_the_models_upstream_is_told_of_the_span_that_asks_it_and_of_no_baggage(
    traced: Traced,
) -> None:
    told = [request.headers["traceparent"].split("-")[1:3] for request in traced.upstream]
    assert told == [[TRACE, span.span_id] for span in traced.named("chat small")]
    assert [request.headers["tracestate"] for request in traced.upstream] == ["vendor=1"] * 2
    assert not any("baggage" in request.headers for request in traced.upstream)


def test_work_in_the_background_is_a_trace_of_its_own_with_a_link_to_the_turn(
    traced: Traced,
) -> None:
    (work,) = traced.named("agentrail.background p5")
    assert work.raw["traceId"] != TRACE
    assert work.parent == ""
    assert work.links == [(TRACE, traced.turn.span_id)]
    assert work.attributes == {
        "agentrail.plugin.name": "p5",
        "agentrail.tenant.id": "acme",
        "gen_ai.agent.id": "assistant",
        "gen_ai.conversation.id": "s",
    }


def test_spans_have_their_attributes_and_no_others(traced: Traced) -> None:
    common = {
        "agentrail.tenant.id": "acme",
        "gen_ai.agent.id": "assistant",
        "gen_ai.conversation.id": "s",
    }
    assert traced.turn.attributes == {
        **common,
        "agentrail.generation": 1,
        "agentrail.transport": "http",
        "agentrail.turn.id": traced.answer["turnId"],
        "agentrail.turn.outcome": "completed",
        "gen_ai.agent.name": "Anna",
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "small",
    }
    assert [span.attributes for span in traced.named("chat small")] == [
        {
            **common,
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "small",
            "gen_ai.response.finish_reasons": [reason],
            "gen_ai.response.model": "small",
            "gen_ai.usage.input_tokens": tokens[0],
            "gen_ai.usage.output_tokens": tokens[1],
        }
        for reason, tokens in (("tool_calls", (9, 3)), ("stop", (5, 1)))
    ]
    (tool,) = traced.named("execute_tool ping")
    assert tool.attributes == {
        **common,
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.call.id": "call_1",
        "gen_ai.tool.name": "ping",
        "gen_ai.tool.type": "function",
    }
    for span in traced.spans:
        hook = span.name.removeprefix("agentrail.hook ")
        if hook != span.name:
            plugin = str(span.attributes["agentrail.plugin.name"])
            assert span.attributes == {
                **common,
                "agentrail.generation": 1,
                "agentrail.hook.name": hook,
                "agentrail.hook.outcome": "ok",
                "agentrail.plugin.name": plugin,
                "agentrail.plugin.version": plugin.replace("p", "1."),
            }
