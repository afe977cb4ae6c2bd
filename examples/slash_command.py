"""Slash commands with arguments, answered by a plugin on both doors of the host."""

from collections.abc import Callable

import anyio

from agentrail import (
    AppConfig,
    ChatRequest,
    ChatResponse,
    MemorySessionStore,
    Profile,
    RequestContext,
    ScriptedModel,
    create_app,
)


class Commands:
    """Answers messages that begin with a slash; their text never reaches the model."""

    name = "commands"

    def __init__(self, commands: dict[str, Callable[[str], str]]) -> None:
        self.commands = commands

    def intercept_chat_request(
        self, request: ChatRequest, _context: RequestContext
    ) -> ChatResponse | None:
        if not request.text.startswith("/"):
            return None
        word, _, rest = request.text[1:].partition(" ")
        command = self.commands.get(word)
        if command is None:
            known = ", ".join(f"/{each}" for each in self.commands)
            return ChatResponse(f"There is no /{word}; there is {known}.", status=404)
        return ChatResponse(command(rest))


async def main() -> None:
    model = ScriptedModel(["Hello."])
    app = create_app(
        AppConfig(
            profiles=[Profile(id="assistant", model="scripted:any")],
            providers=[model],
            plugins=[Commands({"shout": str.upper, "count": lambda rest: str(len(rest))})],
            store=MemorySessionStore(),
        )
    )
    async with app.host as host:
        answer = await host.chat(ChatRequest("/shout good morning"))
        print(answer.message)
        assert answer.message == "GOOD MORNING"
        assert answer.outcome == "intercepted"

        async with host.stream(ChatRequest("/count good morning")) as events:
            types = [event.type async for event in events]
        print(" ".join(types))
        assert types == ["turn.start", "message.start", "message.delta", "message.end", "turn.end"]

        answer = await host.chat(ChatRequest("/whisper hi"))
        print(answer.message)
        assert answer.status == 404
    assert model.requests == []


if __name__ == "__main__":
    anyio.run(main)
