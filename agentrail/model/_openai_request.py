"""A model request, as the chat completions API wants it."""

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence

import msgspec
from attrs import frozen

from agentrail.messages import (
    Image,
    Message,
    Part,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
    ToolSpec,
)
from agentrail.requests import ModelRequest

Json = dict[str, object]


@frozen(slots=True, kw_only=True)
class Dialect:
    """Where upstreams of the same API differ."""

    max_tokens: str
    """The body's field for the token limit."""
    reasoning: str | None
    """The field of an assistant's message that takes its reasoning back; None: it stays here."""
    body: Mapping[str, object]
    """Fields that go into every body."""


def request_body(request: ModelRequest, dialect: Dialect) -> bytes:
    """Return the body of the POST that asks for a streamed answer to ``request``."""
    body: Json = {
        "model": request.model,
        "messages": [m for message in request.messages for m in _messages(message, dialect)],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
        if request.tool_choice != "auto":
            body["tool_choice"] = request.tool_choice
    if request.max_tokens is not None:
        body[dialect.max_tokens] = request.max_tokens
    if request.temperature is not None:
        body["temperature"] = request.temperature
    return msgspec.json.encode(body | dict(dialect.body))


def _tool(tool: ToolSpec) -> Json:
    nothing: Json = {"type": "object", "properties": {}}
    parameters = nothing if tool.parameters is msgspec.UNSET else tool.parameters
    return {
        "type": "function",
        "function": {
            "name": tool.name,
            "description": tool.description,
            "parameters": parameters,
        },
    }


def _messages(message: Message, dialect: Dialect) -> Iterator[Json]:
    """Yield what ``message`` is on this wire: one message for each tool result, and the rest."""
    results = [part for part in message.parts if isinstance(part, ToolResult)]
    for result in results:
        yield {"role": "tool", "tool_call_id": result.call_id, "content": result.content}
    if message.role == "assistant":
        yield _assistant(message, dialect)
        return
    rest = [part for part in message.parts if not isinstance(part, ToolResult)]
    if rest or not results:
        # A tool message has room for nothing but text: what else a tool gave, the user shows.
        role = "user" if message.role == "tool" else message.role
        yield {"role": role, "content": _content(rest)}


def _content(parts: Sequence[Part]) -> str | list[Json]:
    if not any(isinstance(part, Image) for part in parts):
        return "".join([part.text for part in parts if isinstance(part, Text)])
    content: list[Json] = []
    for part in parts:
        if isinstance(part, Image):
            url = f"data:{part.mime_type};base64,{b64encode(part.data).decode()}"
            content.append({"type": "image_url", "image_url": {"url": url}})
        elif isinstance(part, Text):
            content.append({"type": "text", "text": part.text})
    return content


def _assistant(message: Message, dialect: Dialect) -> Json:
    calls = [_call(call) for call in message.tool_calls]
    body: Json = {"role": "assistant", "content": message.text or (None if calls else "")}
    if calls:
        body["tool_calls"] = calls
    reasoning = "".join([part.text for part in message.parts if isinstance(part, Reasoning)])
    if dialect.reasoning and reasoning:
        body[dialect.reasoning] = reasoning
    return body


def _call(call: ToolCall) -> Json:
    arguments = msgspec.json.encode(call.arguments).decode()
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": arguments},
    }
