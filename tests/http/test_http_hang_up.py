"""A client that hangs up ends its turn, and the session goes on with what there is of it."""

from pathlib import Path

import anyio
import httpx
import pytest

from agentrail import (
    MemorySessionStore,
    RequestContext,
    SessionStore,
    SQLiteSessionStore,
    define_plugin,
)
from tests.conftest import Serve
from tests.http.wire import Json, Paced, app_of, ask, frames

pytestmark = pytest.mark.anyio

PARTIAL = "Once upon a time"


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> SessionStore:
    if request.param == "memory":
        return MemorySessionStore()
    return SQLiteSessionStore(tmp_path / "sessions.db")


async def history(client: httpx.AsyncClient, session_id: str) -> list[tuple[str, str, str]]:
    """Return role, text and stop reason of a session's messages, oldest first."""
    rows: list[Json] = (await client.get(f"/sessions/{session_id}/messages")).json()["messages"]
    said = [row["message"] for row in reversed(rows)]
    return [(each["role"], each["parts"][0]["text"], each.get("stopReason", "")) for each in said]


async def hang_up_after(text: str, client: httpx.AsyncClient, **body: object) -> None:
    """Read a stream up to ``text``, then close the connection."""
    heard = ""
    with anyio.CancelScope() as scope:
        async with client.stream("POST", "/stream", json=body) as response:
            async for frame in frames(response):
                heard += frame.data.get("text", "")
                if heard == text:
                    scope.cancel()
    assert scope.cancelled_caught


async def tell_a_story(client: httpx.AsyncClient) -> None:
    await ask(client, "Tell me a story.", sessionId="s")


async def test_hanging_up_on_a_stream_cancels_the_turn(served: Serve, store: SessionStore) -> None:
    model = Paced()
    client = await served(app_of(model, store=store))

    await hang_up_after(PARTIAL, client, message="Tell me a story.", sessionId="s")
    await model.cancelled.wait()

    model.go_on.set()
    await ask(client, "Go on.", sessionId="s")
    assert [each.text for each in model.requests[1].messages] == [
        "Be kind.",
        "Tell me a story.",
        PARTIAL,
        "Go on.",
    ]
    assert (await history(client, "s"))[:2] == [
        ("user", "Tell me a story.", ""),
        ("assistant", PARTIAL, "cancelled"),
    ]


async def test_hanging_up_on_a_chat_cancels_the_turn(served: Serve, store: SessionStore) -> None:
    model = Paced()
    client = await served(app_of(model, store=store))

    async with anyio.create_task_group() as callers:
        callers.start_soon(tell_a_story, client)
        await model.waiting.wait()
        callers.cancel_scope.cancel()
    await model.cancelled.wait()

    model.go_on.set()
    await ask(client, "Go on.", sessionId="s")
    assert [each.text for each in model.requests[1].messages][2:] == [PARTIAL, "Go on."]


async def test_a_connection_that_breaks_off_cancels_the_turn(served: Serve) -> None:
    """Not a tidy close but a reset, as of a client that was killed."""
    model = Paced()
    client = await served(app_of(model))
    body = b'{"message":"hi","sessionId":"s"}'
    port = client.base_url.port
    assert port is not None

    socket = await anyio.connect_tcp("127.0.0.1", port)
    await socket.send(
        b"POST /stream HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    )
    await model.waiting.wait()
    await anyio.aclose_forcefully(socket)

    await model.cancelled.wait()


async def test_a_body_that_never_comes_whole_starts_nothing(served: Serve) -> None:
    model = Paced()
    client = await served(app_of(model))
    port = client.base_url.port
    assert port is not None

    async with await anyio.connect_tcp("127.0.0.1", port) as socket:
        await socket.send(
            b"POST /chat HTTP/1.1\r\nhost: localhost\r\ncontent-length: 500\r\n\r\n"
            b'{"message":"hi","sessionId":"s"}'
        )

    assert (await client.get("/health")).status_code == 200
    assert model.requests == []
    assert (await client.get("/sessions")).json()["sessions"] == []


async def test_one_that_hangs_up_while_it_waits_for_the_session_takes_nothing(
    served: Serve, store: SessionStore
) -> None:
    model = Paced()
    started, ended = anyio.Event(), anyio.Event()

    def start(context: RequestContext) -> None:
        if context.request_id == "second":
            started.set()

    def end(context: RequestContext) -> None:
        if context.request_id == "second":
            ended.set()

    watch = define_plugin("watch", on_request_start=start, on_request_end=end)
    client = await served(app_of(model, store=store, plugins=[watch]))

    async def second() -> None:
        body = {"message": "second", "sessionId": "s"}
        await client.post("/chat", json=body, headers={"x-request-id": "second"})

    async with anyio.create_task_group() as callers:
        callers.start_soon(tell_a_story, client)
        await model.waiting.wait()
        async with anyio.create_task_group() as impatient:
            impatient.start_soon(second)
            await started.wait()
            impatient.cancel_scope.cancel()
        await ended.wait()
        model.go_on.set()

    assert (await ask(client, "third", sessionId="s"))["message"] == PARTIAL
    assert "second" not in [text for _, text, _ in await history(client, "s")]


async def test_a_cancelled_turn_frees_its_session_for_the_one_that_waits(served: Serve) -> None:
    model = Paced()
    client = await served(app_of(model))
    answers: list[Json] = []

    async def second() -> None:
        answers.append(await ask(client, "second", sessionId="s"))

    async with anyio.create_task_group() as callers:
        async with anyio.create_task_group() as impatient:
            impatient.start_soon(tell_a_story, client)
            await model.waiting.wait()
            callers.start_soon(second)
            impatient.cancel_scope.cancel()
        model.go_on.set()

    assert answers[0]["message"] == PARTIAL
