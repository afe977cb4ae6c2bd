"""The lifespan by which an ASGI server starts and stops the host."""

from typing import Any

import anyio
import pytest

from agentrail import ChatRequest, define_plugin
from agentrail.errors import HostNotRunning, PluginStartError
from agentrail.testing import HookRecorder
from tests.http.wire import app_of

pytestmark = pytest.mark.anyio

SCOPE = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}


async def test_the_host_runs_between_startup_and_shutdown() -> None:
    recorder = HookRecorder(hooks=["start", "stop"])
    app = app_of(plugins=[recorder])
    to_app, receiver = anyio.create_memory_object_stream[dict[str, Any]]()
    sender, from_app = anyio.create_memory_object_stream[Any]()
    with to_app, receiver, sender, from_app:
        async with anyio.create_task_group() as server:
            server.start_soon(app, SCOPE, receiver.receive, sender.send)
            await to_app.send({"type": "lifespan.startup"})
            assert await from_app.receive() == {"type": "lifespan.startup.complete"}
            assert recorder.names == ["start"]
            assert (await app.host.chat(ChatRequest("hi"))).outcome == "completed"
            await to_app.send({"type": "lifespan.shutdown"})
            assert await from_app.receive() == {"type": "lifespan.shutdown.complete"}
    assert recorder.names == ["start", "stop"]
    with pytest.raises(HostNotRunning):
        await app.host.chat(ChatRequest("hi"))


async def test_a_host_that_does_not_start_fails_the_startup() -> None:
    def fail() -> None:
        raise OSError("the disk is gone")

    app = app_of(plugins=[define_plugin("p", start=fail)])
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "lifespan.startup"}

    async def send(message: Any) -> None:  # noqa: ANN401 - ASGI
        sent.append(message)

    with pytest.raises(PluginStartError):
        await app(SCOPE, receive, send)
    (message,) = sent
    assert message["type"] == "lifespan.startup.failed"
    assert "the disk is gone" in message["message"]
