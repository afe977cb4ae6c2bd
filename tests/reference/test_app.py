"""What the application does, with a script in the place of its model."""

from pathlib import Path

import pytest
from attrs import evolve

from agentrail import AgentApp, ChatRequest, ScriptedModel, create_app
from agentrail.testing import http_client
from app import config

pytestmark = pytest.mark.anyio


@pytest.fixture
def model() -> ScriptedModel:
    return ScriptedModel.repeat("Hello.")


@pytest.fixture
def app(model: ScriptedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AgentApp:
    """The application, which keeps what it keeps in a directory of the test's own."""
    monkeypatch.setenv("AGENTRAIL_DATA_DIR", str(tmp_path))
    parts = config()
    profiles = [evolve(each, model="scripted:any", fallbacks=()) for each in parts.profiles]
    return create_app(evolve(parts, profiles=profiles, providers=[model]))


async def test_it_answers(app: AgentApp) -> None:
    async with app.host as host:
        answer = await host.chat(ChatRequest("Hi."))

    assert answer.message == "Hello."


async def test_it_answers_over_http(app: AgentApp) -> None:
    async with http_client(app) as client:
        answer = await client.post("/chat", json={"message": "Hi.", "agentId": "editor"})
        activity = await client.get("/activity")

    assert (answer.status_code, answer.json()["message"]) == (200, "Hello.")
    assert activity.json()["active"] == {}


async def test_it_reads_a_file(app: AgentApp, model: ScriptedModel) -> None:
    async with http_client(app) as client:
        note = {"file": ("note.txt", b"The parrot is green.")}
        answer = await client.post("/chat", data={"message": "What is green?"}, files=note)

    assert answer.status_code == 200
    assert "The parrot is green." in model.requests[0].messages[-1].text


async def test_a_command_is_no_question_for_the_model(app: AgentApp, model: ScriptedModel) -> None:
    async with app.host as host:
        answer = await host.chat(ChatRequest("/help"))

    assert "/help" in answer.message
    assert model.requests == []
