"""A model that says what it is told to, for tests and examples."""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from inspect import isawaitable
from itertools import repeat
from typing import Final, Self

from agentrail.errors import ConfigError, ModelError
from agentrail.ids import new_id
from agentrail.messages import Message, Part, Reasoning, StopReason, Text, ToolCall
from agentrail.requests import Delta, ModelReply, ModelRequest, ignore_delta

Said = str | Sequence[str] | Message | ModelReply | Exception
"""A text, its pieces, a message, a whole reply, or an error to raise."""

Scripted = Said | Callable[[ModelRequest], Said | Awaitable[Said]]
"""What a scripted model says, or a function of the request that returns it."""

PIECE: Final = 16
"""How many characters are emitted at once, unless the script says."""


class ScriptedModel:
    """A model provider that answers with ``replies``, one after another, whatever it is asked.

    Attributes:
        requests: every request it saw, in order.

    Args:
        replies: what it says; see ``Scripted``.
        name: what stands before the colon of its references.
        chunk: how many characters of text are emitted at once.
        record: whether ``requests`` is kept.

    Raises:
        ConfigError: ``replies`` is a single one: what it says would be taken apart.
    """

    def __init__(
        self,
        replies: Iterable[Scripted],
        name: str = "scripted",
        *,
        chunk: int = PIECE,
        record: bool = True,
    ) -> None:
        if isinstance(replies, str | Message | ModelReply | Exception):
            raise ConfigError("ScriptedModel takes a list of replies: write ScriptedModel([...])")
        self.name = name
        self.requests: list[ModelRequest] = []
        self._replies = iter(replies)
        self._chunk = chunk
        self._record = record
        self._count = 0

    @classmethod
    def repeat(
        cls, reply: Scripted, name: str = "scripted", *, chunk: int = PIECE, record: bool = True
    ) -> Self:
        """Return a model that gives the same reply without end."""
        return cls(repeat(reply), name, chunk=chunk, record=record)

    async def start(self) -> None:
        """Do nothing; there is nothing to open."""

    async def stop(self) -> None:
        """Do nothing; there is nothing to close."""

    async def complete(self, request: ModelRequest) -> ModelReply:
        """Answer with the next reply; it does not wait for anything but ``emit``.

        Raises:
            ModelError: no reply is left, or the reply is that error.
        """
        if self._record:
            self.requests.append(request)
        said = await self._next(request)
        if isinstance(said, Exception):
            raise said
        reply = _reply(said)
        if request.emit is not ignore_delta:
            pieces = None if isinstance(said, str | Message | ModelReply) else said
            for delta in _deltas(reply.message, pieces, self._chunk):
                await request.emit(delta)
        return reply

    async def _next(self, request: ModelRequest) -> Said:
        scripted = next(self._replies, None)
        if scripted is None:
            message = (
                f"the scripted model {self.name!r} has no reply left: its script holds "
                f"{self._count}, and it was asked once more"
            )
            raise ModelError(message)
        self._count += 1
        if not callable(scripted):
            return scripted
        said = scripted(request)
        return await said if isawaitable(said) else said


def call_tools(*calls: tuple[str, Mapping[str, object]], text: str = "") -> ModelReply:
    """Return a reply that calls tools, each given by its name and arguments."""
    parts: list[Part] = [Text(text=text)] if text else []
    parts += [ToolCall(id=new_id("call"), name=name, arguments=args) for name, args in calls]
    return ModelReply(message=Message.assistant(tuple(parts)), stop_reason="tool_calls")


def _reply(said: str | Sequence[str] | Message | ModelReply) -> ModelReply:
    if isinstance(said, ModelReply):
        return said
    if isinstance(said, Message):
        stop_reason: StopReason = "tool_calls" if said.tool_calls else "stop"
        return ModelReply(message=said, stop_reason=said.stop_reason or stop_reason)
    text = said if isinstance(said, str) else "".join(said)
    return ModelReply(message=Message.assistant(text))


def _deltas(message: Message, pieces: Sequence[str] | None, size: int) -> Iterator[Delta]:
    if pieces is not None:
        yield from (Delta(text=piece) for piece in pieces)
        return
    for part in message.parts:
        if isinstance(part, Text):
            yield from (Delta(text=piece) for piece in _cut(part.text, size))
        elif isinstance(part, Reasoning):
            yield from (Delta(reasoning=piece) for piece in _cut(part.text, size))


def _cut(text: str, size: int) -> Iterator[str]:
    return (text[start : start + size] for start in range(0, len(text), size))
