"""The text of an interceptor's answer, whole or in pieces."""

from typing import Final

import anyio

from agentrail.agent import Journal
from agentrail.errors import HookTypeError, RequestRefused
from agentrail.hook import Funnel, Hook, calling
from agentrail.requests import ChatResponse, Delta

CLOSE_SECONDS: Final = 5.0
"""How long an answer that nobody reads any more may take to end."""


async def answer_text(journal: Journal, funnel: Funnel, response: ChatResponse, hook: Hook) -> str:
    """Return the text, shown to the reader as it comes.

    Raises:
        HookTypeError: it is no text.
        RequestRefused: the plugin failed while it answered.
    """
    _check_text(hook, response.message)
    if response.text_stream is None:
        await journal.delta(Delta(text=response.message))
        return response.message
    pieces = [response.message] if response.message else []
    calling.set(hook.plugin)
    stream = aiter(response.text_stream)
    try:
        async for piece in stream:
            _check_text(hook, piece)
            pieces.append(piece)
            await journal.delta(Delta(text=piece))
    except Exception as error:  # boundary: plugin
        await funnel.report(hook, error)
        message = f"plugin {hook.plugin!r} failed while it answered: {error}"
        raise RequestRefused(message) from error
    finally:
        close = getattr(stream, "aclose", None)
        if close is not None:  # a generator that is left in its middle would never end by itself
            with anyio.move_on_after(CLOSE_SECONDS, shield=True):
                await close()
    return "".join(pieces)


def _check_text(hook: Hook, text: object) -> None:
    """Return when it is text, as it is annotated to be.

    Raises:
        HookTypeError: it is something else.
    """
    if not isinstance(text, str):
        raise HookTypeError(f"{hook} answered with {type(text).__name__}, not with text")
