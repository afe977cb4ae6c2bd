from typing import Annotated, Literal

import anyio
from msgspec import Meta

from agentrail import (
    AppConfig,
    ChatRequest,
    MemorySessionStore,
    Profile,
    RequestContext,
    ScriptedModel,
    ToolError,
    ToolResult,
    create_app,
    tool,
)
from agentrail.model import call_tools

# region tool
STOCK = {"apple": 3, "pear": 0}


@tool
async def stock(fruit: Literal["apple", "pear"], minimum: int = 1) -> str:
    """Tell whether a fruit is in stock.

    Args:
        fruit: which one.
        minimum: how many there have to be.
    """
    return "yes" if STOCK[fruit] >= minimum else "no"


# endregion


# region error
@tool(timeout=5)
def price(fruit: str, count: Annotated[int, Meta(ge=1)], context: RequestContext) -> float:
    """Tell what some fruit costs, in euros."""
    if fruit not in STOCK:
        raise ToolError(f"there is no {fruit!r}; there is {', '.join(STOCK)}")
    discount = 0.9 if "member" in context.roles else 1.0
    return round(0.4 * count * discount, 2)


# endregion


async def main() -> None:
    model = ScriptedModel(
        [
            call_tools(
                ("stock", {"fruit": "apple", "minimum": 2}),
                ("stock", {"fruit": "plum"}),
                ("price", {"fruit": "plum", "count": 1}),
                ("price", {"fruit": "pear", "count": 2}),
            ),
            "Apples, yes.",
        ]
    )
    # region profile
    assistant = Profile(id="assistant", model="scripted:any", tools=[stock, price])
    # endregion
    app = create_app(AppConfig(profiles=[assistant], providers=[model], store=MemorySessionStore()))
    async with app.host as host:
        await host.chat(ChatRequest("Are there apples?"))
    parts = [message.parts[0] for message in model.requests[1].messages[-4:]]
    results = [part for part in parts if isinstance(part, ToolResult)]
    assert [each.outcome for each in results] == ["ok", "error", "error", "ok"]
    assert results[0].content == "yes"
    assert "invalid arguments" in results[1].content
    assert results[2].content == "there is no 'plum'; there is apple, pear"
    assert results[3].content == "0.8"


anyio.run(main)
