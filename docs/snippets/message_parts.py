import anyio

from agentrail import (
    AppConfig,
    ChatRequest,
    Image,
    MemorySessionStore,
    Message,
    Part,
    Profile,
    RequestContext,
    ScriptedModel,
    Text,
    ToolCall,
    ToolResult,
    create_app,
    define_plugin,
    tool,
)
from agentrail.messages import Reasoning
from agentrail.model import call_tools

lines: list[str] = []


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


# region told
def told(part: Part) -> str:
    match part:
        case Text(text=text):
            return text
        case Reasoning(text=text):
            return f"({text})"
        case Image(mime_type=kind, data=data):
            return f"[{kind}, {len(data)} bytes]"
        case ToolCall(name=name, arguments=arguments):
            return f"{name} {dict(arguments)}"
        case ToolResult(name=name, outcome=outcome, content=content):
            return f"{name} {outcome}: {content}"


async def transcribe(context: RequestContext) -> None:
    for message in await context.services.session.turn():
        lines.extend(f"{message.role}: {told(part)}" for part in message.parts)


# endregion


async def main() -> None:
    calling = call_tools(("add", {"a": 2, "b": 3}))
    thought = Reasoning(text="I can count.")
    app = create_app(
        AppConfig(
            profiles=[Profile(id="assistant", model="scripted:any", tools=[add])],
            providers=[ScriptedModel([calling, Message.assistant((thought, Text(text="Five.")))])],
            plugins=[define_plugin("transcript", on_turn_persisted=transcribe)],
            store=MemorySessionStore(),
        )
    )
    async with app.host as host:
        dot = Image(mime_type="image/png", data=b"dot")
        await host.chat(ChatRequest((Text(text="What is 2 + 3?"), dot)))
    assert lines == [
        "user: What is 2 + 3?",
        "user: [image/png, 3 bytes]",
        "assistant: add {'a': 2, 'b': 3}",
        "tool: add ok: 5",
        "assistant: (I can count.)",
        "assistant: Five.",
    ]


anyio.run(main)
