"""What is said: messages, their parts, attachments and token usage.

All of these are immutable, and JSON in camelCase on the wire and in the session log.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Literal, Self, cast, dataclass_transform

from msgspec import UNSET, Struct, UnsetType, field, json

Role = Literal["system", "user", "assistant", "tool"]
"""Who speaks: the application, the user, the model, or a tool on the model's behalf."""

ToolOutcome = Literal["ok", "error", "denied", "cancelled", "timeout"]
"""How a tool call ended; every call ends in exactly one of these."""

StopReason = Literal[
    "stop",
    "length",
    "tool_calls",
    "step_limit",
    "token_limit",
    "cost_limit",
    "refused",
    "cancelled",
    "error",
]
"""Why a message ended: the model was done, hit its token limit, wants tools, used up the turn's
steps, tokens or money, was filtered, was cancelled, or failed."""

IMAGE_TOKENS = 1500
"""What an image is counted as when tokens are estimated."""


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class Wire(Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """The base of everything that crosses a wire or a disk.

    ``gc=False``: it holds what JSON can hold, which has no cycles, so the collector need not look
    at the many that a busy host keeps.
    """


class Text(Wire, tag_field="type", tag="text"):
    """Plain text."""

    text: str


class Image(Wire, tag_field="type", tag="image"):
    """An image; ``data`` is base64 in JSON."""

    mime_type: str
    data: bytes
    sha256: str = ""
    """Instead of ``data``: the hash of an attachment of the session that is the image."""


class Reasoning(Wire, tag_field="type", tag="reasoning"):
    """What a model thought before it answered; kept so that it can be sent back."""

    text: str
    signature: str = ""
    """The provider's proof that the text is its own, where it gives one."""
    source: str = ""
    """The provider that signed it; no other one is shown the signature."""


class ToolCall(Wire, tag_field="type", tag="tool_call"):
    """The model's wish to call a tool."""

    id: str
    name: str
    arguments: Mapping[str, object] = field(default_factory=dict[str, object])
    invalid: str = ""
    """Why the arguments could not be read, when they could not; such a call is never executed."""


class ToolResult(Wire, tag_field="type", tag="tool_result"):
    """What a tool call came to."""

    call_id: str
    name: str
    content: str
    """The text that the model is told."""
    outcome: ToolOutcome = "ok"
    images: tuple[Image, ...] = ()
    """What the model is shown besides."""


Part = Text | Image | Reasoning | ToolCall | ToolResult
"""One piece of a message."""


class Message(Wire):
    """One message of a conversation."""

    role: Role
    parts: tuple[Part, ...]
    id: str = ""
    stop_reason: StopReason | None = None
    """Why an assistant's message ended; None for everybody else's."""
    files: tuple[str, ...] = ()
    """The names of the attachments that came with a user's message."""

    @classmethod
    def user(cls, content: "str | tuple[Part, ...]") -> Self:
        """Return a message of the user."""
        return cls(role="user", parts=_parts(content))

    @classmethod
    def system(cls, text: str) -> Self:
        """Return a message of the application."""
        return cls(role="system", parts=(Text(text=text),))

    @classmethod
    def assistant(cls, content: "str | tuple[Part, ...]") -> Self:
        """Return a message of the model."""
        return cls(role="assistant", parts=_parts(content))

    @property
    def text(self) -> str:
        """The text parts, joined."""
        return "".join([part.text for part in self.parts if isinstance(part, Text)])

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tool calls, in the model's order."""
        return tuple([part for part in self.parts if isinstance(part, ToolCall)])


def told_files(message: Message) -> str:
    """Return the names of the files that came with a message, in words; empty when none did."""
    return f"[files: {', '.join(message.files)}]" if message.files else ""


def _parts(content: str | tuple[Part, ...]) -> tuple[Part, ...]:
    return (Text(text=content),) if isinstance(content, str) else tuple(content)


class Attachment(Wire):
    """A file that came with a message; ``data`` is base64 in JSON."""

    filename: str
    mime_type: str
    """What the sender says; from the host on, what the content says."""
    data: bytes


class AttachedFile(Wire, omit_defaults=False):
    """An attachment that is kept, without its content."""

    sha256: str
    """The hash of its content, in hex; it is fetched by it."""
    filename: str
    mime_type: str
    """What its content says."""
    size: int
    """In bytes."""


class Usage(Wire, omit_defaults=False):
    """Tokens that model calls used, and what they cost."""

    input_tokens: int = 0
    """All that was read, what came from a cache and went to one included."""
    output_tokens: int = 0
    """All that was written, reasoning included."""
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cost: float = 0.0
    """In the currency of the profile's ``Prices``; 0 where a profile has none."""

    def __add__(self, other: "Usage") -> "Usage":
        """Return the sum, field by field."""
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cache_read_tokens=self.cache_read_tokens + other.cache_read_tokens,
            cache_write_tokens=self.cache_write_tokens + other.cache_write_tokens,
            cost=self.cost + other.cost,
        )


NO_USAGE: Final = Usage()
"""What a turn that asked no model has used."""


class OutputSpec(Wire):
    """The JSON that a model's answer must be."""

    name: str
    parameters: Mapping[str, object]
    """A JSON Schema of type object."""


class ToolSpec(Wire):
    """What a model is told about a tool."""

    name: str
    description: str
    parameters: Mapping[str, object] | UnsetType = UNSET
    """A JSON Schema of type object."""


_WORDS: Final = (Text, Reasoning)


def estimate_tokens(message: Message) -> int:
    """Return about how many tokens a message takes: four UTF-8 bytes a token, and four on top.

    It counts tool arguments and results too, so a window filled by it does not overflow because
    of them.
    """
    size = 0
    tokens = 4
    for part in message.parts:
        if isinstance(part, _WORDS):
            size += len(part.text.encode(errors="surrogatepass"))
        elif isinstance(part, Image):
            tokens += IMAGE_TOKENS
        elif isinstance(part, ToolCall):
            size += len(part.name) + len(str(part.arguments).encode(errors="surrogatepass"))
        else:
            size += len(part.content.encode(errors="surrogatepass"))
            tokens += IMAGE_TOKENS * len(part.images)
    return tokens + (size + 3) // 4


def estimate_spec_tokens(specs: Sequence[ToolSpec]) -> int:
    """Return about how many tokens the descriptions of tools take."""
    return sum((len(json.encode(spec)) + 3) // 4 for spec in specs)


def as_messages(value: object) -> tuple[Message, ...] | None:
    """Return ``value`` as a tuple of messages; None when it is something else."""
    if not isinstance(value, list | tuple):
        return None
    messages: list[Message] = []
    for item in cast("Sequence[object]", value):
        if not isinstance(item, Message):
            return None
        messages.append(item)
    return tuple(messages)
