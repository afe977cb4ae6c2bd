"""A session that was deleted stays away, though its summary still waited for it."""

import anyio
import pytest

from agentrail import (
    AgentHost,
    AppConfig,
    ChatRequest,
    ModelRequest,
    Profile,
    ScriptedModel,
    create_app,
)
from agentrail.session import Owner, SessionStore
from tests.host.conftest import Stores
from tests.host.office import ME

pytestmark = pytest.mark.anyio

OWNER = Owner("default", "local", "assistant")


class Summarizer:
    """Answers at length; its summaries come when they may."""

    def __init__(self) -> None:
        self.begun, self.go_on = anyio.Event(), anyio.Event()

    async def __call__(self, request: ModelRequest) -> str:
        if request.tools or "Summarize" not in request.messages[0].text:
            return "word " * 150
        self.begun.set()
        await self.go_on.wait()
        return "in short"


def host_on(store: SessionStore, model: ScriptedModel) -> AgentHost:
    profile = Profile(id="assistant", model="scripted:m", context_window=500)
    return create_app(AppConfig(profiles=[profile], providers=[model], store=store)).host


async def test_a_summary_does_not_make_the_session_again_that_it_waits_for(
    new_store: Stores,
) -> None:
    store, model = new_store(), Summarizer()
    async with host_on(store, ScriptedModel.repeat(model)) as host:
        while not model.begun.is_set():
            await host.chat(ChatRequest("tell me", session_id="s"))
            await anyio.wait_all_tasks_blocked()
        lease = await store.acquire("s", OWNER)
        model.go_on.set()
        await anyio.wait_all_tasks_blocked()  # it waits for the session
        await host.delete_session(ME, "s")
        store.release(lease)
        while host.core.compacting:
            await anyio.lowlevel.checkpoint()

        assert await store.find("s") is None
        assert list(await host.sessions(ME)) == []
