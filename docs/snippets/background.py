import anyio

from agentrail import (
    AppConfig,
    ChatRequest,
    MemorySessionStore,
    Profile,
    RequestContext,
    ScriptedModel,
    create_app,
)


# region background
class Titles:
    name = "titles"

    def __init__(self) -> None:
        self.titles: dict[str, str] = {}
        self.made = anyio.Event()

    def on_turn_persisted(self, context: RequestContext) -> None:
        async def make() -> None:
            messages = await context.services.session.messages()
            answer = await context.services.model().complete(messages)
            self.titles[context.session_id] = answer.text
            self.made.set()

        context.services.background(make, "make a title")


# endregion


async def main() -> None:
    titles = Titles()
    app = create_app(
        AppConfig(
            profiles=[Profile(id="assistant", model="scripted:any")],
            providers=[ScriptedModel(["Hello.", "A greeting"])],
            plugins=[titles],
            store=MemorySessionStore(),
        )
    )
    async with app.host as host:
        await host.chat(ChatRequest("hi", "s1"))
        await titles.made.wait()
    assert titles.titles == {"s1": "A greeting"}


anyio.run(main)
