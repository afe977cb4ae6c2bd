import anyio

from agentrail import (
    AppConfig,
    ChatRequest,
    MemorySessionStore,
    Profile,
    ScriptedModel,
    ToolResult,
    create_app,
    tool,
)
from agentrail.model import call_tools

arrived: list[str] = []
all_there = anyio.Event()


async def fetch_report(city: str) -> str:
    """Stands for a slow service: nobody is answered until both have asked."""
    arrived.append(city)
    if len(arrived) == 2:
        all_there.set()
    await all_there.wait()
    return f"it rains in {city}"


# region concurrent
@tool(concurrent=True)
async def weather(city: str) -> str:
    """Tell the weather in a city."""
    return await fetch_report(city)


# endregion


async def main() -> None:
    calls = call_tools(("weather", {"city": "Kiel"}), ("weather", {"city": "Ulm"}))
    model = ScriptedModel([calls, "It rains everywhere."])
    assistant = Profile(id="assistant", model="scripted:any", tools=[weather])
    app = create_app(AppConfig(profiles=[assistant], providers=[model], store=MemorySessionStore()))
    async with app.host as host:
        await host.chat(ChatRequest("How is the weather?"))
    parts = [message.parts[0] for message in model.requests[1].messages[-2:]]
    results = [part.content for part in parts if isinstance(part, ToolResult)]
    assert results == ["it rains in Kiel", "it rains in Ulm"]


anyio.run(main)
