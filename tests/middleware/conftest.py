"""A host whose model and tools have middleware around them."""

from collections.abc import Awaitable, Callable, Sequence

import pytest

from agentrail import (
    AppConfig,
    ChatRequest,
    MemorySessionStore,
    Profile,
    ScriptedModel,
    create_app,
    tool,
)
from agentrail.host import AgentHost
from agentrail.middleware import ModelMiddleware, ToolMiddleware
from agentrail.model.scripted import Scripted
from agentrail.testing import OpenHost

Opens = Callable[..., Awaitable[AgentHost]]


@tool
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
async def fail() -> str:
    """Fail."""
    message = "the disk is full"
    raise OSError(message)


@pytest.fixture
def open_host(open_host: OpenHost) -> Opens:
    """Returns a function that starts a host with a scripted model and the tools add and fail."""

    async def start(
        replies: Sequence[Scripted],
        *,
        model: Sequence[ModelMiddleware] = (),
        tools: Sequence[ToolMiddleware] = (),
    ) -> AgentHost:
        config = AppConfig(
            profiles=[Profile(id="assistant", model="scripted:m", tools=[add, fail])],
            providers=[ScriptedModel(replies)],
            model_middleware=model,
            tool_middleware=tools,
            store=MemorySessionStore(),
        )
        return await open_host(create_app(config))

    return start


async def stream(host: AgentHost, text: str = "hi", session: str | None = None) -> list[str]:
    """Returns the pieces of text that a reader of the stream is sent, and its last event's type."""
    pieces: list[str] = []
    async with host.stream(ChatRequest(text, session_id=session)) as events:
        async for event in events:
            if event.type == "message.delta":
                pieces.append(getattr(event, "text", ""))
            elif event.type in {"turn.end", "turn.error"}:
                pieces.append(event.type)
    return pieces
