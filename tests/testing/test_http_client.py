"""A client of an application that is served for real."""

import subprocess
import sys
from pathlib import Path

import anyio
import httpx
import pytest

from agentrail import (
    AgentApp,
    AppConfig,
    Delta,
    MemorySessionStore,
    Message,
    ModelReply,
    ModelRequest,
    Profile,
    ScriptedModel,
    create_app,
    define_plugin,
)
from agentrail.errors import ConfigError, HostNotRunning, PluginStartError
from agentrail.testing import HookRecorder, OpenClient, OpenHost, http_client

pytestmark = pytest.mark.anyio


def app_of(model: ScriptedModel, *plugins: HookRecorder) -> AgentApp:
    profile = Profile(id="assistant", model="scripted:m")
    return create_app(
        AppConfig(
            profiles=[profile], providers=[model], plugins=plugins, store=MemorySessionStore()
        )
    )


async def test_the_host_runs_as_long_as_the_client_is_open() -> None:
    recorder = HookRecorder(hooks=["start", "stop"])
    app = app_of(ScriptedModel(["Hello."]), recorder)
    async with http_client(app) as client:
        assert recorder.names == ["start"]
        answer = await client.post("/chat", json={"message": "hi"})
        assert answer.json()["message"] == "Hello."
        assert client.base_url.host == "127.0.0.1"
        url = f"{client.base_url}/health"
    assert recorder.names == ["start", "stop"]
    async with httpx.AsyncClient(trust_env=False) as other:
        with pytest.raises(httpx.ConnectError):
            await other.get(url)


async def test_an_application_may_be_served_again() -> None:
    app = app_of(ScriptedModel(["one", "two"]))
    for expected in ("one", "two"):
        async with http_client(app) as client:
            answer = await client.post("/chat", json={"message": "hi"})
            assert answer.json()["message"] == expected


async def test_a_stream_comes_piece_by_piece() -> None:
    """What is read first is there before the answer has ended."""
    go_on = anyio.Event()

    class Slow(ScriptedModel):
        async def complete(self, request: ModelRequest) -> ModelReply:
            await request.emit(Delta(text="one "))
            await go_on.wait()
            await request.emit(Delta(text="two"))
            return ModelReply(message=Message.assistant("one two"))

    async with (
        http_client(app_of(Slow([]))) as client,
        client.stream("POST", "/stream", json={"message": "hi"}) as response,
    ):
        text = ""
        async for piece in response.aiter_text():
            text += piece
            if '"one "' in text and not go_on.is_set():
                assert "two" not in text
                go_on.set()
    assert "turn.end" in text


async def test_a_client_that_hangs_up_is_noticed() -> None:
    waiting, cancelled = anyio.Event(), anyio.Event()

    async def hang(_request: ModelRequest) -> str:
        waiting.set()
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()
        return ""

    async with http_client(app_of(ScriptedModel([hang]))) as client:
        async with client.stream("POST", "/stream", json={"message": "hi"}):
            await waiting.wait()
        await cancelled.wait()


async def test_what_keeps_the_host_from_starting_is_raised_as_it_is() -> None:
    def fail() -> None:
        raise OSError("the disk is gone")

    app = create_app(
        AppConfig(
            profiles=[Profile(id="assistant", model="scripted:m")],
            providers=[ScriptedModel([])],
            plugins=[define_plugin("p", start=fail)],
            store=MemorySessionStore(),
        )
    )
    with pytest.raises(PluginStartError, match="the disk is gone"):
        async with http_client(app):
            pass


async def test_without_a_server_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("uvicorn", "hypercorn.trio"):
        monkeypatch.setitem(sys.modules, name, None)
    recorder = HookRecorder(hooks=["start"])
    with pytest.raises(ConfigError, match="pip install 'agentrail-host"):
        async with http_client(app_of(ScriptedModel([]), recorder)):
            pass
    assert recorder.log == []


async def test_what_the_test_raises_comes_out_as_it_is_when_all_has_stopped() -> None:
    recorder = HookRecorder(hooks=["stop"])
    with pytest.raises(AssertionError, match="no luck"):
        async with http_client(app_of(ScriptedModel([]), recorder)):
            raise AssertionError("no luck")
    assert recorder.names == ["stop"]


async def test_a_client_may_be_cancelled() -> None:
    recorder = HookRecorder(hooks=["stop"])
    with anyio.CancelScope() as scope:
        async with http_client(app_of(ScriptedModel([]), recorder)):
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert recorder.names == ["stop"]


async def test_the_fixture_serves_several_applications(open_client: OpenClient) -> None:
    clients = [await open_client(app_of(ScriptedModel([f"{number}"]))) for number in range(2)]
    answers = [await client.post("/chat", json={"message": "hi"}) for client in clients]
    assert [answer.json()["message"] for answer in answers] == ["0", "1"]


async def test_the_fixture_starts_a_host_that_runs(open_host: OpenHost) -> None:
    app = app_of(ScriptedModel(["fine"]))
    host = await open_host(app)
    assert await host.readiness() == {}
    with pytest.raises(HostNotRunning):
        await open_host(app)


THEIRS = """
import pytest
from agentrail import AppConfig, ChatRequest, MemorySessionStore, Profile, ScriptedModel, create_app
from agentrail.testing import HookRecorder

pytestmark = pytest.mark.anyio
recorder = HookRecorder(hooks=["stop"])

async def test_host(open_host, anyio_backend_name):
    config = AppConfig(
        profiles=[Profile(id="assistant", model="scripted:m")],
        providers=[ScriptedModel([anyio_backend_name])],
        plugins=[recorder],
        store=MemorySessionStore(),
    )
    host = await open_host(create_app(config))
    assert (await host.chat(ChatRequest("hi"))).message == anyio_backend_name

def test_stopped():
    assert recorder.names == ["stop", "stop"]
"""


def test_a_project_takes_the_fixtures_in_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["agentrail.testing.fixtures"]')
    (tmp_path / "test_theirs.py").write_text(THEIRS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-W", "error", "-p", "no:randomly", str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "3 passed" in done.stdout, done.stdout
    assert "test_host[asyncio] PASSED" in done.stdout
    assert "test_host[trio] PASSED" in done.stdout
