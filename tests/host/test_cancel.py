"""A turn that is ended from outside, whatever it does: its log is whole, its session free."""

from collections.abc import AsyncIterator

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
    ScriptedModel,
    define_plugin,
    tool,
)
from agentrail.agent import COALESCE
from agentrail.events import MessageDelta, TurnEnd
from agentrail.model import call_tools
from agentrail.requests import Resume, TurnStatus
from agentrail.route import frame
from agentrail.testing import FakeClock, HookRecorder
from tests.host.conftest import MakeHost
from tests.host.office import (
    ME,
    Office,
    again,
    check_log,
    decide,
    results,
    seen_by,
    streamed,
    transcript,
    writing,
)

pytestmark = pytest.mark.anyio

ASKED = ChatRequest("write to ada", session_id="s")


@define
class Story:
    """A model that begins to speak, and waits to be cancelled."""

    begun: anyio.Event = field(factory=anyio.Event)

    async def __call__(self, request: ModelRequest) -> ModelReply:
        await request.emit(Delta(text="Once upon"))
        self.begun.set()
        await anyio.sleep_forever()
        return ModelReply(message=Message.assistant("never"))


async def turn_of(host: AgentHost, session_id: str = "s") -> str:
    """Return the id of the session's last turn."""
    log = await host.core.store.read(session_id, limit=10_000)
    return [event.turn_id for event in log if event.turn_id][-1]


# From outside.


async def test_a_turn_is_cancelled_while_its_model_speaks(
    make_host: MakeHost, recorder: HookRecorder
) -> None:
    story = Story()
    config = Office().config(story, "hello")
    answers: list[ChatResponse] = []
    told: list[TurnStatus] = []
    async with make_host(**config, plugins=[recorder]) as host:

        async def chat() -> None:
            answers.append(await host.chat(ASKED))

        async with anyio.create_task_group() as callers:
            callers.start_soon(chat)
            await story.begun.wait()
            told.append(await host.cancel(ME, await turn_of(host)))
        (status,) = told
        assert (status.status, status.approvals) == ("cancelled", ())
        assert status.ended_at is not None
        assert [(each.outcome, each.stop_reason) for each in answers] == [
            ("cancelled", "cancelled")
        ]
        assert answers[0].turn_id == status.turn_id
        assert recorder.names[-1] == "on_request_end"
        assert "on_turn_persisted" not in recorder.names

        await host.chat(ChatRequest("go on", session_id="s"))
        await check_log(host)
    said = [message.text for message in seen_by(config)[1].messages]
    assert said == ["write to ada", "Once upon", "go on"]


async def test_the_reader_of_a_stream_is_told_that_it_was_cancelled(make_host: MakeHost) -> None:
    async with make_host(Story()) as host, host.stream(ASKED) as stream:
        events: list[Event] = []
        async for event in stream:
            events.append(event)
            if isinstance(event, MessageDelta):
                await host.cancel(ME, event.turn_id)
        end = events[-1]
        assert isinstance(end, TurnEnd)
        assert (end.outcome, end.stop_reason) == ("cancelled", "cancelled")
        (kept,) = await host.messages(ME, "s", limit=1)
        shown = [event for event in events if isinstance(event, MessageDelta)]
        assert kept.message.id == shown[-1].message_id
        assert [frame(e) for e in await again(host, end.turn_id)] == [frame(e) for e in events]


async def test_a_turn_is_cancelled_while_a_tool_runs(make_host: MakeHost) -> None:
    begun, ended = anyio.Event(), anyio.Event()

    @tool
    async def dig() -> str:
        """Dig."""
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()
        return ""

    model = ScriptedModel([call_tools(("dig", {}), ("dig", {})), "hello"])
    config = {
        "providers": [model],
        "profiles": [Profile(id="assistant", model="scripted:m", tools=[dig])],
    }
    async with make_host(**config) as host:
        async with anyio.create_task_group() as callers:
            callers.start_soon(host.chat, ASKED)
            await begun.wait()
            assert (await host.cancel(ME, await turn_of(host))).status == "cancelled"
        assert ended.is_set()
        await host.chat(ChatRequest("go on", session_id="s"))
        await check_log(host)
    told = results(model.requests[1].messages)
    assert [outcome for outcome, _ in told] == ["cancelled", "cancelled"]
    assert "may have had its effects" in told[0][1]
    assert "before this tool call was begun" in told[1][1]


async def test_a_turn_is_cancelled_while_it_waits_for_approval(make_host: MakeHost) -> None:
    office = Office()
    config = office.config(writing("ada", "bob"), "hello")
    async with make_host(**config) as host:
        suspended = await host.chat(ASKED)
        ada, _ = suspended.approvals
        await host.decide(ME, suspended.turn_id, ada.call.id, approved=True)
        status = await host.cancel(ME, suspended.turn_id)
        assert (status.status, status.approvals) == ("cancelled", ())
        await check_log(host)
        await host.chat(ChatRequest("go on", session_id="s"))
        await check_log(host)
    assert office.done == []
    assert [outcome for outcome, _ in results(seen_by(config)[1].messages)] == ["cancelled"] * 2


@pytest.mark.parametrize("how", ["completed", "failed", "cancelled"])
async def test_to_cancel_a_turn_that_has_ended_changes_nothing(
    make_host: MakeHost, how: str
) -> None:
    async with make_host(**Office().config(writing("ada"), "done" if how == "completed" else ValueError("x"))) as host:  # fmt: skip  # noqa: E501
        suspended = await host.chat(ASKED)
        if how == "cancelled":
            await host.cancel(ME, suspended.turn_id)
        else:
            await decide(host, suspended)
            await streamed(host, Resume(suspended.turn_id))
        before = await host.core.store.read("s")
        status = await host.cancel(ME, suspended.turn_id)
        assert status.status == how
        assert status == await host.turn(ME, suspended.turn_id)
        assert await host.core.store.read("s") == before


async def test_the_second_run_of_a_turn_is_cancelled(make_host: MakeHost) -> None:
    office, story = Office(), Story()
    config = office.config(writing("ada"), story, "hello")
    answers: list[ChatResponse] = []
    async with make_host(**config) as host:
        suspended = await host.chat(ASKED)
        await decide(host, suspended)

        async def resume() -> None:
            answers.append(await host.chat(Resume(suspended.turn_id)))

        async with anyio.create_task_group() as callers:
            callers.start_soon(resume)
            await story.begun.wait()
            assert (await host.cancel(ME, suspended.turn_id)).status == "cancelled"
        assert [each.outcome for each in answers] == ["cancelled"]
        await host.chat(ChatRequest("go on", session_id="s"))
        await check_log(host)
    assert office.done == ["sent ada"]


async def test_two_who_cancel_a_turn_are_both_told(make_host: MakeHost) -> None:
    story = Story()
    told: list[str] = []
    async with make_host(story) as host, anyio.create_task_group() as callers:
        callers.start_soon(host.chat, ASKED)
        await story.begun.wait()
        turn_id = await turn_of(host)

        async def cancel() -> None:
            told.append((await host.cancel(ME, turn_id)).status)

        callers.start_soon(cancel)
        callers.start_soon(cancel)
    assert told == ["cancelled"] * 2


async def test_cancelled_while_an_interceptor_speaks(make_host: MakeHost) -> None:
    begun = anyio.Event()

    async def text() -> AsyncIterator[str]:
        yield "one"
        begun.set()
        await anyio.sleep_forever()

    plugin = define_plugin(
        "p", intercept_chat_request=lambda _r, _c: ChatResponse(text_stream=text(), keep=True)
    )
    answers: list[ChatResponse] = []
    async with make_host(plugins=[plugin]) as host:

        async def chat() -> None:
            answers.append(await host.chat(ASKED))

        async with anyio.create_task_group() as callers:
            callers.start_soon(chat)
            await begun.wait()
            assert (await host.cancel(ME, await turn_of(host))).status == "cancelled"
        assert [each.outcome for each in answers] == ["cancelled"]
        assert [m.text for m in await transcript(host)] == [ASKED.text, "one"]
        await check_log(host)


async def test_an_interceptors_text_that_never_waits_lets_others_go_on(
    make_host: MakeHost,
) -> None:
    """Nobody reads it here, so that nothing else makes it give way."""
    stop = anyio.Event()

    async def text() -> AsyncIterator[str]:
        for _ in range(1_000):
            if stop.is_set():
                return
            yield "."

    plugin = define_plugin(
        "p", intercept_chat_request=lambda _r, _c: ChatResponse(text_stream=text())
    )
    async with make_host(plugins=[plugin]) as host, anyio.create_task_group() as tasks:
        tasks.start_soon(next_turn, stop)
        answer = await host.chat(ChatRequest("go on"))
        assert len(answer.message) < 1_000


async def next_turn(stop: anyio.Event) -> None:
    await anyio.lowlevel.checkpoint()
    stop.set()


async def test_an_interceptors_text_is_closed_when_its_reader_leaves(make_host: MakeHost) -> None:
    """It never gives way itself; by the clock, each of its pieces is due to be shown."""
    ended, clock = anyio.Event(), FakeClock()

    async def text() -> AsyncIterator[str]:
        try:
            while True:
                clock.advance(COALESCE)
                yield "and on "
        finally:
            ended.set()

    plugin = define_plugin(
        "p", intercept_chat_request=lambda _r, _c: ChatResponse(text_stream=text())
    )
    async with make_host(plugins=[plugin], clock=clock) as host:
        async with host.stream(ChatRequest("go on")) as stream:
            await anext(stream)

        assert ended.is_set()
