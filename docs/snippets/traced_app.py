import anyio

from agentrail import (
    AppConfig,
    Message,
    Profile,
    RequestContext,
    ScriptedModel,
    ToolCall,
    create_app,
    define_plugin,
    tool,
)
from agentrail.model import call_tools


@tool
async def weather(town: str) -> str:
    """Tell the weather in a town."""
    await anyio.sleep(0.03)
    return f"It rains in {town}."


async def recall(_context: RequestContext, _messages: object) -> list[Message]:
    await anyio.sleep(0.02)
    return [Message.system("The user lives in Bergen.")]


async def allowed(_call: ToolCall, _context: RequestContext) -> None:
    await anyio.sleep(0.005)


async def index(context: RequestContext) -> None:
    context.services.background(lambda: anyio.sleep(0.05))


app = create_app(
    AppConfig(
        profiles=[Profile(id="assistant", model="scripted:any", tools=[weather])],
        providers=[ScriptedModel([call_tools(("weather", {"town": "Bergen"})), "It rains."])],
        plugins=[
            define_plugin("memory", context_providers=[recall], on_turn_persisted=index),
            define_plugin("guard", before_tool_call=allowed),
        ],
    )
)
