import pytest

from agentrail import (
    AgentApp,
    AppConfig,
    ChatRequest,
    MemorySessionStore,
    Profile,
    ScriptedModel,
    create_app,
    tool,
)
from agentrail.errors import Overloaded
from agentrail.model import call_tools
from agentrail.testing import http_client

pytestmark = pytest.mark.anyio


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


# region app
def app_with(model: ScriptedModel) -> AgentApp:
    assistant = Profile(id="assistant", model="scripted:any", tools=[add])
    return create_app(
        AppConfig(profiles=[assistant], providers=[model], store=MemorySessionStore())
    )


# endregion


# region script
async def test_the_tool_is_called() -> None:
    model = ScriptedModel([call_tools(("add", {"a": 2, "b": 3})), "Five."])

    async with app_with(model).host as host:
        answer = await host.chat(ChatRequest("What is two and three?"))

    assert answer.message == "Five."
    assert [message.role for message in model.requests[1].messages] == [
        "user",
        "assistant",
        "tool",
    ]


async def test_the_answer_depends_on_the_question() -> None:
    model = ScriptedModel.repeat(lambda request: request.messages[-1].text.upper())

    async with app_with(model).host as host:
        assert (await host.chat(ChatRequest("hi"))).message == "HI"


# endregion


# region stream
async def test_a_busy_model_ends_the_stream_with_an_error() -> None:
    model = ScriptedModel([Overloaded("the model is busy")])

    async with app_with(model).host as host, host.stream(ChatRequest("hi")) as events:
        types = [event.type async for event in events]

    assert types[0] == "turn.start"
    assert types[-1] == "turn.error"


# endregion


# region http
async def test_chat_over_http() -> None:
    async with http_client(app_with(ScriptedModel(["Hello."]))) as client:
        answer = await client.post("/chat", json={"message": "hi"})

    assert answer.json()["message"] == "Hello."


async def test_stream_over_http() -> None:
    async with (
        http_client(app_with(ScriptedModel([["Once ", "upon ", "a time."]]))) as client,
        client.stream("POST", "/stream", json={"message": "Tell me a story."}) as response,
    ):
        lines = [line async for line in response.aiter_lines()]

    assert "event: message.delta" in lines
    assert "event: turn.end" in lines


# endregion
