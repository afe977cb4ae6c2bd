"""Hosts with commands, and a model that must not be asked."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest

from agentrail import (
    AgentHost,
    AppConfig,
    ChatRequest,
    Commands,
    MemorySessionStore,
    Profile,
    ScriptedModel,
    create_app,
)
from agentrail.command import Command

Opens = Callable[..., Awaitable[AgentHost]]


def config_of(plugin: Commands, model: ScriptedModel | None = None, **more: Any) -> AppConfig:  # noqa: ANN401
    """An application with commands; the model has nothing to say unless one is given."""
    more.setdefault("store", MemorySessionStore())
    return AppConfig(
        profiles=[Profile(id="assistant", model="scripted:m")],
        providers=[model or ScriptedModel([])],
        plugins=[plugin],
        **more,
    )


@pytest.fixture
async def open_host() -> AsyncIterator[Opens]:
    """Returns a function that starts a host with the given commands."""
    async with AsyncExitStack() as hosts:

        async def start(*commands: Command, **config: Any) -> AgentHost:  # noqa: ANN401
            app = create_app(config_of(Commands(commands), **config))
            return await hosts.enter_async_context(app.host)

        yield start


async def read(host: AgentHost, request: ChatRequest) -> Sequence[tuple[str, str]]:
    """Returns the types of a stream's events, each with its text."""
    async with host.stream(request) as events:
        return [
            (each.type, getattr(each, "text", getattr(each, "message", "")))
            async for each in events
        ]
