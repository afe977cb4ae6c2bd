"""Redaction: what patterns find does not get to the model, or not back from it and from tools."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final, Literal, get_args

from msgspec.structs import replace

from agentrail.errors import ConfigError
from agentrail.messages import Message, Part, Reasoning, Text, ToolCall, ToolResult
from agentrail.middleware._hide import Hider, hide, hide_values
from agentrail.middleware._patterns import SECRETS, Pattern
from agentrail.middleware._seams import BothSeams, ModelCall, ToolCaller
from agentrail.requests import Delta, ModelReply, ModelRequest, ToolRequest, ignore_delta

Where = Literal["prompt", "answer", "result"]
"""What goes to the model, what it says, what a tool returns."""

EVERYWHERE: Final[tuple[Where, ...]] = get_args(Where)


def redact(
    patterns: Sequence[Pattern] = SECRETS, where: Collection[Where] = EVERYWHERE
) -> BothSeams:
    """Return a middleware that puts ``[name]`` in place of what the patterns find.

    In messages to the model it looks at text, reasoning, the arguments of earlier calls and the
    results of tools; in answers at text and reasoning, as they stream and in the whole reply.  The
    arguments of a call that the model makes now stay, for the tool needs them.  Images are not
    looked at.  A match is found within one text, not across messages.

    Of an answer that streams, what may be the beginning of a match is held back until it is
    decided; reasoning that was held back may come after text.  What is held back of an answer that
    fails is dropped.

    It keeps nothing between calls.

    Args:
        patterns: what to look for.
        where: ``prompt``, ``answer`` and ``result`` (of a tool), or some of them.

    Raises:
        ConfigError: ``where`` names something else.
    """
    if strangers := set(where) - set(EVERYWHERE):
        raise ConfigError(f"redact knows {', '.join(EVERYWHERE)}, not {sorted(strangers)}")
    patterns, where = tuple(patterns), frozenset(where)

    async def model(request: ModelRequest, call_next: ModelCall) -> ModelReply:
        if "prompt" in where:
            messages = tuple([_message(patterns, message) for message in request.messages])
            request = replace(request, messages=messages)
        if "answer" not in where:
            return await call_next(request)
        if request.emit is ignore_delta:
            return _reply(patterns, await call_next(request))
        pieces = _Pieces(patterns, request.emit)
        reply = await call_next(replace(request, emit=pieces.emit))
        await pieces.emit(Delta(), last=True)
        return _reply(patterns, reply)

    async def tool(request: ToolRequest, call_next: ToolCaller) -> ToolResult:
        result = await call_next(request)
        return _result(patterns, result) if "result" in where else result

    return BothSeams(model, tool)


class _Pieces:
    """The pieces of one answer, on their way to its reader."""

    def __init__(
        self, patterns: Sequence[Pattern], emit: Callable[[Delta], Awaitable[None]]
    ) -> None:
        self._emit = emit
        self._text = Hider(patterns)
        self._reasoning = Hider(patterns)

    async def emit(self, delta: Delta, *, last: bool = False) -> None:
        text, reasoning = delta.text, delta.reasoning
        if text or last:
            text = self._text.feed(text, last=last)
        if reasoning or last:
            reasoning = self._reasoning.feed(reasoning, last=last)
        if text or reasoning:
            await self._emit(replace(delta, text=text, reasoning=reasoning))


def _message(patterns: Sequence[Pattern], message: Message) -> Message:
    parts = [_part(patterns, part) for part in message.parts]
    for new, old in zip(parts, message.parts, strict=True):
        if new is not old:
            return replace(message, parts=tuple(parts))
    return message


def _part(patterns: Sequence[Pattern], part: Part) -> Part:
    """Return the part without matches; itself when there are none."""
    if isinstance(part, Text | Reasoning):
        return _said(part, hide(patterns, part.text))
    if isinstance(part, ToolResult):
        return _result(patterns, part)
    if isinstance(part, ToolCall):
        arguments = hide_values(patterns, part.arguments)
        return part if arguments is part.arguments else replace(part, arguments=arguments)
    return part


def _said(part: Text | Reasoning, text: str) -> Text | Reasoning:
    if text is part.text:
        return part
    if isinstance(part, Text):
        return replace(part, text=text)
    # A signature is only good for the text that was signed.
    return replace(part, text=text, signature="", source="")


def _result(patterns: Sequence[Pattern], result: ToolResult) -> ToolResult:
    content = hide(patterns, result.content)
    return result if content is result.content else replace(result, content=content)


def _reply(patterns: Sequence[Pattern], reply: ModelReply) -> ModelReply:
    """Return the reply as it was streamed: what is said in several parts is one text."""
    parts = reply.message.parts
    for kind in (Text, Reasoning):
        parts = _joined(patterns, parts, kind)
    if parts is reply.message.parts:
        return reply
    return replace(reply, message=replace(reply.message, parts=parts))


def _joined(
    patterns: Sequence[Pattern], parts: tuple[Part, ...], kind: type[Text | Reasoning]
) -> tuple[Part, ...]:
    """Return the parts with those of one kind redacted, in the place of the first of them."""
    said = [part for part in parts if isinstance(part, kind)]
    text = "".join([part.text for part in said])
    hidden = hide(patterns, text)
    if hidden is text:
        return parts
    first = _said(said[0], hidden)
    return tuple(
        [first if p is said[0] else p for p in parts if p is said[0] or type(p) is not kind]
    )
