"""What every model provider keeps to, as tests."""

from typing import Final, Literal, get_args

import anyio.lowlevel
import msgspec
import pytest
from msgspec.structs import replace

from agentrail.messages import (
    Image,
    Message,
    OutputSpec,
    Reasoning,
    StopReason,
    Text,
    ToolCall,
    ToolResult,
    ToolSpec,
)
from agentrail.model import ModelProvider
from agentrail.requests import Delta, ModelReply, ModelRequest

Ability = Literal["tools", "output", "images", "usage"]
"""What not every model does: call tools, keep to a schema, look at images, count its tokens."""

QUESTION: Final = Message.user("What is the weather in Paris?")
WEATHER: Final = ToolSpec(
    name="get_weather",
    description="Return the weather in a city.",
    parameters={
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
)
PERSON: Final = OutputSpec(
    name="person",
    parameters={
        "type": "object",
        "properties": {"age": {"type": "integer"}, "adult": {"type": "boolean"}},
        "required": ["age", "adult"],
    },
)
DOT: Final = Image(
    mime_type="image/png",
    data=bytes.fromhex(
        "89504e470d0a1a0a0000000d494844520000000100000001080200000090"
        "7753de0000000c49444154789c63f8cfc0000003010100c9fe92ef000000"
        "0049454e44ae426082"
    ),
)
"""A red dot."""


class _Stop(Exception):
    """What a reader raises that wants no more."""


class ModelProviderContract:
    """The tests that a model provider passes, whatever is behind it.

    A subclass has two pytest fixtures: ``provider``, which yields a started provider and stops it,
    and ``model``, the name of a model of its that answers with a text of at least two pieces each
    time that it is asked, unless the request wants something else.  A third, ``abilities``, says
    what the model does besides; what it does not, the tests do not ask of it.  The tests are async:
    mark the module with ``pytest.mark.anyio``.
    """

    @pytest.fixture
    def abilities(self) -> frozenset[Ability]:
        """Return what the model does besides answering with text; override it."""
        return frozenset()

    async def test_the_pieces_are_the_reply(self, provider: ModelProvider, model: str) -> None:
        """What was emitted is the reply's text, piece by piece."""
        reader = _Reader()

        reply = await provider.complete(_request(model, reader))

        assert len(reader.pieces) > 1
        assert "".join(reader.pieces) == reply.message.text
        _check(reply)

    async def test_a_reply_needs_no_reader(self, provider: ModelProvider, model: str) -> None:
        """A request with no ``emit`` of its own gets a whole reply."""
        _check(await provider.complete(_request(model)))

    async def test_the_next_piece_waits_for_the_reader(
        self, provider: ModelProvider, model: str
    ) -> None:
        """``emit`` is awaited: it is never entered twice at a time."""
        inside = most = 0

        async def emit(_delta: Delta) -> None:
            nonlocal inside, most
            inside += 1
            most = max(most, inside)
            await anyio.lowlevel.checkpoint()
            inside -= 1

        await provider.complete(replace(_request(model), emit=emit))

        assert (inside, most) == (0, 1)

    async def test_calls_at_the_same_time_do_not_mix(
        self, provider: ModelProvider, model: str
    ) -> None:
        """Each of two concurrent calls gets its own pieces."""
        readers = [_Reader(), _Reader()]
        replies: list[ModelReply | None] = [None, None]

        async def ask(number: int) -> None:
            replies[number] = await provider.complete(_request(model, readers[number]))

        async with anyio.create_task_group() as calls:
            for number in range(2):
                calls.start_soon(ask, number)

        for reader, reply in zip(readers, replies, strict=True):
            assert reply is not None
            assert "".join(reader.pieces) == reply.message.text

    async def test_a_failing_reader_ends_the_call(
        self, provider: ModelProvider, model: str
    ) -> None:
        """What ``emit`` raises comes out as it is, and the provider goes on."""

        async def emit(_delta: Delta) -> None:
            raise _Stop

        try:
            await provider.complete(replace(_request(model), emit=emit))
        except _Stop:
            pass
        else:
            raise AssertionError("the reader's error was lost")
        _check(await provider.complete(_request(model)))

    async def test_a_cancelled_call_ends(self, provider: ModelProvider, model: str) -> None:
        """A call that is cancelled in the middle ends there, and the provider goes on."""
        pieces: list[Delta] = []

        with anyio.CancelScope() as scope:

            async def emit(delta: Delta) -> None:
                pieces.append(delta)
                scope.cancel()
                await anyio.lowlevel.checkpoint()

            await provider.complete(replace(_request(model), emit=emit))

        assert scope.cancelled_caught
        assert len(pieces) == 1
        _check(await provider.complete(_request(model)))

    async def test_a_stopped_provider_starts_again(
        self, provider: ModelProvider, model: str
    ) -> None:
        """``stop`` may come twice, and ``start`` may follow it."""
        await provider.stop()
        await provider.stop()
        await provider.start()

        _check(await provider.complete(_request(model)))

    async def test_usage_is_the_sum_of_its_parts(
        self, provider: ModelProvider, model: str, abilities: frozenset[Ability]
    ) -> None:
        """What was read includes what a cache had; the cost is not the provider's to say."""
        usage = (await provider.complete(_request(model))).usage

        assert usage.cache_read_tokens + usage.cache_write_tokens <= usage.input_tokens
        assert usage.cost == 0
        if "usage" in abilities:
            assert usage.input_tokens > 0
            assert usage.output_tokens > 0

    async def test_an_answer_can_be_sent_back(self, provider: ModelProvider, model: str) -> None:
        """The model's own message, whole, is part of the next request."""
        request = _request(model)
        reply = await provider.complete(request)
        again = (*request.messages, reply.message, Message.user("Once more."))

        _check(await provider.complete(replace(request, messages=again)))

    async def test_what_others_said_can_be_sent(self, provider: ModelProvider, model: str) -> None:
        """A conversation may begin at one provider and go on at another, whatever it holds."""
        thought = Reasoning(text="Hm.", signature="of another", source="another")
        call = ToolCall(id="functions.get_weather:0", name="get_weather", invalid="no JSON")
        nameless = ToolCall(id="b" * 60, name="", invalid="the call names no tool")
        told = (
            ToolResult(call_id=call.id, name=call.name, content="no JSON", outcome="error"),
            ToolResult(call_id=nameless.id, name="", content="", outcome="error"),
        )
        messages = (
            Message.system("Be brief."),
            QUESTION,
            Message.assistant((thought, Text(text="Let me see."), call, nameless)),
            Message(role="tool", parts=told[:1]),
            Message(role="tool", parts=told[1:]),
            Message.assistant(""),
            Message.assistant((thought,)),
            Message.system("Be very brief."),
            Message.user("Never mind. Count from one to five."),
        )

        _check(await provider.complete(replace(_request(model), messages=messages)))

    async def test_a_tool_is_called_and_told(
        self, provider: ModelProvider, model: str, abilities: frozenset[Ability]
    ) -> None:
        """A call has its tool's name, an id and arguments; its result can be sent back."""
        if "tools" not in abilities:
            return
        reader = _Reader()
        request = replace(_request(model, reader), messages=(QUESTION,), tools=(WEATHER,))
        request = replace(request, max_tokens=200)

        reply = await provider.complete(replace(request, tool_choice="required"))

        calls = reply.message.tool_calls
        assert reply.stop_reason == "tool_calls"
        assert calls
        assert len({call.id for call in calls} - {""}) == len(calls)
        assert [(call.name, call.invalid) for call in calls] == [("get_weather", "")] * len(calls)
        assert all(isinstance(call.arguments.get("city"), str) for call in calls)
        assert "".join(reader.pieces) == reply.message.text
        results = [
            Message(role="tool", parts=(_sunny(call, abilities),))
            for call in reply.message.tool_calls
        ]
        told = (*request.messages, reply.message, *results)
        reply = await provider.complete(replace(request, messages=told))
        assert reply.message.text or reply.message.tool_calls

    async def test_an_output_is_json_of_its_schema(
        self, provider: ModelProvider, model: str, abilities: frozenset[Ability]
    ) -> None:
        """A request with an ``output`` is answered with that JSON and nothing else."""
        if "output" not in abilities:
            return
        question = Message.user("How old is Ada, who was born twenty years ago?")
        request = replace(_request(model), messages=(question,), output=PERSON, max_tokens=200)

        reply = await provider.complete(request)

        answer = msgspec.json.decode(reply.message.text, type=dict[str, int | bool])
        assert {name: type(value) for name, value in answer.items()} == {"age": int, "adult": bool}
        assert reply.stop_reason == "stop"

    async def test_an_image_is_taken(
        self, provider: ModelProvider, model: str, abilities: frozenset[Ability]
    ) -> None:
        """A user's message may hold images beside its text."""
        if "images" not in abilities:
            return
        question = Message.user((Text(text="What is this?"), DOT))

        _check(await provider.complete(replace(_request(model), messages=(question,))))


class _Reader:
    """Reads a streamed answer."""

    def __init__(self) -> None:
        self.pieces: list[str] = []

    async def __call__(self, delta: Delta) -> None:
        assert delta.text or delta.reasoning
        if delta.text:
            self.pieces.append(delta.text)


def _request(model: str, reader: _Reader | None = None) -> ModelRequest:
    question = Message.user("Count from one to five.")
    request = ModelRequest(model=model, messages=(question,), max_tokens=24, temperature=0.0)
    return request if reader is None else replace(request, emit=reader)


def _sunny(call: ToolCall, abilities: frozenset[Ability]) -> ToolResult:
    images = (DOT,) if "images" in abilities else ()
    return ToolResult(call_id=call.id, name=call.name, content="Sunny, 20 °C", images=images)


def _check(reply: ModelReply) -> None:
    assert reply.message.role == "assistant"
    assert reply.message.text
    assert reply.stop_reason in get_args(StopReason)
    assert reply.stop_reason not in {"cancelled", "error"}
    assert reply.usage.input_tokens >= 0
    assert reply.usage.output_tokens >= 0
