"""What the chat completions API streams back, put together."""

from typing import Final

import msgspec
from attrs import Factory, define
from msgspec import Struct

from agentrail.errors import ModelRefused, ModelUnavailable
from agentrail.messages import Message, Part, Reasoning, StopReason, Text, Usage
from agentrail.model._answer import StreamFailure, read_call, unreadable
from agentrail.model._sse import ServerSentEvent
from agentrail.requests import Delta, ModelReply

_STOP_REASONS: Final[dict[str, StopReason]] = {
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
}


class _Function(Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _CallDelta(Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Delta(Struct, gc=False):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[_CallDelta] | None = None


class _Choice(Struct, gc=False):
    index: int = 0
    delta: _Delta | None = None
    finish_reason: str | None = None


class _PromptDetails(Struct, gc=False):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _Usage(Struct, gc=False):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _PromptDetails | None = None


class _Chunk(Struct, gc=False):
    """One event of the stream."""

    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: object = None
    """Not None where the upstream failed in the middle of its answer."""


_decoder: Final = msgspec.json.Decoder(_Chunk)


@define(slots=True)
class _Call:
    """A tool call while its pieces arrive."""

    id: str = ""
    name: str = ""
    arguments: list[str] = Factory(list[str])


@define(slots=True)
class ChatAnswer:
    """A model's answer while its pieces arrive; see ``Answer``."""

    ended: bool = False
    _text: list[str] = Factory(list[str])
    _reasoning: list[str] = Factory(list[str])
    _calls: list[_Call] = Factory(list[_Call])
    _call_at: dict[int, _Call] = Factory(dict[int, _Call])
    _refused: bool = False
    _finish: str | None = None
    _usage: Usage = Factory(Usage)

    def take(self, event: ServerSentEvent) -> Delta | None:
        """Take an event in and return what a reader sees of it, if anything."""
        data = event.data
        if data == b"[DONE]":
            self.ended = True
            return None
        if not data:
            return None
        if event.event == "error":
            raise StreamFailure(data)
        try:
            chunk = _decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise unreadable(data, error) from error
        if chunk.error is not None:
            raise StreamFailure(data)
        return self._add(chunk)

    def _add(self, chunk: _Chunk) -> Delta | None:
        if chunk.usage is not None:
            self._usage = _read_usage(chunk.usage)
        if not chunk.choices or chunk.choices[0].index:
            return None
        choice = chunk.choices[0]
        # Some upstreams write an empty reason until there is one.
        if choice.finish_reason:
            self._finish = choice.finish_reason
        delta = choice.delta
        if delta is None:
            return None
        for call in delta.tool_calls or ():
            self._add_call(call)
        if delta.refusal:
            self._refused = True
        text = delta.content or delta.refusal or ""
        reasoning = delta.reasoning_content or delta.reasoning or ""
        if text:
            self._text.append(text)
        if reasoning:
            self._reasoning.append(reasoning)
        return Delta(text=text, reasoning=reasoning) if text or reasoning else None

    def _add_call(self, delta: _CallDelta) -> None:
        name = (delta.function and delta.function.name) or ""
        call = self._find_call(delta, name)
        if call is None:
            call = _Call()
            self._calls.append(call)
            if delta.index is not None:
                self._call_at[delta.index] = call
        call.id = call.id or delta.id or ""
        call.name = call.name or name
        if delta.function and delta.function.arguments:
            call.arguments.append(delta.function.arguments)

    def _find_call(self, delta: _CallDelta, name: str) -> _Call | None:
        """Return the call that a piece goes on with; None when it begins one."""
        if delta.index is not None:
            call = self._call_at.get(delta.index)
        else:
            call = self._calls[-1] if self._calls else None
        # Some upstreams give every call the index 0, or none: a name with another id, or with no
        # id to go by, is another call.
        begins = bool(name) and (delta.id != call.id if call and delta.id else delta.index is None)
        return None if begins else call

    def reply(self) -> ModelReply:
        """Return the whole reply, once the stream has ended."""
        # Some upstreams do not say that they are done; the finish reason decides.
        if self._finish is None:
            detail = "the upstream's stream ended in the middle of the answer"
            raise ModelUnavailable(detail)
        if self._finish == "content_filter":
            detail = "the upstream's content filter cut the answer off"
            raise ModelRefused(detail)
        stop_reason = _STOP_REASONS.get(self._finish, "stop")
        if stop_reason == "stop" and (self._calls or self._refused):
            stop_reason = "tool_calls" if self._calls else "refused"
        parts: list[Part] = []
        if self._reasoning:
            parts.append(Reasoning(text="".join(self._reasoning)))
        if self._text:
            parts.append(Text(text="".join(self._text)))
        parts.extend([read_call(c.id, c.name, "".join(c.arguments)) for c in self._calls])
        message = Message.assistant(tuple(parts))
        return ModelReply(message=message, stop_reason=stop_reason, usage=self._usage)


def _read_usage(usage: _Usage) -> Usage:
    details = usage.prompt_tokens_details or _PromptDetails()
    return Usage(
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
        cache_read_tokens=details.cached_tokens or 0,
        cache_write_tokens=details.cache_write_tokens or 0,
    )
