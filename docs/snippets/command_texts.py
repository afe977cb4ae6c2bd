import anyio
from attrs import evolve

from agentrail import (
    AppConfig,
    ChatRequest,
    Commands,
    MemorySessionStore,
    Profile,
    ScriptedModel,
    command,
    create_app,
)
from agentrail.command import Texts


@command
async def ping() -> str:
    """Answer."""
    return "Hier."


# region texts
GERMAN = Texts(
    help="Zeigt die Befehle, oder wie man einen benutzt.",
    unknown="Den Befehl /{name} gibt es nicht.",
    nearest="Meinten Sie {names}?",
    see_help="/help zeigt alle.",
)

commands = Commands([evolve(ping, description="Antwortet.")], texts=GERMAN)
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
        answer = await host.chat(ChatRequest("/pign"))
        told = "Den Befehl /pign gibt es nicht. Meinten Sie /ping? /help zeigt alle."
        assert answer.message == told
        answer = await host.chat(ChatRequest("/help"))
        assert answer.message.splitlines()[1] == "/ping: Antwortet."


anyio.run(main)
