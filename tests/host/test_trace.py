"""One request is one trace, as a real OTLP receiver sees it."""

import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread

oteltap = pytest.importorskip("oteltap", reason="oteltap, an OTLP receiver, is not installed")

TRACED = Path(__file__).with_name("traced.py")
PER_MODEL_CALL = ("before_request", "after_response")
ONCE = (
    "on_request_start",
    "intercept_chat_request",
    "attachment_handler",
    "context_providers",
    "before_tool_call",
    "after_tool_call",
    "on_turn_persisted",
    "on_request_end",
    "on_chunk",
)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # what the receiver is written for
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
async def test_one_request_is_one_trace_with_a_span_for_every_hook_that_ran(backend: str) -> None:
    spans = await spans_of(backend)
    assert len({span.trace_id for span in spans}) == 1
    by_id = {span.span_id: span for span in spans}

    roots = [span for span in spans if span.parent_span_id not in by_id]
    assert [span.name for span in roots] == ["invoke_agent assistant"]
    turn = roots[0]

    counted = Counter((span.name, attributes(span).get("agentrail.plugin.name")) for span in spans)
    expected: Counter[tuple[str, object]] = Counter(
        {
            ("invoke_agent assistant", None): 1,
            ("chat small", None): 2,
            ("execute_tool ping", None): 1,
        }
    )
    for plugin in ("first", "second"):
        expected.update({(f"agentrail.hook {hook}", plugin): 1 for hook in ONCE})
        expected.update({(f"agentrail.hook {hook}", plugin): 2 for hook in PER_MODEL_CALL})
    assert counted == expected

    for span in spans:
        name, parent = span.name, by_id.get(span.parent_span_id)
        if parent is None:
            continue
        assert turn.start_time_unix_nano <= span.start_time_unix_nano
        assert span.end_time_unix_nano <= turn.end_time_unix_nano
        if name.rpartition(" ")[2] in {*PER_MODEL_CALL, "on_chunk"}:
            assert parent.name == "chat small"
        elif name.rpartition(" ")[2] in {"before_tool_call", "after_tool_call"}:
            assert parent.name == "execute_tool ping"
        else:
            assert parent is turn


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_spans_carry_the_conventions_attributes() -> None:
    spans = await spans_of("asyncio")
    turn, chat, called, hook = (
        attributes(next(span for span in spans if span.name == name))
        for name in (
            "invoke_agent assistant",
            "chat small",
            "execute_tool ping",
            "agentrail.hook on_request_start",
        )
    )
    assert turn["gen_ai.operation.name"] == "invoke_agent"
    assert turn["gen_ai.agent.id"] == "assistant"
    assert turn["gen_ai.conversation.id"] == "s"
    assert chat["gen_ai.provider.name"] == "scripted"
    assert chat["gen_ai.request.model"] == "small"
    assert called["gen_ai.tool.name"] == "ping"
    assert hook["agentrail.hook.name"] == "on_request_start"
    assert hook["agentrail.hook.outcome"] == "ok"
    assert hook["agentrail.plugin.version"] == "1.2"
    assert not any("message" in key for span in spans for key in attributes(span))


async def spans_of(backend: str) -> list[Any]:
    """Runs the traced program and returns every span that the receiver got from it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    settings = oteltap.OtelTapHttpProtobufReceiverSettings(http_port=port)
    spans: list[Any] = []

    async with oteltap.OtelTapHttpProtobufReceiver(settings) as receiver:

        async def receive() -> None:
            async for span in receiver.stream_traces():
                spans.append(span)
                # The turn's span ends last, and spans are sent in the order of their ends.
                if span.name.startswith("invoke_agent"):
                    return

        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                group.start_soon(receive)  # first: what nobody waits for is not kept
                await to_thread.run_sync(run_traced, backend, port)
    return spans


def run_traced(backend: str, port: int) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{port}"
    done = subprocess.run(
        [sys.executable, str(TRACED), backend],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def attributes(span: Any) -> Mapping[str, object]:  # noqa: ANN401
    return {each.key: each.value.string_value for each in span.attributes}
