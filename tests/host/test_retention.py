"""Sessions that nobody has used for so many days go by themselves, with all that they hold."""

import logging
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import anyio
import pytest

from agentrail import (
    AgentHost,
    AppConfig,
    Attachment,
    ChatRequest,
    ModelRequest,
    Plugin,
    Principal,
    Profile,
    RequestContext,
    ScriptedModel,
    create_app,
    define_plugin,
)
from agentrail.errors import CompositionError, ConfigRefused, StorageError, TurnNotFound
from agentrail.hook import PluginFailure
from agentrail.host._retention import delete_unused
from agentrail.memory import Memory
from agentrail.session import (
    Deletion,
    MemorySessionStore,
    Owner,
    SessionStore,
    SQLiteSessionStore,
)
from agentrail.testing import FakeClock
from tests.host.office import ME, Office, writing
from tests.host.reloading import site_of

pytestmark = pytest.mark.anyio

DAY = 86_400.0
EVE = Principal(tenant_id="acme", user_id="eve", roles=frozenset({"boss"}))
MINE = Owner(ME.tenant_id, ME.user_id, "assistant")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> SessionStore:
    if request.param == "memory":
        return MemorySessionStore(clock)
    return SQLiteSessionStore(tmp_path / "sessions.db", clock)


def host_of(
    data: Path,
    clock: FakeClock,
    store: SessionStore | None = None,
    *plugins: Plugin,
    **config: Any,  # noqa: ANN401
) -> AgentHost:
    config.setdefault("session_days", 30)
    config.setdefault("profiles", [Profile(id="assistant", model="scripted:m")])
    config.setdefault("providers", [ScriptedModel.repeat("Noted.")])
    store = store or SQLiteSessionStore(data / "sessions.db", clock)
    app = AppConfig(plugins=plugins, store=store, clock=clock, data_dir=data, **config)
    return create_app(app).host


def listener(told: list[str]) -> Plugin:
    return define_plugin("p", on_session_deleted=lambda context: told.append(context.session_id))


async def chat(host: AgentHost, *session_ids: str) -> None:
    for session_id in session_ids:
        await host.chat(ChatRequest(f"My parrot is {session_id}.", session_id=session_id))


async def looked() -> None:
    """Returns when the hosts that were started have looked; what is deleted then, a test does."""
    await anyio.wait_all_tasks_blocked()


async def left(host: AgentHost, principal: Principal = ME) -> list[str]:
    return sorted(each.session_id for each in await host.sessions(principal))


async def test_sessions_go_that_nobody_has_used_for_so_many_days(
    tmp_path: Path, clock: FakeClock, store: SessionStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "agentrail.host")
    told: list[str] = []
    async with host_of(tmp_path, clock, store, listener(told)) as host:
        await looked()
        await chat(host, "a", "b", "used")
        clock.advance(20 * DAY)
        await chat(host, "used", "new")
        await delete_unused(host.core)
        assert (told, caplog.messages) == ([], [])

        clock.advance(10 * DAY + 1)
        await delete_unused(host.core)
        assert await left(host) == ["new", "used"]
        await delete_unused(host.core)

    assert told == ["a", "b"]
    assert caplog.messages == ["deleted sessions that nobody has used for long: 2"]


async def test_by_default_sessions_are_kept_for_ever(
    tmp_path: Path, clock: FakeClock, store: SessionStore
) -> None:
    async with host_of(tmp_path, clock, store, session_days=None) as host:
        await looked()
        await chat(host, "s")
        clock.advance(10_000 * DAY)
        await delete_unused(host.core)
        assert await left(host) == ["s"]


@pytest.mark.parametrize("days", [0, -1, float("nan")])
def test_a_number_of_days_is_over_0(tmp_path: Path, clock: FakeClock, days: float) -> None:
    with pytest.raises(CompositionError, match=f"session_days must be over 0, not {days:g}"):
        host_of(tmp_path, clock, session_days=days)


async def test_files_and_memory_go_with_the_session_and_its_owner_is_told(
    tmp_path: Path, clock: FakeClock
) -> None:
    told: list[RequestContext] = []
    memory = Memory(tmp_path / "memory.db", embed=None)
    plugin = define_plugin("p", on_session_deleted=told.append)
    async with host_of(tmp_path, clock, None, memory, plugin) as host:
        await looked()
        for session_id in ("gone", "kept"):
            file = Attachment(f"{session_id}.txt", "", session_id.encode())
            asked = f"My parrot is {session_id}."
            request = ChatRequest(asked, session_id=session_id, attachments=(file,))
            await host.chat(request, principal=EVE)
            clock.advance(20 * DAY)
        await delete_unused(host.core)

        assert await left(host, EVE) == ["kept"]
        assert [turn.session_id async for turn in memory.export(EVE)] == ["kept"]
        files = host.core.blobs
        assert list(await files.list(EVE.tenant_id, EVE.user_id, "gone")) == []
        assert len(await files.list(EVE.tenant_id, EVE.user_id, "kept")) == 1
    kept = [path.read_bytes() for path in (tmp_path / "attachments").rglob("*") if path.is_file()]
    assert b"kept" in kept
    assert b"gone" not in kept

    (context,) = told
    assert (context.tenant_id, context.user_id, context.roles) == ("acme", "eve", frozenset())
    assert (context.session_id, context.agent_id, context.turn_id) == ("gone", "assistant", "")
    assert context.transport == "retention"


async def test_a_session_in_use_stays(
    tmp_path: Path, clock: FakeClock, store: SessionStore
) -> None:
    begun, go_on = anyio.Event(), anyio.Event()

    async def answer(_request: ModelRequest) -> str:
        begun.set()
        await go_on.wait()
        return "at last"

    model = ScriptedModel.repeat(answer)
    seconds = 60 / DAY
    host = host_of(tmp_path, clock, store, providers=[model], session_days=seconds)
    async with host:
        await looked()
        async with anyio.create_task_group() as callers:
            callers.start_soon(chat, host, "s")
            await begun.wait()
            clock.advance(100)
            await delete_unused(host.core)
            go_on.set()
        said = [each.message.text for each in await host.messages(ME, "s")]

        assert said == ["at last", "My parrot is s."]
        clock.advance(100)
        await delete_unused(host.core)
        assert await left(host) == []


async def test_a_turn_that_waits_for_an_approval_goes_with_its_session(
    tmp_path: Path, clock: FakeClock, store: SessionStore
) -> None:
    office = Office()
    async with host_of(tmp_path, clock, store, **office.config(writing())) as host:
        await looked()
        suspended = await host.chat(ChatRequest("write", session_id="s"))
        clock.advance(29 * DAY)
        await delete_unused(host.core)
        (call,) = suspended.approvals
        await host.decide(ME, suspended.turn_id, call.call.id, approved=True)  # that is a use
        clock.advance(29 * DAY)
        await delete_unused(host.core)
        assert (await host.turn(ME, suspended.turn_id)).status == "suspended"

        clock.advance(2 * DAY)
        await delete_unused(host.core)
        with pytest.raises(TurnNotFound):
            await host.turn(ME, suspended.turn_id)
    assert office.done == []


async def test_a_host_looks_when_it_starts(
    tmp_path: Path, clock: FakeClock, store: SessionStore
) -> None:
    told = anyio.Event()
    async with host_of(tmp_path, clock, store) as host:
        await chat(host, "s")
    clock.advance(31 * DAY)

    plugin = define_plugin("p", on_session_deleted=lambda _context: told.set())
    async with host_of(tmp_path, clock, store, plugin) as host:
        await told.wait()
        assert await left(host) == []


async def fill(store: SessionStore, number: int) -> None:
    """Makes sessions, by several writers at a time so that they share transactions."""

    async def make(first: int) -> None:
        for at in range(first, number, 100):
            store.release(await store.acquire(f"old{at}", MINE))

    await store.start()
    async with anyio.create_task_group() as writers:
        for first in range(100):
            writers.start_soon(make, first)
    await store.stop()


async def test_a_turn_and_a_stop_do_not_wait_until_thousands_are_deleted(
    tmp_path: Path, clock: FakeClock, store: SessionStore
) -> None:
    told: list[str] = []
    begun = anyio.Event()

    def forget(context: RequestContext) -> None:
        told.append(context.session_id)
        begun.set()

    await fill(store, 5000)
    clock.advance(31 * DAY)
    plugin = define_plugin("p", on_session_deleted=forget)
    async with host_of(tmp_path, clock, store, plugin) as host:
        await begun.wait()
        await chat(host, "new")
        assert len(told) < 5000

    await store.start()
    kept = await store.unused(clock.now() + 1, limit=10_000)
    await store.stop()
    assert len(kept) > 1
    assert sorted([*kept, *told]) == sorted(["new", *(f"old{at}" for at in range(5000))])


async def test_more_go_than_are_looked_up_at_a_time(
    tmp_path: Path, clock: FakeClock, store: SessionStore
) -> None:
    await fill(store, 1001)
    async with host_of(tmp_path, clock, store) as host:
        await looked()
        clock.advance(31 * DAY)
        await delete_unused(host.core)
        assert await left(host) == []


async def test_a_hook_that_fails_does_not_keep_the_next_sessions(
    tmp_path: Path, clock: FakeClock, store: SessionStore
) -> None:
    told: list[str] = []
    failures: list[PluginFailure] = []

    def fail(_context: RequestContext) -> None:
        raise ValueError("no")

    plugins = define_plugin("failing", on_session_deleted=fail), listener(told)
    host = host_of(tmp_path, clock, store, *plugins, on_plugin_error=failures.append)
    async with host:
        await looked()
        await chat(host, "a", "b")
        clock.advance(31 * DAY)
        await delete_unused(host.core)

    assert told == ["a", "b"]
    assert [failure.plugin for failure in failures] == ["failing", "failing"]


class Full(SQLiteSessionStore):
    """Cannot delete some sessions while its disk is full."""

    kept: frozenset[str] = frozenset()

    async def delete(
        self, session_id: str, *, unused_since: float | None = None
    ) -> Deletion | None:
        if session_id in self.kept:
            raise StorageError("the disk is full")
        return await super().delete(session_id, unused_since=unused_since)


async def test_what_could_not_be_deleted_goes_with_the_next_look_and_keeps_no_other(
    tmp_path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    store = Full(tmp_path / "sessions.db", clock)
    async with host_of(tmp_path, clock, store) as host:
        await looked()
        await chat(host, "a", "b")
        store.kept = frozenset({"a"})
        clock.advance(31 * DAY)
        await delete_unused(host.core)
        assert await left(host) == ["a"]
        told = "the unused session 'a' could not be deleted: the disk is full"
        assert set(caplog.messages) == {told}

        store.kept = frozenset()
        await delete_unused(host.core)
        assert await left(host) == []


async def test_a_session_that_is_used_before_its_turn_comes_stays(
    tmp_path: Path, clock: FakeClock, store: SessionStore
) -> None:
    async def come_back(context: RequestContext) -> None:
        assert context.session_id == "a"
        await chat(host, "b")

    plugin = define_plugin("p", on_session_deleted=come_back)
    async with host_of(tmp_path, clock, store, plugin) as host:
        await looked()
        await chat(host, "a", "b")
        clock.advance(31 * DAY)
        await delete_unused(host.core)
        assert await left(host) == ["b"]


async def test_two_hosts_on_one_file_delete_each_session_once(
    tmp_path: Path, clock: FakeClock
) -> None:
    told: list[str] = []
    async with (
        host_of(tmp_path, clock, None, listener(told)) as one,
        host_of(tmp_path, clock, None, listener(told)) as other,
    ):
        await looked()
        names = [f"s{number}" for number in range(20)]
        await chat(one, *names)
        clock.advance(31 * DAY)
        async with anyio.create_task_group() as hosts:
            hosts.start_soon(delete_unused, one.core)
            hosts.start_soon(delete_unused, other.core)

        assert await left(one) == await left(other) == []
    assert sorted(told) == sorted(names)


async def test_a_session_that_another_host_uses_stays(tmp_path: Path, clock: FakeClock) -> None:
    begun, go_on = anyio.Event(), anyio.Event()

    async def answer(_request: ModelRequest) -> str:
        begun.set()
        await go_on.wait()
        return "at last"

    model = ScriptedModel.repeat(answer)
    async with (
        host_of(tmp_path, clock, providers=[model], session_days=None) as one,
        host_of(tmp_path, clock, session_days=60 / DAY) as other,
        anyio.create_task_group() as callers,
    ):
        await looked()
        callers.start_soon(chat, one, "s")
        await begun.wait()
        clock.advance(100)
        await delete_unused(other.core)
        assert await left(other) == ["s"]
        go_on.set()


async def test_a_host_does_not_stop_before_the_plugins_were_told(
    tmp_path: Path, clock: FakeClock, store: SessionStore, caplog: pytest.LogCaptureFixture
) -> None:
    log: list[str] = []
    begun = anyio.Event()

    async def forget(context: RequestContext) -> None:
        begun.set()
        while not await host.readiness():
            await anyio.lowlevel.checkpoint()
        await anyio.wait_all_tasks_blocked()
        log.append(context.session_id)

    plugin = define_plugin("p", on_session_deleted=forget, stop=lambda: log.append("stopped"))
    await fill(store, 2)
    clock.advance(31 * DAY)
    async with host_of(tmp_path, clock, store, plugin, stop_grace=0) as host:
        await begun.wait()

    (first, last) = log  # the second session is left for the next start
    assert (first[:3], last) == ("old", "stopped")
    assert caplog.messages == []


async def test_a_reload_changes_the_number(tmp_path: Path, clock: FakeClock) -> None:
    def days(number: object) -> str:
        return f"retention: {{session_days: {number}}}\n"

    store = MemorySessionStore(clock)
    site = site_of(tmp_path, "", store=store, clock=clock, session_days=30)
    async with site.host as host:
        await looked()
        await chat(host, "s")
        clock.advance(31 * DAY)
        for number in (90, 31.5, "null"):
            await site.use(days(number))
            await delete_unused(host.core)
            assert await left(host) == ["s"]
        for number in (0, -3, "'long'"):
            with pytest.raises(ConfigRefused):
                await site.use(days(number))
        assert host.core.config.session_days is None

        await site.use("{}\n")  # what the application's code says counts again
        assert host.core.config.session_days == 30
        await delete_unused(host.core)
        assert await left(host) == []


LIFE = """
import os
import signal
import sys
from pathlib import Path
import anyio
from agentrail import AppConfig, ChatRequest, Profile, ScriptedModel, SQLiteSessionStore
from agentrail import create_app
from agentrail.memory import Memory
from agentrail.messages import Attachment
from agentrail.testing import FakeClock

class Dies(SQLiteSessionStore):
    async def delete(self, session_id, **more):
        deletion = await super().delete(session_id, **more)
        os.kill(os.getpid(), signal.SIGKILL)

async def main():
    data, clock = Path(sys.argv[1]), FakeClock()
    def host(days):
        return create_app(AppConfig(
            profiles=[Profile(id="assistant", model="scripted:m")],
            providers=[ScriptedModel.repeat("Noted.")],
            plugins=[Memory(data / "memory.db", embed=None)],
            store=Dies(data / "sessions.db", clock),
            data_dir=data,
            clock=clock,
            session_days=days,
        )).host
    async with host(None) as first:
        for session_id in ("gone", "kept"):
            files = (Attachment("a", "", session_id.encode()),)
            asked = f"My parrot is {session_id}."
            await first.chat(ChatRequest(asked, session_id=session_id, attachments=files))
            clock.advance(20 * 86400)
    async with host(30):
        await anyio.sleep_forever()

anyio.run(main, backend=sys.argv[2])
"""


async def check_told(data: Path) -> None:
    told: list[RequestContext] = []
    plugin = define_plugin("p", on_session_deleted=told.append)
    clock = FakeClock()
    for _ in range(2):
        memory = Memory(data / "memory.db", embed=None)
        async with host_of(data, clock, None, memory, plugin) as host:
            assert [turn.session_id async for turn in memory.export(ME)] == ["kept"]
            assert await left(host) == ["kept"]
            assert list(await host.core.blobs.list(ME.tenant_id, ME.user_id, "gone")) == []
    assert [(each.session_id, each.transport) for each in told] == [("gone", "recovery")]


def test_plugins_are_told_at_the_next_start_when_the_host_is_killed_after_the_commit(
    anyio_backend_name: Literal["asyncio", "trio"], tmp_path: Path
) -> None:
    command = [sys.executable, "-c", LIFE, str(tmp_path), anyio_backend_name]
    killed = subprocess.run(command, check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL

    anyio.run(check_told, tmp_path, backend=anyio_backend_name)
