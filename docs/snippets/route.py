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
from agentrail.errors import RequestError
from agentrail.route import StreamResponse, owner_of, principal_of, reply


# region route
async def ask(request: Request, host: Host) -> Response:
    question = request.query_params.get("q", "")
    if not question:
        raise RequestError("the query has no 'q': say what to ask")
    asked = ChatRequest(question, agent_id=request.path_params["agent"])
    answer = await host.chat(asked, principal=owner_of(request), transport="ask")
    return PlainTextResponse(answer.message)


async def agents(_request: Request, host: Host) -> Response:
    return reply({"agents": host.agents()})


# endregion


# region stream
async def story(request: Request, host: Host) -> Response:
    asked = ChatRequest("Tell me a story.")
    return StreamResponse(host.stream(asked, principal=principal_of(request), transport="story"))


# endregion


async def main() -> None:
    # region config
    config = AppConfig(
        profiles=[Profile(id="assistant", model="scripted:any")],
        providers=[ScriptedModel(["Hello.", "Once upon a time."])],
        routes=[
            *standard_routes(),
            Route(path="/ask/{agent}", endpoint=ask),
            Route(path="/agents", endpoint=agents, public=True),
            Route(path="/story", endpoint=story, methods=["POST"]),
        ],
        store=MemorySessionStore(),
    )
    # endregion
    app = create_app(config)
    transport = httpx.ASGITransport(app)
    async with app.host, httpx.AsyncClient(transport=transport, base_url="http://localhost") as web:
        assert (await web.get("/ask/assistant", params={"q": "hi"})).text == "Hello."
        refused = await web.get("/ask/assistant")
        assert refused.status_code == 422
        assert refused.json()["code"] == "invalid_request"
        assert (await web.get("/agents")).json() == {"agents": {"assistant": "assistant"}}
        assert "event: turn.end" in (await web.post("/story")).text


anyio.run(main)
