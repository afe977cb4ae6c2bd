"""The packages in a directory of the application: found, switched on, and used in one turn."""

from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import httpx

from agentrail import (
    AppConfig,
    ChatRequest,
    ModelReply,
    ModelRequest,
    Profile,
    ScriptedModel,
    ToolResult,
    create_app,
)
from agentrail.model import call_tools
from agentrail.plugin import PackageSettings

PLUGINS = Path(__file__).parents[1] / "plugins"

CALLS = (
    ("dice__roll", {"dice": 2}),
    ("text_stats__text_stats", {"text": "How long is this?"}),
    ("todo__add", {"task": "write a plugin"}),
    ("unit_converter__convert", {"amount": 100, "unit": "C", "into": "F"}),
)


def say(request: ModelRequest) -> str | ModelReply:
    """Call a tool of each package, and tell what came of it, and what was known before."""
    results = [
        part.content
        for message in request.messages
        for part in message.parts
        if isinstance(part, ToolResult)
    ]
    if not results:
        return call_tools(*CALLS)
    known = [each.text for each in request.messages[1:] if each.role == "system"]
    return "\n".join([*results, *known])


async def main() -> None:
    with TemporaryDirectory() as data:
        app = create_app(
            AppConfig(
                profiles=[Profile(id="assistant", model="scripted:any", prompt="Be brief.")],
                providers=[ScriptedModel.repeat(say)],
                packages=PackageSettings(directories=[PLUGINS], config={"todo": {"most": 3}}),
                data_dir=data,
            )
        )
        transport = httpx.ASGITransport(app)
        async with (
            app.host as host,
            httpx.AsyncClient(transport=transport, base_url="http://localhost") as web,
        ):
            found = (await web.get("/api/plugins?state=disabled")).json()["plugins"]
            for plugin in found:
                path = f"/api/plugins/{plugin['id']}/toggle"
                on = (await web.post(path, json={"enabled": True})).json()
                tools = ", ".join(tool["name"] for tool in on["tools"])
                print(f"{on['id']} {on['version']}: {tools or 'no tools'}")
                assert on["state"] == "active"

            answer = await host.chat(ChatRequest("Do it all."))
            print(answer.message)
            assert '"words":4' in answer.message
            assert "1. write a plugin" in answer.message
            assert "100 C = 212 F" in answer.message
            assert "[today]" in answer.message


if __name__ == "__main__":
    anyio.run(main)
