"""What is said is in spans where it is wanted, without secrets, and nowhere else."""

import json
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from agentrail import AppConfig, Message, Profile
from agentrail.messages import Text, ToolCall
from agentrail.middleware import SECRETS, hide_beginning
from agentrail.telemetry import Content, names
from tests.telemetry.test_telemetry_setup import ROOT

PROGRAM = Path(__file__).with_name("said.py")
SWITCH = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
KEY = "sk-abcdefghijklmnopqrstuvwxyz"
IN_ERRORS = "error-text"


@frozen
class Seen:
    """What a run of the program left behind."""

    spans: list[dict[str, Any]]
    metrics: str
    log: list[str]

    def of(self, name: str, attribute: str) -> list[str]:
        """The values of an attribute, in the order in which the spans ended."""
        return [
            span["attributes"][attribute]
            for span in self.spans
            if span["name"] == name and attribute in span["attributes"]
        ]


def said(backend: str, data: Path, **variables: str) -> Seen:
    """Runs the program."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    done = subprocess.run(
        [sys.executable, str(PROGRAM), backend, str(data)],
        env=clean | {"PYTHONPATH": str(ROOT)} | variables,
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
    )
    assert done.stderr.split() == ["model_unavailable", "output_invalid"]
    spans, metrics, log = done.stdout.splitlines()
    return Seen(json.loads(spans), metrics, json.loads(log))


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_unless_it_is_wanted_nothing_that_is_said_is_in_a_span_a_metric_or_the_log(
    backend: str, tmp_path: Path
) -> None:
    seen = said(backend, tmp_path)

    everything = [json.dumps(seen.spans), seen.metrics, *seen.log]
    assert "execute_tool look_up" in everything[0]
    assert '"exemplars": [{' in seen.metrics
    assert any("look_up" in line for line in seen.log)
    for what in ("said-", KEY, "Secretive"):
        assert [line for line in everything if what in line] == []
    # Nor are there as many series as there are sessions.
    for whose in ("session-7", "tenant-7", "user-7", "turn_"):
        assert whose not in seen.metrics
        assert whose == "user-7" or whose in everything[0]
    # What an error says may be what somebody said; only the log has it.
    assert not any(IN_ERRORS in line for line in everything[:2])
    assert any(IN_ERRORS in line for line in seen.log)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_what_is_logged_in_a_turn_has_the_ids_of_the_span_in_which_it_was(
    backend: str, tmp_path: Path
) -> None:
    seen = said(backend, tmp_path)

    for text, name in [("tool 'look_up'", "execute_tool look_up"), ("model 's", "chat any")]:
        ids = {
            (span["context"]["trace_id"], span["context"]["span_id"])
            for span in seen.spans
            if span["name"] == name
        }
        lines = [line for line in seen.log if f"agentrail.middleware:{text}" in line]
        assert lines
        for line in lines:
            told = dict(re.findall("'(trace_id|span_id)': '(.*?)'", line))
            assert (f"0x{told['trace_id']}", f"0x{told['span_id']}") in ids


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_where_it_is_wanted_model_and_tool_spans_have_it_without_secrets(
    backend: str, tmp_path: Path
) -> None:
    seen = said(backend, tmp_path, **{SWITCH: "span_only"})

    chat, call = "chat any", "execute_tool look_up"
    key = "[api key]"
    first = json.loads(seen.of(chat, names.SYSTEM_INSTRUCTIONS)[0])
    assert [part["content"] for part in first] == [f"said-prompt {key}", "said-context"]
    asked = json.loads(seen.of(chat, names.INPUT_MESSAGES)[1])
    arguments = {"said_argument": f"said-value\n{key}"}
    called = {"type": "tool_call", "id": "call-1", "name": "look_up", "arguments": arguments}
    result = f"said-result said-value\n{key} {key}"
    returned = {"type": "tool_call_response", "id": "call-1", "response": result}
    image = asked[0]["parts"].pop()
    thought = {"type": "reasoning", "content": f"said-thought {key}"}
    answer = [thought, {"type": "text", "content": "said-before"}, called]
    assert (image["type"], image["mime_type"]) == ("file", "image/png")
    assert asked == [
        {
            "role": "user",
            "parts": [
                {"type": "text", "content": "said-of-file\n\n"},
                # A pattern of the application's own is hidden too: it is what the model was shown.
                {"type": "text", "content": f"said-question {key} of Mr. [name]"},
            ],
        },
        {"role": "assistant", "parts": answer},
        {"role": "tool", "parts": [returned]},
    ]
    (told,) = json.loads(seen.of(chat, names.OUTPUT_MESSAGES)[0])
    assert told == {"role": "assistant", "parts": answer, "finish_reason": "tool_calls"}
    (told,) = json.loads(seen.of(chat, names.OUTPUT_MESSAGES)[1])
    assert told["parts"] == [{"type": "text", "content": f"said-answer {key} of Mr. [name]"}]
    assert json.loads(seen.of(call, names.TOOL_ARGUMENTS)[0]) == arguments
    assert seen.of(call, names.TOOL_RESULT) == [result]

    spans = json.dumps(seen.spans)
    assert KEY not in spans
    assert "Secretive" not in spans
    assert not any("said-" in line for line in [seen.metrics, *seen.log])
    others = [span for span in seen.spans if not span["name"].startswith(("chat", "execute_tool"))]
    assert "said-" not in json.dumps(others)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("true", True),
        ("SPAN_ONLY", True),
        ("span_and_event", True),
        ("event_only", False),
        ("no_content", False),
        ("false", False),
        ("", False),
        ("yes please", False),
    ],
)
def test_the_environment_decides_unless_the_application_does(
    value: str, wanted: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SWITCH, value)
    profiles = [Profile(id="assistant", model="scripted:any")]

    assert AppConfig(profiles=profiles).capture_content is wanted
    assert AppConfig(profiles=profiles, capture_content=not wanted).capture_content is not wanted


CONTENT = Content(partial(hide_beginning, SECRETS))


def attributes_of(*messages: Message) -> dict[str, Any]:
    """Returns what a span is told of a call with these messages."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with provider.get_tracer("test").start_as_current_span("chat") as span:
        CONTENT.asked(span, messages)
    return dict(exporter.get_finished_spans()[0].attributes or {})


def test_a_long_conversation_is_told_from_its_end_and_how_much_is_missing_is_said() -> None:
    messages = [Message.user(f"{number} " + "x" * 5000) for number in range(100)]

    told = attributes_of(Message.system("p"), *messages)

    kept = json.loads(told[names.INPUT_MESSAGES])
    assert len(told[names.INPUT_MESSAGES]) < 40_000
    assert kept[-1]["parts"][0]["content"] == messages[-1].text
    assert len(kept) + told["agentrail.content.messages_left_out"] == 100
    assert json.loads(told[names.SYSTEM_INSTRUCTIONS]) == [{"type": "text", "content": "p"}]


def test_a_long_text_is_cut_and_no_half_of_a_secret_is_left() -> None:
    for at in range(8192 - len(KEY) - 1, 8192 + 1):
        told = attributes_of(Message.user("x" * at + " " + KEY + " " + "y" * 50_000))
        (part,) = json.loads(told[names.INPUT_MESSAGES])[0]["parts"]
        assert "sk-" not in part["content"]
        assert part["content"].endswith(" [cut]")
        assert len(part["content"]) == 8192 + len(" [cut]")


def test_arguments_are_bounded_however_they_are_built() -> None:
    deep: dict[str, object] = {}
    for _ in range(200):
        deep = {"d": deep}
    odd = {"big": 1 << 80, "half": "\ud83d", "none": None, "yes": True, "pi": 3.5}
    built: list[dict[str, object]] = [
        {"many": list(range(1_000_000))},
        {str(number): None for number in range(100_000)},
        {"long": "x" * 1_000_000},
        {"x" * 1_000_000: 1},
        deep,
    ]
    for arguments in built:
        call = Message.assistant((Text("t"), ToolCall("1", "n", arguments)))
        text = attributes_of(call)[names.INPUT_MESSAGES]
        assert len(text) < 300_000
        json.loads(text)

    told = attributes_of(Message.assistant((ToolCall("1", "n", odd),)))[names.INPUT_MESSAGES]
    shown = json.loads(told)[0]["parts"][0]["arguments"]
    assert shown == odd | {"big": str(1 << 80), "half": "?"}


def test_a_span_that_is_not_recorded_costs_nothing() -> None:
    def hide(_text: str, _size: int) -> str:
        raise AssertionError

    tracer = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False).get_tracer("test")
    with tracer.start_as_current_span("chat") as span:
        content = Content(hide)
        content.asked(span, [Message.user("hi")])
        content.answered(span, Message.assistant("ho"), "stop")
        content.called(span, {"a": "b"})
        content.returned(span, "c")
