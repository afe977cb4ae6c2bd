"""The text of an interceptor's answer, whole or in pieces."""

from agentrail.agent import Journal
from agentrail.errors import HookTypeError, RequestRefused
from agentrail.hook import Funnel, Hook, calling
from agentrail.requests import ChatResponse, Delta


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
    try:
        async for piece in response.text_stream:
            _check_text(hook, piece)
            pieces.append(piece)
            await journal.delta(Delta(text=piece))
    except Exception as error:  # boundary: plugin
        await funnel.report(hook, error)
        message = f"plugin {hook.plugin!r} failed while it answered: {error}"
        raise RequestRefused(message) from error
    return "".join(pieces)


def _check_text(hook: Hook, text: object) -> None:
    """Return when it is text, as it is annotated to be.

    Raises:
        HookTypeError: it is something else.
    """
    if not isinstance(text, str):
        raise HookTypeError(f"{hook} answered with {type(text).__name__}, not with text")
