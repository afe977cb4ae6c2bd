"""A run that is read while it runs: its frames, its end, and leaving it early."""

from collections.abc import AsyncIterator, Sequence

import anyio
import anyio.lowlevel

from agentrail import (
    AppConfig,
    ChatRequest,
    ChatResponse,
    Delta,
    Event,
    Limits,
    Message,
    ModelReply,
    ModelRequest,
    Principal,
    Profile,
    RequestContext,
    ScriptedModel,
    create_app,
    define_plugin,
    tool,
)
from agentrail.errors import LeaseLost, StorageError
from agentrail.events import MessageDelta, ToolEnd, TurnEnd, TurnError
from agentrail.hook import PluginFailure
from agentrail.host import AgentHost
from agentrail.model.scripted import call_tools
from agentrail.session import Lease, MemorySessionStore
from agentrail.testing import HookRecorder
from tests.host.conftest import MakeHost


class SteppedModel:
    """A provider that says each piece only when the test lets it."""

    name = "scripted"

    def __init__(self, pieces: Sequence[str]) -> None:
        self.pieces = pieces
        self.go = [anyio.Event() for _ in pieces]
        self.cancelled = anyio.Event()

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def complete(self, request: ModelRequest) -> ModelReply:
        finished = False
        try:
            for piece, go in zip(self.pieces, self.go, strict=True):
                await go.wait()
                await request.emit(Delta(text=piece))
            finished = True
        finally:
            if not finished:
                self.cancelled.set()
        return ModelReply(message=Message.assistant("".join(self.pieces)))


async def transcript(host: AgentHost, session_id: str = "s") -> list[tuple[str, str]]:
    rows = await host.messages(Principal(), session_id)
    return [(row.message.role, row.message.text) for row in reversed(rows)]


async def test_frames_are_numbered_by_the_log_and_end_in_one_terminal(make_host: MakeHost) -> None:
    async with make_host("hello " * 50, "again") as host:
        for _ in range(2):
            async with host.stream(ChatRequest("hi", session_id="s")) as stream:
                events = [event async for event in stream]
            types = [event.type for event in events]
            assert types[:3] == ["turn.start", "step.start", "message.start"]
            assert types[-3:] == ["message.end", "step.end", "turn.end"]
            assert types.count("turn.end") + types.count("turn.error") == 1
            numbers = [event.id for event in events]
            assert numbers == sorted(set(numbers))
            end = events[-1]
            assert isinstance(end, TurnEnd)
            said = "".join(each.text for each in events if isinstance(each, MessageDelta))
            assert said == end.message
            assert {(event.session_id, event.turn_id) for event in events} == {("s", end.turn_id)}


async def test_what_was_sent_is_what_the_log_holds(make_host: MakeHost) -> None:
    model = SteppedModel(["a", "b", "c"])
    for go in model.go:
        go.set()
    async with make_host(providers=[model]) as host:
        async with host.stream(ChatRequest("hi", session_id="s")) as stream:
            sent: list[Event] = [event async for event in stream]
        logged = {event.id: event for event in await host.core.store.read("s")}
    assert sent == [logged[event.id] for event in sent]


async def test_a_piece_is_shown_while_the_model_still_speaks(make_host: MakeHost) -> None:
    model = SteppedModel(["first", "second", "third"])
    async with (
        make_host(providers=[model]) as host,
        host.stream(ChatRequest("hi", session_id="s")) as stream,
    ):
        seen = ""
        model.go[0].set()
        async for event in stream:
            if isinstance(event, MessageDelta):
                seen += event.text
                # The next piece is let go only when this one has been read: a piece that is not
                # pushed out by a later one still comes.
                if seen == "first":
                    model.go[1].set()
                elif seen == "firstsecond":
                    model.go[2].set()
    assert seen == "firstsecondthird"


async def test_leaving_early_cancels_the_turn_and_keeps_what_was_said(
    make_host: MakeHost, recorder: HookRecorder
) -> None:
    model = SteppedModel(["half an ", "answer"])
    model.go[0].set()
    async with make_host(providers=[model], plugins=[recorder]) as host:
        async with host.stream(ChatRequest("hi", session_id="s")) as stream:
            async for event in stream:
                if isinstance(event, MessageDelta):
                    break
        assert model.cancelled.is_set()
        assert await transcript(host) == [("user", "hi"), ("assistant", "half an ")]
        last = (await host.core.store.read("s"))[-1]
        assert isinstance(last, TurnEnd)
        assert (last.outcome, last.stop_reason) == ("cancelled", "cancelled")
        assert recorder.names[-1] == "on_request_end"
        assert "on_turn_persisted" not in recorder.names
        for go in model.go:
            go.set()
        response = await host.chat(ChatRequest("go on", session_id="s"))
        assert response.message == "half an answer"


async def test_leaving_after_the_terminal_event_lets_the_hooks_finish(make_host: MakeHost) -> None:
    done: list[str] = []

    async def persisted(_context: RequestContext) -> None:
        await anyio.lowlevel.checkpoint()
        done.append("persisted")

    plugin = define_plugin("slow", on_turn_persisted=persisted)
    async with make_host(plugins=[plugin]) as host, host.stream(ChatRequest("hi")) as stream:
        async for event in stream:
            if event.type == "turn.end":
                break
    assert done == ["persisted"]


async def test_a_cancelled_chat_leaves_a_session_that_goes_on(
    make_host: MakeHost, recorder: HookRecorder
) -> None:
    model = SteppedModel(["half", "whole"])
    model.go[0].set()
    async with make_host(providers=[model], plugins=[recorder]) as host:
        with anyio.move_on_after(0.05):
            await host.chat(ChatRequest("hi", session_id="s"))
        assert await transcript(host) == [("user", "hi"), ("assistant", "half")]
        assert recorder.names[-1] == "on_request_end"
        model.go[1].set()
        assert (await host.chat(ChatRequest("again", session_id="s"))).message == "halfwhole"


async def test_a_tool_that_was_cut_off_has_a_result_in_the_transcript(make_host: MakeHost) -> None:
    started = anyio.Event()

    @tool
    async def hang(seconds: int) -> str:
        """Wait.

        Args:
            seconds: how long.
        """
        started.set()
        await anyio.sleep_forever()
        return str(seconds)

    model = ScriptedModel([call_tools(("hang", {"seconds": 1})), "fine"])
    plugin = define_plugin("tools", tools=[hang])
    async with make_host(providers=[model], plugins=[plugin]) as host:
        async with host.stream(ChatRequest("hi", session_id="s")) as stream:
            async for event in stream:
                if event.type == "tool.start":
                    await started.wait()
                    break
        assert (await host.chat(ChatRequest("go on", session_id="s"))).message == "fine"
    shown = model.requests[-1].messages
    assert [message.role for message in shown] == ["user", "assistant", "tool", "user"]
    result = shown[2].parts[0]
    assert getattr(result, "outcome", "") == "cancelled"
    assert getattr(result, "call_id", "") == shown[1].tool_calls[0].id


async def test_tool_events_tell_the_call_and_its_result(make_host: MakeHost) -> None:
    @tool
    def add(a: int, b: int) -> int:
        """Add two numbers.

        Args:
            a: the first.
            b: the second.
        """
        return a + b

    model = ScriptedModel([call_tools(("add", {"a": 1, "b": 2}), text="let me see"), "three"])
    plugin = define_plugin("t", tools=[add])
    async with (
        make_host(providers=[model], plugins=[plugin]) as host,
        host.stream(ChatRequest("1 + 2?", session_id="s")) as stream,
    ):
        events = [event async for event in stream]
    assert [event.type for event in events if event.type.startswith(("tool", "step"))] == [
        "step.start",
        "tool.start",
        "tool.end",
        "step.end",
        "step.start",
        "step.end",
    ]
    end = next(event for event in events if isinstance(event, ToolEnd))
    assert (end.name, end.outcome, end.content) == ("add", "ok", "3")
    assert end.duration_ms >= 0
    assert [event.step for event in events if event.type == "step.start"] == [1, 2]


async def test_a_slow_reader_holds_the_run_back(make_host: MakeHost) -> None:
    """Nothing in the host grows while nobody reads."""
    produced: list[int] = []

    calls = [call_tools(("noop", {"number": number})) for number in range(400)]

    @tool
    async def noop(number: int) -> str:
        """Do nothing."""
        produced.append(number)
        return "x" * 100

    profile = Profile(id="assistant", model="scripted:test", limits=Limits(steps=500))
    async with (
        make_host(
            *calls, "end", profiles=[profile], plugins=[define_plugin("t", tools=[noop])]
        ) as host,
        host.stream(ChatRequest("hi", session_id="s")) as stream,
    ):
        while not stream._batches.statistics().tasks_waiting_send:
            await anyio.lowlevel.checkpoint()
        assert 0 < len(produced) < 100
        async for _ in stream:
            pass
    assert len(produced) == 400


class BrokenStore(MemorySessionStore):
    """A store whose disk is full when the test says so."""

    full = False

    async def append(self, lease: Lease, events: Sequence[Event]) -> tuple[Event, ...]:
        if self.full:
            message = "the disk is full"
            raise StorageError(message)
        return await super().append(lease, events)


async def test_a_log_that_cannot_be_written_ends_the_stream_with_an_error() -> None:
    store = BrokenStore()
    model = SteppedModel(["one", "two"])
    model.go[0].set()
    config = AppConfig(
        profiles=[Profile(id="assistant", model="scripted:x")], providers=[model], store=store
    )
    async with create_app(config).host as host:
        async with host.stream(ChatRequest("hi", session_id="s")) as stream:
            events: list[Event] = []
            async for event in stream:
                events.append(event)
                if isinstance(event, MessageDelta):
                    store.full = True
                    model.go[1].set()
        last = events[-1]
        assert isinstance(last, TurnError)
        assert last.code == "storage_failed"
        numbers = [event.id for event in events]
        assert numbers == sorted(set(numbers))
        store.full = False
        model.go[1].set()
        assert (await host.chat(ChatRequest("again", session_id="s"))).message == "onetwo"


async def test_a_log_that_cannot_be_written_is_not_the_fault_of_the_plugin_that_answers() -> None:
    store, failures = BrokenStore(), list[PluginFailure]()

    async def pieces() -> AsyncIterator[str]:
        store.full = True
        while True:  # until what was said is to be written
            yield "one"
            await anyio.lowlevel.checkpoint()

    answer = ChatResponse(text_stream=pieces(), keep=True)
    config = AppConfig(
        profiles=[Profile(id="assistant", model="scripted:x")],
        providers=[ScriptedModel([])],
        plugins=[define_plugin("p", intercept_chat_request=lambda _r, _c: answer)],
        store=store,
        on_plugin_error=failures.append,
    )
    async with create_app(config).host as host:
        async with host.stream(ChatRequest("hi", session_id="s")) as stream:
            last = [event async for event in stream][-1]
        store.full = False
    assert isinstance(last, TurnError)
    assert (last.code, failures) == ("storage_failed", [])


async def test_deleting_a_session_ends_the_turn_in_it(make_host: MakeHost) -> None:
    model = SteppedModel(["one", "two"])
    model.go[0].set()
    async with make_host(providers=[model]) as host:
        async with host.stream(ChatRequest("hi", session_id="s")) as stream:
            last: Event | None = None
            async for event in stream:
                last = event
                if isinstance(event, MessageDelta) and not model.go[1].is_set():
                    await host.delete_session(Principal(), "s")
                    model.go[1].set()
        assert isinstance(last, TurnError)
        assert last.code == LeaseLost.code
        assert not await host.sessions(Principal())


async def test_stopping_the_host_ends_streams_that_take_too_long(make_host: MakeHost) -> None:
    model = SteppedModel(["never"])
    host = make_host(providers=[model], stop_grace=0.05)
    await host.__aenter__()
    async with host.stream(ChatRequest("hi", session_id="s")) as stream:
        await host.__aexit__(None, None, None)
        types = [event.type async for event in stream]
    assert types[-1] == "turn.end"
    assert model.cancelled.is_set()
