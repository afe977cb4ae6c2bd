"""A command's run: whatever happens in it, it ends in an answer."""

import logging
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from typing import Final, Self, cast

import anyio
from attrs import define, field, frozen
from msgspec.structs import replace

from agentrail.command._command import Command
from agentrail.command._texts import Texts
from agentrail.errors import AgentrailError, HookError, unwrapped
from agentrail.hook import as_failure, thrown
from agentrail.requests import ANSWER_CHARS, ChatResponse, RequestContext
from agentrail.tool import as_text

_log = logging.getLogger("agentrail.command")

STOP_SECONDS: Final = 5.0
"""How long a run that is ended may take to say so in its session."""

_AGAIN_SECONDS: Final = 1.0
"""How long to wait before a session is tried again that could not be written to."""

MOST_CHARS: Final = ANSWER_CHARS - 1_000
"""How long an answer may be; what is said of one that is longer comes on top of it."""

_ACCEPTED: Final = 202
_BUSY: Final = 429
_LATE: Final = 504


@frozen(slots=True)
class Background:
    """The runs in the background."""

    most: int
    """How many of one user there may be."""
    running: Counter[tuple[str, str]] = field(factory=Counter[tuple[str, str]])
    """How many there are, by tenant and user."""


@frozen(slots=True)
class Run:
    """A run of a command."""

    command: Command
    arguments: Mapping[str, object]
    context: RequestContext
    texts: Texts
    background: Background

    async def answer(self) -> ChatResponse:
        """Return the command's answer: its result, its failure, or that it has begun."""
        if self.command.background:
            return self._begun()
        until = anyio.current_time() + self.command.seconds
        try:
            with anyio.CancelScope(deadline=until):
                response = await self._call()
                if response.text_stream is not None:
                    size = len(response.message)
                    pieces = Pieces(self, aiter(response.text_stream), until, size)
                    response = replace(response, text_stream=pieces)
                return replace(response, keep=self.command.keep or response.keep)
        except thrown() as error:  # boundary: plugin
            return self.failure(await as_failure(f"/{self.command.name}", error))
        return ChatResponse(self.lateness(), status=_LATE)

    def failure(self, error: Exception) -> ChatResponse:
        """Return a failure as an answer; of one that nobody meant, the log says more."""
        name, error = self.command.name, unwrapped(error)
        if isinstance(error, AgentrailError) and not isinstance(error, HookError):
            told = self.texts.failed.format(name=name, reason=error.detail)
            return ChatResponse(told, status=error.status)
        _log.error("command /%s failed", name, exc_info=error)
        return ChatResponse(self.texts.broke.format(name=name), status=AgentrailError.status)

    def lateness(self) -> str:
        """Return what is said of a run that took too long."""
        seconds = f"{self.command.seconds:g}"
        return self.texts.late.format(name=self.command.name, seconds=seconds)

    def check_size(self, size: int) -> None:
        """Return when an answer may have so many characters.

        Raises:
            AgentrailError: it is too long.
        """
        if size > MOST_CHARS:
            raise AgentrailError(self.texts.large.format(most=MOST_CHARS))

    async def _call(self) -> ChatResponse:
        result = await self.command.call(self.arguments, self.context)
        if isinstance(result, AsyncIterable):
            return ChatResponse(text_stream=cast("AsyncIterable[str]", result))
        if not isinstance(result, ChatResponse):
            result = ChatResponse(as_text(result) or self.texts.done)
        self.check_size(len(result.message))
        return result

    # In the background.

    @property
    def _who(self) -> tuple[str, str]:
        return self.context.tenant_id, self.context.user_id

    def _begun(self) -> ChatResponse:
        name, most, running = self.command.name, self.background.most, self.background.running
        if running[self._who] >= most:
            return ChatResponse(self.texts.busy.format(name=name, most=most), status=_BUSY)
        try:
            self.context.services.background(self._apart, f"/{name}")
        except AgentrailError as error:
            return self.failure(error)
        running[self._who] += 1
        text = self.texts.started.format(name=name)
        return ChatResponse(text, status=_ACCEPTED, keep=self.command.keep)

    async def _apart(self) -> None:
        """Be the run in the background, whose session is told how it ended."""
        note, told = self.texts.stopped.format(name=self.command.name), False
        try:
            note = await self._result()
            await self._note(note)
            told = True
        finally:
            if not told:  # the host stops
                with anyio.move_on_after(STOP_SECONDS, shield=True):
                    await self._note(note)
            running = self.background.running
            running[self._who] -= 1
            if not running[self._who]:
                del running[self._who]

    async def _result(self) -> str:
        try:
            with anyio.move_on_after(self.command.seconds):
                response = await self._call()
                result = response.message
                if response.text_stream is not None:
                    result += await self._joined(response.text_stream, len(result))
                return self.texts.finished.format(name=self.command.name, result=result)
        except thrown() as error:  # boundary: plugin
            return self.failure(await as_failure(f"/{self.command.name}", error)).message
        return self.lateness()

    async def _joined(self, stream: AsyncIterable[object], size: int) -> str:
        pieces: list[str] = []
        reader = aiter(stream)
        try:
            async for piece in reader:
                pieces.append(as_text(piece))
                size += len(pieces[-1])
                self.check_size(size)
        finally:
            await _close(reader)
        return "".join(pieces)

    async def _note(self, text: str) -> None:
        """Add a text to the session, as soon as it can be written to."""
        while True:
            try:
                await self.context.services.session.note(text)
            except AgentrailError as error:
                if not error.retryable:  # the session may be deleted
                    name, session_id = self.command.name, self.context.session_id
                    _log.warning("/%s is over; session %s is not told: %s", name, session_id, error)
                    return
            else:
                return
            await anyio.sleep(_AGAIN_SECONDS)


@define(slots=True, eq=False)
class Pieces:
    """The pieces of an answer; a failure on the way is the last of them."""

    run: Run
    pieces: AsyncIterator[object]
    until: float
    """When the run has to be over, by the event loop's clock."""
    size: int = 0
    """How many characters were said."""
    _over: bool = field(default=False, init=False)

    def __aiter__(self) -> Self:
        """Return the stream itself."""
        return self

    async def __anext__(self) -> str:
        """Return the next piece, or end after the last one."""
        if self._over:
            raise StopAsyncIteration
        try:
            with anyio.CancelScope(deadline=self.until):
                piece = as_text(await anext(self.pieces))
                self.run.check_size(self.size + len(piece))
                self.size += len(piece)
                return piece
            last = self.run.lateness()
        except StopAsyncIteration:
            raise
        except thrown() as error:  # boundary: plugin
            failure = await as_failure(f"/{self.run.command.name}", error)
            last = self.run.failure(failure).message
        self._over = True
        return f"\n{last}" if self.size else last

    async def aclose(self) -> None:
        """End a run that nobody reads any more."""
        await _close(self.pieces)


async def _close(pieces: AsyncIterator[object]) -> None:
    """Close what is a generator: left in its middle, it would never end by itself."""
    close = getattr(pieces, "aclose", None)
    if close is not None:
        await close()
