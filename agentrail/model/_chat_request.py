"""A model request, as the chat completions API wants it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import cast

import msgspec
from attrs import field, frozen

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
)
from agentrail.model._schema import BOUNDS, strict
from agentrail.model._wire import Json, data_url, encode, in_tags, parameters, safe_name, short_id
from agentrail.requests import ModelRequest


@frozen(slots=True, kw_only=True)
class Dialect:
    """Where upstreams of the same API differ."""

    max_tokens: str = "max_tokens"
    """The body's field for the token limit."""
    reasoning: str | None = None
    """The field of an assistant's message that takes its reasoning back; None: it stays here."""
    system_first: bool = False
    """Whether only the first message may be a system one, and user and assistant alternate."""
    body: Mapping[str, object] = field(factory=dict[str, object])
    """Fields that go into every body."""


def chat_body(request: ModelRequest, dialect: Dialect) -> bytes:
    """Return the body of the POST that asks for a streamed answer to ``request``."""
    messages = list(_messages(request.messages, dialect))
    body: Json = {
        "model": request.model,
        "messages": _alternating(messages) if dialect.system_first else messages,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
        if request.tool_choice != "auto":
            body["tool_choice"] = request.tool_choice
    if request.output is not None:
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": named_schema(request.output),
        }
    if request.max_tokens is not None:
        body[dialect.max_tokens] = request.max_tokens
    if request.temperature is not None:
        body["temperature"] = request.temperature
    return encode(body, dialect.body)


def named_schema(output: OutputSpec) -> Json:
    """Return what OpenAI's APIs are told of an output: its name, schema, and if it is enforced."""
    schema = strict(output.parameters, BOUNDS)
    return {
        "name": safe_name(output.name),
        "schema": output.parameters if schema is None else schema,
        "strict": schema is not None,
    }


def _tool(tool: ToolSpec) -> Json:
    return {
        "type": "function",
        "function": {
            "name": tool.name,
            "description": tool.description,
            "parameters": parameters(tool),
        },
    }


def _messages(messages: Iterable[Message], dialect: Dialect) -> Iterator[Json]:
    """Yield the messages of this wire: one for each tool result, and what tools showed after them.

    A tool message has room for nothing but text.  What else tools gave, the user shows, once the
    results are all there: nothing may come between them.
    """
    shown: list[Part] = []
    for message in messages:
        if shown and message.role != "tool":
            yield {"role": "user", "content": _content(shown)}
            shown = []
        if message.role == "assistant":
            yield _assistant(message, dialect)
            continue
        results = [part for part in message.parts if isinstance(part, ToolResult)]
        rest = [part for part in message.parts if not isinstance(part, ToolResult)]
        for result in results:
            yield {
                "role": "tool",
                "tool_call_id": short_id(result.call_id),
                "content": result.content,
            }
            shown += _shown(result)
        if message.role == "tool":
            shown += rest
        elif rest or not results:
            yield {"role": message.role, "content": _content(rest)}
    if shown:
        yield {"role": "user", "content": _content(shown)}


def _alternating(messages: Iterable[Json]) -> list[Json]:
    """Return the messages with one system message, the first, and no two of the user in a row."""
    turns: list[Json] = []
    for message in messages:
        role, content = message["role"], message["content"]
        if role == "system" and turns and turns[-1]["role"] != "system":
            role, content = "user", in_tags(str(content))
        if turns and role == turns[-1]["role"] and role in {"system", "user"}:
            turns[-1]["content"] = _joined(turns[-1]["content"], content)
        else:
            turns.append({**message, "role": role, "content": content})
    return turns


def _joined(first: object, then: object) -> str | list[object]:
    if isinstance(first, str) and isinstance(then, str):
        return f"{first}\n\n{then}"
    parts = [[{"type": "text", "text": c}] if isinstance(c, str) else c for c in (first, then)]
    return [part for each in parts for part in cast("list[object]", each)]


def _shown(result: ToolResult) -> list[Part]:
    if not result.images:
        return []
    return [Text(text=f"Shown by {result.name}, call {result.call_id}:"), *result.images]


def _content(parts: Sequence[Part]) -> str | list[Json]:
    if not any(isinstance(part, Image) for part in parts):
        return "".join([part.text for part in parts if isinstance(part, Text)])
    content: list[Json] = []
    for part in parts:
        if isinstance(part, Image):
            content.append({"type": "image_url", "image_url": {"url": data_url(part)}})
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
        "id": short_id(call.id),
        "type": "function",
        "function": {"name": safe_name(call.name), "arguments": arguments},
    }
