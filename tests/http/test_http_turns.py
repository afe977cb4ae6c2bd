"""Single turns over real sockets: their events again, their end, and requests sent twice."""

import json
from typing import Any

import anyio
import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response

from agentrail import (
    ChatResponse,
    Delta,
    Host,
    MemorySessionStore,
    Message,
    ModelReply,
    ModelRequest,
    Principal,
    Profile,
    RequestContext,
    Route,
    ScriptedModel,
    SQLiteSessionStore,
    define_plugin,
    standard_routes,
    tool,
)
from agentrail.model import call_tools
from agentrail.route import StreamResponse, read_chat_request
from agentrail.tool import ask as needs_approval
from tests.conftest import Serve
from tests.http.wire import Json, Paced, app_of, ask, problem, stream

pytestmark = pytest.mark.anyio

STORY = {"message": "Tell me a story.", "sessionId": "s", "onDisconnect": "continue"}


@tool
def look(what: str) -> str:
    """Look something up."""
    return f"{what} is there\n"


def say(request: ModelRequest) -> Any:  # noqa: ANN401 - what a script may say
    """Call a tool twice, then tell what frames have words for."""
    if request.messages[-1].role == "user":
        return call_tools(("look", {"what": "a\n"}), ("look", {"what": "\u2028é"}))
    return _tell(request)


async def _tell(request: ModelRequest) -> ModelReply:
    for piece in ("one\n\n", "id: 7\n", "😀", '"'):
        await request.emit(Delta(text=piece))
    return ModelReply(message=Message.assistant("whatever"))


def teller(**config: Any) -> Any:  # noqa: ANN401 - see AppConfig
    """An application whose turns have many kinds of frames."""
    profile = Profile(id="assistant", model="scripted:m", tools=[look])
    return app_of(ScriptedModel.repeat(say), profiles=[profile], **config)


def letters() -> Any:  # noqa: ANN401 - an application
    """An application whose every turn waits for an approval."""
    profile = Profile(
        id="assistant",
        model="scripted:m",
        tools=[look],
        permissions=[needs_approval("look")],
    )
    model = ScriptedModel.repeat(call_tools(("look", {"what": "a"})))
    return app_of(model, profiles=[profile])


async def raw_frames(client: httpx.AsyncClient, at_most: int, **body: object) -> list[bytes]:
    """Return a stream's first frames as they came, having hung up after them."""
    return await _read(client, "POST", "/stream", at_most, json=body)


async def taken_up(
    client: httpx.AsyncClient, turn_id: str, after: int | None = None
) -> list[bytes]:
    """Return the frames of a turn after a number, as they came."""
    headers = {} if after is None else {"last-event-id": str(after)}
    return await _read(client, "GET", f"/turns/{turn_id}/events", 10_000, headers=headers)


async def _read(
    client: httpx.AsyncClient,
    method: str,
    path: str,
    at_most: int,
    **request: Any,  # noqa: ANN401
) -> list[bytes]:
    rest = b""
    found: list[bytes] = []
    with anyio.CancelScope() as scope:
        async with client.stream(method, path, **request) as response:
            assert response.status_code == 200, await response.aread()
            assert response.headers["content-type"].partition(";")[0] == "text/event-stream"
            async for piece in response.aiter_raw():
                *whole, rest = (rest + piece).split(b"\n\n")
                found += [each for each in whole if not each.startswith(b":")]
                if len(found) >= at_most:
                    scope.cancel()
    assert scope.cancelled_caught or rest == b""
    return found[:at_most]


async def last_turn(client: httpx.AsyncClient, session_id: str) -> str:
    """Return the id of a session's last turn."""
    rows = (await client.get(f"/sessions/{session_id}/messages")).json()["messages"]
    turn_id: str = rows[0]["turnId"]
    return turn_id


def data(frame: bytes) -> Json:
    """Return what a frame holds."""
    found: Json = json.loads(frame.partition(b"\ndata: ")[2])
    return found


def number(frame: bytes) -> int:
    """Return a frame's id."""
    return int(frame.partition(b"\n")[0].removeprefix(b"id: "))


# Broken off and taken up.


@pytest.mark.parametrize("on_disconnect", ["continue", "cancel"])
async def test_broken_off_after_any_frame_and_taken_up_it_is_what_an_unbroken_reader_reads(
    served: Serve, on_disconnect: str
) -> None:
    client = await served(teller())
    cut = 0
    while True:
        cut += 1
        body = {"message": "hi", "sessionId": f"s{cut}", "onDisconnect": on_disconnect}
        heard = await raw_frames(client, cut, **body)
        turn_id = data(heard[0])["turnId"]
        rest = await taken_up(client, turn_id, number(heard[-1]))
        whole = await taken_up(client, turn_id)
        assert heard + rest == whole
        numbers = [number(frame) for frame in whole]
        assert numbers == sorted(set(numbers))
        assert data(whole[-1])["type"] == "turn.end"
        if on_disconnect == "continue":
            assert data(whole[-1])["outcome"] == "completed"
        if len(heard) < cut:
            break
    assert cut > 10


async def test_what_an_unbroken_reader_read_is_read_again(served: Serve) -> None:
    client = await served(teller())
    sent = await raw_frames(client, 10_000, message="hi")
    turn_id = data(sent[0])["turnId"]
    assert await taken_up(client, turn_id) == sent
    for place, frame in enumerate(sent, 1):
        assert await taken_up(client, turn_id, number(frame)) == sent[place:]
        query = f"/turns/{turn_id}/events?after={number(frame)}"
        assert await _read(client, "GET", query, 10_000) == sent[place:]


async def test_however_many_comments_come_between_no_frame_is_lost(
    served: Serve, tmp_path: object
) -> None:
    """Each comment breaks off the wait for the next event."""

    async def stream_quickly(request: Request, host: Host) -> Response:
        return StreamResponse(host.stream(await read_chat_request(request)), heartbeat=0.0005)

    async def follow_quickly(request: Request, host: Host) -> Response:
        turn_id = request.path_params["turn_id"]
        return StreamResponse(host.events(Principal(), turn_id), heartbeat=0.0005)

    routes = [
        *standard_routes(),
        Route(path="/quick", endpoint=stream_quickly, methods=["POST"]),
        Route(path="/quick/{turn_id}", endpoint=follow_quickly),
    ]
    store = SQLiteSessionStore(f"{tmp_path}/s.db")
    model = Paced(["one ", "two ", "three"])
    client = await served(app_of(model, routes=routes, store=store))
    streams: list[list[bytes]] = []

    async def read(method: str, path: str, **request: Any) -> None:  # noqa: ANN401
        streams.append(await _read(client, method, path, 10_000, **request))

    async with anyio.create_task_group() as readers:
        body = {"message": "hi", "sessionId": "s"}
        readers.start_soon(lambda: read("POST", "/quick", json=body))
        await model.waiting.wait()
        turn_id = await last_turn(client, "s")
        readers.start_soon(read, "GET", f"/quick/{turn_id}")
        for _ in range(20):
            await client.get("/sessions")
        model.go_on.set()
    whole = await taken_up(client, data(streams[0][0])["turnId"])
    assert data(whole[-1])["type"] == "turn.end"
    assert streams == [whole, whole]


async def test_a_turn_goes_on_when_its_client_hangs_up_and_is_followed_to_its_end(
    served: Serve,
) -> None:
    model = Paced(["Once", " upon"])
    client = await served(app_of(model))
    heard = await raw_frames(client, 4, **STORY)
    await model.waiting.wait()
    turn_id = data(heard[0])["turnId"]
    assert (await client.get(f"/turns/{turn_id}")).json()["status"] == "running"

    followed: list[list[bytes]] = []

    async def follow() -> None:
        followed.append(await taken_up(client, turn_id, number(heard[-1])))

    async with anyio.create_task_group() as readers:
        readers.start_soon(follow)
        await anyio.wait_all_tasks_blocked()
        model.go_on.set()
    whole = await taken_up(client, turn_id)
    assert heard + followed[0] == whole
    assert data(whole[-1])["message"] == "Once upon"
    assert not model.cancelled.is_set()


async def test_a_chat_goes_on_when_its_client_hangs_up(served: Serve) -> None:
    model = Paced(["Once", " upon"])
    client = await served(app_of(model))
    async with anyio.create_task_group() as callers:
        callers.start_soon(lambda: client.post("/chat", json=STORY))
        await model.waiting.wait()
        callers.cancel_scope.cancel()
    model.go_on.set()
    # The session is busy until the turn has ended.
    assert (await ask(client, "Go on.", sessionId="s"))["message"] == "Once upon"
    said = [each.text for each in model.requests[1].messages]
    assert said == ["Be kind.", "Tell me a story.", "Once upon", "Go on."]


async def test_a_follower_that_hangs_up_ends_nothing(served: Serve) -> None:
    model = Paced(["Once", " upon"])
    client = await served(app_of(model))
    outcomes: list[str] = []

    async def tell() -> None:
        outcomes.append((await ask(client, "hi", sessionId="s"))["outcome"])

    async with anyio.create_task_group() as callers:
        callers.start_soon(tell)
        await model.waiting.wait()
        turn_id = await last_turn(client, "s")
        assert len(await _read(client, "GET", f"/turns/{turn_id}/events", 1)) == 1
        assert (await client.get(f"/turns/{turn_id}")).json()["status"] == "running"
        model.go_on.set()
    assert outcomes == ["completed"]


@pytest.mark.parametrize("last", ["-1", "1.5", "x", "9" * 30, "٣"])
async def test_a_last_event_id_that_is_no_number_is_refused(served: Serve, last: str) -> None:
    client = await served(teller())
    turn_id = (await ask(client))["turnId"]
    headers = {b"last-event-id": last.encode()}
    response = await client.get(f"/turns/{turn_id}/events", headers=headers)
    assert problem(response) == (422, "invalid_request")


async def test_after_the_last_event_there_is_nothing_and_the_stream_ends(served: Serve) -> None:
    client = await served(teller())
    turn_id = (await ask(client))["turnId"]
    assert await taken_up(client, turn_id, 10**17) == []


async def test_turns_of_others_and_unknown_ones_are_not_found(served: Serve) -> None:
    client = await served(letters())
    turn_id = (await ask(client))["turnId"]
    for path in (f"/turns/{turn_id}", f"/turns/{turn_id}/events"):
        assert problem(await client.get(f"{path}?userId=eve")) == (404, "turn_not_found")
        assert problem(await client.get(f"{path}?tenantId=other")) == (404, "turn_not_found")
    for path in ("/turns/turn_nobodys", "/turns/turn_nobodys/events"):
        assert problem(await client.get(path)) == (404, "turn_not_found")
    foreign = await client.post(f"/turns/{turn_id}/cancel?userId=eve")
    assert problem(foreign) == (404, "turn_not_found")
    assert problem(await client.post("/turns/no/cancel")) == (404, "turn_not_found")
    assert (await client.get(f"/turns/{turn_id}")).json()["status"] == "suspended"


async def test_an_answer_that_is_not_kept_has_no_turn_to_read_again(served: Serve) -> None:
    plugin = define_plugin("p", intercept_chat_request=lambda _r, _c: ChatResponse("no"))
    client = await served(app_of(plugins=[plugin]))
    sent = await raw_frames(client, 10_000, message="hi")
    assert [number(frame) for frame in sent] == [1, 2, 3, 4, 5]
    turn_id = data(sent[0])["turnId"]
    for path in (f"/turns/{turn_id}", f"/turns/{turn_id}/events"):
        missing = await client.get(path)
        assert problem(missing) == (404, "turn_not_found")
        assert missing.json()["detail"] == (
            f"there is no turn '{turn_id}'; what a plugin answers, as a command does, is kept "
            "only if it asks for that"
        )


@pytest.mark.parametrize("on_disconnect", ["cancel", "continue"])
async def test_who_hangs_up_while_a_stream_waits_for_its_session(
    served: Serve, on_disconnect: str
) -> None:
    """Its turn has not begun: it takes nothing, or goes on like any other."""
    model = Paced()
    started, ended = anyio.Event(), anyio.Event()

    def start(context: RequestContext) -> None:
        if context.request_id == "second":
            started.set()

    def end(context: RequestContext) -> None:
        if context.request_id == "second":
            ended.set()

    watch = define_plugin("watch", on_request_start=start, on_request_end=end)
    client = await served(app_of(model, plugins=[watch]))

    async def first() -> None:
        await ask(client, "first", sessionId="s")

    async def second() -> None:
        body = {"message": "second", "sessionId": "s", "onDisconnect": on_disconnect}
        headers = {"x-request-id": "second"}
        await _read(client, "POST", "/stream", 10_000, json=body, headers=headers)

    async with anyio.create_task_group() as callers:
        callers.start_soon(first)
        await model.waiting.wait()
        async with anyio.create_task_group() as impatient:
            impatient.start_soon(second)
            await started.wait()
            impatient.cancel_scope.cancel()
        if on_disconnect == "cancel":
            await ended.wait()  # while the first still has the session
        model.go_on.set()
    await ended.wait()
    said = [message.text for message in model.requests[-1].messages if message.role == "user"]
    assert said == (["first"] if on_disconnect == "cancel" else ["first", "second"])


# Where it stands, and its end.


async def test_a_turn_tells_where_it_stands(served: Serve) -> None:
    client = await served(teller())
    answer = await ask(client, sessionId="s")
    status = (await client.get(f"/turns/{answer['turnId']}")).json()
    assert status.keys() == {
        "turnId", "sessionId", "agentId", "status", "usage", "startedAt", "endedAt", "approvals",
    }  # fmt: skip
    assert (status["turnId"], status["sessionId"]) == (answer["turnId"], "s")
    assert (status["status"], status["approvals"]) == ("completed", [])
    assert status["usage"] == answer["usage"]
    assert status["startedAt"] <= status["endedAt"]


async def test_a_running_turn_is_cancelled_and_its_reader_told(served: Serve) -> None:
    model = Paced()
    client = await served(app_of(model))
    sent: list[bytes] = []
    told: list[Json] = []

    async def read() -> None:
        sent.extend(await raw_frames(client, 10_000, message="hi", sessionId="s"))

    async with anyio.create_task_group() as readers:
        readers.start_soon(read)
        await model.waiting.wait()
        turn_id = await last_turn(client, "s")
        told.append((await client.post(f"/turns/{turn_id}/cancel")).json())
    assert [each["status"] for each in told] == ["cancelled"]
    assert told[0]["endedAt"] is not None
    end = data(sent[-1])
    assert (end["type"], end["outcome"]) == ("turn.end", "cancelled")
    assert await taken_up(client, end["turnId"]) == sent
    model.go_on.set()
    await ask(client, "Go on.", sessionId="s")


async def test_a_suspended_turn_is_cancelled_and_an_ended_one_stays_as_it_is(
    served: Serve,
) -> None:
    client = await served(letters())
    turn_id = (await ask(client))["turnId"]
    first = (await client.post(f"/turns/{turn_id}/cancel")).json()
    assert (first["status"], first["approvals"]) == ("cancelled", [])
    frames = await taken_up(client, turn_id)
    assert (await client.post(f"/turns/{turn_id}/cancel")).json() == first
    assert await taken_up(client, turn_id) == frames
    assert data(frames[-1])["outcome"] == "cancelled"


async def test_a_turn_whose_reader_does_not_read_can_be_cancelled(served: Serve) -> None:
    """The socket is full, the turn waits, and whoever ends it does not wait for the reader."""
    made = 0

    @tool
    def peep(n: int) -> str:
        """Peep."""
        nonlocal made
        made += 1
        return "peep " * 2000

    def peeping(_request: ModelRequest) -> ModelReply:
        return call_tools(*[("peep", {"n": n}) for n in range(2000)])

    profile = Profile(id="assistant", model="scripted:m", tools=[peep])
    app = app_of(ScriptedModel.repeat(peeping), profiles=[profile])
    client = await served(app)
    body = json.dumps({"message": "hi", "sessionId": "s"}).encode()
    port = client.base_url.port
    assert port is not None
    head = b"POST /stream HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % len(body)
    async with await anyio.connect_tcp("127.0.0.1", port) as reader:
        await reader.send(head + body)
        assert await reader.receive(200)
        before = -1
        while before != made:  # until no more calls are made
            before = made
            for _ in range(20):
                await client.get("/sessions")
        assert 0 < made < 2000
        turn_id = await last_turn(client, "s")
        with anyio.fail_after(20):
            await client.post(f"/turns/{turn_id}/cancel")
        assert (await client.get(f"/turns/{turn_id}")).json()["status"] == "cancelled"


# The same request again.


@pytest.mark.parametrize("on_sqlite", [False, True])
async def test_a_request_with_a_key_is_answered_once(
    served: Serve, tmp_path: object, *, on_sqlite: bool
) -> None:
    store = SQLiteSessionStore(f"{tmp_path}/s.db") if on_sqlite else MemorySessionStore()
    model = ScriptedModel(["one", "two"])
    client = await served(app_of(model, store=store))
    headers = {"idempotency-key": "k-1"}
    first = await client.post("/chat", json={"message": "hi"}, headers=headers)
    second = await client.post("/chat", json={"message": "hi"}, headers=headers)
    assert first.json() == second.json()
    in_body = await ask(client, idempotencyKey="k-1")
    assert in_body == first.json()
    streamed = await _read(client, "POST", "/stream", 1000, json={"message": "hi"}, headers=headers)
    assert data(streamed[-1])["message"] == "one"
    other = await client.post("/chat", json={"message": "hi"}, headers={"idempotency-key": "k-2"})
    assert other.json()["message"] == "two"
    assert len(model.requests) == 2


@pytest.mark.parametrize("path", ["/chat", "/stream"])
async def test_a_key_with_another_body_is_refused(served: Serve, path: str) -> None:
    client = await served(app_of(ScriptedModel(["one"])))
    headers = {"idempotency-key": "k-1"}
    await client.post(path, json={"message": "hi"}, headers=headers)
    response = await client.post(path, json={"message": "ho"}, headers=headers)
    assert problem(response) == (422, "idempotency_key_reused")


async def test_the_headers_key_comes_before_the_bodys(served: Serve) -> None:
    client = await served(app_of(ScriptedModel(["one", "two"])))
    body = {"message": "hi", "idempotencyKey": "b"}
    first = await client.post("/chat", json=body, headers={"idempotency-key": "h"})
    second = await client.post("/chat", json=body)
    assert (first.json()["message"], second.json()["message"]) == ("one", "two")


@pytest.mark.parametrize("key", [b"k" * 256, "é".encode(), b"\x7f"])
async def test_a_key_that_is_none_is_refused(served: Serve, key: bytes) -> None:
    client = await served(app_of())
    response = await client.post("/chat", json={"message": "hi"}, headers={b"idempotency-key": key})
    assert response.status_code in {400, 422}
    if response.headers["content-type"] == "application/problem+json":
        assert problem(response) == (422, "invalid_request")


async def test_another_users_key_is_another_key(served: Serve) -> None:
    client = await served(app_of(ScriptedModel(["one", "two"])))
    assert (await ask(client, idempotencyKey="k"))["message"] == "one"
    assert (await ask(client, idempotencyKey="k", userId="eve"))["message"] == "two"


async def test_many_who_send_the_same_at_the_same_time_get_one_turn(served: Serve) -> None:
    model = Paced()
    client = await served(app_of(model))
    turn_ids: list[str] = []

    async def chat() -> None:
        turn_ids.append((await ask(client, idempotencyKey="k"))["turnId"])

    async def read() -> None:
        turn_ids.append((await stream(client, message="hi", idempotencyKey="k"))[-1].data["turnId"])

    async with anyio.create_task_group() as callers:
        for _ in range(4):
            callers.start_soon(chat)
            callers.start_soon(read)
        await model.waiting.wait()
        model.go_on.set()
    assert len(turn_ids) == 8
    assert len(set(turn_ids)) == len(model.requests) == 1


async def test_a_client_that_lost_the_answer_gets_it_by_asking_again(served: Serve) -> None:
    """The connection broke; with ``continue`` nothing is lost, and nothing is done twice."""
    model = Paced()
    client = await served(app_of(model))
    heard = await raw_frames(client, 3, **STORY, idempotencyKey="k")
    model.go_on.set()
    whole = await _read(client, "POST", "/stream", 1000, json={**STORY, "idempotencyKey": "k"})
    assert whole[:3] == heard
    assert data(whole[-1])["outcome"] == "completed"
    assert len(model.requests) == 1
