"""The model that says what it is told to."""

import pytest

from agentrail.errors import ModelError, RateLimited
from agentrail.messages import Message, Reasoning, Text, Usage
from agentrail.model import ModelProvider, ScriptedModel, call_tools
from agentrail.requests import Delta, ModelReply, ModelRequest
from agentrail.testing.models import ModelProviderContract

pytestmark = pytest.mark.anyio


class TestContract(ModelProviderContract):
    @pytest.fixture
    def provider(self) -> ModelProvider:
        return ScriptedModel.repeat(["one", " two", " three"])

    @pytest.fixture
    def model(self) -> str:
        return "anything"


def request(text: str = "hi") -> ModelRequest:
    return ModelRequest(model="m", messages=(Message.user(text),))


async def pieces(model: ScriptedModel) -> list[Delta]:
    seen: list[Delta] = []

    async def emit(delta: Delta) -> None:
        seen.append(delta)

    await model.complete(ModelRequest(model="m", messages=(), emit=emit))
    return seen


async def test_replies_come_in_order_in_every_shape() -> None:
    async def later(asked: ModelRequest) -> str:
        return asked.messages[0].text.upper()

    whole = ModelReply(message=Message.assistant("d"), stop_reason="length", usage=Usage(1, 2))
    model = ScriptedModel(
        ["a", ["b", "b"], Message.assistant("c"), whole, lambda r: r.messages[0].text, later]
    )

    replies = [await model.complete(request("x")) for _ in range(6)]

    assert [reply.message.text for reply in replies] == ["a", "bb", "c", "d", "x", "X"]
    assert [reply.stop_reason for reply in replies] == [*["stop"] * 3, "length", *["stop"] * 2]
    assert replies[3] is whole


async def test_an_error_is_raised_also_when_a_function_returns_it() -> None:
    model = ScriptedModel([RateLimited("slow down", retry_after=2), lambda _: ValueError("odd")])

    with pytest.raises(RateLimited) as caught:
        await model.complete(request())
    assert caught.value.retry_after == 2
    with pytest.raises(ValueError, match="odd"):
        await model.complete(request())


async def test_the_end_of_the_script_is_named() -> None:
    model = ScriptedModel(["a"], name="short")
    await model.complete(request())

    with pytest.raises(ModelError, match="'short' has no reply left: its script holds 1"):
        await model.complete(request())


async def test_requests_are_kept_in_order() -> None:
    model = ScriptedModel.repeat("a")
    asked = [request("1"), request("2")]
    for each in asked:
        await model.complete(each)

    assert model.requests == asked


async def test_requests_are_not_kept_when_not_wanted() -> None:
    model = ScriptedModel.repeat("a", record=False)
    await model.complete(request())

    assert model.requests == []


async def test_text_is_cut_into_pieces() -> None:
    assert await pieces(ScriptedModel(["abcde"], chunk=2)) == [
        Delta(text="ab"),
        Delta(text="cd"),
        Delta(text="e"),
    ]
    assert await pieces(ScriptedModel([["ab", "cde"]], chunk=1)) == [
        Delta(text="ab"),
        Delta(text="cde"),
    ]
    assert await pieces(ScriptedModel([""])) == []


async def test_reasoning_is_emitted_as_such() -> None:
    said = Message.assistant((Reasoning(text="hm"), Text(text="4")))

    assert await pieces(ScriptedModel([said])) == [Delta(reasoning="hm"), Delta(text="4")]


async def test_tools_are_called_by_name_and_arguments() -> None:
    reply = call_tools(("add", {"x": 1}), ("now", {}), text="Let me see.")
    first, second = reply.message.tool_calls

    assert (first.name, first.arguments) == ("add", {"x": 1})
    assert (second.name, second.arguments) == ("now", {})
    assert first.id != second.id
    assert (reply.message.text, reply.stop_reason) == ("Let me see.", "tool_calls")


async def test_a_message_with_calls_stops_for_them() -> None:
    model = ScriptedModel([call_tools(("now", {})).message])

    assert (await model.complete(request())).stop_reason == "tool_calls"
