"""Slash commands: messages that the host answers itself."""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from typing import ClassVar

from agentrail import AgentrailError, ChatRequest, ChatResponse, Message, RequestContext

Command = Callable[[RequestContext], Awaitable[ChatResponse]]

SUMMARY_PROMPT = "Summarize the conversation that follows in three short sentences."


class SlashCommands:
    """Answers ``/help``, ``/reset`` and ``/summarize``; no command text reaches the model."""

    name = "slash-commands"
    # What fails in a way that no command foresaw is refused, not asked of the model.
    critical = True
    # A command may have to wait for its session.
    deadlines: ClassVar = {"intercept_chat_request": 60.0}

    def __init__(self) -> None:
        self._commands: dict[str, tuple[str, Command]] = {
            "help": ("list the commands", self._help),
            "reset": ("let the conversation begin anew; its history is kept", self._reset),
            "summarize": ("summarize the conversation so far", self._summarize),
        }

    async def intercept_chat_request(
        self, request: ChatRequest, context: RequestContext
    ) -> ChatResponse | None:
        """Answer a message that begins with a slash; a command's failure is an answer too."""
        text = request.text.strip()
        if not text.startswith("/"):
            return None
        word = text[1:].split(maxsplit=1)[0].lower() if text[1:].strip() else ""
        if word not in self._commands:
            return ChatResponse(f"There is no command /{word}.\n{self._list()}")
        try:
            return await self._commands[word][1](context)
        except AgentrailError as error:
            return ChatResponse(_failed(word, error), status=error.status)

    async def _help(self, _context: RequestContext) -> ChatResponse:
        return ChatResponse(self._list())

    async def _reset(self, context: RequestContext) -> ChatResponse:
        await context.services.session.reset()
        return ChatResponse("The conversation begins anew.")

    async def _summarize(self, context: RequestContext) -> ChatResponse:
        said = [
            f"{message.role}: {message.text}"
            for message in await context.services.session.messages()
            if message.text
        ]
        if not said:
            return ChatResponse("There is nothing to summarize yet.")
        request = [Message.system(SUMMARY_PROMPT), Message.user("\n".join(said))]
        summary = context.services.model().stream(request)
        return ChatResponse(text_stream=_or_failure("summarize", summary))

    def _list(self) -> str:
        return "\n".join(f"/{word}: {about}" for word, (about, _) in self._commands.items())


async def _or_failure(word: str, pieces: AsyncIterable[str]) -> AsyncIterator[str]:
    """Pass pieces of an answer on; a failure on the way is its last piece."""
    try:
        async for piece in pieces:
            yield piece
    except AgentrailError as error:
        yield _failed(word, error)


def _failed(word: str, error: AgentrailError) -> str:
    return f"/{word} failed: {error.detail}"
