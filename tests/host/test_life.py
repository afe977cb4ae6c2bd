"""The host's life: start, stop, what fails in between, and what a crash leaves behind."""

import sqlite3
from pathlib import Path

import anyio
import pytest

from agentrail import (
    AppConfig,
    ChatRequest,
    ChatResponse,
    Message,
    Principal,
    Profile,
    RequestContext,
    ScriptedModel,
    create_app,
    define_plugin,
)
from agentrail.errors import HostNotRunning, PluginStartError, StorageError
from agentrail.host import AgentHost
from agentrail.session import SQLiteSessionStore
from agentrail.testing import HookCall, HookRecorder
from tests.host.conftest import MakeHost


async def test_plugins_start_in_order_and_stop_in_reverse(make_host: MakeHost) -> None:
    log: list[HookCall] = []
    async with make_host(plugins=[HookRecorder(name, log) for name in "abc"]):
        assert list(map(str, log)) == ["a.start", "b.start", "c.start"]
        log.clear()
    assert list(map(str, log)) == ["c.stop", "b.stop", "a.stop"]


async def test_a_start_that_fails_as_third_of_five_stops_the_two_before_it(
    make_host: MakeHost,
) -> None:
    def fail() -> None:
        message = "no database"
        raise ValueError(message)

    log: list[HookCall] = []
    a, b, d, e = [HookRecorder(name, log) for name in "abde"]
    plugins = [a, b, define_plugin("c", start=fail), d, e]
    host = make_host(plugins=plugins)
    with pytest.raises(PluginStartError, match=r"'c' did not start: no database"):
        await host.__aenter__()
    assert list(map(str, log)) == ["a.start", "b.start", "b.stop", "a.stop"]
    with pytest.raises(HostNotRunning):
        await host.chat(ChatRequest("hi"))


async def test_a_host_that_failed_to_start_can_be_started_again(make_host: MakeHost) -> None:
    tries: list[int] = []

    def flaky() -> None:
        tries.append(1)
        if len(tries) == 1:
            message = "not yet"
            raise ValueError(message)

    host = make_host(plugins=[define_plugin("flaky", start=flaky)])
    with pytest.raises(PluginStartError):
        await host.__aenter__()
    async with host:
        assert (await host.chat(ChatRequest("hi"))).message == "fine"


async def test_a_host_serves_only_between_its_start_and_its_stop(make_host: MakeHost) -> None:
    host = make_host()
    with pytest.raises(HostNotRunning):
        await host.chat(ChatRequest("hi"))
    with pytest.raises(HostNotRunning):
        async with host.stream(ChatRequest("hi")):
            pass
    async with host:
        assert await host.readiness() == {}
        with pytest.raises(HostNotRunning, match="running already"):
            await host.__aenter__()
    assert await host.readiness()
    with pytest.raises(HostNotRunning):
        await host.sessions(Principal())


async def test_a_store_that_cannot_be_opened_keeps_the_host_from_starting(
    tmp_path: Path, recorder: HookRecorder
) -> None:
    (tmp_path / "sessions.db").write_bytes(b"this is no database at all" * 100)
    config = AppConfig(
        profiles=[Profile(id="a", model="scripted:x")],
        providers=[ScriptedModel([])],
        plugins=[recorder],
        data_dir=tmp_path,
    )
    with pytest.raises(StorageError):
        await create_app(config).host.__aenter__()
    assert recorder.log == []


async def test_stopping_waits_for_turns_under_way(make_host: MakeHost) -> None:
    answers: list[str] = []
    asked, go_on = anyio.Event(), anyio.Event()

    async def reply(_request: object) -> str:
        asked.set()
        await go_on.wait()
        return "in time"

    host = make_host(reply)
    started, stop = anyio.Event(), anyio.Event()

    async def serve() -> None:
        async with host:
            started.set()
            await stop.wait()

    async def ask() -> None:
        answers.append((await host.chat(ChatRequest("hi"))).message)

    async with anyio.create_task_group() as group:
        group.start_soon(serve)
        await started.wait()
        group.start_soon(ask)
        await asked.wait()
        stop.set()
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(HostNotRunning):
            await host.chat(ChatRequest("too late"))
        go_on.set()
    assert answers == ["in time"]


async def test_stopping_ends_a_turn_that_takes_too_long_and_leaves_its_session_whole(
    make_host: MakeHost,
) -> None:
    asked = anyio.Event()
    failures: list[HostNotRunning] = []

    async def hang(_request: object) -> str:
        asked.set()
        await anyio.sleep_forever()
        return ""

    host = make_host(hang, stop_grace=0.02)
    started, stop = anyio.Event(), anyio.Event()

    async def serve() -> None:
        async with host:
            started.set()
            await stop.wait()

    async def ask() -> None:
        try:
            await host.chat(ChatRequest("hi", session_id="s"))
        except HostNotRunning as error:
            failures.append(error)

    async with anyio.create_task_group() as group:
        group.start_soon(serve)
        await started.wait()
        group.start_soon(ask)
        await asked.wait()
        stop.set()
    assert "ask again" in str(failures[0])
    async with host:
        rows = await host.messages(Principal(), "s")
    assert [row.message.text for row in rows] == ["hi"]


async def test_background_tasks_are_the_plugins_and_end_with_it(make_host: MakeHost) -> None:
    log: list[str] = []
    started = anyio.Event()

    async def work() -> None:
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            log.append("background ended")

    def begin(context: RequestContext) -> None:
        context.services.background(work)

    plugin = define_plugin("p", on_request_start=begin, stop=lambda: log.append("stopped"))
    async with make_host(plugins=[plugin]) as host:
        await host.chat(ChatRequest("hi"))
        await started.wait()
        assert log == []
    assert log == ["background ended", "stopped"]


async def test_a_plugin_may_ask_a_model_and_stream_it(make_host: MakeHost) -> None:
    async def intercept(request: ChatRequest, context: RequestContext) -> ChatResponse | None:
        question = [Message.user("say something")]
        if request.message == "/ask":
            answer = await context.services.model().complete(question)
            return ChatResponse(answer.text)
        return ChatResponse(text_stream=context.services.model("scripted:x").stream(question))

    plugin = define_plugin("asker", intercept_chat_request=intercept)
    async with make_host("something", "else " * 20, plugins=[plugin]) as host:
        assert (await host.chat(ChatRequest("/ask"))).message == "something"
        assert (await host.chat(ChatRequest("/stream"))).message == "else " * 20


def crash_config(path: Path, log: list[str], model: ScriptedModel) -> AgentHost:
    config = AppConfig(
        profiles=[Profile(id="a", model="scripted:x")],
        providers=[model],
        plugins=[
            define_plugin("p", on_turn_persisted=lambda context: log.append(context.turn_id)),
        ],
        data_dir=path,
    )
    return create_app(config).host


async def test_a_turn_that_was_committed_and_not_announced_is_announced_at_the_next_start(
    tmp_path: Path,
) -> None:
    log: list[str] = []
    async with crash_config(tmp_path, log, ScriptedModel(["fine"])) as host:
        turn = (await host.chat(ChatRequest("hi", session_id="s"))).turn_id
    assert log == [turn]
    async with crash_config(tmp_path, log, ScriptedModel([])):
        assert log == [turn]
    # The same database as a host leaves it that dies between the commit and the hook.
    store = SQLiteSessionStore(tmp_path / "sessions.db")
    await store.start()
    await store.stop()
    with_announcement(tmp_path / "sessions.db", turn)
    async with crash_config(tmp_path, log, ScriptedModel([])):
        assert log == [turn, turn]
    async with crash_config(tmp_path, log, ScriptedModel([])):
        assert log == [turn, turn]


def with_announcement(path: Path, turn: str) -> None:
    """Puts a turn back on the list of those to be announced."""
    with sqlite3.connect(path) as db:
        names = [row[1] for row in db.execute("pragma table_info(announcement)")]
        db.execute(f"insert into announcement ({names[0]}) values (?)", [turn])  # noqa: S608
    db.close()
