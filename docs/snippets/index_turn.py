import anyio

from agentrail import (
    AppConfig,
    ChatRequest,
    MemorySessionStore,
    Principal,
    Profile,
    RequestContext,
    ScriptedModel,
    create_app,
    define_plugin,
)

# region index
index: dict[tuple[str, str], str] = {}


async def remember(context: RequestContext) -> None:
    messages = await context.services.session.turn()
    index[context.session_id, context.turn_id] = "\n".join(
        f"{each.role}: {each.text}" for each in messages if each.text
    )


def forget(context: RequestContext) -> None:
    for session_id, turn_id in list(index):
        if session_id == context.session_id:
            del index[session_id, turn_id]


memory = define_plugin("memory", on_turn_persisted=remember, on_session_deleted=forget)
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
        answer = await host.chat(ChatRequest("hi", session_id="s"))
        assert index == {("s", answer.turn_id): "user: hi\nassistant: Hello."}

        await host.delete_session(Principal(), "s")
        assert index == {}


anyio.run(main)
