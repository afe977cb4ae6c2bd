"""Redaction of what goes to the model, what it says, and what tools return."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentrail import (
    ChatRequest,
    Delta,
    Image,
    Message,
    ModelReply,
    ModelRequest,
    ToolCall,
    ToolResult,
    middleware,
)
from agentrail.errors import ConfigError, ModelUnavailable
from agentrail.messages import Reasoning, Text
from agentrail.model.scripted import call_tools
from agentrail.requests import ignore_delta
from tests.middleware.calls import Model, Reader, ToolBox, asking, calling, saying
from tests.middleware.conftest import Opens, stream

pytestmark = pytest.mark.anyio

MAIL = "ann@example.com"
CARD = "4111 1111 1111 1111"


async def test_the_model_is_not_shown_what_is_secret() -> None:
    image = Image(mime_type="image/png", data=b"ann@example.com")
    messages = (
        Message.system(f"write to {MAIL}"),
        Message.user((Text(text=f"my card: {CARD}"), image)),
        Message.assistant(
            (
                Reasoning(text=f"so, {CARD}", signature="s", source="p"),
                ToolCall(id="c", name="pay", arguments={"with": [CARD], "times": 2}),
            )
        ),
        Message(
            role="tool", parts=(ToolResult(call_id="c", name="pay", content=f"paid by {MAIL}"),)
        ),
    )
    model = Model([saying()])

    await middleware.redact()(asking(messages=messages), model)

    system, user, assistant, tool = model.requests[0].messages
    assert system.text == "write to [email]"
    assert user.parts == (Text(text="my card: [card]"), image)
    assert assistant.parts == (
        Reasoning(text="so, [card]"),  # the signature was for another text
        ToolCall(id="c", name="pay", arguments={"with": ["[card]"], "times": 2}),
    )
    assert tool.parts == (ToolResult(call_id="c", name="pay", content="paid by [email]"),)


async def test_messages_with_nothing_to_hide_are_the_same_objects() -> None:
    request, model = asking("hi"), Model([saying()])

    await middleware.redact()(request, model)

    assert model.requests[0].messages[0] is request.messages[0]


async def test_what_the_model_says_is_redacted_as_it_streams_and_in_the_reply() -> None:
    reader, model = Reader(), Model([saying(f"Mail {MAIL} or {CARD}.")])

    reply = await middleware.redact()(asking(emit=reader), model)

    assert reply.message.text == reader.text == "Mail [email] or [card]."
    assert reply.usage == saying().usage


async def test_reasoning_is_redacted_too() -> None:
    parts = (Reasoning(text=f"{MAIL}?", signature="s"), Text(text="No."))
    reply = ModelReply(message=Message.assistant(parts))

    async def model(request: ModelRequest) -> ModelReply:
        for piece in (Delta(reasoning="ann@exa"), Delta(reasoning="mple.com?"), Delta(text="No.")):
            await request.emit(piece)
        return reply

    reader = Reader()
    redacted = await middleware.redact()(asking(emit=reader), model)

    assert (reader.reasoning, reader.text) == ("[email]?", "No.")
    assert redacted.message.parts == (Reasoning(text="[email]?"), Text(text="No."))


async def test_what_is_said_in_several_parts_is_one_text() -> None:
    call = ToolCall(id="c", name="pay", arguments={"with": CARD})
    parts = (Text(text="4111 1111 "), call, Text(text="1111 1111"))
    model = Model([ModelReply(message=Message.assistant(parts))])
    reader = Reader()

    reply = await middleware.redact()(asking(emit=reader), model)

    assert reader.text == "[card]"
    assert reply.message.parts == (Text(text="[card]"), call)


async def test_the_arguments_of_a_call_stay_for_the_tool() -> None:
    reply = call_tools(("pay", {"with": CARD}))

    assert await middleware.redact()(asking(), Model([reply])) == reply


async def test_a_tools_result_is_redacted() -> None:
    result = await middleware.redact()(calling(), ToolBox([f"it is {MAIL}"]))

    assert (result.content, result.call_id) == ("it is [email]", "c1")


async def test_one_may_choose_where() -> None:
    reader, model = Reader(), Model([saying(MAIL)])
    only = middleware.redact(where=["prompt"])
    assert (await only(asking(MAIL, emit=reader), model)).message.text == reader.text == MAIL
    assert model.requests[0].messages[0].text == "[email]"
    assert (await only(calling(), ToolBox([MAIL]))).content == MAIL

    only = middleware.redact(where=["answer"])
    assert (await only(asking(MAIL), model)).message.text == "[email]"
    assert model.requests[1].messages[0].text == MAIL


def test_an_unknown_place_is_refused() -> None:
    with pytest.raises(ConfigError, match="prompts"):
        middleware.redact(where=["prompts"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]


async def test_one_may_choose_what() -> None:
    staff = middleware.Pattern("staff", r"E[0-9]{4}", longest=5)
    redact = middleware.redact([*middleware.SECRETS, staff])

    result = await redact(calling(), ToolBox([f"E1234 is {MAIL}"]))

    assert result.content == "[staff] is [email]"


async def test_what_was_held_back_of_an_answer_that_fails_is_dropped() -> None:
    model = Model([ModelUnavailable("broke off")], said_first="the card 4111 1111")
    reader = Reader()

    with pytest.raises(ModelUnavailable):
        await middleware.redact()(asking(emit=reader), model)

    assert reader.text == "the card "


async def test_a_model_that_does_not_stream_is_not_made_to() -> None:
    model = Model([saying(MAIL)])

    await middleware.redact()(asking(), model)

    assert model.requests[0].emit is ignore_delta


pieces = st.lists(
    st.sampled_from(["ann@exam", "ple.com", " 4111 1", "111 1111", " 1111", " ", "ok", ".", "好"]),
    max_size=12,
)


@given(said=pieces)
async def test_what_is_streamed_is_what_the_reply_says(said: Sequence[str]) -> None:
    async def model(request: ModelRequest) -> ModelReply:
        for piece in said:
            await request.emit(Delta(text=piece))
        return saying("".join(said))

    reader = Reader()
    reply = await middleware.redact()(asking(emit=reader), model)

    assert reader.text == reply.message.text
    assert all(delta.text for delta in reader.deltas)


async def test_a_turn_through_the_host_shows_keeps_and_asks_without_secrets(
    open_host: Opens,
) -> None:
    asked: list[str] = []

    def answer(request: ModelRequest) -> list[str]:
        asked.append(request.messages[-1].text)
        return ["Is it ann@exa", "mple", ".com or 4111 1111", " 1111 1111?"]

    redact = middleware.redact()
    host = await open_host([answer, answer, answer], model=[redact], tools=[redact])

    shown = await stream(host, f"I am {MAIL}", "s1")
    told = await host.chat(ChatRequest(f"I am {MAIL}", session_id="s2"))
    again = await host.chat(ChatRequest("And?", session_id="s1"))

    assert "".join(shown) == "Is it [email] or [card]?turn.end"
    assert told.message == again.message == "Is it [email] or [card]?"
    assert asked == ["I am [email]", "I am [email]", "And?"]
