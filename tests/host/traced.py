"""A program whose one request runs every hook of a turn; its spans go where OTEL_* says."""

import sys

import anyio

from agentrail import (
    AppConfig,
    Attachment,
    ChatRequest,
    MemorySessionStore,
    Message,
    Profile,
    ScriptedModel,
    create_app,
    define_plugin,
    tool,
)
from agentrail.model.scripted import call_tools
from agentrail.telemetry import configure


@tool
def ping() -> str:
    """Answer."""
    return "pong"


def nothing(*_: object) -> None:
    """Be a hook that changes nothing."""


def plugin(name: str, *tools: object) -> object:
    """Returns a plugin with every hook of a request."""
    return define_plugin(
        name,
        version="1.2",
        tools=list(tools),  # type: ignore[arg-type]
        on_request_start=nothing,
        intercept_chat_request=nothing,
        attachment_handler=lambda _attachments, _context: "a file",
        context_providers=[lambda _context, _messages: [Message.system("context")]],
        before_request=nothing,
        on_chunk=lambda chunk, _context: chunk,
        after_response=nothing,
        before_tool_call=nothing,
        after_tool_call=nothing,
        on_turn_persisted=nothing,
        on_request_end=nothing,
    )


async def main() -> None:
    """Run one turn with one tool call."""
    config = AppConfig(
        profiles=[Profile(id="assistant", model="scripted:small")],
        plugins=[plugin("first", ping), plugin("second")],  # type: ignore[list-item]
        providers=[ScriptedModel([call_tools(("ping", {})), "done"])],
        store=MemorySessionStore(),
    )
    async with create_app(config).host as host:
        attachment = Attachment("a.txt", "text/plain", b"x")
        await host.chat(ChatRequest("hi", session_id="s", attachments=(attachment,)))


flush = configure()
anyio.run(main, backend=sys.argv[1])
flush()
