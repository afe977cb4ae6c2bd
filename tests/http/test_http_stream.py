"""``POST /stream`` over a real socket: the frames, and nothing but the frames."""

import anyio
import pytest
from starlette.requests import Request
from starlette.responses import Response

from agentrail import (
    ChatRequest,
    ChatResponse,
    Delta,
    Host,
    Limits,
    Message,
    ModelReply,
    PluginFailure,
    Profile,
    RequestContext,
    Route,
    ScriptedModel,
    SQLiteSessionStore,
    ToolError,
    define_plugin,
    tool,
)
from agentrail.errors import ModelUnavailable
from agentrail.model.scripted import Scripted, call_tools
from agentrail.requests import ModelRequest
from agentrail.route import StreamResponse, read_chat_request
from tests.conftest import Serve
from tests.http.wire import Frame, Paced, app_of, ask, frames, problem, stream

pytestmark = pytest.mark.anyio

TEXT = "The quick brown fox jumps over the lazy dog, and then it takes a rest."
COMMON = {"id", "type", "turnId", "sessionId", "step", "depth", "schemaVersion"}


def check(sent: list[Frame]) -> None:
    """Assert what holds for every stream, however its turn went."""
    ids = [frame.id for frame in sent]
    assert ids == sorted(set(ids))
    for frame in sent:
        assert frame.data.keys() >= COMMON
        assert (frame.data["id"], frame.data["type"]) == (frame.id, frame.event)
        assert (frame.data["depth"], frame.data["schemaVersion"]) == (0, 1)
    assert len({(frame.data["turnId"], frame.data["sessionId"]) for frame in sent}) == 1
    terminal = [frame for frame in sent if frame.event in {"turn.end", "turn.error"}]
    assert terminal == sent[-1:]
    assert sent[0].event == "turn.start"


async def test_a_stream_is_made_of_frames(served: Serve) -> None:
    client = await served(app_of(ScriptedModel([TEXT])))

    async with client.stream("POST", "/stream", json={"message": "hi"}) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].partition(";")[0] == "text/event-stream"
        assert response.headers["cache-control"] == "no-store"
        sent = [frame async for frame in frames(response)]

    check(sent)
    kinds = list(dict.fromkeys(frame.event for frame in sent))
    assert kinds == [
        "turn.start",
        "step.start",
        "message.start",
        "message.delta",
        "message.end",
        "step.end",
        "turn.end",
    ]
    assert sent[0].data["agentId"] == "assistant"
    assert sent[0].data["generation"] == 1


async def test_the_deltas_are_the_message_and_nothing_twice(served: Serve) -> None:
    client = await served(app_of(ScriptedModel([TEXT], chunk=3)))

    sent = await stream(client, message="hi")

    assert "".join(frame.data.get("text", "") for frame in sent) == TEXT
    end = sent[-1].data
    assert (end["message"], end["outcome"], end["stopReason"]) == (TEXT, "completed", "stop")
    assert end["usage"].keys() >= {"inputTokens", "outputTokens"}


async def test_text_of_every_kind_survives_the_frames(served: Serve) -> None:
    """A line feed in the text must not end the frame's data line."""
    text = 'one\ntwo\r\n\n\ndata: {"id": 7}\n\n: comment \u2028 \u0085 \x00 "quoted" 😀 é'
    client = await served(app_of(ScriptedModel([text], chunk=1)))

    sent = await stream(client, message=text)

    check(sent)
    assert sent[-1].data["message"] == text
    assert "".join(frame.data.get("text", "") for frame in sent) == text


async def test_pieces_come_before_the_answer_is_whole(served: Serve) -> None:
    model = Paced(["Once", " upon", " a time"])
    client = await served(app_of(model))

    async with client.stream("POST", "/stream", json={"message": "hi"}) as response:
        sent: list[Frame] = []
        async for frame in frames(response):
            sent.append(frame)
            if "".join(each.data.get("text", "") for each in sent) == "Once upon a time":
                model.go_on.set()

    check(sent)
    assert sent[-1].data["outcome"] == "completed"


async def test_ids_go_on_from_turn_to_turn(served: Serve) -> None:
    client = await served(app_of())

    first = await stream(client, message="one", sessionId="s")
    second = await stream(client, message="two", sessionId="s")

    assert second[0].id > first[-1].id
    check(second)


async def test_tools_are_seen_at_work(served: Serve) -> None:
    @tool
    async def weather(city: str) -> str:
        """Tell the weather."""
        if city == "Nowhere":
            raise ToolError("there is no such city")
        return f"It rains in {city}."

    script: list[Scripted] = [
        call_tools(("weather", {"city": "Bergen"}), ("weather", {"city": "Nowhere"})),
        "It rains.",
    ]
    profile = Profile(id="a", model="scripted:m", tools=[weather], limits=Limits(steps=3))
    client = await served(app_of(ScriptedModel(script), profiles=[profile]))

    sent = await stream(client, message="How is the weather?")

    check(sent)
    starts = [frame.data for frame in sent if frame.event == "tool.start"]
    ends = [frame.data for frame in sent if frame.event == "tool.end"]
    assert [each["arguments"] for each in starts] == [{"city": "Bergen"}, {"city": "Nowhere"}]
    assert [(each["outcome"], each["content"]) for each in ends] == [
        ("ok", "It rains in Bergen."),
        ("error", "there is no such city"),
    ]
    assert [each["callId"] for each in starts] == [each["callId"] for each in ends]
    assert [frame.data["step"] for frame in sent if frame.event == "step.start"] == [1, 2]


async def test_reasoning_is_streamed_apart_from_the_text(served: Serve) -> None:
    class Thinker(ScriptedModel):
        async def complete(self, request: ModelRequest) -> ModelReply:
            await request.emit(Delta(reasoning="Hm. "))
            return await super().complete(request)

    client = await served(app_of(Thinker(["Yes."])))

    sent = await stream(client, message="really?")

    assert "".join(frame.data.get("reasoning", "") for frame in sent) == "Hm. "
    assert sent[-1].data["message"] == "Yes."


async def test_comments_keep_a_silent_stream_open(served: Serve) -> None:
    model = Paced(["Well,"])

    async def quick(request: Request, host: Host) -> Response:
        return StreamResponse(host.stream(await read_chat_request(request)), heartbeat=0.02)

    client = await served(
        app_of(model, routes=[Route(path="/quick", endpoint=quick, methods=["POST"])])
    )

    comments = 0
    sent: list[Frame] = []
    async with client.stream("POST", "/quick", json={"message": "hi"}) as response:
        async for frame in frames(response):
            if frame.comment:
                comments += 1
                if comments == 3:
                    model.go_on.set()
            else:
                sent.append(frame)

    assert comments >= 3
    check(sent)
    assert sent[-1].data["message"] == "Well,"


async def test_a_failure_before_the_first_event_is_a_plain_problem(served: Serve) -> None:
    client = await served(app_of())
    await ask(client, sessionId="taken")

    unknown = await client.post("/stream", json={"message": "hi", "agentId": "nobody"})
    foreign = await client.post(
        "/stream", json={"message": "hi", "sessionId": "taken", "userId": "eve"}
    )

    assert problem(unknown) == (404, "agent_not_found")
    assert problem(foreign) == (404, "session_not_found")


async def test_a_critical_plugins_refusal_is_a_plain_problem(served: Serve) -> None:
    def failing(_request: ChatRequest, _context: RequestContext) -> ChatResponse | None:
        raise RuntimeError("the policy cannot be read")

    gate = define_plugin("gate", critical=True, intercept_chat_request=failing)
    client = await served(app_of(plugins=[gate], on_plugin_error=list[PluginFailure]().append))

    assert problem(await client.post("/stream", json={"message": "hi"})) == (
        503,
        "request_refused",
    )


async def test_a_failure_after_the_first_event_is_the_terminal_frame(served: Serve) -> None:
    async def breaks(request: ModelRequest) -> ModelReply:
        await request.emit(Delta(text="It was a dark"))
        raise ModelUnavailable("the upstream broke off")

    client = await served(app_of(ScriptedModel([breaks, "Better."])))

    sent = await stream(client, message="hi", sessionId="s")

    check(sent)
    error = sent[-1].data
    assert sent[-1].event == "turn.error"
    assert (error["code"], error["status"]) == ("model_unavailable", 502)
    assert (error["detail"], error["retryable"]) == ("the upstream broke off", True)
    assert error["title"]
    assert "usage" in error
    history = (await client.get("/sessions/s/messages")).json()["messages"]
    assert [each["message"]["parts"][0]["text"] for each in history] == ["It was a dark", "hi"]
    assert (await ask(client, "again", sessionId="s"))["message"] == "Better."


async def test_what_a_slow_reader_gets_is_whole(served: Serve) -> None:
    """The run waits for its reader; nothing is dropped."""
    pieces = [f"{number:>6}" * 300 for number in range(400)]
    client = await served(app_of(ScriptedModel([pieces])))

    sent = await stream(client, message="hi")

    check(sent)
    assert "".join(frame.data.get("text", "") for frame in sent) == "".join(pieces)


async def test_two_streams_in_one_session_come_one_after_the_other(served: Serve) -> None:
    model = ScriptedModel(["First answer.", "Second answer."])
    client = await served(app_of(model))
    runs: list[list[Frame]] = []

    async def say() -> None:
        runs.append(await stream(client, message="hi", sessionId="s"))

    async with anyio.create_task_group() as callers:
        callers.start_soon(say)
        callers.start_soon(say)

    first, second = sorted(runs, key=lambda frames: frames[0].id)
    check(first)
    check(second)
    assert second[0].id > first[-1].id
    assert len(model.requests[1].messages) == len(model.requests[0].messages) + 2


async def test_a_stream_is_kept_in_a_file_too(served: Serve, tmp_path: object) -> None:
    store = SQLiteSessionStore(f"{tmp_path}/sessions.db")
    client = await served(app_of(ScriptedModel([Message.assistant(TEXT)]), store=store))

    sent = await stream(client, message="hi", sessionId="s")

    check(sent)
    kept = await store.read("s")
    assert [event.id for event in kept] == list(range(1, len(kept) + 1))
    assert {frame.id for frame in sent} < {event.id for event in kept}
