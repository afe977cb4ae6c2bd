"""What the tests of the agent loop have: a host whose model says what a test wants."""

from collections.abc import Sequence
from typing import Any

from agentrail import (
    AgentHost,
    AppConfig,
    ChatRequest,
    ChatResponse,
    Limits,
    MemorySessionStore,
    Message,
    Profile,
    ScriptedModel,
    Tool,
    ToolResult,
    create_app,
)
from agentrail.events import Event, MessageRecorded

PLUGINS = frozenset({"plugins", "tool_middleware", "model_middleware", "authenticator", "store"})
"""What is the application's; everything else is the profile's."""


def make_host(
    model: ScriptedModel,
    tools: Sequence[Tool] = (),
    limits: Limits | None = None,
    **more: Any,  # noqa: ANN401
) -> AgentHost:
    """Returns a host of one profile."""
    ours = {name: more.pop(name) for name in PLUGINS & more.keys()}
    profile = Profile(
        id="assistant", model="scripted:x", tools=tools, limits=limits or Limits(), **more
    )
    ours.setdefault("store", MemorySessionStore())
    return create_app(AppConfig(profiles=[profile], providers=[model], **ours)).host


async def ask(host: AgentHost, kind: str = "chat", text: str = "hi") -> ChatResponse:
    """Returns what a turn of session ``s`` was answered with; of a stream, what its end says."""
    request = ChatRequest(text, session_id="s")
    if kind == "chat":
        return await host.chat(request)
    response = ChatResponse()
    async with host.stream(request) as events:
        async for event in events:
            assert event.type != "turn.error", event
            if event.type == "turn.end":
                end: Any = event
                response = ChatResponse(
                    end.message,
                    turn_id=end.turn_id,
                    stop_reason=end.stop_reason,
                    usage=end.usage,
                    outcome=end.outcome,
                    output=end.output,
                )
    return response


def results_in(messages: Sequence[Message]) -> list[ToolResult]:
    """Returns the tool results of messages, in their order."""
    parts = [part for message in messages for part in message.parts]
    return [part for part in parts if isinstance(part, ToolResult)]


def shown(model: ScriptedModel, request: int = -1) -> list[ToolResult]:
    """Returns the tool results that the model was shown in one of its requests."""
    return results_in(model.requests[request].messages)


async def log_of(host: AgentHost, session_id: str = "s") -> list[Event]:
    """Returns the session's log."""
    return list(await host.core.store.read(session_id))


async def logged_results(host: AgentHost, session_id: str = "s") -> list[ToolResult]:
    """Returns the tool results of the session's log, in the order in which they were written."""
    log = await log_of(host, session_id)
    return results_in([event.message for event in log if isinstance(event, MessageRecorded)])
