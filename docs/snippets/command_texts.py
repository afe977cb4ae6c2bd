import anyio

from agentrail import (
    AppConfig,
    ChatRequest,
    Commands,
    MemorySessionStore,
    Profile,
    RequestContext,
    ScriptedModel,
    command,
    create_app,
)
from agentrail.command import ENGLISH, Texts, in_language


# region texts
@command
async def ping(context: RequestContext) -> str:
    """Answer."""
    return in_language({"en": "Here.", "de": "Hier."}, context.locale)


GERMAN = Texts(
    help="Zeigt die Befehle, oder wie man einen benutzt.",
    unknown="Den Befehl /{name} gibt es nicht.",
    nearest="Meinten Sie {names}?",
    see_help="/help zeigt alle.",
    descriptions={"ping": "Antwortet."},
)

commands = Commands([ping], texts={"en": ENGLISH, "de": GERMAN})
# endregion


async def main() -> None:
    app = create_app(
        AppConfig(
            profiles=[Profile(id="assistant", model="scripted:any")],
            providers=[ScriptedModel([])],
            plugins=[commands],
            store=MemorySessionStore(),
        )
    )
    async with app.host as host:
        german = {"locale": "de-AT,de;q=0.9"}
        answer = await host.chat(ChatRequest("/pign", metadata=german))
        told = "Den Befehl /pign gibt es nicht. Meinten Sie /ping? /help zeigt alle."
        assert answer.message == told
        answer = await host.chat(ChatRequest("/help", metadata=german))
        assert answer.message.splitlines()[1] == "/ping: Antwortet."
        assert (await host.chat(ChatRequest("/ping", metadata=german))).message == "Hier."
        assert (await host.chat(ChatRequest("/ping"))).message == "Here."


anyio.run(main)
