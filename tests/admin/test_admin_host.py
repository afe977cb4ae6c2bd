"""The checklist of a plugin manager, through HTTP, on a host that serves chats meanwhile."""

from pathlib import Path

import httpx
import pytest

from agentrail import (
    AgentApp,
    AppConfig,
    ModelReply,
    ModelRequest,
    Profile,
    ScriptedModel,
    create_app,
)
from agentrail.messages import ToolResult
from agentrail.model import call_tools
from agentrail.plugin import PackageSettings
from agentrail.testing import http_client
from tests.admin.site import hello, problem

pytestmark = pytest.mark.anyio

TOOL = "hello_world__greet"
PLUGIN = "/api/plugins/hello_world"


def answer(request: ModelRequest) -> ModelReply | str:
    """Greet with the tool where it is there, and say what it said."""
    last = request.messages[-1].parts[-1]
    if isinstance(last, ToolResult):
        return f"The tool said: {last.content}"
    if TOOL in [spec.name for spec in request.tools]:
        return call_tools((TOOL, {"who": "Ada"}))
    return "I have no tool."


def application(directory: Path) -> AgentApp:
    return create_app(
        AppConfig(
            profiles=[Profile(id="one", model="scripted:m")],
            providers=[ScriptedModel.repeat(answer)],
            packages=PackageSettings(),
            data_dir=directory / "data",
        )
    )


async def said(client: httpx.AsyncClient) -> str:
    response = await client.post("/chat", json={"message": "Greet Ada.", "sessionId": "s"})
    assert response.status_code == 200, response.text
    return str(response.json()["message"])


async def test_a_plugin_is_uploaded_called_switched_off_and_as_it_was_after_a_restart(
    tmp_path: Path,
) -> None:
    async with http_client(application(tmp_path)) as client:
        bad = await client.post("/api/plugins/upload", files={"file": ("bad.zip", b"PK")})
        assert problem(bad)[0] == 422
        assert (await client.get("/api/plugins")).json() == {"plugins": [], "broken": {}}
        assert await said(client) == "I have no tool."

        uploaded = await client.post("/api/plugins/upload", files={"file": ("h.zip", hello())})
        assert uploaded.status_code == 201
        assert await said(client) == "I have no tool."
        await client.post(f"{PLUGIN}/approve", json={"promote": True})
        assert (await client.post(f"{PLUGIN}/toggle")).json()["state"] == "active"
        assert await said(client) == "The tool said: Hello, Ada."

        assert (await client.post(f"{PLUGIN}/toggle")).json()["enabled"] is False
        assert await said(client) == "I have no tool."
        await client.post(f"{PLUGIN}/toggle")

    async with http_client(application(tmp_path)) as client:
        assert (await client.get("/api/plugins/status")).json() == {"hello_world": True}
        assert await said(client) == "The tool said: Hello, Ada."
        assert (await client.get("/api/audit/verify")).json()["whole"] is True
        assert (await client.delete(PLUGIN)).status_code == 204
        assert await said(client) == "I have no tool."
