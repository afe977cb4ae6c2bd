"""The Responses API: what is sent, and what an answer comes to."""

import json
from typing import Any

import pytest

from agentrail.errors import ModelError, ModelRefused, ModelUnavailable, Overloaded, RateLimited
from agentrail.messages import (
    Image,
    Message,
    OutputSpec,
    Part,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
    ToolSpec,
    Usage,
)
from agentrail.requests import Delta, ModelReply, ModelRequest
from tests.model import upstream as wire
from tests.model.upstream import Json
from tests.model.wires import KEY, RESPONSES, Event, asking, completed, item, sends, typed

pytestmark = pytest.mark.anyio


def request(*messages: Message, **fields: object) -> ModelRequest:
    asked = messages or (Message.user("hi"),)
    return ModelRequest(model="m", messages=asked, **fields)  # type: ignore[arg-type]


async def answered(*events: Event, seen: list[Delta] | None = None) -> ModelReply:
    async def emit(delta: Delta) -> None:
        if seen is not None:
            seen.append(delta)

    async with asking(RESPONSES, sends(*events), name="gpt") as (provider, _):
        return await provider.complete(request(emit=emit))


async def failed(*events: Event) -> ModelError:
    async with asking(RESPONSES, sends(*events)) as (provider, _):
        with pytest.raises(ModelError) as caught:
            await provider.complete(request())
    return caught.value


async def sent(asked: ModelRequest, **fields: object) -> wire.Request:
    async with asking(RESPONSES, RESPONSES.says("ok"), name="gpt", **fields) as (provider, up):
        await provider.complete(asked)
    return up.requests[0]


async def items(*messages: Message) -> list[Json]:
    body: Any = (await sent(request(*messages))).body
    found: list[Json] = body["input"]
    return found


def said(text: str) -> Json:
    """The finished message that a text is."""
    return {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": text}],
    }


async def test_text_arrives_piece_by_piece_and_whole() -> None:
    seen: list[Delta] = []

    reply = await answered(
        typed("response.output_text.delta", delta="Hel"),
        typed("response.output_text.delta", delta="lo"),
        typed("response.output_text.done", text="Hello"),
        item(**said("Hello")),
        completed(),
        seen=seen,
    )

    assert seen == [Delta(text="Hel"), Delta(text="lo")]
    assert reply == ModelReply(
        message=Message.assistant("Hello"),
        usage=Usage(input_tokens=11, output_tokens=3, cache_read_tokens=7, cache_write_tokens=2),
    )


async def test_what_did_not_arrive_in_pieces_is_emitted_at_its_end() -> None:
    seen: list[Delta] = []
    thought = {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": "hm"}],
    }

    reply = await answered(item(**thought), item(**said("Hello")), completed(), seen=seen)

    assert seen == [Delta(reasoning="hm"), Delta(text="Hello")]
    assert reply.message.parts == (Reasoning(text="hm"), Text(text="Hello"))


CALL: Json = {"type": "function_call", "call_id": "call_1", "name": "add", "arguments": '{"x": 1}'}
THOUGHT = (
    typed("response.output_item.added", item={"type": "reasoning", "id": "rs_1", "summary": []}),
    typed("response.reasoning_summary_part.added", summary_index=0, part={"type": "summary_text"}),
    typed("response.reasoning_summary_text.delta", delta="h"),
    typed("response.reasoning_summary_text.delta", delta="m"),
    typed("response.reasoning_summary_part.added", summary_index=1, part={"type": "summary_text"}),
    typed("response.reasoning_summary_text.delta", delta="so"),
    item(type="reasoning", id="rs_1", summary=[], encrypted_content="blob=="),
    typed("response.output_text.delta", delta="Let me see."),
    item(**said("Let me see.")),
    item(id="fc_1", **CALL),
    completed(),
)


async def test_thoughts_are_emitted_and_kept_in_their_order() -> None:
    seen: list[Delta] = []

    reply = await answered(*THOUGHT, seen=seen)

    assert [delta.reasoning for delta in seen] == ["h", "m", "\n\n", "so", ""]
    assert reply.stop_reason == "tool_calls"
    assert reply.message.parts == (
        Reasoning(text="hm\n\nso", signature="rs_1 blob==", source="gpt"),
        Text(text="Let me see."),
        ToolCall(id="call_1", name="add", arguments={"x": 1}),
    )


async def test_thoughts_go_back_as_they_came() -> None:
    reply = await answered(*THOUGHT)

    assert (await items(Message.user("hi"), reply.message))[1:] == [
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "hm\n\nso"}],
            "encrypted_content": "blob==",
        },
        said("Let me see."),
        CALL | {"arguments": '{"x":1}'},
    ]


@pytest.mark.parametrize(
    "part",
    [
        Reasoning(text="hm", signature="rs_1 x", source="another"),
        Reasoning(text="hm", source="gpt"),
        Reasoning(text="hm"),
    ],
)
async def test_thoughts_that_this_provider_did_not_sign_stay_here(part: Part) -> None:
    assert await items(Message.assistant((part, Text(text="4")))) == [said("4")]


async def test_thoughts_that_were_cut_off_stay_here() -> None:
    thought = Reasoning(text="hm", signature="rs_1 x", source="gpt")

    assert await items(Message.assistant((Text(text="4"), thought))) == [said("4")]


@pytest.mark.parametrize(("reason", "stop"), [("max_output_tokens", "length"), (None, "length")])
async def test_an_incomplete_answer_was_cut_off(reason: str | None, stop: str) -> None:
    details = None if reason is None else {"reason": reason}
    reply = await answered(
        typed("response.reasoning_text.delta", delta="hm"),
        typed("response.output_text.delta", delta="half"),
        completed("incomplete", incomplete_details=details),
    )

    assert reply.stop_reason == stop
    assert reply.message.parts == (Reasoning(text="hm"), Text(text="half"))
    assert reply.usage.output_tokens == 3


async def test_a_content_filter_is_a_refusal() -> None:
    caught = await failed(completed("incomplete", incomplete_details={"reason": "content_filter"}))

    assert type(caught) is ModelRefused


async def test_a_refusal_of_the_model_is_its_text() -> None:
    content = [{"type": "refusal", "refusal": "I will not."}]
    whole = item(type="message", content=content)

    for events in ([typed("response.refusal.delta", delta="I will not."), whole], [whole]):
        reply = await answered(*events, completed())
        assert (reply.message.text, reply.stop_reason) == ("I will not.", "refused")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("server_error", Overloaded),
        ("rate_limit_exceeded", RateLimited),
        ("bio_policy", ModelRefused),
        ("invalid_prompt", ModelError),
    ],
)
async def test_a_failed_response_is_its_error(code: str, expected: type[ModelError]) -> None:
    caught = await failed(completed("failed", error={"code": code, "message": "the reason"}))

    assert type(caught) is expected
    assert "the reason" in caught.detail


async def test_a_failure_without_a_reason_is_an_error() -> None:
    assert type(await failed(completed("failed", error=None))) is ModelError


async def test_items_that_nobody_knows_are_left_out() -> None:
    reply = await answered(
        item(type="web_search_call", id="ws_1", content=1, arguments={"a": []}),
        typed("response.shell_call_output_content.delta", delta={"stdout": "x"}),
        item(**said("x")),
        completed(),
    )

    assert reply.message.parts == (Text(text="x"),)


async def test_an_item_that_cannot_be_read_is_an_error() -> None:
    caught = await failed(item(type="function_call", name=5), completed())

    assert caught.code == "model_protocol_error"


async def test_the_end_of_another_api_is_no_end() -> None:
    caught = await failed(typed("response.output_text.delta", delta="x"), ("", "[DONE]"))

    assert type(caught) is ModelUnavailable


async def test_the_request_is_a_streamed_response_that_nobody_stores() -> None:
    got = await sent(request(max_tokens=9, temperature=0.5))

    assert got.headers["authorization"] == f"Bearer {KEY}"
    content = [{"type": "input_text", "text": "hi"}]
    assert got.body == {
        "model": "m",
        "input": [{"type": "message", "role": "user", "content": content}],
        "stream": True,
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "max_output_tokens": 9,
        "temperature": 0.5,
    }


async def test_own_fields_are_joined_with_the_requests() -> None:
    schema = {"type": "object", "properties": {"x": {"type": "integer", "minimum": 1}},
              "required": ["x"]}  # fmt: skip
    spec = OutputSpec(name="a b", parameters=schema)
    body = {"text": {"verbosity": "low"}, "reasoning": {"effort": "low"}}

    got = await sent(request(output=spec), body=body)

    assert got.body["reasoning"] == {"effort": "low"}
    assert got.body["text"] == {
        "verbosity": "low",
        "format": {
            "type": "json_schema",
            "name": "a_b",
            "strict": True,
            "schema": {**schema, "additionalProperties": False},
        },
    }


async def test_tools_go_out_with_their_whole_schema() -> None:
    schema = {"type": "object", "properties": {"x": {"$ref": "#/$defs/X"}},
              "$defs": {"X": {"oneOf": [{"type": "integer"}]}}}  # fmt: skip
    tools = (ToolSpec(name="add", description="Add.", parameters=schema),)

    body = (await sent(request(tools=tools, tool_choice="required"))).body

    assert body["tool_choice"] == "required"
    assert body["tools"] == [
        {"type": "function", "name": "add", "description": "Add.", "parameters": schema,
         "strict": False},
    ]  # fmt: skip


async def test_a_conversation_keeps_its_shape_on_the_wire() -> None:
    image = Image(mime_type="image/png", data=b"\x00\xff")
    shown = {"type": "input_image", "detail": "auto", "image_url": "data:image/png;base64,AP8="}
    looked = ToolResult(call_id="a", name="look", content="A dot.", images=(image,))
    failed = ToolResult(call_id="b", name="", content="boom", outcome="error")

    got = await items(
        Message.system("Be brief."),
        Message.user((Text(text="What is this?"), image)),
        Message.assistant((
            ToolCall(id="a", name="look", arguments={"x": 1}),
            ToolCall(id="b", name=""),
        )),
        Message(role="tool", parts=(looked,)),
        Message(role="tool", parts=(failed,)),
        Message.assistant(""),
    )  # fmt: skip

    calls = [(item["name"], json.loads(str(item["arguments"]))) for item in got[2:4]]
    assert calls == [("look", {"x": 1}), ("unknown", {})]
    assert got[:2] + got[4:] == [
        {"type": "message", "role": "system",
         "content": [{"type": "input_text", "text": "Be brief."}]},
        {"type": "message", "role": "user",
         "content": [{"type": "input_text", "text": "What is this?"}, shown]},
        {"type": "function_call_output", "call_id": "a",
         "output": [{"type": "input_text", "text": "A dot."}, shown]},
        {"type": "function_call_output", "call_id": "b", "output": "boom"},
    ]  # fmt: skip
