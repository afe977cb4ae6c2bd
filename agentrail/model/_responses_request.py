"""A model request, as the Responses API wants it."""

from collections.abc import Iterator, Mapping

import msgspec

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
from agentrail.model._chat_request import named_schema
from agentrail.model._wire import (
    Json,
    data_url,
    encode,
    parameters,
    safe_name,
    short_id,
    without_last_thought,
)
from agentrail.requests import ModelRequest


def responses_body(request: ModelRequest, source: str, more: Mapping[str, object]) -> bytes:
    """Return the body of the POST that asks for a streamed answer to ``request``.

    Args:
        request: what is asked.
        source: the provider that asks: only the reasoning that it signed is sent back.
        more: fields that go into every body.
    """
    body: Json = {
        "model": request.model,
        "input": [item for message in request.messages for item in _items(message, source)],
        "stream": True,
        # Nothing is kept upstream, so what the model thought has to come back with its answer.
        "store": False,
        "include": ["reasoning.encrypted_content"],
    }
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
        if request.tool_choice != "auto":
            body["tool_choice"] = request.tool_choice
    if request.output is not None:
        body["text"] = {"format": {"type": "json_schema", **named_schema(request.output)}}
    if request.max_tokens is not None:
        body["max_output_tokens"] = request.max_tokens
    if request.temperature is not None:
        body["temperature"] = request.temperature
    return encode(body, more)


def _tool(tool: ToolSpec) -> Json:
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": parameters(tool),
        # Left out, the schema would be rewritten.
        "strict": False,
    }


def _items(message: Message, source: str) -> Iterator[Json]:
    """Yield the items that ``message`` is on this wire, in the order of its parts."""
    if message.role == "assistant":
        yield from _assistant(message, source)
        return
    rest: list[Part] = []
    for part in message.parts:
        if isinstance(part, ToolResult):
            yield {
                "type": "function_call_output",
                "call_id": short_id(part.call_id),
                "output": _output(part),
            }
        else:
            rest.append(part)
    if rest:
        role = "user" if message.role == "tool" else message.role
        content = [item for part in rest for item in _content(part)]
        yield {"type": "message", "role": role, "content": content}


def _assistant(message: Message, source: str) -> Iterator[Json]:
    for part in without_last_thought(message.parts):
        if isinstance(part, Text) and part.text:
            content = [{"type": "output_text", "text": part.text}]
            yield {"type": "message", "role": "assistant", "content": content}
        elif isinstance(part, Reasoning) and part.signature and part.source == source:
            yield _reasoning(part)
        elif isinstance(part, ToolCall):
            yield {
                "type": "function_call",
                "call_id": short_id(part.id),
                "name": safe_name(part.name),
                "arguments": msgspec.json.encode(part.arguments).decode(),
            }


def _reasoning(part: Reasoning) -> Json:
    item_id, _, encrypted = part.signature.partition(" ")
    summary = [{"type": "summary_text", "text": part.text}] if part.text else []
    return {
        "type": "reasoning",
        "id": item_id,
        "summary": summary,
        "encrypted_content": encrypted,
    }


def _output(result: ToolResult) -> str | list[Json]:
    if not result.images:
        return result.content
    parts: list[Part] = [Text(text=result.content)] if result.content else []
    parts += result.images
    return [item for part in parts for item in _content(part)]


def _content(part: Part) -> Iterator[Json]:
    if isinstance(part, Text):
        yield {"type": "input_text", "text": part.text}
    elif isinstance(part, Image):
        yield {"type": "input_image", "detail": "auto", "image_url": data_url(part)}
