"""The text of an interceptor's answer, whole or in pieces."""

from collections.abc import AsyncIterator
from typing import Final

import anyio
import anyio.lowlevel

from agentrail.agent import Journal
from agentrail.errors import HookError, HookTypeError, RequestRefused
from agentrail.hook import Funnel, Hook, as_failure, calling, thrown
from agentrail.requests import ANSWER_CHARS, ChatResponse, Delta

CLOSE_SECONDS: Final = 5.0
"""How long an answer that nobody reads any more may take to end."""


async def answer_text(journal: Journal, funnel: Funnel, response: ChatResponse, hook: Hook) -> str:
    """Return the text, shown to the reader as it comes.

    Raises:
        HookTypeError: it is no text.
        HookError: it is too long.
        RequestRefused: the plugin failed while it answered.
        SessionError: what was shown could not be written.
    """
    try:
        size = _checked(hook, response.message, 0)
        if response.text_stream is None:
            await journal.delta(Delta(text=response.message))
            return response.message
        pieces = [response.message] if response.message else []
        calling.set(hook.plugin)
        stream = aiter(response.text_stream)
        try:
            while found := await _next(stream, funnel, hook):
                size = _checked(hook, found[0], size)
                pieces += found
                await journal.delta(Delta(text=found[0]))
                await anyio.lowlevel.checkpoint()  # it may never wait for anything itself
        finally:
            close = getattr(stream, "aclose", None)
            if close is not None:  # a generator left in its middle would never end by itself
                with anyio.move_on_after(CLOSE_SECONDS, shield=True):
                    await close()
    except HookError as error:
        await funnel.report(hook, error)
        raise
    return "".join(pieces)


async def _next(stream: AsyncIterator[str], funnel: Funnel, hook: Hook) -> tuple[str, ...]:
    """Return the next piece alone, or nothing after the last one.

    Raises:
        RequestRefused: the plugin failed.
    """
    try:
        return (await anext(stream),)
    except StopAsyncIteration:
        return ()
    except thrown() as error:  # boundary: plugin
        failure = await as_failure(hook, error)
        await funnel.report(hook, failure)
        message = f"plugin {hook.plugin!r} failed while it answered: {failure}"
        raise RequestRefused(message) from failure


def _checked(hook: Hook, piece: object, size: int) -> int:
    """Return how long the answer is with one more piece.

    Raises:
        HookTypeError: the piece is no text, as it is annotated to be.
        HookError: the answer is too long.
    """
    if not isinstance(piece, str):
        raise HookTypeError(f"{hook} answered with {type(piece).__name__}, not with text")
    size += len(piece)
    if size > ANSWER_CHARS:
        message = f"{hook} answered with more than {ANSWER_CHARS} characters: answer in parts"
        raise HookError(message)
    return size
