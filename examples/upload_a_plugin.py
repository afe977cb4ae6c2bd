"""A plugin that is uploaded, approved, used, switched off and on again while its host runs."""

from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import httpx

from agentrail import (
    AgentApp,
    AppConfig,
    ModelReply,
    ModelRequest,
    Profile,
    ScriptedModel,
    ToolResult,
    create_app,
)
from agentrail.model import call_tools
from agentrail.package import pack
from agentrail.plugin import PackageSettings

HELLO_WORLD = Path(__file__).parents[1] / "plugins" / "hello_world"
TOOL = "hello_world__greet"


def say(request: ModelRequest) -> str | ModelReply:
    """Greet with the tool where there is one."""
    last = request.messages[-1].parts[0]
    if isinstance(last, ToolResult):
        return last.content
    if TOOL in [tool.name for tool in request.tools]:
        return call_tools((TOOL, {"name": "Ada"}))
    return "I have no tool for that."


def application(data: Path) -> AgentApp:
    return create_app(
        AppConfig(
            profiles=[Profile(id="assistant", model="scripted:any")],
            providers=[ScriptedModel.repeat(say)],
            packages=PackageSettings(),
            data_dir=data,
        )
    )


def client(app: AgentApp) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")


async def ask(web: httpx.AsyncClient) -> str:
    """Go on with one conversation."""
    answer = await web.post("/chat", json={"message": "Greet Ada.", "sessionId": "one"})
    print(answer.json()["message"])
    return str(answer.json()["message"])


async def state(web: httpx.AsyncClient) -> str:
    plugins = (await web.get("/api/plugins")).json()["plugins"]
    return ", ".join(f"{each['id']} is {each['state']}" for each in plugins)


def files(data: Path) -> list[Path]:
    """Return what is kept of packages."""
    return sorted((data / "packages").rglob("*"))


async def use(web: httpx.AsyncClient) -> None:
    """Upload the plugin into a conversation that has begun, and use it there."""
    assert await ask(web) == "I have no tool for that."

    upload = {"file": ("hello_world.zip", pack(HELLO_WORLD))}
    received = (await web.post("/api/plugins/upload", files=upload)).json()
    assert received["state"] == "received"

    # What was looked at is what is approved: its digest says so.
    approval = {"digest": received["digest"], "promote": True, "reason": "reviewed"}
    approved = await web.post("/api/plugins/hello_world/approve", json=approval)
    assert approved.json()["state"] == "disabled"

    await web.post("/api/plugins/hello_world/toggle", json={"enabled": True})
    assert await ask(web) == "Hello, Ada!"


async def refuse(web: httpx.AsyncClient) -> None:
    """Upload what is no plugin."""
    for content in (b"this is no archive", pack(HELLO_WORLD)[:-9]):
        refused = await web.post(
            "/api/plugins/upload?filename=bad.zip",
            content=content,
            headers={"content-type": "application/zip"},
        )
        print(refused.json()["detail"])
        assert refused.status_code == 422
        assert refused.json()["code"].startswith("archive_")


async def main() -> None:
    with TemporaryDirectory() as data:
        app = application(Path(data))
        async with app.host, client(app) as web:
            await use(web)
            await web.post("/api/plugins/hello_world/toggle", json={"enabled": False})
            assert await ask(web) == "I have no tool for that."

        app = application(Path(data))  # and the host is started again
        async with app.host, client(app) as web:
            assert await state(web) == "hello_world is disabled"
            await web.post("/api/plugins/hello_world/toggle", json={"enabled": True})

        app = application(Path(data))
        async with app.host, client(app) as web:
            assert await ask(web) == "Hello, Ada!"

            kept = files(Path(data))
            await refuse(web)
            assert await state(web) == "hello_world is active"
            assert files(Path(data)) == kept


if __name__ == "__main__":
    anyio.run(main)
