from collections.abc import Sequence

import anyio

from agentrail import (
    AppConfig,
    ChatRequest,
    MemorySessionStore,
    Principal,
    Profile,
    ScriptedModel,
    ToolError,
    ToolRequest,
    ToolResult,
    create_app,
    middleware,
    tool,
)
from agentrail.errors import Overloaded
from agentrail.hook import Call
from agentrail.middleware import CallContext
from agentrail.model import call_tools

made: list[str] = []
asked_for: list[list[str]] = []


@tool(concurrent=True)
async def price(item: str) -> str:
    """Tell a price."""
    return f"no price of {item}: the batch stands in place of the tool"


@tool
async def stock(item: str) -> str:
    """Tell how many there are."""
    made.append(item)
    return f"3 {item}s, at shop@example.com"


@tool
async def discard(item: str) -> str:
    """Throw something away."""
    return f"the {item} is gone"


# region batch
async def prices(requests: Sequence[ToolRequest]) -> Sequence[str | ToolError]:
    items = [str(request.call.arguments.get("item")) for request in requests]
    found = await look_up(items)
    return [found.get(item) or ToolError(f"there is no {item}") for item in items]


# endregion


async def look_up(items: list[str]) -> dict[str, str]:
    asked_for.append(sorted(items))
    return {"pear": "2 €", "plum": "1 €"}


# region pre_post
class Lowercase:
    async def pre_process(self, ctx: CallContext) -> None:
        if "item" in ctx.params:
            ctx.params["item"] = str(ctx.params["item"]).lower()

    async def post_process(self, ctx: CallContext, result: object) -> None:
        made.append(f"{ctx.tool_name} returned {type(result).__name__}")


# endregion


# region own
async def weekdays_only(
    request: ToolRequest, call_next: Call[ToolRequest, ToolResult]
) -> ToolResult:
    if request.call.name == "discard" and is_sunday():
        raise ToolError("not on Sundays")
    return await call_next(request)


# endregion


def is_sunday() -> bool:
    return True


model = ScriptedModel(
    [
        Overloaded("busy"),
        call_tools(("stock", {"item": "Pear"})),
        "Three, ask shop@example.com.",
        call_tools(("stock", {"item": "Pear"})),
        "Three.",
        call_tools(("discard", {"item": "pear"})),
        "No.",
        call_tools(("price", {"item": "pear"}), ("price", {"item": "plum"})),
        "Two and one.",
    ]
)

# region list
around = [
    middleware.logging(),
    middleware.metrics(),
    middleware.rate_limit(100, 60.0),
    middleware.cache(300.0, tools=["stock"]),
    middleware.retry(3, tools=["stock"], base=0.1),
    middleware.redact(),
    middleware.slow_log(5.0),
]
app = create_app(
    AppConfig(
        profiles=[Profile(id="shop", model="scripted:any", tools=[stock, price, discard])],
        providers=[model],
        model_middleware=around,
        tool_middleware=[
            *around,
            middleware.authorize({"discard": {"clerk"}}, otherwise="allow"),
            weekdays_only,
            middleware.from_pre_post(Lowercase()),
            middleware.batch("price", prices),
        ],
        store=MemorySessionStore(),
    )
)
# endregion

# region pattern
order = middleware.Pattern("order", r"ORD-[0-9]{6}", longest=10, hints=("ORD-",))
redact = middleware.redact([*middleware.SECRETS, order])
# endregion


async def main() -> None:
    clerk = Principal(roles=frozenset({"clerk"}))
    async with app.host as host:
        answers = [
            (await host.chat(ChatRequest(text), principal=clerk)).message
            for text in ("How many?", "And now?", "Discard them.", "What do they cost?")
        ]
    assert answers == ["Three, ask [email].", "Three.", "No.", "Two and one."]
    assert made[:2] == ["pear", "stock returned ToolResult"]
    assert made.count("pear") == 1
    assert asked_for == [["pear", "plum"]]
    shown = model.requests[-1].messages
    results = [part.content for m in shown for part in m.parts if isinstance(part, ToolResult)]
    assert results[-2:] == ["2 €", "1 €"]


anyio.run(main)
