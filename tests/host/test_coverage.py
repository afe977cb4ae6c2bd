"""Every cell of the coverage table: each hook runs on the paths that it names, and on no other."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from agentrail import (
    AppConfig,
    Attachment,
    ChatRequest,
    ChatResponse,
    MemorySessionStore,
    ModelReply,
    ModelRequest,
    Principal,
    Profile,
    RequestContext,
    ScriptedModel,
    SQLiteSessionStore,
    create_app,
    tool,
)
from agentrail.errors import ModelError, Overloaded
from agentrail.events import TurnEnd
from agentrail.hook import COVERAGE, HOOKS
from agentrail.host import AgentHost
from agentrail.model import call_tools
from agentrail.model.scripted import Scripted
from agentrail.requests import Resume
from agentrail.session import Lease, Owner
from agentrail.testing import HookRecorder
from agentrail.tool import ask

pytestmark = pytest.mark.anyio

ME = Principal()
FILE = Attachment(filename="a.txt", mime_type="text/plain", data=b"text")


class Everything(HookRecorder):
    """A plugin with every hook of a turn."""

    def __init__(self) -> None:
        super().__init__(hooks=HOOKS.keys() - {"start", "stop"})
        self.answer: ChatResponse | None = None
        self.summarized = anyio.Event()

    def intercept_chat_request(
        self, request: ChatRequest, context: RequestContext
    ) -> ChatResponse | None:
        return self.answer

    def after_response(self, reply: ModelReply, context: RequestContext) -> None:
        if reply.message.text == "in short":
            self.summarized.set()


@tool
async def look() -> str:
    """Look."""
    return "seen"


@tool
async def send() -> str:
    """Send."""
    return "sent"


def host_of(plugin: Everything, *replies: Scripted, window: int = 8192) -> AgentHost:
    profile = Profile(
        id="a",
        model="scripted:x",
        tools=[look, send],
        permissions=[ask("send")],
        context_window=window,
        compact=window < 8192,
    )
    config = AppConfig(
        profiles=[profile],
        plugins=[plugin],
        providers=[ScriptedModel(replies)],
        store=MemorySessionStore(),
    )
    return create_app(config).host


def asked() -> ChatRequest:
    return ChatRequest("hi", session_id="s", attachments=(FILE,))


async def by_chat(plugin: Everything) -> None:
    async with host_of(plugin, call_tools(("look", {})), "done") as host:
        await host.chat(asked())


async def by_stream(plugin: Everything) -> None:
    async with (
        host_of(plugin, call_tools(("look", {})), "done") as host,
        host.stream(asked()) as events,
    ):
        async for _ in events:
            pass


async def intercepted(plugin: Everything) -> None:
    plugin.answer = ChatResponse("no")
    async with host_of(plugin) as host:
        await host.chat(asked())


async def kept(plugin: Everything) -> None:
    plugin.answer = ChatResponse("no", keep=True)
    async with host_of(plugin) as host:
        await host.chat(asked())


async def suspended(plugin: Everything) -> None:
    async with host_of(plugin, call_tools(("send", {}), text="soon")) as host:
        await host.chat(asked())


async def resumed(plugin: Everything) -> None:
    async with host_of(plugin, call_tools(("send", {})), "done") as host:
        waiting = await host.chat(asked())
        (call,) = waiting.approvals
        await host.decide(ME, waiting.turn_id, call.call.id, approved=True)
        plugin.clear()
        await host.chat(Resume(waiting.turn_id))


async def failed(plugin: Everything) -> None:
    async with host_of(plugin, Overloaded("busy")) as host:
        with pytest.raises(ModelError):
            await host.chat(asked())


async def cancelled(plugin: Everything) -> None:
    asking = anyio.Event()

    async def hang(_request: ModelRequest) -> str:
        asking.set()
        await anyio.sleep_forever()
        return ""

    async with host_of(plugin, hang) as host, anyio.create_task_group() as tasks:
        tasks.start_soon(host.chat, asked())
        await asking.wait()
        tasks.cancel_scope.cancel()


async def recovered(plugin: Everything, directory: Path) -> None:
    store = SQLiteSessionStore(directory / "s.db")
    await store.start()
    lease: Lease = await store.acquire("s", Owner("default", "local", "a"))
    await store.append(lease, [TurnEnd(turn_id="t")])
    await store.stop()
    config = AppConfig(
        profiles=[Profile(id="a", model="scripted:x")],
        plugins=[plugin],
        providers=[ScriptedModel([])],
        store=SQLiteSessionStore(directory / "s.db"),
    )
    async with create_app(config).host:
        pass


async def summary(plugin: Everything) -> None:
    async with host_of(plugin, "long " * 60, "long " * 60, "in short", window=320) as host:
        for _ in range(2):
            await host.chat(ChatRequest("word " * 60, session_id="s"))
            while host.core.compacting and not plugin.summarized.is_set():
                await anyio.lowlevel.checkpoint()
    last = len(plugin.log) - plugin.names[::-1].index("on_request_end")
    del plugin.log[:last]


async def deleted(plugin: Everything) -> None:
    async with host_of(plugin, "done") as host:
        await host.chat(asked())
        plugin.clear()
        await host.delete_session(ME, "s")


SCENARIOS: dict[str, Callable[[Everything], Awaitable[None]]] = {
    "chat": by_chat,
    "stream": by_stream,
    "intercepted": intercepted,
    "kept": kept,
    "suspended": suspended,
    "resumed": resumed,
    "failed": failed,
    "cancelled": cancelled,
    "deleted": deleted,
    "summary": summary,
}


@pytest.mark.parametrize("path", sorted(COVERAGE))
async def test_the_hooks_of_a_path_are_those_that_its_row_names(path: str, tmp_path: Path) -> None:
    plugin = Everything()

    if path == "recovered":
        await recovered(plugin, tmp_path)
    else:
        await SCENARIOS[path](plugin)

    assert set(plugin.names) == COVERAGE[path].hooks


def test_every_hook_of_a_request_is_on_some_path() -> None:
    covered = frozenset[str]().union(*[path.hooks for path in COVERAGE.values()])

    assert covered == HOOKS.keys() - {"start", "stop"}


def test_the_request_hooks_come_in_pairs() -> None:
    for path in COVERAGE.values():
        assert ("on_request_start" in path.hooks) == ("on_request_end" in path.hooks)
