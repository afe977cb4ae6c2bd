"""``POST /chat`` over a real socket."""

from collections.abc import AsyncIterator

import anyio
import httpx
import pytest
from anyio.lowlevel import checkpoint
from anyio.streams.buffered import BufferedByteReceiveStream
from starlette.requests import Request
from starlette.responses import Response

from agentrail import (
    AgentApp,
    ChatRequest,
    ChatResponse,
    Host,
    Message,
    ModelReply,
    RequestContext,
    Route,
    ScriptedModel,
    Usage,
    define_plugin,
)
from agentrail.errors import ModelUnavailable, RateLimited
from tests.conftest import Serve
from tests.http.wire import app_of, ask, problem, stream

pytestmark = pytest.mark.anyio


async def test_an_answer_has_exactly_the_fields_of_the_contract(served: Serve) -> None:
    usage = Usage(input_tokens=11, output_tokens=3)
    reply = ModelReply(message=Message.assistant("Hello."), usage=usage)
    client = await served(app_of(ScriptedModel([reply])))

    response = await client.post("/chat", json={"message": "hi"})

    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    answer = response.json()
    assert answer.pop("turnId").startswith("turn_")
    assert answer.pop("sessionId").startswith("ses_")
    assert answer == {
        "agentId": "assistant",
        "message": "Hello.",
        "stopReason": "stop",
        "usage": {
            "inputTokens": 11,
            "outputTokens": 3,
            "cacheReadTokens": 0,
            "cacheWriteTokens": 0,
            "cost": 0.0,
        },
        "outcome": "completed",
    }


async def test_a_session_goes_on_and_the_model_sees_what_was_said(served: Serve) -> None:
    model = ScriptedModel(["Nice to meet you, Ada.", "You are Ada."])
    client = await served(app_of(model))

    first = await ask(client, "I am Ada.")
    second = await ask(client, "Who am I?", sessionId=first["sessionId"])

    assert second["sessionId"] == first["sessionId"]
    assert second["turnId"] != first["turnId"]
    assert [(each.role, each.text) for each in model.requests[1].messages] == [
        ("system", "Be kind."),
        ("user", "I am Ada."),
        ("assistant", "Nice to meet you, Ada."),
        ("user", "Who am I?"),
    ]


async def test_sessions_do_not_see_each_other(served: Serve) -> None:
    model = ScriptedModel.repeat("Well.")
    client = await served(app_of(model))

    await ask(client, "The word is heron.")
    await ask(client, "What is the word?")

    assert [each.text for each in model.requests[1].messages] == ["Be kind.", "What is the word?"]


async def test_a_session_id_of_the_callers_choice_begins_a_session(served: Serve) -> None:
    client = await served(app_of())

    assert (await ask(client, sessionId="my-own"))["sessionId"] == "my-own"


async def test_chat_and_stream_share_a_session(served: Serve) -> None:
    model = ScriptedModel(["One.", "Two."])
    client = await served(app_of(model))

    first = await ask(client, "first")
    frames = await stream(client, message="second", sessionId=first["sessionId"])

    assert frames[-1].data["message"] == "Two."
    assert [each.text for each in model.requests[1].messages[1:]] == ["first", "One.", "second"]


def teapot(_request: ChatRequest, _context: RequestContext) -> ChatResponse:
    return ChatResponse("I am a teapot.", status=418, headers={"x-pot": "small"})


@pytest.fixture
def pot() -> AgentApp:
    """An application whose plugin answers everything, with a status and a header."""
    plugin = define_plugin("pot", intercept_chat_request=teapot)
    return app_of(ScriptedModel([]), plugins=[plugin])


async def test_an_interceptor_answers_chat_with_its_status_and_headers(
    served: Serve, pot: AgentApp
) -> None:
    client = await served(pot)

    response = await client.post("/chat", json={"message": "coffee"})

    assert (response.status_code, response.headers["x-pot"]) == (418, "small")
    answer = response.json()
    assert (answer["message"], answer["outcome"]) == ("I am a teapot.", "intercepted")
    assert (answer["agentId"], answer["stopReason"]) == ("assistant", "stop")
    assert answer["usage"]["inputTokens"] == 0


async def test_an_interceptor_answers_a_stream_with_its_status_and_headers(
    served: Serve, pot: AgentApp
) -> None:
    client = await served(pot)

    response = await client.post("/stream", json={"message": "coffee"})

    assert (response.status_code, response.headers["x-pot"]) == (418, "small")
    assert response.headers["content-type"].startswith("text/event-stream")
    assert '"outcome":"intercepted","message":"I am a teapot."' in response.text
    assert response.text.startswith("id: 1\nevent: turn.start\n")


async def test_an_interceptor_may_stream_its_answer(served: Serve) -> None:
    async def pieces() -> AsyncIterator[str]:
        for piece in ("Let ", "me ", "see."):
            await checkpoint()
            yield piece

    def answer(_request: ChatRequest, _context: RequestContext) -> ChatResponse:
        return ChatResponse(text_stream=pieces())

    plugin = define_plugin("slow", intercept_chat_request=answer)
    client = await served(app_of(plugins=[plugin]))

    assert (await ask(client))["message"] == "Let me see."
    frames = await stream(client, message="hi")
    assert "".join(frame.data.get("text", "") for frame in frames) == "Let me see."
    assert frames[-1].data["outcome"] == "intercepted"


async def test_a_failed_model_call_is_a_problem_and_the_session_goes_on(served: Serve) -> None:
    model = ScriptedModel([ModelUnavailable("the upstream is down"), "Back again."])
    client = await served(app_of(model))

    failed = await client.post("/chat", json={"message": "hi", "sessionId": "s"})

    assert problem(failed) == (502, "model_unavailable")
    assert failed.json()["detail"] == "the upstream is down"
    assert failed.json()["retryable"] is True
    assert (await ask(client, "still there?", sessionId="s"))["message"] == "Back again."


async def test_a_problem_says_when_to_come_back(served: Serve) -> None:
    model = ScriptedModel([RateLimited("slow down", retry_after=1.2)])
    client = await served(app_of(model))

    response = await client.post("/chat", json={"message": "hi"})

    assert problem(response) == (429, "model_rate_limited")
    assert response.headers["retry-after"] == "2"


async def test_an_unforeseen_error_in_a_turn_is_a_problem(served: Serve) -> None:
    def broken(_context: RequestContext) -> str:
        raise LookupError("no such prompt")

    client = await served(app_of(prompt=broken))

    assert problem(await client.post("/chat", json={"message": "hi"})) == (500, "internal_error")


async def test_an_unforeseen_error_of_a_route_tells_no_secrets(served: Serve) -> None:
    async def broken(_request: Request, _host: Host) -> Response:
        raise LookupError("password=hunter2")

    client = await served(app_of(routes=[Route(path="/broken", endpoint=broken)]))

    response = await client.get("/broken")

    assert problem(response) == (500, "internal_error")
    assert "hunter2" not in response.text


async def test_requests_that_come_at_once_are_answered_in_their_order(served: Serve) -> None:
    """HTTP pipelining: two requests in one write, two answers on one connection."""
    client = await served(app_of(ScriptedModel(["First.", "Second."])))
    body = b'{"message":"hi","sessionId":"s"}'
    head = b"POST /chat HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % len(body)
    port = client.base_url.port
    assert port is not None

    async with await anyio.connect_tcp("127.0.0.1", port) as socket:
        await socket.send((head + body) * 2)
        source = BufferedByteReceiveStream(socket)
        assert b'"message":"First."' in await source.receive_until(b'"completed"}', 10_000)
        assert b'"message":"Second."' in await source.receive_until(b'"completed"}', 10_000)


async def test_many_at_once_each_get_their_own_answer(served: Serve) -> None:
    model = ScriptedModel.repeat(lambda request: f"You said {request.messages[-1].text}.")
    client = await served(app_of(model))
    answers: dict[int, str] = {}

    async def say(number: int) -> None:
        answers[number] = (await ask(client, f"{number}"))["message"]

    async with anyio.create_task_group() as callers:
        for number in range(20):
            callers.start_soon(say, number)

    assert answers == {number: f"You said {number}." for number in range(20)}


async def test_health_and_readiness(served: Serve) -> None:
    client = await served(app_of())

    health, ready = await client.get("/health"), await client.get("/ready")

    assert (health.status_code, health.json()) == (200, {"status": "ok"})
    assert (ready.status_code, ready.json()) == (200, {"status": "ready"})


@pytest.mark.parametrize(
    ("method", "path", "expected", "told"),
    [
        ("GET", "/nowhere", (404, "not_found"), "Not Found"),
        ("GET", "/chat", (405, "method_not_allowed"), "this path takes POST"),
        ("POST", "/sessions", (405, "method_not_allowed"), "this path takes GET, HEAD"),
        ("GET", "/sessions/s", (405, "method_not_allowed"), "this path takes DELETE"),
        ("GET", "/sessions/", (404, "not_found"), "Not Found"),
    ],
)
async def test_what_is_not_there_is_a_problem_too(
    served: Serve, method: str, path: str, expected: tuple[int, str], told: str
) -> None:
    client: httpx.AsyncClient = await served(app_of())

    answer = await client.request(method, path)

    assert problem(answer) == expected
    assert answer.json()["title"] == expected[1].replace("_", " ").capitalize()
    assert answer.json()["detail"] == f"{method} {path}: {told}"
