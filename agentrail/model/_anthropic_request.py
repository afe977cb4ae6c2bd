"""A model request, as the Messages API wants it."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from msgspec import Struct

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
from agentrail.model._schema import strict
from agentrail.model._wire import (
    Json,
    base64,
    encode,
    in_tags,
    parameters,
    safe_id,
    safe_name,
    without_last_thought,
)
from agentrail.requests import ModelRequest

MAX_TOKENS: Final = 32_000
"""The token limit where the request has none: this API wants one."""

REDACTED: Final = "redacted:"
"""What the signature of reasoning begins with whose text the upstream keeps to itself."""

_CHOICES: Final = {"none": "none", "required": "any"}
_CACHED: Final[Json] = {"type": "ephemeral"}


class _Turn(Struct):
    """All that one side says before the other one does: this API wants them to alternate."""

    role: str
    content: list[Json]


def messages_body(request: ModelRequest, source: str, more: Mapping[str, object]) -> bytes:
    """Return the body of the POST that asks for a streamed answer to ``request``.

    Marked for the upstream's cache are what may be read again: the tools, the system prompt, the
    history up to the last answer, and all of it.

    Args:
        request: what is asked.
        source: the provider that asks: only the reasoning that it signed is sent back.
        more: fields that go into every body.
    """
    system, turns = _conversation(request.messages, source)
    answers = [turn for turn in turns if turn.role == "assistant"]
    for turn in (*answers[-1:], *turns[-1:]):
        _mark(turn)
    body: Json = {
        "model": request.model,
        "max_tokens": MAX_TOKENS if request.max_tokens is None else request.max_tokens,
        "messages": turns,
        "stream": True,
    }
    if system:
        body["system"] = [{"type": "text", "text": system, "cache_control": _CACHED}]
    if request.tools:
        tools = [_tool(tool) for tool in request.tools]
        tools[-1]["cache_control"] = _CACHED
        body["tools"] = tools
        if request.tool_choice != "auto":
            body["tool_choice"] = {"type": _CHOICES[request.tool_choice]}
    if request.output is not None:
        schema = strict(request.output.parameters) or request.output.parameters
        body["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
    if request.temperature is not None:
        body["temperature"] = request.temperature
    return encode(body, more)


def _tool(tool: ToolSpec) -> Json:
    return {
        "name": tool.name,
        "description": tool.description,
        "input_schema": parameters(tool),
    }


def _mark(turn: _Turn) -> None:
    """Let the upstream's cache end after this turn; it takes no mark on reasoning."""
    for block in reversed(turn.content):
        if block["type"] not in {"thinking", "redacted_thinking"}:
            block["cache_control"] = _CACHED
            return


def _conversation(messages: Iterable[Message], source: str) -> tuple[str, list[_Turn]]:
    """Return the system prompt and the turns.

    What the application says later stays where it is, as a turn of the user: in the prompt it
    would change the beginning of what the cache holds and of what signatures vouch for.
    """
    system: list[str] = []
    turns: list[_Turn] = []
    begun = False
    for message in messages:
        begun = begun or message.role != "system"
        if not begun:
            system.append(message.text)
            continue
        role = "assistant" if message.role == "assistant" else "user"
        blocks = list(_blocks(message, source))
        if turns and turns[-1].role == role:
            turns[-1].content += blocks
        elif blocks:
            turns.append(_Turn(role, blocks))
    for turn in turns:
        # Results come before everything else that answers a call.
        turn.content.sort(key=lambda block: block["type"] != "tool_result")
    return "\n\n".join(filter(None, system)), turns


def _blocks(message: Message, source: str) -> Iterator[Json]:
    if message.role == "system":
        yield {"type": "text", "text": in_tags(message.text)}
        return
    for part in without_last_thought(message.parts):
        yield from _block(part, source)


def _block(part: Part, source: str) -> Iterator[Json]:
    if isinstance(part, Text):
        # This API refuses a text of nothing.
        if part.text.strip():
            yield {"type": "text", "text": part.text}
    elif isinstance(part, Image):
        yield _image(part)
    elif isinstance(part, ToolCall):
        yield {
            "type": "tool_use",
            "id": safe_id(part.id),
            "name": safe_name(part.name),
            "input": part.arguments,
        }
    elif isinstance(part, ToolResult):
        yield _result(part)
    elif part.signature and part.source == source:
        yield _thinking(part)


def _image(image: Image) -> Json:
    source = {"type": "base64", "media_type": image.mime_type, "data": base64(image)}
    return {"type": "image", "source": source}


def _result(result: ToolResult) -> Json:
    text = [{"type": "text", "text": result.content}] if result.content.strip() else []
    shown = [_image(image) for image in result.images]
    return {
        "type": "tool_result",
        "tool_use_id": safe_id(result.call_id),
        "content": [*text, *shown] if shown else result.content,
        "is_error": result.outcome != "ok",
    }


def _thinking(part: Reasoning) -> Json:
    if part.signature.startswith(REDACTED):
        return {"type": "redacted_thinking", "data": part.signature.removeprefix(REDACTED)}
    return {"type": "thinking", "thinking": part.text, "signature": part.signature}
