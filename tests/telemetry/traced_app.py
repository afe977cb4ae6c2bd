"""An application of five plugins with every hook of a request, one of them with work of its own."""

import anyio.lowlevel

from agentrail import (
    AppConfig,
    Message,
    Plugin,
    Profile,
    RequestContext,
    create_app,
    define_plugin,
    tool,
)


@tool
def ping() -> str:
    """Answer."""
    return "pong"


def nothing(*_: object) -> None:
    """Be a hook that changes nothing."""


async def index(context: RequestContext) -> None:
    """Leave something to be done after the request."""
    context.services.background(anyio.lowlevel.checkpoint, "index")


def plugin(number: int) -> Plugin:
    """Returns a plugin with every hook of a request."""
    return define_plugin(
        f"p{number}",
        version=f"1.{number}",
        tools=[ping] if number == 1 else [],
        on_request_start=nothing,
        intercept_chat_request=nothing,
        attachment_handler=lambda _attachments, _context: "a file",
        context_providers=[lambda _context, _messages: [Message.system("context")]],
        before_request=nothing,
        on_chunk=lambda chunk, _context: chunk,
        after_response=nothing,
        before_tool_call=nothing,
        after_tool_call=nothing,
        on_turn_persisted=index if number == 5 else nothing,
        on_request_end=nothing,
    )


app = create_app(
    AppConfig(
        profiles=[Profile(id="assistant", name="Anna", model="openai:small")],
        plugins=[plugin(number) for number in range(1, 6)],
    )
)
