"""A caller that leaves or reads slowly: the turn ends or goes on, and the host stays small."""

import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from attrs import define, field

from agentrail import (
    AgentHost,
    ChatRequest,
    ChatResponse,
    Delta,
    Event,
    Message,
    ModelReply,
    ModelRequest,
    Profile,
    RequestContext,
    ScriptedModel,
    SQLiteSessionStore,
    define_plugin,
    tool,
)
from agentrail.errors import HostNotRunning
from agentrail.events import MessageDelta, TurnEnd, TurnError
from agentrail.model import call_tools
from agentrail.route import frame
from agentrail.testing import HookRecorder
from tests.host.conftest import MakeHost
from tests.host.office import ME, Office, again, check_log, streamed, transcript, writing

pytestmark = pytest.mark.anyio

GOES_ON = ChatRequest("write to ada", session_id="s", on_disconnect="continue")
ENDS = ChatRequest("write to ada", session_id="s")


@define
class Slow:
    """A model that speaks, waits until it is let, and speaks on."""

    begun: anyio.Event = field(factory=anyio.Event)
    go_on: anyio.Event = field(factory=anyio.Event)
    ended: str = ""

    async def __call__(self, request: ModelRequest) -> ModelReply:
        await request.emit(Delta(text="Dear"))
        self.begun.set()
        self.ended = "cancelled"
        await self.go_on.wait()
        await request.emit(Delta(text=" Ada"))
        self.ended = "completed"
        return ModelReply(message=Message.assistant("Dear Ada"))


def frames(events: Sequence[Event]) -> list[bytes]:
    """Return events as they are sent."""
    return [frame(event) for event in events]


def text_of(events: Sequence[Event]) -> str:
    """Return the text of the deltas."""
    return "".join(event.text for event in events if isinstance(event, MessageDelta))


# Who leaves.


async def test_a_turn_goes_on_when_the_reader_of_its_stream_leaves(
    make_host: MakeHost, recorder: HookRecorder
) -> None:
    model = Slow()
    async with make_host(**Office().config(model), plugins=[recorder]) as host:
        heard: list[Event] = []
        async with host.stream(GOES_ON) as events:
            async for event in events:
                heard.append(event)
                if isinstance(event, MessageDelta):
                    break
        assert (await host.turn(ME, heard[0].turn_id)).status == "running"
        model.go_on.set()
        rest = await again(host, heard[0].turn_id, heard[-1].id)
        assert frames(heard + rest) == frames(await again(host, heard[0].turn_id))
        assert isinstance(rest[-1], TurnEnd)
        assert (rest[-1].outcome, rest[-1].message) == ("completed", "Dear Ada")
        assert recorder.names[-2:] == ["on_turn_persisted", "on_request_end"]
        await check_log(host)


async def _cancelled(host: AgentHost, request: ChatRequest, door: str, begun: anyio.Event) -> None:
    """Make a request, and cancel whoever waits for its answer once the turn has begun."""

    async def call() -> None:
        if door == "chat":
            await host.chat(request)
        else:
            await streamed(host, request)

    async with anyio.create_task_group() as callers:
        callers.start_soon(call)
        await begun.wait()
        await anyio.wait_all_tasks_blocked()
        callers.cancel_scope.cancel()


@pytest.mark.parametrize("door", ["chat", "enter", "read"])
async def test_a_turn_goes_on_when_its_caller_is_cancelled(make_host: MakeHost, door: str) -> None:
    """While it waits for a chat's answer, for a stream's first event, or for the next one."""
    model, ready = Slow(), anyio.Event()

    async def wait(_context: RequestContext) -> None:
        ready.set()
        await model.go_on.wait()

    early = {"plugins": [define_plugin("p", on_request_start=wait)]} if door == "enter" else {}
    async with make_host(**Office().config(model), **early) as host:
        await _cancelled(host, GOES_ON, door, ready if door == "enter" else model.begun)
        (live,) = host.core.turns.all()
        model.go_on.set()
        await _ended(host, live.turn_id)
        assert (await host.turn(ME, live.turn_id)).status == "completed"
        await check_log(host)
    assert model.ended == "completed"


async def _ended(host: AgentHost, turn_id: str) -> None:
    """Wait until a turn runs no more."""
    while live := host.core.turns.get(turn_id):
        await live.news().wait()


@pytest.mark.parametrize("door", ["chat", "enter", "read"])
async def test_a_turn_that_may_not_go_on_ends_when_its_caller_is_cancelled(
    make_host: MakeHost, door: str
) -> None:
    model, ready = Slow(), anyio.Event()

    async def wait(_context: RequestContext) -> None:
        ready.set()
        await model.go_on.wait()

    early = {"plugins": [define_plugin("p", on_request_start=wait)]} if door == "enter" else {}
    async with make_host(**Office().config(model, "hello"), **early) as host:
        await _cancelled(host, ENDS, door, ready if door == "enter" else model.begun)
        assert host.core.turns.all() == ()
        model.go_on.set()
        assert model.ended == ("" if door == "enter" else "cancelled")
        await host.chat(ChatRequest("go on", session_id="s"))
        await check_log(host)


@pytest.mark.parametrize("door", ["chat", "stream"])
async def test_a_turn_that_goes_on_alone_can_be_cancelled(make_host: MakeHost, door: str) -> None:
    model = Slow()
    async with make_host(**Office().config(model, "hello")) as host:
        async with anyio.create_task_group() as callers:
            callers.start_soon(host.chat if door == "chat" else streamed_by(host), GOES_ON)
            await model.begun.wait()
            callers.cancel_scope.cancel()
        (live,) = host.core.turns.all()
        assert (await host.cancel(ME, live.turn_id)).status == "cancelled"
        assert host.core.turns.all() == ()
        await host.chat(ENDS)
        await check_log(host)
    assert model.ended == "cancelled"


def streamed_by(host: AgentHost) -> Any:  # noqa: ANN401
    """Return a function that reads a stream to its end."""

    async def read(request: ChatRequest) -> list[Event]:
        return await streamed(host, request)

    return read


async def test_a_turn_that_goes_on_alone_holds_its_session(make_host: MakeHost) -> None:
    model = Slow()
    answers: list[ChatResponse] = []
    async with make_host(**Office().config(model, "second")) as host:
        async with host.stream(GOES_ON) as events:
            await anext(events)

        async def second() -> None:
            answers.append(await host.chat(ENDS))

        async with anyio.create_task_group() as callers:
            callers.start_soon(second)
            await model.begun.wait()
            await anyio.wait_all_tasks_blocked()
            assert answers == []
            model.go_on.set()
        said = [message.text for message in await transcript(host)]
        assert said == ["write to ada", "Dear Ada", "write to ada", "second"]
        await check_log(host)


async def test_a_host_that_stops_lets_a_turn_end_that_goes_on_alone(make_host: MakeHost) -> None:
    """Within its grace."""
    model = Slow()
    host = make_host(**Office().config(model))
    async with anyio.create_task_group() as callers, host:
        async with host.stream(GOES_ON) as events:
            await anext(events)
        await model.begun.wait()

        async def let() -> None:
            while host.core.running:
                await anyio.lowlevel.checkpoint()
            model.go_on.set()

        callers.start_soon(let)
    assert model.ended == "completed"


async def test_a_host_that_stops_at_once_ends_a_turn_that_goes_on_alone(
    make_host: MakeHost,
) -> None:
    model = Slow()
    failures: list[HostNotRunning] = []
    host = make_host(**Office().config(model), stop_grace=0)

    async def chat() -> None:
        try:
            await host.chat(GOES_ON)
        except HostNotRunning as error:
            failures.append(error)

    async with anyio.create_task_group() as callers, host:
        callers.start_soon(chat)
        await model.begun.wait()
    assert (len(failures), model.ended) == (1, "cancelled")


# Broken off anywhere, taken up from there.


async def speak(request: ModelRequest) -> AsyncIterator[str]:
    """Say things that frames have words for."""
    for piece in ("one\n\n", "data: 1", "é😀\u2028", "\x00"):
        await request.emit(Delta(text=piece))
        yield piece


async def _speaking(request: ModelRequest) -> ModelReply:
    await request.emit(Delta(reasoning="hm"))
    pieces = [piece async for piece in speak(request)]
    return ModelReply(message=Message.assistant("".join(pieces)))


@pytest.mark.parametrize("on_disconnect", ["continue", "cancel"])
async def test_broken_off_after_any_frame_and_taken_up_it_is_what_an_unbroken_reader_reads(
    make_host: MakeHost,
    on_disconnect: Any,  # noqa: ANN401
) -> None:
    """Of a cancelled turn, too: what comes after the break is how it was ended."""
    cut = 0
    calls = call_tools(("look", {"what": "a\n"}), ("look", {"what": "é"}))

    def say(request: ModelRequest) -> Any:  # noqa: ANN401 - what a script may say
        return calls if request.messages[-1].role == "user" else _speaking(request)

    config = Office().config() | {"providers": [ScriptedModel.repeat(say)]}
    async with make_host(**config) as host:
        while True:
            cut += 1
            request = ChatRequest("hi", session_id=f"s{cut}", on_disconnect=on_disconnect)
            heard: list[Event] = []
            async with host.stream(request) as events:
                turn_id = ""
                async for event in events:
                    heard.append(event)
                    turn_id = event.turn_id
                    if len(heard) == cut:
                        break
            rest = await again(host, turn_id, heard[-1].id)
            whole = await again(host, turn_id)
            assert frames(heard + rest) == frames(whole)
            ids = [event.id for event in whole]
            assert all(one < other for one, other in itertools.pairwise(ids))
            assert sum(isinstance(event, TurnEnd | TurnError) for event in whole) == 1
            assert isinstance(whole[-1], TurnEnd)
            if on_disconnect == "continue":
                assert whole[-1].outcome == "completed"
            await check_log(host, f"s{cut}")
            if len(heard) < cut or not rest:
                break
    assert cut > 10


@pytest.mark.parametrize("new_store", ["sqlite"], indirect=True)
async def test_after_a_restart_the_rest_is_still_there(make_host: MakeHost, tmp_path: Path) -> None:
    model = Slow()
    config = Office().config(model)
    async with make_host(**config, store=SQLiteSessionStore(tmp_path / "kept.db")) as host:
        heard: list[Event] = []
        async with host.stream(GOES_ON) as events:
            async for event in events:
                heard.append(event)
                if isinstance(event, MessageDelta):
                    break
        model.go_on.set()
    async with make_host(store=SQLiteSessionStore(tmp_path / "kept.db")) as host:
        rest = await again(host, heard[0].turn_id, heard[-1].id)
        assert isinstance(rest[-1], TurnEnd)
        assert rest[-1].message == "Dear Ada"
        assert frames(heard + rest) == frames(await again(host, heard[0].turn_id))


# Who reads slowly, or not at all.


@define
class Peeps:
    """How often a tool was called."""

    made: int = 0


def busy(peeps: Peeps) -> dict[str, Any]:
    """An agent whose stream has an event for each of very many tool calls, and no end."""

    @tool
    async def peep(n: int) -> str:
        """Peep."""
        peeps.made += 1
        return f"{n}"

    def say(_request: ModelRequest) -> ModelReply:
        return call_tools(*[("peep", {"n": n}) for n in range(1000)])

    profile = Profile(id="assistant", model="scripted:m", tools=[peep])
    return {"profiles": [profile], "providers": [ScriptedModel.repeat(say)]}


async def _still(host: AgentHost, peeps: Peeps) -> int:
    """Return how many calls were made when no more are, however often the log is read."""
    made, reads = 0, 0
    while made < 10 or reads < 100:
        reads = reads + 1 if made == peeps.made else 0
        made = peeps.made
        assert made < 900, "nobody reads, and it goes on"
        await host.core.store.read("s")
        await anyio.wait_all_tasks_blocked()
    return made


async def test_a_reader_that_does_not_read_holds_the_turn_back(make_host: MakeHost) -> None:
    peeps = Peeps()
    async with make_host(**busy(peeps)) as host, host.stream(ENDS):
        assert await _still(host, peeps) < 200


@pytest.mark.parametrize("how", ["cancelled", "left", "stopped"])
@pytest.mark.parametrize("on_disconnect", ["cancel", "continue"])
async def test_a_turn_that_is_held_back_can_be_ended(
    make_host: MakeHost,
    how: str,
    on_disconnect: Any,  # noqa: ANN401
) -> None:
    """By somebody's wish, by its reader's leaving, by the host's end: none waits for a reader."""
    peeps = Peeps()
    request = ChatRequest("hi", session_id="s", on_disconnect=on_disconnect)
    host = make_host(**busy(peeps), stop_grace=0)
    with anyio.fail_after(30):
        async with AsyncExitStack() as readers, host:
            stream = await readers.enter_async_context(host.stream(request))
            first = await anext(stream)
            await _still(host, peeps)
            if how == "cancelled":
                assert (await host.cancel(ME, first.turn_id)).status == "cancelled"
                sent = [first, *[event async for event in stream]]
                assert isinstance(sent[-1], TurnEnd)
                assert frames(sent) == frames(await again(host, first.turn_id))
            elif how == "left":
                await readers.aclose()
                await host.cancel(ME, first.turn_id)
            if how != "stopped":
                assert host.core.turns.all() == ()
                await check_log(host)


@pytest.mark.parametrize("calls", range(30, 34))
@pytest.mark.parametrize("before", [1, 3, 5])
@pytest.mark.parametrize("meanwhile", [0, 1])
async def test_a_turn_whose_pieces_are_held_back_can_be_cancelled(
    make_host: MakeHost, calls: int, before: int, meanwhile: int
) -> None:
    """After some number of calls, it is a piece of an answer that waits to be read."""

    async def speak(request: ModelRequest) -> ModelReply:
        for piece in ("one ", "two ", "three"):
            await request.emit(Delta(text=piece))
        await anyio.sleep_forever()
        return ModelReply(message=Message.assistant("never"))

    letters = writing(*[str(n) for n in range(calls)])
    config = Office().config(letters, speak, permissions=[])
    async with make_host(**config) as host, host.stream(ENDS) as stream:
        sent = [await anext(stream) for _ in range(before)]
        log: Sequence[Event] = []
        while not (stream._batches.statistics().tasks_waiting_send or "three" in text_of(log)):
            log = await host.core.store.read("s")
            await anyio.lowlevel.checkpoint()
        with anyio.fail_after(20):
            async with anyio.create_task_group() as people:
                people.start_soon(host.cancel, ME, sent[0].turn_id)
                sent += [await anext(stream) for _ in range(meanwhile)]
            sent += [event async for event in stream]
        assert isinstance(sent[-1], TurnEnd)
        assert frames(sent) == frames(await again(host, sent[0].turn_id))


async def test_a_turn_that_was_held_back_goes_on_when_its_reader_leaves(
    make_host: MakeHost,
) -> None:
    letters = writing(*[str(n) for n in range(100)])
    office = Office()
    async with make_host(**office.config(letters, "done", permissions=[])) as host:
        async with host.stream(GOES_ON) as stream:
            first = await anext(stream)
            while not stream._batches.statistics().tasks_waiting_send:
                await host.core.store.read("s")
                await anyio.lowlevel.checkpoint()
            assert len(office.done) < 100
        await _ended(host, first.turn_id)
        assert (await host.turn(ME, first.turn_id)).status == "completed"
        await check_log(host)
    assert len(office.done) == 100


async def test_a_follower_that_does_not_read_holds_nothing_back(make_host: MakeHost) -> None:
    calls = [call_tools(*[("look", {"what": str(n)}) for n in range(100)]) for _ in range(4)]
    async with make_host(**Office().config(*calls, "done")) as host:
        async with host.stream(GOES_ON) as events:
            first = await anext(events)
        async with host.events(ME, first.turn_id) as lazy:
            assert (await anext(lazy)).id == first.id
            await _ended(host, first.turn_id)
            assert (await host.turn(ME, first.turn_id)).status == "completed"
            rest = [event async for event in lazy]
        assert frames([first, *rest]) == frames(await again(host, first.turn_id))
