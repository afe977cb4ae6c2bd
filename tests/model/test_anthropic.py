"""The Messages API: what is sent, and what an answer comes to."""

from typing import Any

import pytest

from agentrail.errors import ModelError, ModelProtocolError, ModelRefused
from agentrail.messages import (
    Image,
    Message,
    OutputSpec,
    Part,
    Reasoning,
    StopReason,
    Text,
    ToolCall,
    ToolResult,
    ToolSpec,
    Usage,
)
from agentrail.model.anthropic import Anthropic
from agentrail.requests import Delta, ModelReply, ModelRequest
from tests.model import upstream as wire
from tests.model.upstream import Json
from tests.model.wires import (
    KEY,
    MESSAGES,
    START,
    Event,
    asking,
    begin,
    more,
    over,
    sends,
    stopped,
    typed,
)

pytestmark = pytest.mark.anyio

CACHED = {"cache_control": {"type": "ephemeral"}}


def request(*messages: Message, **fields: object) -> ModelRequest:
    asked = messages or (Message.user("hi"),)
    return ModelRequest(model="m", messages=asked, **fields)  # type: ignore[arg-type]


async def answered(*events: Event, seen: list[Delta] | None = None) -> ModelReply:
    async def emit(delta: Delta) -> None:
        if seen is not None:
            seen.append(delta)

    async with asking(MESSAGES, sends(START, *events), name="claude") as (provider, _):
        return await provider.complete(request(emit=emit))


async def refused(*events: Event) -> ModelError:
    async with asking(MESSAGES, sends(START, *events)) as (provider, _):
        with pytest.raises(ModelError) as caught:
            await provider.complete(request())
    return caught.value


async def sent(asked: ModelRequest, **fields: object) -> wire.Request:
    async with asking(MESSAGES, MESSAGES.says("ok"), name="claude", **fields) as (provider, up):
        await provider.complete(asked)
    return up.requests[0]


async def turns(*messages: Message) -> list[tuple[str, list[Json]]]:
    """Return the roles and contents that messages are sent as, without the cache's marks."""
    body: Any = (await sent(request(*messages))).body
    for turn in body["messages"]:
        for block in turn["content"]:
            block.pop("cache_control", None)
    return [(turn["role"], turn["content"]) for turn in body["messages"]]


def told(result: ToolResult) -> Message:
    return Message(role="tool", parts=(result,))


def text(written: str) -> Json:
    return {"type": "text", "text": written}


async def test_text_arrives_piece_by_piece_and_whole() -> None:
    seen: list[Delta] = []

    reply = await answered(
        begin(0, type="text", text=""),
        more(0, "text_delta", text="Hel"),
        typed("ping"),
        more(0, "text_delta", text="lo"),
        over(0),
        typed("ping"),
        *stopped("end_turn"),
        seen=seen,
    )

    assert seen == [Delta(text="Hel"), Delta(text="lo")]
    assert reply == ModelReply(
        message=Message.assistant("Hello"),
        usage=Usage(input_tokens=11, output_tokens=3, cache_read_tokens=7, cache_write_tokens=2),
    )


async def test_later_counts_take_the_place_of_earlier_ones() -> None:
    usage = {"input_tokens": 5, "cache_read_input_tokens": None, "output_tokens": 9}
    end: Json = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage}

    reply = await answered(("message_delta", end), stopped("")[1])

    assert reply.usage == Usage(
        input_tokens=14, output_tokens=9, cache_read_tokens=7, cache_write_tokens=2
    )


THOUGHT = (
    begin(0, type="thinking", thinking="", signature=""),
    more(0, "thinking_delta", thinking="h"),
    more(0, "thinking_delta", thinking="m"),
    more(0, "signature_delta", signature="sig=="),
    over(0),
    begin(1, type="redacted_thinking", data="blob=="),
    over(1),
    begin(2, type="text", text=""),
    more(2, "text_delta", text="Let me see."),
    over(2),
    begin(3, type="tool_use", id="toolu_1", name="add", input={}),
    more(3, "input_json_delta", partial_json=""),
    more(3, "input_json_delta", partial_json='{"x": '),
    more(3, "input_json_delta", partial_json="1}"),
    over(3),
    *stopped("tool_use"),
)


async def test_thoughts_are_emitted_and_kept_in_their_order() -> None:
    seen: list[Delta] = []

    reply = await answered(*THOUGHT, seen=seen)

    assert seen == [Delta(reasoning="h"), Delta(reasoning="m"), Delta(text="Let me see.")]
    assert reply.stop_reason == "tool_calls"
    assert reply.message.parts == (
        Reasoning(text="hm", signature="sig==", source="claude"),
        Reasoning(text="", signature="redacted:blob==", source="claude"),
        Text(text="Let me see."),
        ToolCall(id="toolu_1", name="add", arguments={"x": 1}),
    )


async def test_thoughts_go_back_as_they_came() -> None:
    reply = await answered(*THOUGHT)
    result = ToolResult(call_id="toolu_1", name="add", content="2")

    sent_back = await turns(
        Message.user("hi"), reply.message, Message(role="tool", parts=(result,))
    )

    assert sent_back[1] == (
        "assistant",
        [
            {"type": "thinking", "thinking": "hm", "signature": "sig=="},
            {"type": "redacted_thinking", "data": "blob=="},
            text("Let me see."),
            {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"x": 1}},
        ],
    )


@pytest.mark.parametrize(
    "part",
    [
        Reasoning(text="hm", signature="sig", source="another"),
        Reasoning(text="hm", source="claude"),
        Reasoning(text="hm"),
    ],
)
async def test_thoughts_that_this_provider_did_not_sign_stay_here(part: Part) -> None:
    got = await turns(
        Message.user("hi"), Message.assistant((part, Text(text="4"))), Message.user("?")
    )

    assert got[1] == ("assistant", [text("4")])


async def test_thoughts_that_were_cut_off_stay_here() -> None:
    thought = Reasoning(text="hm", signature="sig", source="claude")

    got = await turns(Message.user("hi"), Message.assistant((thought,)), Message.user("Go on."))

    assert got == [("user", [text("hi"), text("Go on.")])]


@pytest.mark.parametrize(
    ("said", "stop_reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("", "stop"),
    ],
)
async def test_stop_reasons_are_mapped(said: str, stop_reason: StopReason) -> None:
    reply = await answered(begin(0, type="text", text="x"), over(0), *stopped(said))

    assert (reply.message.text, reply.stop_reason) == ("x", stop_reason)


async def test_a_refusal_is_an_error_that_says_why() -> None:
    details = {"type": "refusal", "category": "bio", "explanation": "It could do harm."}

    caught = await refused(*stopped("refusal", stop_details=details))

    assert type(caught) is ModelRefused
    assert "It could do harm." in caught.detail
    assert type(await refused(*stopped("refusal", stop_details=None))) is ModelRefused


async def test_a_call_may_come_whole_in_its_beginning() -> None:
    reply = await answered(
        begin(0, type="tool_use", id="a", name="add", input={"x": 1}), *stopped("end_turn")
    )

    assert reply.message.tool_calls == (ToolCall(id="a", name="add", arguments={"x": 1}),)
    assert reply.stop_reason == "tool_calls"


async def test_blocks_that_nobody_knows_are_left_out() -> None:
    reply = await answered(
        begin(0, type="server_tool_use", id="s", name="web_search", input={}),
        more(0, "input_json_delta", partial_json="{}"),
        begin(1, type="text", text=""),
        more(1, "citations_delta", citation={"type": "page_location"}),
        more(1, "text_delta", text="x"),
        *stopped("end_turn"),
    )

    assert reply.message.parts == (Text(text="x"),)


async def test_a_piece_of_a_block_that_did_not_begin_is_an_error() -> None:
    assert type(await refused(more(3, "text_delta", text="x"))) is ModelProtocolError


async def test_the_request_is_a_streamed_message() -> None:
    got = await sent(request(max_tokens=9, temperature=0.5))

    assert got.headers["x-api-key"] == KEY
    assert got.headers["anthropic-version"] == "2023-06-01"
    assert got.body == {
        "model": "m",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": [{**text("hi"), **CACHED}]}],
        "stream": True,
        "temperature": 0.5,
    }


async def test_a_request_without_a_limit_gets_one() -> None:
    assert (await sent(request())).body["max_tokens"] == 32_000


async def test_own_fields_are_joined_with_the_requests() -> None:
    spec = OutputSpec(name="x", parameters={"type": "object", "properties": {}})
    body = {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}

    got = await sent(request(output=spec), body=body, headers={"anthropic-version": "2026-10-21"})

    assert got.headers["anthropic-version"] == "2026-10-21"
    assert got.body["thinking"] == {"type": "adaptive"}
    assert got.body["output_config"] == {
        "effort": "low",
        "format": {
            "type": "json_schema",
            "schema": {
                "type": "object",
                "properties": {},
                "required": [],
                "additionalProperties": False,
            },
        },
    }


async def test_tools_go_out_with_their_whole_schema() -> None:
    schema = {"type": "object", "properties": {"x": {"$ref": "#/$defs/X"}},
              "$defs": {"X": {"oneOf": [{"type": "integer"}]}}}  # fmt: skip
    tools = (ToolSpec(name="add", description="Add.", parameters=schema),
             ToolSpec(name="now", description="Now."))  # fmt: skip

    body = (await sent(request(tools=tools))).body

    nothing: Json = {"type": "object", "properties": {}}
    assert "tool_choice" not in body
    assert body["tools"] == [
        {"name": "add", "description": "Add.", "input_schema": schema},
        {"name": "now", "description": "Now.", "input_schema": nothing, **CACHED},
    ]


@pytest.mark.parametrize(("choice", "kind"), [("none", "none"), ("required", "any")])
async def test_a_choice_of_tools_is_sent(choice: str, kind: str) -> None:
    tools = (ToolSpec(name="now", description="Now."),)

    body = (await sent(request(tools=tools, tool_choice=choice))).body

    assert body["tool_choice"] == {"type": kind}


async def test_the_first_words_of_the_application_are_the_prompt_and_later_ones_stay() -> None:
    body: Any = (
        await sent(
            request(
                Message.system("Be brief."),
                Message.system(""),
                Message.system("Be kind."),
                Message.user("hi"),
                Message.assistant("hello"),
                Message.system("It is late."),
                Message.user("what?"),
            )
        )
    ).body

    assert body["system"] == [{**text("Be brief.\n\nBe kind."), **CACHED}]
    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "user"]
    assert [block["text"] for block in body["messages"][2]["content"]] == [
        "<system>\nIt is late.\n</system>",
        "what?",
    ]


async def test_the_cache_ends_after_the_last_answer_and_after_everything() -> None:
    body: Any = (
        await sent(
            request(
                Message.user("one"),
                Message.assistant("1"),
                Message.user("two"),
                Message.assistant("2"),
                Message.system("volatile"),
                Message.user("three"),
            )
        )
    ).body

    marks = [
        block["text"]
        for turn in body["messages"]
        for block in turn["content"]
        if "cache_control" in block
    ]
    assert marks == ["2", "three"]


async def test_results_come_first_and_together() -> None:
    image = Image(mime_type="image/png", data=b"\x00\xff")
    shown = {"type": "image",
             "source": {"type": "base64", "media_type": "image/png", "data": "AP8="}}  # fmt: skip

    got = await turns(
        Message.user((Text(text="What is this?"), image)),
        Message.assistant((ToolCall(id="a:1", name="look"), ToolCall(id="b", name=""))),
        told(ToolResult(call_id="a:1", name="look", content="A dot.", images=(image,))),
        Message.system("Hurry."),
        told(ToolResult(call_id="b", name="", content="", outcome="denied")),
        Message.user(" "),
        Message.user("Well?"),
    )  # fmt: skip

    assert got == [
        ("user", [text("What is this?"), shown]),
        ("assistant", [
            {"type": "tool_use", "id": "a_1", "name": "look", "input": {}},
            {"type": "tool_use", "id": "b", "name": "unknown", "input": {}},
        ]),
        ("user", [
            {"type": "tool_result", "tool_use_id": "a_1", "is_error": False,
             "content": [text("A dot."), shown]},
            {"type": "tool_result", "tool_use_id": "b", "is_error": True, "content": ""},
            text("<system>\nHurry.\n</system>"),
            text("Well?"),
        ]),
    ]  # fmt: skip


async def test_key_and_address_are_read_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with wire.running(MESSAGES.says("ok")) as upstream:
        monkeypatch.setenv("ANTHROPIC_API_KEY", f" {KEY}\n")
        monkeypatch.setenv("ANTHROPIC_BASE_URL", upstream.base_url.removesuffix("/v1"))
        monkeypatch.setenv("OPENAI_API_KEY", "another")
        provider = Anthropic()
        await provider.start()
        await provider.complete(request())
        await provider.stop()

    assert upstream.requests[0].headers["x-api-key"] == KEY
    assert "authorization" not in upstream.requests[0].headers
