"""What the Messages API streams back, put together."""

from typing import Final

import msgspec
from attrs import Factory, define
from msgspec import Raw, Struct

from agentrail.errors import ModelProtocolError, ModelRefused, ModelUnavailable
from agentrail.messages import Message, Part, Reasoning, StopReason, Text, Usage
from agentrail.model._answer import StreamFailure, read_call, unreadable
from agentrail.model._anthropic_request import REDACTED
from agentrail.model._sse import ServerSentEvent
from agentrail.requests import Delta, ModelReply

_STOP_REASONS: Final[dict[str, StopReason]] = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
}


class _Usage(Struct, gc=False):
    """Counts so far; a later event leaves out what it does not change."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None


class _Message(Struct, gc=False):
    usage: _Usage | None = None


class _Refusal(Struct, gc=False):
    explanation: str | None = None


class _Delta(Struct, gc=False):
    """A piece of a block or, at the end, of the message."""

    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None
    stop_details: _Refusal | None = None


class _BlockStart(Struct, gc=False):
    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str = ""
    id: str = ""
    name: str = ""
    input: Raw = Raw(b"{}")


class _Event(Struct, gc=False):
    """One event of the stream; which fields it has follows from its type."""

    type: str = ""
    index: int = 0
    delta: _Delta | None = None
    content_block: _BlockStart | None = None
    message: _Message | None = None
    usage: _Usage | None = None
    error: object = None


_decoder: Final = msgspec.json.Decoder(_Event)


@define(slots=True)
class _Block:
    """A block while its pieces arrive."""

    start: _BlockStart
    pieces: list[str] = Factory(list[str])
    signature: str = ""


@define(slots=True)
class MessagesAnswer:
    """A model's answer while its pieces arrive; see ``Answer``."""

    source: str
    """The provider's name, for the reasoning that it signs."""
    ended: bool = False
    _blocks: dict[int, _Block] = Factory(dict[int, _Block])
    _stop: str = ""
    _refusal: str = ""
    _usage: _Usage = Factory(_Usage)

    def take(self, event: ServerSentEvent) -> Delta | None:
        """Take an event in and return what a reader sees of it, if anything."""
        data = event.data
        if not data:
            return None
        try:
            told = _decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise unreadable(data, error) from error
        if told.type == "content_block_delta" and told.delta is not None:
            return self._add(told.index, told.delta)
        if told.type == "error" or told.error is not None or event.event == "error":
            raise StreamFailure(data)
        if told.type == "content_block_start" and told.content_block is not None:
            return self._begin(told.index, told.content_block)
        self._note(told)
        return None

    def _begin(self, index: int, start: _BlockStart) -> Delta | None:
        block = self._blocks[index] = _Block(start, signature=start.signature or "")
        text, thought = start.text or "", start.thinking or ""
        if text or thought:
            block.pieces.append(text or thought)
            return Delta(text=text, reasoning=thought)
        return None

    def _add(self, index: int, delta: _Delta) -> Delta | None:
        block = self._blocks.get(index)
        if block is None:
            message = f"the upstream sent a piece of block {index}, which it did not begin"
            raise ModelProtocolError(message)
        text, thought = delta.text or "", delta.thinking or ""
        if text or thought:
            block.pieces.append(text or thought)
            return Delta(text=text, reasoning=thought)
        if delta.partial_json:
            block.pieces.append(delta.partial_json)
        block.signature += delta.signature or ""
        return None

    def _note(self, told: _Event) -> None:
        """Take in what concerns the whole message."""
        if told.type == "message_start" and told.message and told.message.usage:
            self._usage = told.message.usage
        elif told.type == "message_delta":
            delta = told.delta or _Delta()
            self._stop = delta.stop_reason or self._stop
            if delta.stop_details is not None:
                self._refusal = delta.stop_details.explanation or ""
            if told.usage is not None:
                for name in told.usage.__struct_fields__:
                    if (count := getattr(told.usage, name)) is not None:
                        setattr(self._usage, name, count)
        elif told.type == "message_stop":
            self.ended = True

    def reply(self) -> ModelReply:
        """Return the whole reply, once the stream has ended."""
        if not self.ended:
            detail = "the upstream's stream ended in the middle of the answer"
            raise ModelUnavailable(detail)
        if self._stop == "refusal":
            why = self._refusal or "it does not say why"
            detail = f"the upstream's filter refused to answer: {why}"
            raise ModelRefused(detail)
        parts = [part for block in self._blocks.values() if (part := self._part(block))]
        message = Message.assistant(tuple(parts))
        stop_reason = _STOP_REASONS.get(self._stop, "stop")
        if stop_reason == "stop" and message.tool_calls:
            stop_reason = "tool_calls"
        return ModelReply(message=message, stop_reason=stop_reason, usage=_read_usage(self._usage))

    def _part(self, block: _Block) -> Part | None:
        start, whole = block.start, "".join(block.pieces)
        if start.type == "tool_use":
            return read_call(start.id, start.name, whole or bytes(start.input).decode())
        if start.type == "redacted_thinking":
            return Reasoning(text="", signature=REDACTED + start.data, source=self.source)
        if start.type == "thinking":
            source = self.source if block.signature else ""
            return Reasoning(text=whole, signature=block.signature, source=source)
        return Text(text=whole) if start.type == "text" and whole else None


def _read_usage(usage: _Usage) -> Usage:
    read, written = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
    return Usage(
        input_tokens=(usage.input_tokens or 0) + read + written,
        output_tokens=usage.output_tokens or 0,
        cache_read_tokens=read,
        cache_write_tokens=written,
    )
