"""A route of the application's own: an agent's answer as plain text, for shell scripts."""

import anyio
import httpx
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from agentrail import (
    AppConfig,
    ChatRequest,
    Host,
    MemorySessionStore,
    Profile,
    Route,
    ScriptedModel,
    create_app,
    standard_routes,
)
from agentrail.route import owner_of


async def ask(request: Request, host: Host) -> Response:
    """Answer the body, which is the message as plain text."""
    message = (await request.body()).decode(errors="replace")
    asked = ChatRequest(message, agent_id=request.path_params["agent"])
    answer = await host.chat(asked, principal=owner_of(request), transport="text")
    return PlainTextResponse(answer.message, status_code=answer.status)


async def main() -> None:
    app = create_app(
        AppConfig(
            profiles=[Profile(id="assistant", model="scripted:any")],
            providers=[ScriptedModel(["Good morning."])],
            routes=[
                *standard_routes(),
                Route(path="/ask/{agent}", endpoint=ask, methods=["POST"]),
            ],
            store=MemorySessionStore(),
        )
    )
    transport = httpx.ASGITransport(app)
    async with app.host, httpx.AsyncClient(transport=transport, base_url="http://localhost") as web:
        answer = await web.post("/ask/assistant?userId=ada", content="Hello.")
        print(answer.text)
        assert answer.text == "Good morning."

        sessions = (await web.get("/sessions?userId=ada")).json()["sessions"]
        print(f"{len(sessions)} session")
        assert len(sessions) == 1

        unknown = await web.post("/ask/nobody", content="Hello.")
        print(unknown.json()["detail"])
        assert unknown.status_code == 404
        assert unknown.json()["code"] == "agent_not_found"


if __name__ == "__main__":
    anyio.run(main)
