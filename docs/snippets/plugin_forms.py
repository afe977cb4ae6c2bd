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


# region forms
class Counter:
    name = "counter"
    version = "1.0"

    def __init__(self) -> None:
        self.turns = 0

    def on_turn_persisted(self, _context: RequestContext) -> None:
        self.turns += 1


def announce(context: RequestContext) -> None:
    print(f"{context.user_id} asks {context.agent_id}")


announcer = define_plugin("announcer", on_request_start=announce)
# endregion


async def main() -> None:
    counter = Counter()
    # region compose
    app = create_app(
        AppConfig(
            profiles=[Profile(id="assistant", model="scripted:any")],
            providers=[ScriptedModel(["Hello."])],
            plugins=[counter, announcer],
            store=MemorySessionStore(),
        )
    )
    # endregion
    async with app.host as host:
        await host.chat(ChatRequest("hi"))
    assert counter.turns == 1


anyio.run(main)
