import anyio
from msgspec.structs import replace

from agentrail import (
    AppConfig,
    ChatRequest,
    MemorySessionStore,
    Profile,
    RequestContext,
    ScriptedModel,
    ToolCall,
    ToolResult,
    create_app,
    define_plugin,
    tool,
)
from agentrail.model import call_tools


# region deny
def only_admins(call: ToolCall, context: RequestContext) -> ToolResult | None:
    if call.name != "delete_file" or "admin" in context.roles:
        return None
    return ToolResult(call_id=call.id, name=call.name, content="admins only", outcome="denied")


# endregion


# region rewrite
def stay_inside(call: ToolCall, _context: RequestContext) -> ToolCall | None:
    if call.name != "read_file":
        return None
    return replace(
        call, arguments={**call.arguments, "path": "public/" + str(call.arguments["path"])}
    )


# endregion


# region after
def hide_keys(_call: ToolCall, result: ToolResult, _context: RequestContext) -> ToolResult:
    return replace(result, content=result.content.replace("hunter2", "***"))


# endregion


@tool
def read_file(path: str) -> str:
    """Read a file."""
    return f"{path}: the password is hunter2"


@tool
def delete_file(path: str) -> str:
    """Delete a file."""
    raise AssertionError(path)


async def main() -> None:
    model = ScriptedModel(
        [call_tools(("read_file", {"path": "a.txt"}), ("delete_file", {"path": "a.txt"})), "Done."]
    )
    app = create_app(
        AppConfig(
            profiles=[
                Profile(id="assistant", model="scripted:any", tools=[read_file, delete_file])
            ],
            providers=[model],
            plugins=[
                define_plugin("guard", before_tool_call=only_admins),
                define_plugin("inside", before_tool_call=stay_inside),
                define_plugin("hide", after_tool_call=hide_keys),
            ],
            store=MemorySessionStore(),
        )
    )
    async with app.host as host:
        await host.chat(ChatRequest("hi"))
    read, deleted = [message.parts[0] for message in model.requests[1].messages[-2:]]
    assert isinstance(read, ToolResult)
    assert isinstance(deleted, ToolResult)
    assert read.content == "public/a.txt: the password is ***"
    assert (deleted.outcome, deleted.content) == ("denied", "admins only")


anyio.run(main)
