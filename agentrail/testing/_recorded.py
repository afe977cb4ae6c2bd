"""A model whose answers were recorded once, from a real one."""

import os
from difflib import SequenceMatcher, unified_diff
from pathlib import Path
from typing import Final, Literal

import anyio
import anyio.lowlevel
import msgspec
from msgspec import Struct
from msgspec.structs import replace

from agentrail.errors import ConfigError, ModelError
from agentrail.messages import Message, OutputSpec, StopReason, ToolSpec, Usage
from agentrail.model import ModelProvider
from agentrail.requests import Delta, ModelReply, ModelRequest, ignore_delta

SWITCH: Final = "AGENTRAIL_RECORD"
"""The environment variable that has answers recorded, when it is ``1``."""

CONTEXT_LINES: Final = 2


class _Asked(Struct, frozen=True, omit_defaults=True, rename="camel"):
    """What of a request decides which answer it gets."""

    model: str
    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: Literal["auto", "none", "required"] = "auto"
    max_tokens: int | None = None
    temperature: float | None = None
    output: OutputSpec | None = None

    @classmethod
    def of(cls, request: ModelRequest) -> "_Asked":
        """Return what counts of a request: not its context, nor what is new in each run."""
        asked = cls(
            model=request.model,
            messages=tuple([replace(message, id="") for message in request.messages]),
            tools=request.tools,
            tool_choice=request.tool_choice,
            max_tokens=request.max_tokens,
            temperature=request.temperature,
            output=request.output,
        )
        # As the file will give it back: 0 is 0.0 then.
        return msgspec.json.decode(msgspec.json.encode(asked), type=cls)


class _Thought(Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A piece of reasoning, and of text should one come with it."""

    reasoning: str
    text: str = ""


class _Exchange(Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A request, what was streamed, and the whole answer."""

    request: _Asked
    message: Message
    stop_reason: StopReason = "stop"
    usage: Usage = Usage()
    pieces: tuple[str | _Thought, ...] = ()
    """A piece of text is a string."""

    @property
    def reply(self) -> ModelReply:
        return ModelReply(message=self.message, stop_reason=self.stop_reason, usage=self.usage)


class RecordedModel:
    """A model provider that answers as another one did when it was recorded, without network.

    Recording, it asks ``provider`` and writes each request and answer to ``path``, a JSON file for
    people to read and for version control; the file's former content is gone.  Otherwise it
    answers from that file and does not start ``provider``.  A request gets the answer to the same
    messages, tools and settings; asked twice, the first answer and then the second.  What was
    streamed is streamed again in the same pieces.

    Not written are the request's context, the ids of messages, and anything of ``provider``, so
    its key and headers stay out of the file.  What people and tools said is in it.

    Attributes:
        name: the name of ``provider``.
        recording: whether it records.

    Args:
        path: the file; its directory is there already.
        provider: who answers while it is recorded.
        record: whether to record; when left out, whether ``AGENTRAIL_RECORD`` is ``1``.
    """

    def __init__(
        self, path: str | Path, provider: ModelProvider, *, record: bool | None = None
    ) -> None:
        self.name = provider.name
        self.recording = os.environ.get(SWITCH) == "1" if record is None else record
        self._path = anyio.Path(path)
        self._provider = provider
        self._writing = anyio.Lock()
        self._exchanges: list[_Exchange | None] = []
        """In the order in which they began; of a recording, None until it has its answer."""
        self._left: list[_Exchange] = []
        """What was not yet played."""

    async def start(self) -> None:
        """Start the provider to record, or read the file.

        Raises:
            ConfigError: there is no such file, or it holds no recording.
        """
        self._exchanges = []
        if self.recording:
            await self._provider.start()
            return
        try:
            text = await self._path.read_bytes()
            self._left = msgspec.json.decode(text, type=list[_Exchange])
        except FileNotFoundError as error:
            message = f"nothing is recorded in {self._path}: run the test with {SWITCH}=1 to do so"
            raise ConfigError(message) from error
        except msgspec.MsgspecError as error:
            message = f"{self._path} is no recording ({error}): record it anew with {SWITCH}=1"
            raise ConfigError(message) from error

    async def stop(self) -> None:
        """Stop the provider, if it was started."""
        if self.recording:
            await self._provider.stop()

    async def complete(self, request: ModelRequest) -> ModelReply:
        """Answer as recorded, or record how the provider answers; its failures are not recorded.

        Raises:
            ModelError: nothing is recorded for this request; it shows how the most similar one
                that was differs.
        """
        asked = _Asked.of(request)
        return await (self._record if self.recording else self._play)(request, asked)

    async def _record(self, request: ModelRequest, asked: _Asked) -> ModelReply:
        place = len(self._exchanges)
        self._exchanges.append(None)
        pieces: list[str | _Thought] = []

        async def emit(delta: Delta) -> None:
            thought = delta.reasoning
            pieces.append(_Thought(thought, delta.text) if thought else delta.text)
            await request.emit(delta)

        streamed = request.emit is not ignore_delta
        reply = await self._provider.complete(replace(request, emit=emit) if streamed else request)
        message = replace(reply.message, id="")
        self._exchanges[place] = _Exchange(
            asked, message, reply.stop_reason, reply.usage, tuple(pieces)
        )
        async with self._writing:
            text = _pretty([each for each in self._exchanges if each])
            await self._path.write_bytes(text + b"\n")
        return reply

    async def _play(self, request: ModelRequest, asked: _Asked) -> ModelReply:
        await anyio.lowlevel.checkpoint()
        wanted = _pretty(asked)
        for exchange in self._left:
            if _pretty(exchange.request) == wanted:
                break
        else:
            raise ModelError(self._difference(wanted.decode()))
        self._left.remove(exchange)
        if request.emit is not ignore_delta:
            for piece in exchange.pieces or filter(None, [exchange.message.text]):
                said = piece if isinstance(piece, _Thought) else _Thought("", piece)
                await request.emit(Delta(text=said.text, reasoning=said.reasoning))
        return exchange.reply

    def _difference(self, asked: str) -> str:
        """Say what was asked, in the lines that differ from the most similar recorded request."""
        again = f"record it anew with {SWITCH}=1"
        if not self._left:
            return f"all that {self._path} has recorded was asked for, and then once more: {again}"
        now = asked.splitlines()
        recorded = [_pretty(each.request).decode().splitlines() for each in self._left]
        nearest = max(recorded, key=lambda lines: SequenceMatcher(None, lines, now).ratio())
        lines = unified_diff(nearest, now, "recorded", "asked", n=CONTEXT_LINES, lineterm="")
        message = f"{self._path} has no answer for this request: {again}"
        return "\n".join([message, *lines])


def _pretty(value: object) -> bytes:
    """Return JSON that stays the same, line by line, where what it says does."""
    return msgspec.json.format(msgspec.json.encode(value, order="deterministic"), indent=2)
