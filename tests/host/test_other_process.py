"""Two processes on one file: a turn that runs in one is busy, not dead, for the other."""

import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from agentrail import (
    AgentHost,
    AppConfig,
    ChatRequest,
    Event,
    Plugin,
    Profile,
    RequestContext,
    ScriptedModel,
    SQLiteSessionStore,
    create_app,
    define_plugin,
)
from agentrail.errors import HostNotRunning, KeyReused, SessionBusy
from agentrail.events import TERMINAL, TurnEnd
from agentrail.requests import OnDisconnect
from tests.host.office import ME, check_transcript, transcript

pytestmark = pytest.mark.anyio

OTHER = """
import sys
import anyio
from agentrail import AppConfig, ChatRequest, Profile, ScriptedModel, SQLiteSessionStore
from agentrail import create_app, tool
from agentrail.model import call_tools

@tool
async def wait() -> str:
    "Wait for the other process."
    await anyio.to_thread.run_sync(sys.stdin.readline)
    return "waited"

async def main():
    model = ScriptedModel([call_tools(("wait", {})), "done over there", "more"])
    config = AppConfig(
        profiles=[Profile(id="assistant", model="scripted:m", tools=[wait])],
        providers=[model],
        store=SQLiteSessionStore(sys.argv[1]),
    )
    async with create_app(config).host as host:
        async with host.stream(ChatRequest("wait", session_id="s", idempotency_key="k")) as stream:
            async for event in stream:
                if event.type == "tool.start":
                    print(event.turn_id, flush=True)
        print("ended", flush=True)
        await anyio.to_thread.run_sync(sys.stdin.readline)

anyio.run(main, backend=sys.argv[2])
"""


class Other:
    """A host in another process, in the middle of a turn of session ``s``."""

    def __init__(self, process: Process) -> None:
        assert process.stdout is not None
        assert process.stdin is not None
        self.process, self.stdin = process, process.stdin
        self.output = BufferedByteReceiveStream(process.stdout)
        self.turn_id = ""

    async def line(self) -> str:
        return (await self.output.receive_until(b"\n", 200)).decode()

    async def go_on(self) -> None:
        """Let its tool return, and return when its turn has ended."""
        await self.stdin.send(b"\n")
        assert await self.line() == "ended"


@asynccontextmanager
async def other_process(path: Path, backend: str) -> AsyncGenerator[Other]:
    command = [sys.executable, "-c", OTHER, str(path), backend]
    async with await anyio.open_process(command, stderr=None) as process:
        other = Other(process)
        other.turn_id = await other.line()
        try:
            yield other
        finally:
            if process.returncode is None:
                process.kill()


def host_on(
    path: Path, announced: list[str] | None = None, plugins: Sequence[Plugin] = ()
) -> AgentHost:
    async def note(context: RequestContext) -> None:
        if announced is not None:
            announced.append(context.turn_id)

    return create_app(
        AppConfig(
            profiles=[Profile(id="assistant", model="scripted:m")],
            providers=[ScriptedModel(["here", "and here"])],
            plugins=[define_plugin("notes", on_turn_persisted=note), *plugins],
            store=SQLiteSessionStore(path),
            session_wait=0.05,
        )
    ).host


async def test_a_turn_of_another_process_is_read_as_running_and_to_its_end(
    tmp_path: Path, anyio_backend_name: str
) -> None:
    path = tmp_path / "s.db"
    events: list[Event] = []
    async with other_process(path, anyio_backend_name) as other, host_on(path) as host:
        assert (await host.turn(ME, other.turn_id)).status == "running"
        async with host.events(ME, other.turn_id) as following:
            async for event in following:
                events.append(event)
                if event.type == "tool.start":
                    await other.go_on()
        status = await host.turn(ME, other.turn_id)

    assert status.status == "completed"
    assert [event.type for event in events if isinstance(event, TERMINAL)] == ["turn.end"]
    assert [event.id for event in events] == sorted({event.id for event in events})


async def test_a_session_in_which_another_process_runs_a_turn_is_busy_and_the_turn_goes_on(
    tmp_path: Path, anyio_backend_name: str
) -> None:
    path = tmp_path / "s.db"
    async with other_process(path, anyio_backend_name) as other, host_on(path) as host:
        with pytest.raises(SessionBusy):
            await host.chat(ChatRequest("me too", session_id="s"))
        with pytest.raises(SessionBusy, match="another process"):
            await host.cancel(ME, other.turn_id)
        await other.go_on()
        answer = await host.chat(ChatRequest("now", session_id="s"))
        messages = await transcript(host)

    assert answer.message == "here"
    assert [message.text for message in messages] == [
        *("wait", "", "", "done over there", "now", "here"),
    ]
    check_transcript(messages)


async def test_a_turn_whose_process_was_killed_is_closed_by_whoever_looks(
    tmp_path: Path, anyio_backend_name: str
) -> None:
    path = tmp_path / "s.db"
    async with host_on(path) as host:
        async with other_process(path, anyio_backend_name) as other:
            assert (await host.turn(ME, other.turn_id)).status == "running"
            other.process.kill()
            await other.process.wait()
        assert (await host.turn(ME, other.turn_id)).status == "failed"
        answer = await host.chat(ChatRequest("now", session_id="s"))
        check_transcript(await transcript(host))

    assert answer.message == "here"


async def test_a_host_that_starts_does_not_announce_the_turns_of_one_that_runs(
    tmp_path: Path, anyio_backend_name: str
) -> None:
    path, announced = tmp_path / "s.db", list[str]()
    async with other_process(path, anyio_backend_name) as other:
        await other.go_on()
        async with host_on(path, announced):
            assert announced == []
        other.process.kill()
        await other.process.wait()
        async with host_on(path, announced):
            assert announced == [other.turn_id]


@pytest.mark.parametrize("kind", ["chat", "continued", "stream"])
async def test_a_key_that_two_processes_take_at_once_is_one_turn(
    tmp_path: Path, anyio_backend_name: str, kind: str
) -> None:
    path, answers, announced = tmp_path / "s.db", list[str](), list[str]()
    admitted, taken = anyio.Event(), anyio.Event()

    async def hold_up(context: RequestContext) -> None:
        admitted.set()
        await taken.wait()

    async def ask() -> None:
        on_disconnect: OnDisconnect = "continue" if kind == "continued" else "cancel"
        request = ChatRequest(
            "wait", session_id="s", idempotency_key="k", on_disconnect=on_disconnect
        )
        if kind == "stream":
            async with host.stream(request) as stream:
                last = [event async for event in stream][-1]
            assert isinstance(last, TurnEnd)
            answers.append(last.message)
        else:
            answers.append((await host.chat(request)).message)

    plugin = define_plugin("slow", on_request_start=hold_up, deadlines={"on_request_start": 60.0})
    async with host_on(path, announced, [plugin]) as host, anyio.create_task_group() as group:
        group.start_soon(ask)
        await admitted.wait()
        async with other_process(path, anyio_backend_name) as other:
            taken.set()
            async with host.events(ME, other.turn_id) as following:
                async for event in following:
                    if event.type == "tool.start":
                        await other.go_on()
            while not answers:  # it follows the turn of a process that is there
                await anyio.lowlevel.checkpoint()
        texts = [message.text for message in await transcript(host)]
        assert texts == ["wait", "", "", "done over there"]

    assert answers == ["done over there"]
    assert announced == []


async def test_a_key_that_another_process_took_for_something_else_is_refused(
    tmp_path: Path, anyio_backend_name: str
) -> None:
    path = tmp_path / "s.db"
    admitted, taken = anyio.Event(), anyio.Event()

    async def hold_up(context: RequestContext) -> None:
        admitted.set()
        await taken.wait()

    async def ask() -> None:
        with pytest.raises(KeyReused):
            await host.chat(ChatRequest("another thing", session_id="t", idempotency_key="k"))

    plugin = define_plugin("slow", on_request_start=hold_up, deadlines={"on_request_start": 60.0})
    async with host_on(path, None, [plugin]) as host, anyio.create_task_group() as group:
        group.start_soon(ask)
        await admitted.wait()
        async with other_process(path, anyio_backend_name):
            taken.set()


async def test_who_follows_a_turn_of_another_process_is_told_that_the_host_stops(
    tmp_path: Path, anyio_backend_name: str
) -> None:
    path = tmp_path / "s.db"
    async with other_process(path, anyio_backend_name) as other:
        async with host_on(path) as host, host.events(ME, other.turn_id) as following:
            assert (await anext(following)).turn_id == other.turn_id
        with pytest.raises(HostNotRunning):
            async for _ in following:
                pass
