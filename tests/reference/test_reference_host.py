"""The reference host: what its plugins and routes do, asked over HTTP and in the process."""

import os
import subprocess
import sys
from pathlib import Path

import anyio
import httpx
import pytest

import app as reference_host
from agentrail import AgentApp, Attachment, ChatRequest, ScriptedModel
from agentrail.errors import ModelUnavailable, RateLimited
from agentrail.model import weights
from tests.conftest import Serve
from tests.http.wire import Paced, ask, parse, problem, stream
from tests.reference.composed import reference

pytestmark = pytest.mark.anyio


def names(app: AgentApp) -> tuple[list[str], list[str], list[str]]:
    composition = app.host.composition
    return (
        list(composition.agents),
        [plugin.name for plugin in composition.hooks.plugins],
        [route.path for route in composition.routes],
    )


def test_the_application_composes_and_is_what_is_tested_here(tmp_path: Path) -> None:
    assert names(reference_host.app) == names(reference(tmp_path).app)
    assert names(reference_host.app)[1] == [
        "slash-commands",
        "activity",
        "attachment-hints",
        "attachment-text",
        "attachment-csv",
        "attachment-documents",
        "memory-index",
    ]


def test_a_model_that_is_named_by_nothing_is_the_local_one() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from profiles import MODEL; print(MODEL)"],
        env=os.environ | {"AGENTRAIL_MODEL": ""},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == "local:smollm2-135m\n"


# Commands


async def test_help_lists_the_commands(served: Serve, tmp_path: Path) -> None:
    model = ScriptedModel([])
    client = await served(reference(tmp_path, model).app)

    for message in ("/help", " /HELP ", "/help me, please"):
        answer = await ask(client, message)
        assert answer["outcome"] == "intercepted"
        assert [line.split(":")[0] for line in answer["message"].splitlines()] == [
            "/help",
            "/reset",
            "/summarize",
            "/memory",
        ]
    assert model.requests == []


@pytest.mark.parametrize("message", ["/", "/ ", "/nonsense", "/help2", "//", "/\nhelp me"])
async def test_no_command_text_reaches_the_model(
    served: Serve, tmp_path: Path, message: str
) -> None:
    model = ScriptedModel([])
    client = await served(reference(tmp_path, model).app)

    answer = await client.post("/chat", json={"message": message})
    streamed = await client.post("/stream", json={"message": message})

    assert answer.status_code == streamed.status_code == 404
    end = parse(streamed.text.split("\n\n")[-2]).data
    assert answer.json()["outcome"] == end["outcome"] == "intercepted"
    assert answer.json()["message"] == end["message"]
    assert model.requests == []


async def test_a_command_leaves_no_trace_in_the_history(served: Serve, tmp_path: Path) -> None:
    model = ScriptedModel(["Hello.", "Hello again."])
    client = await served(reference(tmp_path, model).app)

    await ask(client, "hi", sessionId="s")
    await ask(client, "/help", sessionId="s")
    await ask(client, "hi", sessionId="s")

    assert [each.text for each in model.requests[1].messages[1:]] == ["hi", "Hello.", "hi"]


async def test_reset_lets_the_conversation_begin_anew(served: Serve, tmp_path: Path) -> None:
    model = ScriptedModel.repeat("Hello.")
    client = await served(reference(tmp_path, model).app)

    await ask(client, "My secret is 42.", sessionId="s")
    await ask(client, "/reset", sessionId="s")
    await ask(client, "What is it?", sessionId="s")

    assert [each.text for each in model.requests[1].messages[1:]] == ["What is it?"]
    rows = (await client.get("/sessions/s/messages")).json()["messages"]
    assert len(rows) == 4  # the history is kept


async def test_reset_waits_for_the_turn_that_is_under_way(served: Serve, tmp_path: Path) -> None:
    model = Paced()
    client = await served(reference(tmp_path, model).app)
    answers: set[str] = set()

    async def say(message: str) -> None:
        answers.add((await ask(client, message, sessionId="s"))["message"])

    async with anyio.create_task_group() as callers:
        callers.start_soon(say, "Tell me a story.")
        await model.waiting.wait()
        callers.start_soon(say, "/reset")
        while (await client.get("/activity")).json()["active"] != {"local": 2}:
            pass
        model.go_on.set()

    assert answers == {"Once upon a time", "The conversation begins anew."}
    assert len(model.requests) == 1


def test_a_command_has_the_time_to_wait_for_its_session(tmp_path: Path) -> None:
    """Else its hook would be given up on while it waits."""
    host = reference(tmp_path, ScriptedModel([])).app.host
    (hook,) = host.composition.hooks["intercept_chat_request"]

    assert hook.critical
    assert hook.deadline > host.core.config.session_wait


async def test_summarize_asks_the_model_about_the_conversation(
    served: Serve, tmp_path: Path
) -> None:
    model = ScriptedModel(["It rains.", "They spoke of rain.", "They spoke of rain."])
    client = await served(reference(tmp_path, model).app)
    await ask(client, "How is the weather?", sessionId="s")

    answer = await ask(client, "/summarize", sessionId="s")
    frames = await stream(client, message="/summarize", sessionId="s")

    assert answer["message"] == frames[-1].data["message"] == "They spoke of rain."
    assert answer["outcome"] == "intercepted"
    asked = model.requests[1].messages
    assert [each.role for each in asked] == ["system", "user"]
    assert asked[1].text == "user: How is the weather?\nassistant: It rains."


async def test_there_may_be_nothing_to_summarize(served: Serve, tmp_path: Path) -> None:
    client = await served(reference(tmp_path, ScriptedModel([])).app)

    assert (await ask(client, "/summarize"))["message"] == "There is nothing to summarize yet."


async def test_a_commands_failure_is_its_answer(served: Serve, tmp_path: Path) -> None:
    down = ModelUnavailable("the upstream is down")
    model = ScriptedModel(["It rains.", down, down, "Hello."])
    client = await served(reference(tmp_path, model).app)
    await ask(client, "How is the weather?", sessionId="s")

    answer = await ask(client, "/summarize", sessionId="s")
    frames = await stream(client, message="/summarize", sessionId="s")

    told = "/summarize failed: the upstream is down"
    assert answer["message"] == frames[-1].data["message"] == told
    assert frames[-1].event == "turn.end"
    assert len(model.requests) == 3
    assert (await ask(client, "hi", sessionId="s"))["message"] == "Hello."


# Activity


async def test_activity_counts_what_is_under_way(served: Serve, tmp_path: Path) -> None:
    model = Paced()
    client = await served(reference(tmp_path, model).app)

    async with anyio.create_task_group() as callers:
        callers.start_soon(ask, client)
        await model.waiting.wait()
        now = (await client.get("/activity")).json()
        elsewhere = (await client.get("/activity?tenantId=acme")).json()
        agents = {"assistant": "Assistant", "editor": "Editor"}
        assert now == {"agents": agents, "active": {"local": 1}}
        assert elsewhere == {"agents": agents, "active": {}}
        model.go_on.set()

    assert (await client.get("/activity")).json()["active"] == {}


async def test_activity_goes_down_however_a_request_ends(served: Serve, tmp_path: Path) -> None:
    model = ScriptedModel([RateLimited("slow down"), "Hello."])
    host = reference(tmp_path, model)
    client = await served(host.app)

    failed = await client.post("/chat", json={"message": "hi"})
    unknown = await client.post("/chat", json={"message": "hi", "agentId": "nobody"})
    await ask(client, "/help")
    await stream(client, message="hi")

    assert problem(failed) == (429, "model_rate_limited")
    assert problem(unknown) == (404, "agent_not_found")
    assert host.activity.active("default") == {}


async def test_activity_goes_down_when_a_client_hangs_up(served: Serve, tmp_path: Path) -> None:
    model = Paced()
    host = reference(tmp_path, model)

    async with host.app.host as running:
        async with running.stream(ChatRequest("hi")) as events:
            await anext(events)
            await model.waiting.wait()
            assert host.activity.active("default") == {"local": 1}
        assert model.cancelled.is_set()
        assert host.activity.active("default") == {}


# Attachments


async def test_what_is_told_of_the_files_comes_before_the_message(
    served: Serve, tmp_path: Path
) -> None:
    model = ScriptedModel.repeat("Fine.")
    client = await served(reference(tmp_path, model).app)
    files = [
        {"filename": "a.txt", "mimeType": "text/plain", "data": "aGVsbG8="},
        {"filename": "b.png", "mimeType": "image/png", "data": "iVBORw0KGgo="},
    ]

    await ask(client, "What is in them?", attachments=files, sessionId="s")
    await ask(client, "And now?", sessionId="s")

    hint = "Uploaded files: a.txt (text/plain, 5 bytes), b.png (image/png, 8 bytes)"
    told = "The file 'a.txt':\n\nhello"
    for request in model.requests:
        assert request.messages[1].text == f"{hint}\n\n{told}\n\nWhat is in them?"
    rows = (await client.get("/sessions/s/messages")).json()["messages"]
    assert rows[-1]["message"]["parts"] == [{"type": "text", "text": "What is in them?"}]


async def test_files_may_come_without_words(tmp_path: Path) -> None:
    model = ScriptedModel(["Fine."])
    file = Attachment(filename="a.txt", mime_type="text/plain", data=b"hello")

    async with reference(tmp_path, model).app.host as host:
        await host.chat(ChatRequest("", attachments=(file,)))

    assert model.requests[0].messages[-1].text.startswith("Uploaded files: a.txt")


WITHOUT_THE_EXTRA = """
import logging, sys

sys.modules["docx"] = None
logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
from app import app

print([plugin.name for plugin in app.host.composition.hooks.plugins])
"""


def test_without_its_extra_documents_are_not_read_and_the_log_says_so() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_THE_EXTRA], capture_output=True, text=True, check=True
    )

    assert "attachment-text" in done.stdout
    assert "attachment-documents" not in done.stdout
    why = "documents() needs docx: pip install 'agentrail-host[attachments]'"
    assert done.stderr == f"INFO PDF and Office files are not read: {why}\n"


# The editor


async def test_the_editors_prompt_names_who_asks(served: Serve, tmp_path: Path) -> None:
    model = ScriptedModel(["Short."])
    client = await served(reference(tmp_path, model).app)

    answer = await ask(client, "Long.", agentId="editor", userId="ada")

    assert answer["agentId"] == "editor"
    assert "works for ada" in model.requests[0].messages[0].text


# All of it, with the model that comes with it


@pytest.mark.timeout(300)
async def test_the_local_model_answers_and_is_told_what_was_said(
    served: Serve, tmp_path: Path
) -> None:
    if weights.installed() is None:
        pytest.skip(f"the local model's weights are missing: {weights.INSTALL}")
    client = await served(reference(tmp_path).app)
    client.timeout = httpx.Timeout(240)

    first = await ask(client, "Count from one to three.", sessionId="s")
    frames = await stream(client, message="Go on.", sessionId="s")

    assert first["message"]
    assert first["usage"]["outputTokens"] > 0
    end = frames[-1].data
    assert (end["type"], end["outcome"]) == ("turn.end", "completed")
    assert "".join(frame.data.get("text", "") for frame in frames) == end["message"] != ""
    assert end["usage"]["inputTokens"] > first["usage"]["inputTokens"]
    rows = (await client.get("/sessions/s/messages")).json()["messages"]
    assert [row["message"]["role"] for row in rows] == ["assistant", "user"] * 2
