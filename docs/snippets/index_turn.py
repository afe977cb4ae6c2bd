import anyio

from agentrail import (
    AppConfig,
    ChatRequest,
    MemorySessionStore,
    Profile,
    RequestContext,
    ScriptedModel,
    create_app,
    define_plugin,
)

# region index
index: dict[str, str] = {}


async def remember(context: RequestContext) -> None:
    messages = await context.services.session.turn()
    index[context.turn_id] = "\n".join(
        f"{each.role}: {each.text}" for each in messages if each.text
    )


memory = define_plugin("memory", on_turn_persisted=remember)
# endregion


async def main() -> None:
    app = create_app(
        AppConfig(
            profiles=[Profile(id="assistant", model="scripted:any")],
            providers=[ScriptedModel(["Hello."])],
            plugins=[memory],
            store=MemorySessionStore(),
        )
    )
    async with app.host as host:
        answer = await host.chat(ChatRequest("hi"))
    assert index == {answer.turn_id: "user: hi\nassistant: Hello."}


anyio.run(main)
