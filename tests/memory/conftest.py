"""A host with a memory, whose model says what it is told to."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from attrs import frozen

from agentrail import (
    AgentHost,
    AppConfig,
    ChatRequest,
    ModelRequest,
    Plugin,
    Profile,
    ScriptedModel,
    create_app,
)
from agentrail.errors import ModelUnavailable
from agentrail.hook import PluginFailure
from agentrail.memory import Memory
from agentrail.model.scripted import Said
from agentrail.requests import Principal

ME = Principal()
RECALLED = "The following was said in earlier conversations"


@frozen
class Office:
    """A running host with a memory."""

    host: AgentHost
    memory: Memory
    model: ScriptedModel

    async def say(self, text: str, session: str | None = None, who: Principal = ME) -> str:
        """Ask, wait until the turn is embedded, and return its id."""
        answer = await self.host.chat(self.request(text, session, who))
        await self.memory.settled()
        return answer.turn_id

    def request(self, text: str, session: str | None = None, who: Principal = ME) -> ChatRequest:
        return ChatRequest(text, session_id=session, tenant_id=who.tenant_id, user_id=who.user_id)

    async def found(self, query: str, who: Principal = ME) -> list[str]:
        """Return what was asked in the turns that a search finds."""
        return [turn.asked for turn in await self.memory.search(who, query)]

    async def kept(self, who: Principal = ME) -> list[str]:
        """Return what was asked in all turns of a user."""
        return [turn.asked async for turn in self.memory.export(who)]

    @property
    def recalled(self) -> list[str]:
        """What was brought back for the model's last request."""
        messages = self.model.requests[-1].messages
        return [each.text for each in messages if each.text.startswith(RECALLED)]


def noted(request: ModelRequest) -> Said:
    if request.messages[-1].text.startswith("Fail"):
        return ModelUnavailable("it is down")
    return "Noted."


Open = Callable[..., AbstractAsyncContextManager[Office]]


@pytest.fixture
def open_office(tmp_path: Path) -> Open:
    """Opens a host on the test's directory; a hook that fails fails the test."""

    @asynccontextmanager
    async def opened(memory: Memory | None = None, *plugins: Plugin) -> AsyncGenerator[Office]:
        failures: list[PluginFailure] = []
        memory = memory or Memory(tmp_path / "memory.db")
        model = ScriptedModel.repeat(noted)
        config = AppConfig(
            profiles=[Profile(id="assistant", model="scripted:any")],
            providers=[model],
            plugins=[memory, *plugins],
            data_dir=tmp_path,
            on_plugin_error=failures.append,
        )
        async with create_app(config).host as host:
            yield Office(host, memory, model)
        assert failures == []

    return opened


@pytest.fixture
async def office(open_office: Open) -> AsyncIterator[Office]:
    async with open_office() as opened:
        yield opened
