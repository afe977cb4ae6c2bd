"""A turn's events, read again from any place: after its end, while it runs, after a restart."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import anyio
import anyio.lowlevel
import pytest
from attrs import define

from agentrail import (
    AgentHost,
    ChatRequest,
    ChatResponse,
    Delta,
    Event,
    Limits,
    Message,
    ModelReply,
    ModelRequest,
    SessionStore,
    SQLiteSessionStore,
    define_plugin,
)
from agentrail.errors import ContextTooLong, ModelUnavailable
from agentrail.events import TERMINAL, ContextCompacted, MessageDelta, TurnEnd, TurnError, TurnStart
from agentrail.model import call_tools
from agentrail.model.scripted import Scripted
from agentrail.requests import Resume
from agentrail.route import frame
from agentrail.session import Owner, recorded
from tests.host.conftest import MakeHost, Stores
from tests.host.office import (
    ME,
    Office,
    again,
    approved,
    check_log,
    letter,
    seen_by,
    streamed,
    transcript,
    writing,
)
from tests.host.test_turn import A_FILE

pytestmark = pytest.mark.anyio

ASKED = ChatRequest("write to ada", session_id="s")
MINE = Owner("default", "local", "assistant")


def frames(events: Sequence[Event]) -> list[bytes]:
    """Return events as they are sent."""
    return [frame(event) for event in events]


async def check_every_cut(host: AgentHost, sent: Sequence[Event]) -> None:
    """Assert that whoever broke off after any event can read the others, byte for byte."""
    turn_id = sent[0].turn_id
    assert frames(await again(host, turn_id)) == frames(sent)
    for place, event in enumerate(sent, 1):
        assert frames(await again(host, turn_id, event.id)) == frames(sent[place:])


async def speak(request: ModelRequest) -> ModelReply:
    """Say things that JSON, UTF-8 and frames have words for."""
    await request.emit(Delta(reasoning="hm\n\n"))
    for piece in ("one\n", "data: \u2028", '"\\', "\x00😀é"):
        await request.emit(Delta(text=piece))
    return ModelReply(message=Message.assistant("whatever"))


async def test_a_finished_stream_is_read_again_from_every_place(make_host: MakeHost) -> None:
    office = Office()
    calls = call_tools(("look", {"what": "1.5", "b": [1, 2.5, None]}), ("look", {"what": "é\n"}))
    plugin = define_plugin(
        "p",
        attachment_handler=lambda _a, _c: "a file",
        context_providers=[lambda _c, _m: [Message.system("now")]],
    )
    config = office.config("hello " * 50, calls, speak, "bye")
    async with make_host(**config, plugins=[plugin]) as host:
        await streamed(host, ChatRequest("hi", session_id="s"))
        sent = await streamed(host, ChatRequest("look", session_id="s", attachments=A_FILE))
        await streamed(host, ChatRequest("bye", session_id="s"))
        await check_every_cut(host, sent)
        assert len(sent) > 10


async def test_a_failed_stream_is_read_again_from_every_place(make_host: MakeHost) -> None:
    async def breaks(request: ModelRequest) -> ModelReply:
        await request.emit(Delta(text="It was a dark"))
        raise ModelUnavailable("it broke off")

    async with make_host(breaks) as host:
        sent = await streamed(host, ASKED)
        assert isinstance(sent[-1], TurnError)
        await check_every_cut(host, sent)


async def test_a_kept_interception_is_read_again_from_every_place(make_host: MakeHost) -> None:
    keep = define_plugin(
        "keep", intercept_chat_request=lambda _r, _c: ChatResponse("kept", keep=True)
    )
    async with make_host(plugins=[keep]) as host:
        sent = await streamed(host, ASKED)
        await check_every_cut(host, sent)


async def test_the_runs_of_a_suspended_turn_are_one_stream(make_host: MakeHost) -> None:
    async with make_host(**Office().config(writing("ada"), "done")) as host:
        first = await streamed(host, ASKED)
        turn_id = first[0].turn_id
        await check_every_cut(host, first)

        (asked,) = (await host.turn(ME, turn_id)).approvals
        await host.decide(ME, turn_id, asked.call.id, approved=True)
        (decided,) = await again(host, turn_id, first[-1].id)
        second = await streamed(host, Resume(turn_id))
        await check_every_cut(host, [*first, decided, *second])


async def test_a_running_turn_is_followed_from_every_place_to_its_end(make_host: MakeHost) -> None:
    go_on, paused = anyio.Event(), anyio.Event()

    async def speaks(request: ModelRequest) -> ModelReply:
        await request.emit(Delta(text="Once"))
        paused.set()
        await go_on.wait()
        for _ in range(3):
            await request.emit(Delta(text=" upon"))
        return ModelReply(message=Message.assistant("Once upon upon upon"))

    office = Office()
    sent: list[Event] = []
    followed: dict[int, list[Event]] = {}
    config = office.config(call_tools(("look", {"what": "a"})), speaks)
    async with make_host(**config) as host:

        async def follow(after: int) -> None:
            followed[after] = await again(host, sent[0].turn_id, after)

        async with anyio.create_task_group() as readers, host.stream(ASKED) as events:
            async for event in events:
                sent.append(event)
                readers.start_soon(follow, event.id)
                if isinstance(event, MessageDelta) and not go_on.is_set():
                    await paused.wait()
                    await anyio.wait_all_tasks_blocked()  # all have read what there is
                    assert followed == {}
                    go_on.set()
    for place, event in enumerate(sent, 1):
        assert frames(followed[event.id]) == frames(sent[place:])
    assert isinstance(sent[-1], TurnEnd)


async def test_to_follow_a_turn_or_to_leave_does_not_touch_it(make_host: MakeHost) -> None:
    go_on = anyio.Event()

    async def speaks(request: ModelRequest) -> ModelReply:
        await request.emit(Delta(text="Once"))
        await go_on.wait()
        return ModelReply(message=Message.assistant("Once"))

    async with make_host(speaks) as host, host.stream(ASKED) as events:
        first = await anext(events)
        async with host.events(ME, first.turn_id) as others:
            assert await anext(others) == first
        with anyio.CancelScope() as scope:
            async with host.events(ME, first.turn_id) as others:
                async for event in others:
                    if isinstance(event, MessageDelta):
                        scope.cancel()
        assert (await host.turn(ME, first.turn_id)).status == "running"
        go_on.set()
        rest = [event async for event in events]
        assert isinstance(rest[-1], TurnEnd)
        assert rest[-1].outcome == "completed"


async def test_who_has_read_all_gets_nothing_and_does_not_wait(make_host: MakeHost) -> None:
    async with make_host(**Office().config("one", writing("ada"))) as host:
        ended = await host.chat(ASKED)
        suspended = await host.chat(ASKED)
        for turn_id in (ended.turn_id, suspended.turn_id):
            last = (await again(host, turn_id))[-1]
            assert await again(host, turn_id, last.id) == []
            assert await again(host, turn_id, 10**17) == []


async def test_a_turn_without_a_reader_keeps_its_frame(make_host: MakeHost) -> None:
    """Of a chat there is less to read: nobody saw the pieces."""
    calls = call_tools(("look", {"what": "a"}))
    async with make_host(**Office().config(calls, "done")) as host:
        response = await host.chat(ASKED)
        events = await again(host, response.turn_id)
    assert [event.type for event in events] == ["turn.start", "tool.start", "tool.end", "turn.end"]
    assert isinstance(events[-1], TurnEnd)
    assert events[-1].message == "done"


async def test_numbers_grow_through_a_session_whatever_its_turns_come_to(
    make_host: MakeHost,
) -> None:
    config = Office().config("one", ModelUnavailable("no"), writing("ada"), writing("bob"), "done")
    async with make_host(**config) as host:
        sent: list[Event] = []
        for _ in range(4):
            sent += await streamed(host, ASKED)
        (asked,) = (await host.turn(ME, sent[-1].turn_id)).approvals
        await host.decide(ME, sent[-1].turn_id, asked.call.id, approved=False)
        sent += await streamed(host, Resume(sent[-1].turn_id))
        log = await host.core.store.read("s")
    numbers = [event.id for event in sent]
    assert numbers == sorted(set(numbers))
    assert [event.id for event in log] == list(range(1, len(log) + 1))


async def test_more_events_than_one_page_are_read(make_host: MakeHost) -> None:
    calls = [call_tools(*[("look", {"what": str(n)}) for n in range(100)]) for _ in range(4)]
    async with make_host(**Office().config(*calls, "done")) as host:
        sent = await streamed(host, ASKED)
        assert len(sent) > 600
        assert frames(await again(host, sent[0].turn_id)) == frames(sent)


async def test_turns_of_the_session_that_came_between_are_left_out(make_host: MakeHost) -> None:
    """Only of a suspended turn can another one's events come between its own: a note."""

    async with make_host(**Office().config(writing("ada"), "done")) as host:
        suspended = await host.chat(ASKED)
        store = host.core.store
        lease = await store.acquire("s", MINE, events=[recorded(Message.system("a note"))])
        store.release(lease)
        await approved(host, suspended)
        events = await again(host, suspended.turn_id)
        assert {event.turn_id for event in events} == {suspended.turn_id}
        await check_log(host)


@define
class Reads:
    """A store that counts how often a log is read."""

    store: SessionStore
    made: int = 0

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any member of a store
        if name == "read":
            self.made += 1
        return getattr(self.store, name)


async def test_of_a_session_that_goes_on_no_more_is_read_than_the_turn(
    make_host: MakeHost, new_store: Stores
) -> None:
    """However much came after it, who has read the turn is told so at once."""
    calls = call_tools(*[("look", {"what": str(n)}) for n in range(200)])
    script: list[Scripted] = ["one", calls, "two", calls, "three", calls, "four", calls, "five"]
    config = Office().config(*script, compact=False)
    reads = Reads(new_store())
    async with make_host(**config, store=cast("SessionStore", reads)) as host:
        first = await streamed(host, ASKED)
        later = [await streamed(host, ASKED) for _ in range(4)]
        assert later[-1][-1].id > 2000
        for after in (0, first[-1].id):
            reads.made = 0
            await again(host, first[0].turn_id, after)
            assert reads.made <= 2


# Summaries, which are written beside the turns or in the middle of one.


def summarizing(*script: Any) -> dict[str, Any]:  # noqa: ANN401 - what a script may say
    """An agent whose window is so small that its history is summarized."""
    return Office().config(*script, context_window=700, limits=Limits(max_tokens=100))


async def test_a_summary_that_is_written_after_a_turn_is_no_part_of_it(make_host: MakeHost) -> None:
    """Its terminal event was the last one that a reader was shown."""
    config = summarizing("blah " * 300, "blah " * 300, "a summary")
    async with make_host(**config) as host:
        await streamed(host, ASKED)
        sent = await streamed(host, ASKED)
        while host.core.compacting:
            await anyio.lowlevel.checkpoint()
        log = await host.core.store.read("s")
        assert isinstance(log[-1], ContextCompacted)
        await check_every_cut(host, sent)
        assert (await host.turn(ME, sent[0].turn_id)).status == "completed"


async def test_a_summary_in_the_middle_of_a_turn_is_shown_to_its_reader(
    make_host: MakeHost,
) -> None:
    config = summarizing("blah " * 150, "blah", ContextTooLong("too long"), "a summary", "done")
    async with make_host(**config) as host:
        await streamed(host, ASKED)
        await streamed(host, ASKED)
        sent = await streamed(host, ASKED)
        assert isinstance(sent[-1], TurnEnd)
        assert sent[-1].message == "done"
        assert "context.compacted" in [event.type for event in sent]
        await check_every_cut(host, sent)
        await check_log(host)


# After a restart.


@pytest.fixture
def store(tmp_path: Path) -> SQLiteSessionStore:
    return SQLiteSessionStore(tmp_path / "kept.db")


@pytest.mark.parametrize("new_store", ["sqlite"], indirect=True)
async def test_another_host_reads_the_same_bytes(
    make_host: MakeHost, store: SQLiteSessionStore, tmp_path: Path
) -> None:
    config = Office().config(call_tools(("look", {"what": "a"}), letter()), "done")
    async with make_host(**config, store=store) as host:
        sent = await streamed(host, ASKED)
    async with make_host(store=SQLiteSessionStore(tmp_path / "kept.db")) as host:
        await check_every_cut(host, sent)


@pytest.mark.parametrize("new_store", ["sqlite"], indirect=True)
async def test_a_turn_that_a_dead_host_left_is_closed_when_it_is_read(
    make_host: MakeHost, store: SQLiteSessionStore, tmp_path: Path
) -> None:
    await store.start()
    opening = [
        TurnStart(turn_id="turn_dead", session_id="s"),
        recorded(Message.user("hi"), "turn_dead"),
        MessageDelta(turn_id="turn_dead", session_id="s", text="half an "),
    ]
    lease = await store.acquire("s", MINE, events=opening)
    store.release(lease)
    await store.stop()

    config = Office().config("hello")
    async with make_host(**config, store=SQLiteSessionStore(tmp_path / "kept.db")) as host:
        events = await again(host, "turn_dead")
        assert [event.type for event in events] == ["turn.start", "message.delta", "turn.error"]
        end = events[-1]
        assert isinstance(end, TurnError)
        assert (end.code, end.retryable) == ("interrupted", True)
        assert (await host.turn(ME, "turn_dead")).status == "failed"
        await check_every_cut(host, events)
        assert sum(isinstance(e, TERMINAL) for e in await host.core.store.read("s")) == 1

        await host.chat(ASKED)
        await check_log(host)
        assert [m.text for m in await transcript(host)][:2] == ["hi", "half an "]
    assert len(seen_by(config)) == 1
