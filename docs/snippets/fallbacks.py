import anyio

from agentrail import (
    AppConfig,
    ChatRequest,
    MemorySessionStore,
    Profile,
    ScriptedModel,
    create_app,
)
from agentrail.agent import Prices
from agentrail.errors import Overloaded

# region profile
assistant = Profile(
    id="assistant",
    model="anthropic:claude-sonnet-5-5",
    fallbacks=["openai-responses:gpt-5.4", "openai:gpt-5.4-mini"],
    context_window=200_000,
    prices=Prices(input=3.0, output=15.0, cache_read=0.3, cache_write=3.75),
)
# endregion


async def main() -> None:
    app = create_app(
        AppConfig(
            profiles=[assistant],
            # These take the places of the providers that ask over the network.
            providers=[
                ScriptedModel([Overloaded("busy")], "anthropic"),
                ScriptedModel(["Hello."], "openai-responses"),
                ScriptedModel([], "openai"),
            ],
            store=MemorySessionStore(),
        )
    )
    async with app.host as host:
        assert (await host.chat(ChatRequest("hi"))).message == "Hello."


anyio.run(main)
