"""Whoever asks over HTTP is told where the trace of the answer is."""

import json
import re
from pathlib import Path

import httpx
import pytest

from tests.cli.command import serving

APP = """
import anyio
from agentrail import AppConfig, Profile, Route, ScriptedModel, create_app, standard_routes
from agentrail.errors import ModelUnavailable
from agentrail.requests import ChatRequest
from starlette.responses import PlainTextResponse


async def say(request):
    if "fail" in request.messages[-1].text:
        raise ModelUnavailable("down")
    return "Hello."


async def twice(request, host):
    for text in ("hi", "and again"):
        await host.chat(ChatRequest(text, session_id="twice"))
    log = await host.core.store.read("twice")
    return PlainTextResponse(" ".join(each.traceparent for each in log if each.type == "run"))


app = create_app(AppConfig(
    profiles=[Profile(id="assistant", model="scripted:m")],
    providers=[ScriptedModel.repeat(say)],
    routes=[*standard_routes(), Route(path="/twice", endpoint=twice, methods=("GET",))],
))
"""
CONSOLE = {"OTEL_TRACES_EXPORTER": "console"}
TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = f"00-{TRACE}-b7ad6b7169203331-01"
TOLD = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-0[0-3]")


def told(answer: httpx.Response) -> tuple[str, str]:
    """Returns the ids of the trace and the span that an answer tells."""
    found = TOLD.fullmatch(answer.headers["traceresponse"])
    assert found, answer.headers["traceresponse"]
    return found[1], found[2]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_every_answer_of_a_run_tells_its_trace(backend: str, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)

    with serving(tmp_path, "--backend", backend, variables=CONSOLE) as server:
        ask = server.client.post
        chat = ask("/chat", json={"message": "hi"})
        stream = ask("/stream", json={"message": "hi"})
        failed = ask("/chat", json={"message": "fail"})
        broken = ask("/stream", json={"message": "fail"})
        within = ask("/chat", json={"message": "hi"}, headers={"traceparent": CALLER})
        sampled_out = {"traceparent": CALLER[:-1] + "0"}
        unseen = ask("/chat", json={"message": "hi"}, headers=sampled_out)
        kept = ask("/chat", json={"message": "hi", "sessionId": "s", "onDisconnect": "continue"})
        twice = server.client.get("/twice")
        other = server.client.get("/sessions/s/messages")

    traces = [told(answer)[0] for answer in (chat, stream, failed, broken, kept)]
    assert len(set(traces)) == 5
    assert failed.json()["traceId"] == told(failed)[0]
    last = broken.text.rstrip().rpartition("data: ")[2]
    assert json.loads(last)["traceId"] == told(broken)[0]
    assert told(within)[0] == TRACE
    assert told(within)[1] != CALLER.split("-")[2]
    assert unseen.headers["traceresponse"].startswith(f"00-{TRACE}-")
    assert unseen.headers["traceresponse"][-1] in "02"
    # Of several runs it is the first, and a request that runs nothing has no span.
    assert twice.text.split()[0] == twice.headers["traceresponse"]
    assert "traceresponse" not in other.headers


def test_without_a_tracer_provider_no_trace_is_told(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)

    with serving(tmp_path) as server:
        answer = server.client.post("/chat", json={"message": "hi"})
        failed = server.client.post("/chat", json={"message": "fail"})

    assert (answer.status_code, failed.status_code) == (200, 502)
    assert not any("traceresponse" in each.headers for each in (answer, failed))
    assert "traceId" not in failed.json()
