"""What the contract says of plugins and routes: they hold for every route, over a real socket."""

from base64 import b64encode
from typing import Any, Final

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from agentrail import (
    AgentApp,
    ChatRequest,
    ChatResponse,
    Host,
    PluginFailure,
    RequestContext,
    Route,
    ScriptedModel,
    define_plugin,
    standard_routes,
    tool,
)
from agentrail.model.scripted import call_tools
from agentrail.route import StreamResponse, read_chat_request
from tests.conftest import Serve
from tests.host.contract import TOLD, Witness
from tests.http.wire import app_of, problem

pytestmark = pytest.mark.anyio

PATHS: Final = ("/chat", "/stream", "/own-chat", "/own-stream")
BODY: Final = {
    "message": "hi",
    "sessionId": "s",
    "tenantId": "t",
    "userId": "u",
    "attachments": [
        {"filename": "a.txt", "mimeType": "text/plain", "data": b64encode(b"x").decode()}
    ],
}

each_path = pytest.mark.parametrize("path", PATHS)


@tool
def ping() -> str:
    """Answer."""
    return "pong"


async def own_chat(request: Request, host: Host) -> Response:
    response = await host.chat(await read_chat_request(request))
    return JSONResponse({"said": response.message}, response.status)


async def own_stream(request: Request, host: Host) -> Response:
    return StreamResponse(host.stream(await read_chat_request(request), transport="own"))


def routed(model: ScriptedModel, **config: Any) -> AgentApp:  # noqa: ANN401 (see AppConfig)
    """An application with the standard routes and two of its own."""
    own = [
        Route(path="/own-chat", endpoint=own_chat, methods=["POST"]),
        Route(path="/own-stream", endpoint=own_stream, methods=["POST"]),
    ]
    return app_of(model, routes=[*standard_routes(), *own], **config)


@each_path
async def test_all_hooks_of_a_plugin_hold_for_every_route(served: Serve, path: str) -> None:
    witness = Witness(ping)
    model = ScriptedModel([call_tools(("ping", {})), "fine"])
    client = await served(routed(model, plugins=[witness]))

    response = await client.post(path, json=BODY)

    assert response.status_code == 200
    assert "fine" in response.text
    assert witness.names == list(TOLD)
    (context,) = {id(call.context): call.context for call in witness.log}.values()
    assert context.kind == ("stream" if "stream" in path else "chat")
    assert (context.tenant_id, context.user_id, context.session_id) == ("t", "u", "s")


@each_path
async def test_what_an_interceptor_answers_and_a_handler_adds_holds_for_every_route(
    served: Serve, path: str
) -> None:
    def intercept(request: ChatRequest, _context: RequestContext) -> ChatResponse | None:
        return ChatResponse("not you", status=403) if request.text == "/admin" else None

    plugin = define_plugin(
        "p",
        intercept_chat_request=intercept,
        attachment_handler=lambda files, _context: f"Uploaded: {files[0].filename}",
    )
    model = ScriptedModel(["fine"])
    client = await served(routed(model, plugins=[plugin]))

    refused = await client.post(path, json={"message": "/admin"})
    answered = await client.post(path, json=BODY)

    assert (refused.status_code, "not you" in refused.text) == (403, True)
    assert answered.status_code == 200
    (asked,) = model.requests
    assert asked.messages[-1].text == "Uploaded: a.txt\n\nhi"


@each_path
async def test_a_critical_interceptor_that_fails_refuses_the_request_at_every_route(
    served: Serve, path: str
) -> None:
    def fail(_request: ChatRequest, _context: RequestContext) -> ChatResponse | None:
        raise RuntimeError("the policy cannot be read")

    failures: list[PluginFailure] = []
    gate = define_plugin("gate", critical=True, intercept_chat_request=fail)
    client = await served(
        routed(ScriptedModel([]), plugins=[gate], on_plugin_error=failures.append)
    )

    response = await client.post(path, json=BODY)

    assert problem(response) == (503, "request_refused")
    assert "policy cannot be read" not in response.text
    assert [(each.plugin, str(each.error)) for each in failures] == [
        ("gate", "the policy cannot be read")
    ]
