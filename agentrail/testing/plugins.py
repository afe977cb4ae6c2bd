"""What every plugin keeps to, as tests."""

from collections.abc import Callable
from functools import partial
from inspect import isawaitable
from typing import cast

import anyio
import pytest

from agentrail.hook import HOOKS, Plugin, PluginFailure
from agentrail.host import AgentHost, AppConfig, create_app
from agentrail.messages import Attachment
from agentrail.model import ScriptedModel, call_tools
from agentrail.model.scripted import Said
from agentrail.profile import Profile
from agentrail.requests import ChatRequest, ModelRequest
from agentrail.session import MemorySessionStore
from agentrail.testing._recorder import Member, Watched
from agentrail.tool import tool

FILE = Attachment(filename="notes.txt", mime_type="text/plain", data=b"Milk and honey.")


@tool
def contract_tool(text: str) -> str:
    """Return the text."""
    return text


class PluginContract:
    """The tests that a plugin passes beside others in a host.

    A subclass overrides the fixture ``make``, which returns what makes the plugin, and another one,
    ``question``, where the plugin has more to do than with a text and a file.  The model calls a
    tool and then answers, so that all hooks of a turn run.  The tests are async: mark the module
    with ``pytest.mark.anyio``.
    """

    @pytest.fixture
    def make(self) -> Callable[[], Plugin]:
        """Return what makes a plugin; override it."""
        raise NotImplementedError

    @pytest.fixture
    def question(self) -> ChatRequest:
        """Return the request that is asked."""
        return ChatRequest("What shall I buy?", attachments=(FILE,))

    async def test_it_starts_and_stops_twice_and_leaves_no_task_behind(
        self, make: Callable[[], Plugin]
    ) -> None:
        """The second start comes after the first stop."""
        host, failures = _host_of(make())
        before = _tasks()
        for _ in range(2):
            async with host:
                pass
            await anyio.wait_all_tasks_blocked()
            assert _tasks() <= before
        assert failures == []

    async def test_no_hook_fails(self, make: Callable[[], Plugin], question: ChatRequest) -> None:
        """When a request is answered in one piece, and when it is streamed."""
        host, failures = _host_of(make())
        async with host:
            await host.chat(question)
            async with host.stream(question) as events:
                async for event in events:
                    assert event.type != "turn.error"
        assert failures == []

    async def test_no_hook_fails_on_requests_at_the_same_time(
        self, make: Callable[[], Plugin], question: ChatRequest
    ) -> None:
        """Each in a session of its own."""
        host, failures = _host_of(make())
        async with host, anyio.create_task_group() as requests:
            for _ in range(5):
                requests.start_soon(host.chat, question)
        assert failures == []

    async def test_a_cancelled_hook_leaves_the_plugin_in_order(
        self, make: Callable[[], Plugin], question: ChatRequest
    ) -> None:
        """Whichever hook it is: the next request is answered, and no hook fails in it."""
        for hook in HOOKS.keys() - {"start", "stop"}:
            scope = anyio.CancelScope()
            plugin = Watched(make(), partial(_cancelling, hook, scope))
            host, failures = _host_of(cast("Plugin", plugin))
            async with host:
                with scope:
                    await host.chat(question)
                if not scope.cancel_called:
                    continue
                failures.clear()
                await host.chat(question)
            assert failures == [], f"{hook} was cancelled before"


def _host_of(plugin: Plugin) -> tuple[AgentHost, list[PluginFailure]]:
    """Return a host with the plugin, and where its failures are noted."""
    failures: list[PluginFailure] = []
    config = AppConfig(
        profiles=[Profile(id="assistant", model="scripted:any", tools=[contract_tool])],
        providers=[ScriptedModel.repeat(_answer)],
        plugins=[plugin],
        store=MemorySessionStore(),
        on_plugin_error=failures.append,
    )
    return create_app(config).host, failures


def _answer(request: ModelRequest) -> Said:
    if request.messages[-1].role == "user" and request.tools:
        return call_tools(("contract_tool", {"text": "Milk."}))
    return "Milk and honey."


def _tasks() -> set[int]:
    return {task.id for task in anyio.get_running_tasks()}


def _cancelling(
    wanted: str, scope: anyio.CancelScope, _plugin: str, hook: str, member: Member
) -> Member:
    """Return the hook with its request cancelled as it begins, if it is the one that is wanted."""
    if hook != wanted:
        return member

    async def cancelled(*arguments: object) -> object:
        scope.cancel()
        result = member(*arguments)
        return await result if isawaitable(result) else result

    return cancelled
