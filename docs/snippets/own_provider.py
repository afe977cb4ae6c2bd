import anyio

from agentrail import (
    AppConfig,
    ChatRequest,
    Delta,
    MemorySessionStore,
    Message,
    ModelReply,
    ModelRequest,
    Profile,
    create_app,
)


# region provider
class Echo:
    name = "echo"

    async def start(self) -> None:
        """Open what the provider needs."""

    async def stop(self) -> None:
        """Close it."""

    async def complete(self, request: ModelRequest) -> ModelReply:
        text = request.messages[-1].text
        for word in text.split():
            await request.emit(Delta(text=f"{word} "))
        return ModelReply(message=Message.assistant(f"{' '.join(text.split())} "))


# endregion


async def main() -> None:
    app = create_app(
        AppConfig(
            profiles=[Profile(id="parrot", model="echo:any")],
            providers=[Echo()],
            store=MemorySessionStore(),
        )
    )
    async with app.host as host:
        assert (await host.chat(ChatRequest("so it is"))).message == "so it is "


anyio.run(main)
