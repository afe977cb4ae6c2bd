"""What a host that died owed to its plugins when a session was deleted."""

import asyncio  # noqa: TID251 - its own cancellation is tested
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Literal

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from agentrail import (
    AgentHost,
    AppConfig,
    Attachment,
    ChatRequest,
    Plugin,
    Profile,
    RequestContext,
    ScriptedModel,
    SQLiteSessionStore,
    create_app,
    define_plugin,
)
from agentrail.errors import SessionNotFound, StorageError
from agentrail.events import TurnEnd, TurnStart
from agentrail.hook import PluginFailure
from agentrail.memory import Memory
from agentrail.messages import Message
from agentrail.session import Owner, SessionStore, recorded
from tests.host.conftest import MakeHost, Stores
from tests.host.office import ME

pytestmark = pytest.mark.anyio

MINE = Owner(ME.tenant_id, ME.user_id, "assistant")
LIFE = """
import os
import signal
import sys
from pathlib import Path
import anyio
from agentrail import AppConfig, ChatRequest, Profile, ScriptedModel, SQLiteSessionStore
from agentrail import create_app, define_plugin
from agentrail.memory import Memory
from agentrail.requests import Principal

class Dies(SQLiteSessionStore):
    async def delete(self, session_id):
        deletion = await super().delete(session_id)
        if sys.argv[2] == "commit":
            os.kill(os.getpid(), signal.SIGKILL)
        return deletion

async def wait(context):
    print("told", flush=True)
    await anyio.sleep_forever()

async def main():
    data = Path(sys.argv[1])
    deadlines = {"on_session_deleted": 999}
    waiting = define_plugin("waiting", on_session_deleted=wait, deadlines=deadlines)
    config = AppConfig(
        profiles=[Profile(id="assistant", model="scripted:m")],
        providers=[ScriptedModel.repeat("Noted.")],
        plugins=[waiting, Memory(data / "memory.db", embed=None)],
        store=Dies(data / "sessions.db"),
        data_dir=data,
    )
    async with create_app(config).host as host:
        for session_id in ("kept", "gone"):
            await host.chat(ChatRequest(f"My parrot is {session_id}.", session_id=session_id))
        await host.delete_session(Principal(), "gone")

anyio.run(main, backend=sys.argv[3])
"""


def office(data: Path, *plugins: Plugin, store: SessionStore | None = None) -> AgentHost:
    config = AppConfig(
        profiles=[Profile(id="assistant", model="scripted:m")],
        providers=[ScriptedModel.repeat("Noted.")],
        plugins=plugins,
        store=store,
        data_dir=data,
    )
    return create_app(config).host


def listener(told: list[str]) -> Plugin:
    return define_plugin("p", on_session_deleted=lambda context: told.append(context.session_id))


async def check_forgotten(data: Path) -> None:
    """The next start tells the plugins of the deletion, and the one after it does not."""
    told: list[RequestContext] = []
    plugin = define_plugin("p", on_session_deleted=told.append)
    for _ in range(2):
        memory = Memory(data / "memory.db", embed=None)
        async with office(data, memory, plugin):
            kept = [turn.asked async for turn in memory.export(ME)]
            assert kept == ["My parrot is kept."]
        assert b"is gone" not in (data / "memory.db").read_bytes()

    (context,) = told
    assert (context.session_id, context.agent_id, context.turn_id) == ("gone", "assistant", "")
    assert (context.tenant_id, context.user_id) == (ME.tenant_id, ME.user_id)
    assert (context.transport, context.roles) == ("recovery", frozenset())


def test_plugins_are_told_at_the_next_start_when_the_host_is_killed_after_the_commit(
    anyio_backend_name: Literal["asyncio", "trio"], tmp_path: Path
) -> None:
    command = [sys.executable, "-c", LIFE, str(tmp_path), "commit", anyio_backend_name]
    killed = subprocess.run(command, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert b"is gone" in b"".join(path.read_bytes() for path in tmp_path.glob("memory.db*"))

    anyio.run(check_forgotten, tmp_path, backend=anyio_backend_name)


async def test_a_deletion_is_announced_by_another_host_once_its_own_is_dead(
    anyio_backend_name: str, tmp_path: Path
) -> None:
    told: list[str] = []
    command = [sys.executable, "-c", LIFE, str(tmp_path), "hook", anyio_backend_name]
    async with await anyio.open_process(command, stderr=None) as process:
        try:
            assert process.stdout is not None
            output = BufferedByteReceiveStream(process.stdout)
            assert await output.receive_until(b"\n", 10) == b"told"
            async with office(tmp_path, listener(told)):
                pass
        finally:
            process.kill()
    assert told == []  # the other one was at it

    await check_forgotten(tmp_path)


async def test_what_is_left_of_the_files_of_a_deleted_session_goes_at_the_next_start(
    tmp_path: Path,
) -> None:
    asked = ChatRequest("look", session_id="s", attachments=(Attachment("a", "", b"x"),))
    async with office(tmp_path) as host:
        await host.chat(asked)
    await die_after_deletion(tmp_path)

    async with office(tmp_path) as host:
        assert list(await host.core.blobs.list(MINE.tenant_id, MINE.user_id, "s")) == []

    async with office(tmp_path) as host:
        await host.chat(asked)
    await die_after_deletion(tmp_path, again=True)

    async with office(tmp_path) as host:  # they are those of the session under the same id
        assert [file.filename for file in await host.attachments(ME, "s")] == ["a"]


async def die_after_deletion(data: Path, *, again: bool = False) -> None:
    """Leave the file as a host does that dies, and others that made the session again."""
    store = SQLiteSessionStore(data / "sessions.db")
    await store.start()
    await store.delete("s")
    if again:
        store.release(await store.acquire("s", MINE))
    await store.stop()


async def test_a_host_starts_though_the_files_of_a_deleted_session_cannot_go(
    tmp_path: Path,
) -> None:
    told: list[str] = []
    index = tmp_path / "attachments" / "index.db"
    async with office(tmp_path, listener(told)) as host:
        await host.chat(
            ChatRequest("look", session_id="s", attachments=(Attachment("a", "", b"x"),))
        )
    await die_after_deletion(tmp_path)
    with closing(sqlite3.connect(index)) as connection:
        connection.execute("alter table reference rename to lost")

    for _ in range(2):
        async with office(tmp_path, listener(told)) as host:
            with pytest.raises(StorageError):
                await host.core.blobs.list(MINE.tenant_id, MINE.user_id, "s")
    assert told == ["s", "s"]

    with closing(sqlite3.connect(index)) as connection:
        connection.execute("alter table lost rename to reference")
    for _ in range(2):
        async with office(tmp_path, listener(told)) as host:
            assert list(await host.core.blobs.list(MINE.tenant_id, MINE.user_id, "s")) == []
    assert told == ["s", "s", "s"]


async def test_deletions_are_announced_before_turns(tmp_path: Path) -> None:
    """A session may have been deleted, and made again under its id by another host."""
    log: list[str] = []
    store = SQLiteSessionStore(tmp_path / "sessions.db")
    await store.start()
    for turn_id in ("first", "second"):
        await store.delete("s")
        events = [TurnStart(turn_id=turn_id), TurnEnd(turn_id=turn_id)]
        store.release(await store.acquire("s", MINE, events=events))
    await store.stop()

    plugin = define_plugin(
        "p",
        on_turn_persisted=lambda context: log.append(context.turn_id),
        on_session_deleted=lambda context: log.append(context.session_id),
    )
    async with office(tmp_path, plugin):
        assert log == ["s", "second"]


async def test_a_plugin_that_is_told_of_an_old_turn_cannot_make_its_deleted_session_again(
    make_host: MakeHost, new_store: Stores
) -> None:
    failures: list[PluginFailure] = []
    store = new_store()
    await store.start()
    events = [recorded(Message.user("hi"), "t"), TurnStart(turn_id="t"), TurnEnd(turn_id="t")]
    store.release(await store.acquire("s", MINE, events=events))
    await store.stop()

    async def note(context: RequestContext) -> None:
        await store.delete("s")
        await context.services.session.note("late")

    plugin = define_plugin("p", on_turn_persisted=note)
    async with make_host(store=store, plugins=[plugin], on_plugin_error=failures.append):
        assert await store.find("s") is None

    assert [type(each.error) for each in failures] == [SessionNotFound]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_plugins_are_told_though_asyncio_cancels_the_deletion(make_host: MakeHost) -> None:
    told: list[str] = []
    begun, go_on = anyio.Event(), anyio.Event()

    async def forget(context: RequestContext) -> None:
        begun.set()
        await go_on.wait()
        told.append(context.session_id)

    async with make_host(plugins=[define_plugin("p", on_session_deleted=forget)]) as host:
        await host.chat(ChatRequest("hi", session_id="s"))
        task = asyncio.create_task(host.delete_session(ME, "s"))
        await begun.wait()
        task.cancel()
        await anyio.wait_all_tasks_blocked()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert told == ["s"]


async def test_a_host_does_not_stop_before_the_plugins_were_told_of_a_deletion(
    make_host: MakeHost,
) -> None:
    log: list[str] = []
    begun = anyio.Event()

    async def forget(_context: RequestContext) -> None:
        begun.set()
        while not await host.readiness():
            await anyio.lowlevel.checkpoint()
        await anyio.wait_all_tasks_blocked()
        log.append("told")

    plugin = define_plugin("p", on_session_deleted=forget, stop=lambda: log.append("stopped"))
    async with anyio.create_task_group() as callers, make_host(plugins=[plugin]) as host:
        await host.chat(ChatRequest("hi", session_id="s"))
        callers.start_soon(host.delete_session, ME, "s")
        await begun.wait()

    assert log == ["told", "stopped"]
