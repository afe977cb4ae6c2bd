"""What a turn makes of a machine that fails it: a full disk, a locked file, a clock that jumps."""

import asyncio  # noqa: TID251 - its own cancellation is tested
import json
import sqlite3
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from agentrail import (
    AppConfig,
    ChatRequest,
    Profile,
    ScriptedModel,
    SQLiteSessionStore,
    create_app,
    tool,
)
from agentrail.errors import StorageError
from agentrail.events import TurnEnd, TurnError
from agentrail.model import call_tools
from tests.host.office import ME, Office, approved, check_transcript, streamed, transcript, writing

pytestmark = pytest.mark.anyio

NOON = 1_700_000_000.0
DAY = 86_400.0
OF_TURNS = "select status from turn"

# The limit is the process's own, so it has a process to itself.
FULL = """
import json, resource, signal, sys
from pathlib import Path
import anyio
from agentrail import AppConfig, ChatRequest, Principal, Profile, ScriptedModel, create_app
from agentrail import AppConfig, ChatRequest, Profile, ScriptedModel, SQLiteSessionStore, create_app
from agentrail.errors import StorageError

path = Path(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

def allow(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

async def main():
    model = ScriptedModel(["one", "x" * 200_000, "three"])
    config = AppConfig(
        profiles=[Profile(id="a", model="scripted:m")],
        providers=[model],
        store=SQLiteSessionStore(path),
    )
    said = []
    async with create_app(config).host as host:
        said.append((await host.chat(ChatRequest("first", session_id="s"))).message)
        allow(path.with_name(path.name + "-wal").stat().st_size + 150_000)
        try:
            async with host.stream(ChatRequest("second", session_id="s")) as stream:
                last = [event async for event in stream][-1]
            said.append([last.type, last.code, last.retryable])
        except StorageError as error:
            said.append(["refused", error.code])
        allow(resource.RLIM_INFINITY)
        said.append((await host.chat(ChatRequest("third", session_id="s"))).message)
        rows = await host.messages(Principal(), "s", limit=100)
        said.append([row.message.text[:8] for row in reversed(rows)])
    print(json.dumps(said))

anyio.run(main, backend=sys.argv[2])
"""


async def test_a_full_disk_ends_the_turn_that_meets_it_and_no_other(
    tmp_path: Path, anyio_backend_name: str
) -> None:
    command = [sys.executable, "-c", FULL, str(tmp_path / "s.db"), anyio_backend_name]
    done = await anyio.run_process(command, stderr=None)

    first, failed, third, messages = json.loads(done.stdout)
    assert (first, third) == ("one", "three")
    assert failed == ["turn.error", "storage_failed", True]
    assert messages[:3] == ["first", "one", "second"]
    assert messages[-2:] == ["third", "three"]


async def test_a_database_that_another_process_keeps_locked_refuses_a_turn_and_loses_nothing(
    tmp_path: Path,
) -> None:
    path = tmp_path / "own.db"
    store = SQLiteSessionStore(path)
    profile = Profile(id="assistant", model="scripted:m")
    config = AppConfig(profiles=[profile], providers=[ScriptedModel(["one", "two"])], store=store)
    async with create_app(config).host as host:
        await host.chat(ChatRequest("first", session_id="s"))
        store._database._writer.execute("pragma busy_timeout = 10")
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("begin immediate")
            with pytest.raises(StorageError, match="another process kept it locked") as caught:
                await host.chat(ChatRequest("second", session_id="s"))
            assert caught.value.retryable
        answer = await host.chat(ChatRequest("second", session_id="s"))
        texts = [message.text for message in await transcript(host)]

    assert answer.message == "two"
    assert texts == ["first", "one", "second", "two"]


async def test_a_turn_whose_end_the_file_did_not_take_is_closed_when_it_does_again(
    tmp_path: Path,
) -> None:
    path = tmp_path / "own.db"
    store = SQLiteSessionStore(path)
    locked = sqlite3.connect(path, isolation_level=None, check_same_thread=False)

    @tool
    async def lock() -> str:
        """Keep the file to oneself."""
        locked.execute("begin immediate")
        return "locked"

    profile = Profile(id="assistant", model="scripted:m", tools=[lock])
    model = ScriptedModel([call_tools(("lock", {})), "never said"])
    config = AppConfig(profiles=[profile], providers=[model], store=store)
    with closing(locked):
        async with create_app(config).host as host:
            store._database._writer.execute("pragma busy_timeout = 10")
            async with host.stream(ChatRequest("lock it", session_id="s")) as stream:
                last = [event async for event in stream][-1]
            assert isinstance(last, TurnError)
            assert last.code == "storage_failed"
            assert locked.execute(OF_TURNS).fetchall() == [("running",)]
            locked.execute("rollback")
            with anyio.fail_after(30):
                while locked.execute(OF_TURNS).fetchall() == [("running",)]:
                    await anyio.lowlevel.checkpoint()
            assert locked.execute(OF_TURNS).fetchall() == [("failed",)]
            check_transcript(await transcript(host))


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_turn_that_asyncio_cancels_while_it_writes_says_nothing_twice(
    tmp_path: Path,
) -> None:
    path = tmp_path / "own.db"
    waits = threading.Event()
    locked = sqlite3.connect(path, isolation_level=None, check_same_thread=False)

    @tool
    async def lock() -> str:
        """Keep the file to oneself."""
        locked.execute("begin immediate")
        waits.set()
        return "locked"

    profile = Profile(id="assistant", model="scripted:m", tools=[lock])
    model = ScriptedModel([call_tools(("lock", {})), "never said", "again"])
    store = SQLiteSessionStore(path)
    config = AppConfig(profiles=[profile], providers=[model], store=store)
    with closing(locked):
        async with create_app(config).host as host:
            chat = asyncio.create_task(host.chat(ChatRequest("lock it", session_id="s")))
            await anyio.to_thread.run_sync(waits.wait)
            await anyio.wait_all_tasks_blocked()  # the call's result is on its way to the file
            chat.cancel()
            await anyio.wait_all_tasks_blocked()
            locked.execute("rollback")
            with pytest.raises(asyncio.CancelledError):
                await chat
            answer = await host.chat(ChatRequest("once more", session_id="s"))
            rows = await host.messages(ME, "s")

    assert answer.message == "never said"
    assert len({row.message.id for row in rows}) == len(rows)
    check_transcript([row.message for row in reversed(rows)])


class JumpingClock:
    """Each look at it finds another date; what it measures goes on evenly."""

    def __init__(self) -> None:
        self.looks = 0

    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> float:
        self.looks += 1
        return NOON + time.monotonic() + (DAY if self.looks % 2 else -DAY)


async def test_turns_go_on_while_the_clock_jumps_back_and_forth(
    tmp_path: Path,
) -> None:
    office, clock = Office(), JumpingClock()
    config = office.config(writing("ada"), "sent", "again", "and again")
    store = SQLiteSessionStore(tmp_path / "own.db", clock)
    async with create_app(AppConfig(**config, clock=clock, store=store)).host as host:
        asked = await host.chat(ChatRequest("write", session_id="s"))
        done = await approved(host, asked)
        keyed = ChatRequest("once more", session_id="s", idempotency_key="k")
        once, twice = await host.chat(keyed), await host.chat(keyed)
        events = await streamed(host, ChatRequest("and again", session_id="s"))
        messages = await transcript(host)
        listed = await host.sessions(ME)

    assert clock.looks > 4
    assert done.message == "sent"
    assert office.done == ["sent ada"]
    assert once.turn_id == twice.turn_id
    assert isinstance(events[-1], TurnEnd)
    assert [event.id for event in events] == sorted({event.id for event in events})
    check_transcript(messages)
    assert [summary.session_id for summary in listed] == ["s"]
