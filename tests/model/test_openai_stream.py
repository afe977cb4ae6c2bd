"""The chat completions API over a real socket: what a good answer comes to."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest

from agentrail.messages import (
    Image,
    Message,
    OutputSpec,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
    ToolSpec,
    Usage,
)
from agentrail.model.openai import OpenAICompatible
from agentrail.requests import Delta, ModelReply, ModelRequest
from tests.model import upstream as wire
from tests.model.upstream import Answer, Upstream, piece, says, streams, usage

pytestmark = pytest.mark.anyio

KEY = "sk-secret-of-the-test"


def request(*messages: Message, **fields: object) -> ModelRequest:
    asked = messages or (Message.user("hi"),)
    return ModelRequest(model="m", messages=asked, **fields)  # type: ignore[arg-type]


@asynccontextmanager
async def asking(*answers: Answer) -> AsyncGenerator[tuple[OpenAICompatible, Upstream]]:
    async with wire.running(*answers) as upstream:
        provider = OpenAICompatible("test", upstream.base_url, KEY)
        await provider.start()
        try:
            yield provider, upstream
        finally:
            await provider.stop()


async def ask(*chunks: wire.Json) -> ModelReply:
    async with asking(streams(*chunks)) as (provider, _):
        return await provider.complete(request())


async def test_text_arrives_piece_by_piece_and_whole() -> None:
    seen: list[Delta] = []

    async def emit(delta: Delta) -> None:
        seen.append(delta)

    answer = streams(piece(role="assistant", content=""), piece(content="Hel"), piece(content="lo"),
                     piece("stop"), usage(11, 2, 7))  # fmt: skip
    async with asking(answer) as (provider, _):
        reply = await provider.complete(request(emit=emit))

    assert seen == [Delta(text="Hel"), Delta(text="lo")]
    assert reply == ModelReply(
        message=Message.assistant("Hello"),
        usage=Usage(input_tokens=11, output_tokens=2, cache_read_tokens=7),
    )


async def test_a_piece_is_emitted_before_the_next_one_is_sent() -> None:
    emitted = anyio.Event()

    async def emit(_delta: Delta) -> None:
        emitted.set()

    async def answer(_upstream: Upstream, stream: anyio.abc.SocketStream) -> None:
        await stream.send(wire.HEAD + wire.frame(wire.event(piece(content="a"))))
        await emitted.wait()
        await stream.send(wire.frame(wire.event(piece("stop")) + wire.DONE) + wire.END)

    async with asking(answer) as (provider, _):
        reply = await provider.complete(request(emit=emit))

    assert reply.message.text == "a"


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
async def test_reasoning_is_emitted_and_kept_apart(field: str) -> None:
    seen: list[Delta] = []

    async def emit(delta: Delta) -> None:
        seen.append(delta)

    chunks = [piece(**{field: "hm"}), piece(**{field: "m"}), piece(content="4"), piece("stop")]
    async with asking(streams(*chunks)) as (provider, _):
        reply = await provider.complete(request(emit=emit))

    assert seen == [Delta(reasoning="hm"), Delta(reasoning="m"), Delta(text="4")]
    assert reply.message.parts == (Reasoning(text="hmm"), Text(text="4"))


def call(index: int | None, **fields: object) -> wire.Json:
    return piece(tool_calls=[{**({} if index is None else {"index": index}), **fields}])


async def test_tool_calls_in_fragments_are_put_together_by_index() -> None:
    reply = await ask(
        piece(content="Let me see."),
        call(0, id="a", type="function", function={"name": "add", "arguments": ""}),
        call(1, id="b", type="function", function={"name": "now", "arguments": '{"z'}),
        call(0, function={"arguments": '{"x": 1, '}),
        call(1, function={"arguments": 'one": "UTC"}'}),
        call(0, function={"arguments": '"y": 2}'}),
        piece("tool_calls"),
    )

    assert reply.stop_reason == "tool_calls"
    assert reply.message.text == "Let me see."
    assert reply.message.tool_calls == (
        ToolCall(id="a", name="add", arguments={"x": 1, "y": 2}),
        ToolCall(id="b", name="now", arguments={"zone": "UTC"}),
    )


@pytest.mark.parametrize("index", [0, None])
async def test_calls_that_share_an_index_or_have_none_are_told_apart(index: int | None) -> None:
    reply = await ask(
        call(index, id="a", function={"name": "add", "arguments": '{"x":'}),
        call(index, id="a", function={"arguments": "1}"}),
        call(index, id="b", function={"name": "add", "arguments": '{"x":2}'}),
        piece("stop"),
    )

    assert [c.arguments for c in reply.message.tool_calls] == [{"x": 1}, {"x": 2}]
    assert reply.stop_reason == "tool_calls"


async def test_missing_ids_are_made_up() -> None:
    reply = await ask(
        call(0, function={"name": "now", "arguments": ""}),
        call(1, function={"name": "now", "arguments": "{}"}),
        piece("tool_calls"),
    )

    first, second = reply.message.tool_calls
    assert first.id
    assert second.id
    assert first.id != second.id
    assert first.arguments == second.arguments == {}
    assert first.invalid == second.invalid == ""


@pytest.mark.parametrize("written", ['{"x": ', "[1]", '"x"', "nonsense", '{"x": NaN}'])
async def test_unreadable_arguments_are_shown_and_never_executed(written: str) -> None:
    reply = await ask(
        call(0, id="a", function={"name": "add", "arguments": written}), piece("tool_calls")
    )

    (made,) = reply.message.tool_calls
    assert (made.id, made.name, made.arguments) == ("a", "add", {})
    assert "not a JSON object" in made.invalid
    assert written in made.invalid


async def test_a_call_without_a_name_is_invalid() -> None:
    reply = await ask(call(0, id="a", function={"arguments": "{}"}), piece("tool_calls"))

    assert reply.message.tool_calls[0].invalid


@pytest.mark.parametrize(
    ("finish", "stop_reason"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("tool_calls", "tool_calls"),
        ("function_call", "tool_calls"),
        ("eos", "stop"),
    ],
)
async def test_finish_reasons_are_mapped(finish: str, stop_reason: str) -> None:
    reply = await ask(piece(content="x"), piece(finish))

    assert reply.stop_reason == stop_reason


async def test_a_refusal_of_the_model_is_its_text() -> None:
    reply = await ask(piece(refusal="I will not."), piece("stop"))

    assert (reply.message.text, reply.stop_reason) == ("I will not.", "refused")


async def test_a_stream_that_ends_without_done_is_whole_when_it_has_finished() -> None:
    async with asking(streams(piece(content="x"), piece("stop"), done=False)) as (provider, _):
        reply = await provider.complete(request())

    assert reply.message.text == "x"


async def test_comments_and_empty_events_are_read_over() -> None:
    async def answer(_upstream: Upstream, stream: anyio.abc.SocketStream) -> None:
        body = b": ping\n\ndata:\n\n" + wire.event(piece("stop", content="x")) + wire.DONE
        await stream.send(wire.HEAD + wire.frame(body) + wire.END)

    async with asking(answer) as (provider, _):
        assert (await provider.complete(request())).message.text == "x"


async def test_one_connection_serves_one_call_after_another() -> None:
    """Also where the end of the body comes a moment after the end of the answer."""

    async def answer(_upstream: Upstream, stream: anyio.abc.SocketStream) -> None:
        await stream.send(wire.HEAD + wire.frame(wire.event(piece("stop")) + wire.DONE))
        await anyio.sleep(0.01)
        await stream.send(wire.END)

    async with asking(answer) as (provider, upstream):
        for _ in range(3):
            await provider.complete(request())

    assert (upstream.connections, len(upstream.requests)) == (1, 3)


async def sent(asked: ModelRequest, **fields: object) -> wire.Request:
    async with wire.running(says("ok")) as upstream:
        provider = OpenAICompatible("test", upstream.base_url, KEY, **fields)  # type: ignore[arg-type]
        await provider.start()
        await provider.complete(asked)
        await provider.stop()
    return upstream.requests[0]


async def test_the_request_is_a_streamed_chat_completion() -> None:
    got = await sent(request(max_tokens=9, temperature=0.5))

    assert got.line == "POST /v1/chat/completions HTTP/1.1"
    assert got.headers["authorization"] == f"Bearer {KEY}"
    assert got.body == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 9,
        "temperature": 0.5,
    }


async def test_own_headers_fields_and_names_are_sent() -> None:
    got = await sent(
        request(max_tokens=9),
        headers={"X-Team": "red"},
        body={"seed": 1},
        max_tokens_field="max_completion_tokens",
    )

    assert got.headers["x-team"] == "red"
    assert (got.body["seed"], got.body["max_completion_tokens"]) == (1, 9)
    assert "max_tokens" not in got.body


@pytest.mark.parametrize(
    ("base_url", "field"),
    [
        ("https://api.openai.com/v1", "max_completion_tokens"),
        ("https://api.openai.com/v1/", "max_completion_tokens"),
        ("https://eu.api.openai.com/v1", "max_completion_tokens"),
        ("https://api.example.com/v1", "max_tokens"),
    ],
)
async def test_the_token_limit_has_the_name_that_the_upstream_knows(
    base_url: str, field: str
) -> None:
    async with wire.running(wire.says("ok")) as upstream:
        diverted = Diverted(httpx.URL(upstream.base_url).port)
        provider = OpenAICompatible("test", base_url, KEY, transport=diverted)
        await provider.start()
        await provider.complete(request(max_tokens=9))
        await provider.stop()

    (got,) = upstream.requests
    assert got.line == "POST /v1/chat/completions HTTP/1.1"
    assert {name for name in got.body if name.startswith("max_")} == {field}


class Diverted(httpx.AsyncHTTPTransport):
    """Carries requests for any host to a port of this machine."""

    def __init__(self, port: int | None) -> None:
        super().__init__()
        self._port = port

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.url = request.url.copy_with(scheme="http", host="127.0.0.1", port=self._port)
        return await super().handle_async_request(request)


async def test_tools_go_out_with_their_whole_schema() -> None:
    schema = {"type": "object", "properties": {"x": {"$ref": "#/$defs/X"}},
              "$defs": {"X": {"type": "integer"}}, "additionalProperties": False}  # fmt: skip
    tools = (ToolSpec(name="add", description="Add.", parameters=schema),
             ToolSpec(name="now", description="Now."))  # fmt: skip

    body = (await sent(request(tools=tools, tool_choice="none"))).body

    nothing: wire.Json = {"type": "object", "properties": {}}
    assert body["tool_choice"] == "none"
    assert body["tools"] == [
        {"type": "function",
         "function": {"name": "add", "description": "Add.", "parameters": schema}},
        {"type": "function",
         "function": {"name": "now", "description": "Now.", "parameters": nothing}},
    ]  # fmt: skip


async def test_a_conversation_keeps_its_shape_on_the_wire() -> None:
    conversation = (
        Message.system("Be brief."),
        Message.user((Text(text="What is this?"), Image(mime_type="image/png", data=b"\x00\xff"))),
        Message.assistant((
            Reasoning(text="hm"), Text(text="Let me see."),
            ToolCall(id="a", name="add", arguments={"x": 1}), ToolCall(id="b", name="now"),
        )),
        Message(role="tool", parts=(
            ToolResult(call_id="a", name="add", content="1"),
            ToolResult(call_id="b", name="now", content="boom", outcome="error"),
            Image(mime_type="image/gif", data=b"GIF"),
        )),
        Message.assistant((ToolCall(id="c", name="now"),)),
        Message.assistant(""),
    )  # fmt: skip

    body = (await sent(request(*conversation), reasoning_field="thoughts")).body
    messages: Any = body["messages"]
    system, user, assistant, first, second, shown, calling, empty = messages

    assert system == {"role": "system", "content": "Be brief."}
    assert user == {"role": "user", "content": [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AP8="}},
    ]}  # fmt: skip
    made = [(c["id"], json.loads(c["function"]["arguments"])) for c in assistant["tool_calls"]]
    assert made == [("a", {"x": 1}), ("b", {})]
    assert (assistant["content"], assistant["thoughts"]) == ("Let me see.", "hm")
    assert first == {"role": "tool", "tool_call_id": "a", "content": "1"}
    assert second == {"role": "tool", "tool_call_id": "b", "content": "boom"}
    assert shown == {"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": "data:image/gif;base64,R0lG"}},
    ]}  # fmt: skip
    assert calling["content"] is None
    assert empty == {"role": "assistant", "content": ""}


async def test_what_tools_show_comes_after_all_of_their_results() -> None:
    images = (Image(mime_type="image/png", data=b"\x00\xff"),)
    body = (
        await sent(
            request(
                Message.assistant((ToolCall(id="a", name="look"), ToolCall(id="b", name=""))),
                tool_said(ToolResult(call_id="a", name="look", content="A dot.", images=images)),
                tool_said(ToolResult(call_id="b", name="", content="boom", outcome="error")),
                Message.user("Well?"),
            )
        )
    ).body

    messages: Any = body["messages"]
    assert [call["function"]["name"] for call in messages[0]["tool_calls"]] == ["look", "unknown"]
    assert messages[1:] == [
        {"role": "tool", "tool_call_id": "a", "content": "A dot."},
        {"role": "tool", "tool_call_id": "b", "content": "boom"},
        {"role": "user", "content": [
            {"type": "text", "text": "Shown by look, call a:"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AP8="}},
        ]},
        {"role": "user", "content": "Well?"},
    ]  # fmt: skip


async def test_an_upstream_may_want_one_system_message_and_roles_that_alternate() -> None:
    image = Image(mime_type="image/png", data=b"\x00\xff")
    call = ToolCall(id="a", name="look")
    body = (
        await sent(
            request(
                Message.system("Be brief."),
                Message.system("Be kind."),
                Message.user("hi"),
                Message.system("It is late."),
                Message.assistant((call,)),
                tool_said(ToolResult(call_id="a", name="look", content="A dot.")),
                Message.system("Hurry."),
                Message.user((Text(text="Well?"), image)),
                Message.user("Yes?"),
            ),
            system_first=True,
        )
    ).body

    assert body["messages"] == [
        {"role": "system", "content": "Be brief.\n\nBe kind."},
        {"role": "user", "content": "hi\n\n<system>\nIt is late.\n</system>"},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "look", "arguments": "{}"}},
        ]},
        {"role": "tool", "tool_call_id": "a", "content": "A dot."},
        {"role": "user", "content": [
            {"type": "text", "text": "<system>\nHurry.\n</system>"},
            {"type": "text", "text": "Well?"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AP8="}},
            {"type": "text", "text": "Yes?"},
        ]},
    ]  # fmt: skip


def tool_said(result: ToolResult) -> Message:
    return Message(role="tool", parts=(result,))


async def test_an_output_goes_out_as_its_schema() -> None:
    closed = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
    opened = {"type": "object", "additionalProperties": {"type": "integer"}}

    strict = (await sent(request(output=OutputSpec(name="a b", parameters=closed)))).body
    loose = (await sent(request(output=OutputSpec(name="ab", parameters=opened)))).body

    schema = {**closed, "additionalProperties": False}
    assert strict["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "a_b", "schema": schema, "strict": True},
    }
    assert loose["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "ab", "schema": opened, "strict": False},
    }


async def test_what_went_to_the_cache_is_counted() -> None:
    details = {"cached_tokens": 7, "cache_write_tokens": 2}
    counts: wire.Json = {"prompt_tokens": 11, "completion_tokens": 3,
                         "prompt_tokens_details": details}  # fmt: skip

    reply = await ask(piece("stop", content="x"), {"choices": [], "usage": counts})

    assert reply.usage == Usage(
        input_tokens=11, output_tokens=3, cache_read_tokens=7, cache_write_tokens=2
    )


async def test_reasoning_stays_here_unless_the_upstream_wants_it() -> None:
    told = request(Message.assistant((Reasoning(text="hm"), Text(text="4"))))

    assert (await sent(told)).body["messages"] == [{"role": "assistant", "content": "4"}]
