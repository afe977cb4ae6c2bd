"""What the Responses API streams back, put together."""

from typing import Final

import msgspec
from attrs import Factory, define
from msgspec import Raw, Struct

from agentrail.errors import ModelRefused, ModelUnavailable
from agentrail.messages import Message, Part, Reasoning, StopReason, Text, Usage
from agentrail.model._answer import StreamFailure, read_call, unreadable
from agentrail.model._sse import ServerSentEvent
from agentrail.requests import Delta, ModelReply


class _CachedTokens(Struct, gc=False):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _Usage(Struct, gc=False):
    input_tokens: int = 0
    output_tokens: int = 0
    input_tokens_details: _CachedTokens | None = None


class _Incomplete(Struct, gc=False):
    reason: str | None = None


class _Response(Struct, gc=False):
    usage: _Usage | None = None
    incomplete_details: _Incomplete | None = None
    error: object = None


class _Event(Struct, gc=False):
    """One event of the stream; which fields it has follows from its type."""

    type: str = ""
    delta: object = ""
    item: Raw = Raw(b"{}")
    response: _Response | None = None
    error: object = None
    """Not None where the upstream failed in the middle of its answer."""


class _Content(Struct, gc=False):
    text: str | None = None
    refusal: str | None = None


class _Item(Struct, gc=False, tag_field="type"):
    """A finished piece of the answer."""


class _MessageItem(_Item, gc=False, tag="message"):
    content: tuple[_Content, ...] = ()


class _CallItem(_Item, gc=False, tag="function_call"):
    call_id: str = ""
    name: str = ""
    arguments: str = ""


class _ReasoningItem(_Item, gc=False, tag="reasoning"):
    id: str = ""
    summary: tuple[_Content, ...] = ()
    encrypted_content: str | None = None


class _Kind(Struct, gc=False):
    type: str = ""


_decoder: Final = msgspec.json.Decoder(_Event)
_kind_decoder: Final = msgspec.json.Decoder(_Kind)
_item_decoder: Final = msgspec.json.Decoder(_MessageItem | _CallItem | _ReasoningItem)

_REFUSAL: Final = "response.refusal.delta"
_TEXT: Final = frozenset({"response.output_text.delta", _REFUSAL})
_REASONING: Final = frozenset(
    {"response.reasoning_summary_text.delta", "response.reasoning_text.delta"}
)
_ENDS: Final = frozenset({"response.completed", "response.incomplete"})


@define(slots=True)
class ResponsesAnswer:
    """A model's answer while its pieces arrive; see ``Answer``."""

    source: str
    """The provider's name, for the reasoning that it signs."""
    ended: bool = False
    _text: list[str] = Factory(list[str])
    _reasoning: list[str] = Factory(list[str])
    _parts: list[Part] = Factory(list[Part])
    _refused: bool = False
    _calls: bool = False
    _cut_off: str | None = None
    _usage: Usage = Factory(Usage)

    def take(self, event: ServerSentEvent) -> Delta | None:
        """Take an event in and return what a reader sees of it, if anything."""
        data = event.data
        if not data or data == b"[DONE]":
            return None
        try:
            told = _decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise unreadable(data, error) from error
        kind, piece = told.type or event.event, told.delta
        if kind in _TEXT and isinstance(piece, str) and piece:
            self._refused = self._refused or kind == _REFUSAL
            self._text.append(piece)
            return Delta(text=piece)
        if kind in _REASONING and isinstance(piece, str) and piece:
            self._reasoning.append(piece)
            return Delta(reasoning=piece)
        return self._other(kind, told, data)

    def _other(self, kind: str, told: _Event, data: bytes) -> Delta | None:
        if kind == "error" or told.error is not None:
            raise StreamFailure(data)
        if kind == "response.output_item.done":
            return self._finish_item(told.item)
        if kind == "response.reasoning_summary_part.added" and self._reasoning:
            self._reasoning.append("\n\n")
            return Delta(reasoning="\n\n")
        response = told.response
        if kind == "response.failed":
            failure = response.error if response else None
            raise StreamFailure(msgspec.json.encode(failure) if failure else data)
        if kind in _ENDS:
            self.ended = True
            if response and response.usage:
                self._usage = _read_usage(response.usage)
            if kind == "response.incomplete":
                details = response and response.incomplete_details
                self._cut_off = (details and details.reason) or "nothing in particular"
        return None

    def _finish_item(self, data: Raw) -> Delta | None:
        """Take a finished piece in, and return what should have arrived of it before."""
        try:
            if _kind_decoder.decode(data).type not in {"message", "function_call", "reasoning"}:
                return None
            item = _item_decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise unreadable(bytes(data), error) from error
        if isinstance(item, _CallItem):
            self._calls = True
            self._parts.append(read_call(item.call_id, item.name, item.arguments))
            return None
        if isinstance(item, _MessageItem):
            return self._finish_text(
                "".join([c.text or c.refusal or "" for c in item.content]), item
            )
        return self._finish_reasoning(item)

    def _finish_text(self, whole: str, item: _MessageItem) -> Delta | None:
        self._refused = self._refused or any(content.refusal for content in item.content)
        late = None if self._text or not whole else Delta(text=whole)
        text = "".join(self._text) or whole
        self._text.clear()
        if text:
            self._parts.append(Text(text=text))
        return late

    def _finish_reasoning(self, item: _ReasoningItem) -> Delta | None:
        whole = "\n\n".join([part.text or "" for part in item.summary])
        late = None if self._reasoning or not whole else Delta(reasoning=whole)
        text = "".join(self._reasoning) or whole
        self._reasoning.clear()
        if item.encrypted_content:
            signature = f"{item.id} {item.encrypted_content}"
            self._parts.append(Reasoning(text=text, signature=signature, source=self.source))
        elif text:
            self._parts.append(Reasoning(text=text))
        return late

    def reply(self) -> ModelReply:
        """Return the whole reply, once the stream has ended."""
        if not self.ended:
            detail = "the upstream's stream ended in the middle of the answer"
            raise ModelUnavailable(detail)
        if self._cut_off == "content_filter":
            detail = "the upstream's content filter cut the answer off"
            raise ModelRefused(detail)
        # What the upstream did not finish, as when its limit cut it off.
        unfinished: list[Part] = []
        if self._reasoning:
            unfinished.append(Reasoning(text="".join(self._reasoning)))
        if self._text:
            unfinished.append(Text(text="".join(self._text)))
        stop_reason: StopReason = "stop"
        if self._cut_off:
            stop_reason = "length"
        elif self._calls:
            stop_reason = "tool_calls"
        elif self._refused:
            stop_reason = "refused"
        message = Message.assistant((*self._parts, *unfinished))
        return ModelReply(message=message, stop_reason=stop_reason, usage=self._usage)


def _read_usage(usage: _Usage) -> Usage:
    details = usage.input_tokens_details or _CachedTokens()
    return Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=details.cached_tokens or 0,
        cache_write_tokens=details.cache_write_tokens or 0,
    )
