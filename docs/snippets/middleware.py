import anyio

from agentrail import (
    AppConfig,
    ChatRequest,
    MemorySessionStore,
    ModelReply,
    ModelRequest,
    Profile,
    ScriptedModel,
    create_app,
)
from agentrail.errors import Overloaded
from agentrail.hook import Call


# region retry
async def once_more(request: ModelRequest, call_next: Call[ModelRequest, ModelReply]) -> ModelReply:
    try:
        return await call_next(request)
    except Overloaded:
        return await call_next(request)


# endregion


async def main() -> None:
    app = create_app(
        AppConfig(
            profiles=[Profile(id="assistant", model="scripted:any")],
            providers=[ScriptedModel([Overloaded("busy"), "Hello."])],
            model_middleware=[once_more],
            store=MemorySessionStore(),
        )
    )
    async with app.host as host:
        assert (await host.chat(ChatRequest("hi"))).message == "Hello."


anyio.run(main)
