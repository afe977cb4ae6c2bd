"""A host that stops does stop: whatever it waits for has an end."""

from typing import Any

import anyio
import anyio.lowlevel
import pytest
from attrs import define, field

from agentrail import (
    AgentHost,
    ChatRequest,
    ModelRequest,
    Profile,
    RequestContext,
    ScriptedModel,
    define_plugin,
)
from agentrail.errors import HostNotRunning
from agentrail.hook import PluginFailure
from agentrail.session import Owner, SessionStore
from agentrail.testing import FakeClock, HookRecorder
from tests.host.conftest import MakeHost, Stores
from tests.host.office import streamed

pytestmark = pytest.mark.anyio

DOORS = ("chat", "stream", "apart")


@define
class Slow:
    """A store in which it takes long to find a session, once it is said to."""

    store: SessionStore
    slow: bool = False
    asked: anyio.Event = field(factory=anyio.Event)
    found: anyio.Event = field(factory=anyio.Event)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any member of a store
        return getattr(self.store, name)

    async def find(self, session_id: str) -> Owner | None:
        if self.slow:
            self.asked.set()
            await self.found.wait()
        return await self.store.find(session_id)


async def run(host: AgentHost, door: str, text: str = "hi") -> None:
    """Run a turn through a door."""
    if door == "stream":
        await streamed(host, ChatRequest(text, session_id="s"))
    elif door == "chat":
        await host.chat(ChatRequest(text, session_id="s"))
    else:
        await host.chat(ChatRequest(text, session_id="s", on_disconnect="continue"))


@pytest.mark.parametrize("door", DOORS)
async def test_a_request_that_is_let_in_when_the_grace_is_over_does_not_begin(
    make_host: MakeHost, new_store: Stores, recorder: HookRecorder, door: str
) -> None:
    store, told = Slow(new_store()), list[str]()
    host = make_host(store=store, stop_grace=0, plugins=[recorder])

    async def call() -> None:
        with pytest.raises(HostNotRunning) as caught:
            await run(host, door)
        told.append(caught.value.code)

    async with anyio.create_task_group() as callers:
        async with host:
            store.slow = True
            callers.start_soon(call)
            await store.asked.wait()
            callers.start_soon(_find_when_over, host, store)
        assert told == [HostNotRunning.code]
    assert recorder.names == ["start", "stop"]
    assert not host.core.turns.all()

    store.slow = False
    async with host:
        await run(host, door)


async def _find_when_over(host: AgentHost, store: Slow) -> None:
    while not host.core._over:
        await anyio.lowlevel.checkpoint()
    await anyio.wait_all_tasks_blocked()
    store.found.set()


# What is waited for has a deadline.


@pytest.mark.parametrize("door", DOORS)
async def test_who_is_told_of_failures_and_does_not_return_is_left_at_a_deadline(
    make_host: MakeHost, door: str, caplog: pytest.LogCaptureFixture
) -> None:
    clock, told = FakeClock(), anyio.Event()

    def fail(_context: RequestContext) -> None:
        raise ValueError("broken")

    async def hang(_failure: PluginFailure) -> None:
        told.set()
        await anyio.sleep_forever()

    plugin = define_plugin("p", on_request_end=fail)
    host = make_host(plugins=[plugin], on_plugin_error=hang, clock=clock, stop_grace=0)
    async with anyio.create_task_group() as callers, host:
        callers.start_soon(run, host, door)
        await told.wait()
        clock.advance(11)
    messages = [record.getMessage() for record in caplog.records]
    assert "on_plugin_error took longer than 10 s" in messages
    assert "plugin 'p' failed in on_request_end: ValueError: broken" in messages


async def test_a_summary_that_hangs_is_left_at_the_deadline_of_a_turn_and_tried_again(
    make_host: MakeHost, caplog: pytest.LogCaptureFixture
) -> None:
    clock, summaries, begun = FakeClock(), 0, anyio.Event()

    async def say(request: ModelRequest) -> str:
        nonlocal summaries
        if not request.messages[0].text.startswith("Summarize"):
            return f"a {'word ' * 36}"
        summaries += 1
        begun.set()
        if summaries == 1:
            await anyio.sleep_forever()
        return "in short"

    profile = Profile(id="assistant", model="scripted:m", context_window=400)
    host = make_host(profiles=[profile], providers=[ScriptedModel.repeat(say)], clock=clock)
    async with host:
        while not begun.is_set():
            await run(host, "chat", f"q {'word ' * 36}")
            await anyio.lowlevel.checkpoint()
        clock.advance(profile.limits.seconds + 1)
        while host.core.compacting:
            await anyio.lowlevel.checkpoint()
        await run(host, "chat", "and now?")
        while host.core.compacting:
            await anyio.lowlevel.checkpoint()
        kinds = [event.type for event in await host.core.store.read("s", limit=1000)]
    assert summaries == 2
    assert kinds.count("context.compacted") == 1
    assert "session s was not summarized: it took too long" in caplog.messages
