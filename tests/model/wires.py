"""The three wire formats, each spoken by the scripted upstream."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager

from anyio.abc import SocketStream
from attrs import frozen

from agentrail.model import ModelProvider
from agentrail.model.anthropic import Anthropic
from agentrail.model.openai import OpenAICompatible, OpenAIResponses
from tests.model import upstream as wire
from tests.model.upstream import Answer, Json, Upstream

KEY = "sk-secret-of-the-test"


Event = tuple[str, Json | str]
"""An event's name, which may be none, and its data."""

Events = Sequence[Event]


def typed(kind: str, **fields: object) -> Event:
    """An event that says its type twice, as two of the formats do."""
    return kind, {"type": kind, **fields}


@frozen
class Format:
    """How one API is spoken."""

    name: str
    make: Callable[..., ModelProvider]
    path: str
    """What follows the upstream's base URL in a request."""
    root: str
    """What the provider's own base URL ends in."""
    text: Callable[[Sequence[str]], Events]
    """A text in these pieces, without the end of the answer."""
    call: Callable[[str, Sequence[str]], Events]
    """A call of the tool of this name, its arguments in these pieces."""
    end: Events
    """The end of a text."""
    called: Events
    """The end of a call."""
    failed: Json
    """What an event says in the middle of a stream when the upstream is overloaded."""

    def provider(self, upstream: Upstream, **fields: object) -> ModelProvider:
        """A provider that asks the upstream."""
        base_url = upstream.base_url.removesuffix("/v1") + self.root
        return self.make(base_url=base_url, api_key=KEY, **{"name": "test", **fields})

    def says(self, *words: str) -> Answer:
        """Answer with these pieces of text and a proper end."""
        return sends(*self.text(words), *self.end)

    def calls(self, name: str, *arguments: str) -> Answer:
        """Answer with the call of a tool and a proper end."""
        return sends(*self.call(name, arguments), *self.called)

    async def converses(self, upstream: Upstream, stream: SocketStream) -> None:
        """Answer as a model would: with JSON, a tool's call, or three words."""
        body = upstream.requests[-1].body
        if any(field in body for field in ("response_format", "output_config", "text")):
            answer = self.says('{"age": 20,', ' "adult": true}')
        elif body.get("tool_choice") in ("required", {"type": "any"}):
            answer = self.calls("get_weather", '{"ci', 'ty": "Paris"}')
        else:
            answer = self.says("one", " two", " three")
        await answer(upstream, stream)


def frames(events: Events) -> list[bytes]:
    """Events as they are written."""
    return [
        (f"event: {name}\n".encode() if name else b"") + wire.event(data) for name, data in events
    ]


def sends(*events: Event | bytes, end: bytes = wire.END) -> Answer:
    """Answer with these events, each in a write of its own; with another ``end``, break off."""

    async def answer(_upstream: Upstream, stream: SocketStream) -> None:
        await stream.send(wire.HEAD)
        for event in events:
            written = event if isinstance(event, bytes) else frames([event])[0]
            await stream.send(wire.frame(written))
        if end:
            await stream.send(end)
        else:
            await stream.aclose()

    return answer


@asynccontextmanager
async def asking(
    spoken: Format, *answers: Answer, **fields: object
) -> AsyncGenerator[tuple[ModelProvider, Upstream]]:
    """Serve ``answers``, and start a provider that asks for them."""
    async with wire.running(*answers) as upstream:
        provider = spoken.provider(upstream, **fields)
        await provider.start()
        try:
            yield provider, upstream
        finally:
            await provider.stop()


# --- chat completions -------------------------------------------------------------------------


def _chat_text(words: Sequence[str]) -> Events:
    return [("", wire.piece(content=word)) for word in words]


def _chat_call(name: str, arguments: Sequence[str]) -> Events:
    first: Json = {"index": 0, "id": "call-1", "function": {"name": name, "arguments": ""}}
    rest: list[Json] = [{"index": 0, "function": {"arguments": piece}} for piece in arguments]
    return [("", wire.piece(tool_calls=[call])) for call in (first, *rest)]


def _chat_end(reason: str) -> Events:
    return [("", wire.piece(reason)), ("", wire.usage(11, 3, 7)), ("", "[DONE]")]


CHAT = Format(
    "chat",
    OpenAICompatible,
    "/v1/chat/completions",
    "/v1",
    _chat_text,
    _chat_call,
    _chat_end("stop"),
    _chat_end("tool_calls"),
    {"error": {"message": "too busy", "type": "server_error"}},
)

# --- responses --------------------------------------------------------------------------------


def item(**fields: object) -> Event:
    """A finished piece of a response."""
    return typed("response.output_item.done", item=fields)


def completed(kind: str = "completed", **fields: object) -> Event:
    """The end of a response."""
    usage = {
        "input_tokens": 11,
        "input_tokens_details": {"cached_tokens": 7, "cache_write_tokens": 2},
        "output_tokens": 3,
        "output_tokens_details": {"reasoning_tokens": 1},
    }
    response = {"id": "resp-1", "status": kind, "usage": usage, **fields}
    return typed(f"response.{kind}", response=response)


def _responses_text(words: Sequence[str]) -> Events:
    return [
        typed("response.created", response={"id": "resp-1"}),
        typed("response.output_item.added", item={"type": "message", "content": []}),
        *[typed("response.output_text.delta", delta=word) for word in words],
    ]


def _responses_call(name: str, arguments: Sequence[str]) -> Events:
    call: Json = {"type": "function_call", "id": "fc-1", "call_id": "call-1", "name": name}
    return [
        typed("response.output_item.added", item={**call, "arguments": ""}),
        *[typed("response.function_call_arguments.delta", delta=piece) for piece in arguments],
        item(**call, arguments="".join(arguments)),
    ]


RESPONSES = Format(
    "responses",
    OpenAIResponses,
    "/v1/responses",
    "/v1",
    _responses_text,
    _responses_call,
    [completed()],
    [completed()],
    {"type": "error", "code": "server_error", "message": "too busy", "param": None},
)

# --- messages ---------------------------------------------------------------------------------


def begin(index: int, **block: object) -> Event:
    """The beginning of a block."""
    return typed("content_block_start", index=index, content_block=block)


def more(index: int, kind: str, **delta: object) -> Event:
    """A piece of a block."""
    return typed("content_block_delta", index=index, delta={"type": kind, **delta})


def over(index: int) -> Event:
    """The end of a block."""
    return typed("content_block_stop", index=index)


START = typed(
    "message_start",
    message={
        "role": "assistant",
        "content": [],
        "usage": {
            "input_tokens": 2,
            "cache_read_input_tokens": 7,
            "cache_creation_input_tokens": 2,
            "output_tokens": 1,
        },
    },
)


def stopped(reason: str, **fields: object) -> Events:
    """The end of a message."""
    delta: Json = {"stop_reason": reason, "stop_sequence": None, **fields}
    usage = {"output_tokens": 3}
    return [typed("message_delta", delta=delta, usage=usage), typed("message_stop")]


def _messages_text(words: Sequence[str]) -> Events:
    pieces = [more(0, "text_delta", text=word) for word in words]
    return [START, begin(0, type="text", text=""), typed("ping"), *pieces]


def _messages_call(name: str, arguments: Sequence[str]) -> Events:
    pieces = [more(0, "input_json_delta", partial_json=piece) for piece in arguments]
    return [START, begin(0, type="tool_use", id="toolu-1", name=name, input={}), *pieces, over(0)]


MESSAGES = Format(
    "messages",
    Anthropic,
    "/v1/messages",
    "",
    _messages_text,
    _messages_call,
    stopped("end_turn"),
    stopped("tool_use"),
    {"type": "error", "error": {"type": "overloaded_error", "message": "too busy"}},
)

FORMATS = (CHAT, RESPONSES, MESSAGES)
