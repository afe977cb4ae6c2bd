"""What is said, in spans: only where the application asked for it, without secrets, and bounded.

Source of the JSON: the schemas of messages in
https://github.com/open-telemetry/semantic-conventions-genai/tree/main/docs/gen-ai
"""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Final, cast

import msgspec
from attrs import define, frozen
from opentelemetry.trace import Span

from agentrail.messages import Image, Message, Part, Reasoning, StopReason, Text, ToolCall
from agentrail.telemetry import names

CAPTURE: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"

TEXT_CHARS: Final = 8_192
"""How much of one text a span has."""

ALL_CHARS: Final = 32_768
"""How much of all texts together an attribute has: the newest messages of so much."""

DEEPEST: Final = 32
"""How deep arguments of calls are looked into."""

LONGEST_INTEGER: Final = 63
"""The bits of an integer up to which it is written as one."""

LEFT_OUT: Final = "agentrail.content.messages_left_out"
CUT: Final = " [cut]"

Hide = Callable[[str, int], str]
"""Returns no more than so many characters of a text, without the secrets in it."""


def captures_content() -> bool:
    """Tell whether the environment wants what is said in spans.

    The variable's values are those of OpenTelemetry's own instrumentations; the older ``true`` is
    taken too.  With any other value, those for events alone among them, nothing is captured.
    """
    return os.environ.get(CAPTURE, "").strip().lower() in {"true", "span_only", "span_and_event"}


@frozen(slots=True)
class Content:
    """Puts what is said into spans that are recorded."""

    hide: Hide

    def asked(self, span: Span, messages: Sequence[Message]) -> None:
        """Tell of the messages that a model is shown."""
        if not span.is_recording():
            return
        spoken = [message.role == "system" for message in messages]
        head = spoken.index(False) if False in spoken else len(spoken)
        room = _Room(self.hide)
        chat = [each for m in reversed(messages[head:]) if room.left and (each := room.message(m))]
        chat.reverse()
        span.set_attribute(names.INPUT_MESSAGES, _json(chat))
        if head:
            room = _Room(self.hide)
            parts = [part for message in messages[:head] for part in message.parts]
            span.set_attribute(names.SYSTEM_INSTRUCTIONS, _json(room.parts(parts)))
        if gone := len(messages) - head - len(chat):
            span.set_attribute(LEFT_OUT, gone)

    def answered(self, span: Span, message: Message, reason: StopReason) -> None:
        """Tell of a model's answer."""
        if span.is_recording():
            said = {**_Room(self.hide).message(message), "finish_reason": reason}
            span.set_attribute(names.OUTPUT_MESSAGES, _json([said]))

    def called(self, span: Span, arguments: Mapping[str, object]) -> None:
        """Tell of a tool's arguments."""
        if span.is_recording():
            span.set_attribute(names.TOOL_ARGUMENTS, _json(_Room(self.hide).value(arguments)))

    def returned(self, span: Span, text: str) -> None:
        """Tell of a tool's result."""
        if span.is_recording():
            span.set_attribute(names.TOOL_RESULT, _Room(self.hide).text(text))


@define(slots=True)
class _Room:
    """Takes texts into an attribute until it is full."""

    hide: Hide
    left: int = ALL_CHARS

    def text(self, text: str) -> str:
        size = min(TEXT_CHARS, self.left)
        # Half of a surrogate pair would keep all spans from being sent that are sent with it.
        said = self.hide(text, size).encode(errors="replace").decode()
        self.left -= len(said)
        return said + CUT if len(text) > size else said

    def message(self, message: Message) -> dict[str, object]:
        return {"role": message.role, "parts": self.parts(message.parts)}

    def parts(self, parts: Sequence[Part]) -> list[dict[str, object]]:
        return [self._part(part) for part in parts if self.left]

    def value(self, value: object, depth: int = 0) -> object:
        """Return a JSON value, whose keys and members count as one character at least."""
        if isinstance(value, Mapping | list | tuple) and depth < DEEPEST:
            return self._many(cast("Mapping[str, object] | Sequence[object]", value), depth + 1)
        if value is None or isinstance(value, bool | float):
            return value
        if isinstance(value, int) and value.bit_length() <= LONGEST_INTEGER:
            return value
        return self.text(f"{value}")

    def _many(self, values: Mapping[str, object] | Sequence[object], depth: int) -> object:
        if isinstance(values, Mapping):
            return {
                self.text(key): self.value(member, depth)
                for key, member in values.items()
                if self._count()
            }
        return [self.value(item, depth) for item in values if self._count()]

    def _count(self) -> int:
        self.left = max(self.left - 1, 0)
        return self.left

    def _part(self, part: Part) -> dict[str, object]:
        self._count()
        if isinstance(part, Text):
            return {"type": "text", "content": self.text(part.text)}
        if isinstance(part, Reasoning):
            return {"type": "reasoning", "content": self.text(part.text)}
        if isinstance(part, Image):
            kind = self.text(part.mime_type)
            return {"type": "file", "modality": "image", "mime_type": kind, "file_id": part.sha256}
        if isinstance(part, ToolCall):
            asked = {"type": "tool_call", "id": self.text(part.id), "name": self.text(part.name)}
            return {**asked, "arguments": self.value(part.arguments)}
        call_id = self.text(part.call_id)
        return {"type": "tool_call_response", "id": call_id, "response": self.text(part.content)}


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
