"""What blocks the event loop is named while it does."""

import logging
import threading
from collections.abc import Generator

import anyio.to_thread
import pytest

from agentrail import ChatRequest, Profile, RequestContext, define_plugin, tool
from agentrail.model.scripted import call_tools
from tests.host.conftest import MakeHost

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("new_store", ["memory"], indirect=True),
]


class Reported(logging.Handler):
    """Collects what the host logs, and lets go of what blocks the loop when that is reported."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []
        self.blocked = threading.Event()
        self.back = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())
        self.blocked.set()
        if record.levelno == logging.WARNING:
            self.back.set()

    def wait(self) -> bool:
        return self.blocked.wait(20)


@pytest.fixture
def reported() -> Generator[Reported]:
    handler = Reported()
    logging.getLogger("agentrail.host").addHandler(handler)
    yield handler
    logging.getLogger("agentrail.host").removeHandler(handler)


async def test_a_tool_that_blocks_the_event_loop_is_reported_by_name_while_it_does(
    make_host: MakeHost, reported: Reported
) -> None:
    @tool
    async def ponder() -> str:
        """Think without letting others think."""
        return "reported" if reported.wait() else "not reported"

    profile = Profile(id="a", model="scripted:test", tools=[ponder])
    async with make_host(call_tools(("ponder", {})), "done", profiles=[profile]) as host:
        answer = await host.chat(ChatRequest("think"))
        assert await anyio.to_thread.run_sync(reported.back.wait, 20)

    assert answer.message == "done"
    during, after = reported.messages
    assert during.startswith("the event loop has been blocked for ")
    assert ": tool ponder\n" in during
    assert "test_blocking.py" in during
    assert "in ponder\n" in during
    assert after.startswith("the event loop goes on after ")
    assert after.endswith(": tool ponder")


async def test_a_hook_that_blocks_the_event_loop_is_reported_by_name(
    make_host: MakeHost, reported: Reported
) -> None:
    async def block(_context: RequestContext) -> None:
        assert reported.wait()

    plugin = define_plugin("heavy", on_request_start=block)
    async with make_host(plugins=[plugin]) as host:
        await host.chat(ChatRequest("hello"))

    assert "heavy.on_request_start\n" in reported.messages[0]


async def test_hooks_that_block_one_after_the_other_are_each_named(
    make_host: MakeHost, reported: Reported
) -> None:
    async def first(_context: RequestContext) -> None:
        assert reported.wait()
        reported.blocked.clear()

    async def second(_context: RequestContext) -> None:
        assert reported.wait()

    plugins = [
        define_plugin("one", on_request_start=first),
        define_plugin("two", on_request_start=second),
    ]
    async with make_host(plugins=plugins) as host:
        await host.chat(ChatRequest("hello"))
        assert await anyio.to_thread.run_sync(reported.back.wait, 20)

    assert ": one.on_request_start\n" in reported.messages[0]
    assert ": two.on_request_start\n" in reported.messages[1]
    assert reported.messages[2].endswith(": one.on_request_start, then two.on_request_start")


async def test_code_that_no_guard_knows_is_reported_by_its_place(
    make_host: MakeHost, reported: Reported
) -> None:
    async with make_host():
        assert reported.wait()

    assert ": code of no hook and no tool\n" in reported.messages[0]
    assert "in test_code_that_no_guard_knows_is_reported_by_its_place\n" in reported.messages[0]


async def test_a_tool_in_a_thread_blocks_nothing_and_the_watch_ends_with_the_host(
    make_host: MakeHost, reported: Reported
) -> None:
    @tool
    def compute() -> str:
        """Take long, in a thread."""
        return "reported" if reported.blocked.wait(2.5) else "not reported"

    profile = Profile(id="a", model="scripted:test", tools=[compute])
    async with make_host(call_tools(("compute", {})), "done", profiles=[profile]) as host:
        await host.chat(ChatRequest("compute"))
        assert "agentrail loop watch" in [thread.name for thread in threading.enumerate()]

    assert reported.messages == []
    assert "agentrail loop watch" not in [thread.name for thread in threading.enumerate()]
