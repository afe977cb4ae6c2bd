from collections.abc import Mapping

import anyio

from agentrail import (
    AppConfig,
    ChatRequest,
    MemorySessionStore,
    Profile,
    RequestContext,
    ScriptedModel,
    ToolResult,
    create_app,
)
from agentrail.messages import ToolSpec
from agentrail.model import call_tools


# region object
class Query:
    def __init__(self, table: str, rows: Mapping[tuple[str, str], str]) -> None:
        self.rows = rows
        self.spec = ToolSpec(
            name=f"query_{table}",
            description=f"Look up a row of the table {table}.",
            parameters={
                "type": "object",
                "properties": {"key": {"type": "string"}},
                "required": ["key"],
            },
        )

    async def call(self, arguments: Mapping[str, object], context: RequestContext) -> object:
        return self.rows.get((context.tenant_id, str(arguments.get("key"))), "nothing")


# endregion


async def main() -> None:
    model = ScriptedModel([call_tools(("query_capitals", {"key": "France"})), "Paris."])
    capitals = Query("capitals", {("default", "France"): "Paris"})
    app = create_app(
        AppConfig(
            profiles=[Profile(id="assistant", model="scripted:any", tools=[capitals])],
            providers=[model],
            store=MemorySessionStore(),
        )
    )
    async with app.host as host:
        await host.chat(ChatRequest("What is the capital of France?"))
    result = model.requests[1].messages[-1].parts[0]
    assert isinstance(result, ToolResult)
    assert result.content == "Paris"


anyio.run(main)
