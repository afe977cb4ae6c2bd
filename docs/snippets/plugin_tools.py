import anyio

from agentrail import (
    AppConfig,
    ChatRequest,
    MemorySessionStore,
    Profile,
    ScriptedModel,
    create_app,
    define_plugin,
    tool,
)


# region tools
@tool
def roll(sides: int = 6) -> int:
    """Roll a die."""
    return sides  # a loaded one


dice = define_plugin("dice", tools=[roll])
# endregion


async def main() -> None:
    model = ScriptedModel(["Hello.", "Hello."])
    app = create_app(
        AppConfig(
            profiles=[
                Profile(id="one", model="scripted:any"),
                Profile(id="two", model="scripted:any"),
            ],
            providers=[model],
            plugins=[dice],
            store=MemorySessionStore(),
        )
    )
    async with app.host as host:
        await host.chat(ChatRequest("hi", agent_id="one"))
        await host.chat(ChatRequest("hi", agent_id="two"))
    assert [[spec.name for spec in request.tools] for request in model.requests] == [["roll"]] * 2


anyio.run(main)
