"""A history that gets too long for its model: summarized in time, or at once, and never lost."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from attrs import define, field

from agentrail import (
    AgentHost,
    AppConfig,
    ChatRequest,
    Delta,
    Image,
    Message,
    ModelReply,
    ModelRequest,
    Profile,
    RequestContext,
    ScriptedModel,
    Text,
    Usage,
    create_app,
    define_plugin,
    tool,
)
from agentrail.agent import Prices
from agentrail.errors import ContextTooLong, Overloaded
from agentrail.events import ContextCompacted, MessageDelta, TurnEnd
from agentrail.hook import Call
from agentrail.messages import estimate_tokens
from agentrail.model import call_tools
from agentrail.model.scripted import Said
from agentrail.profile import Prompt
from agentrail.session import SessionStore
from agentrail.tool import ask
from tests.host.conftest import Stores
from tests.host.contract import both_doors, run
from tests.host.office import ME, again, approved, check_log, shown, streamed, transcript

pytestmark = pytest.mark.anyio

WINDOW = 400
"""Tokens; three quarters are for messages, and of these three quarters for the history."""

HISTORY = 180
"""Tokens of a history that is summarized: four fifths of what there is for it."""


def long(text: str) -> str:
    """Return a text of some 50 tokens that begins and ends like another."""
    return f"{text} {'word ' * 36}{text}"


def is_summary(request: ModelRequest) -> bool:
    return request.messages[0].text.startswith("Summarize the conversation")


@define(slots=False)
class Model:
    """Answers each question ``qN`` with ``aN`` at length, and summaries with ``sN``."""

    requests: list[ModelRequest] = field(factory=list[ModelRequest])
    fail: Exception | None = None
    """Is raised in place of summaries."""
    begun: anyio.Event = field(factory=anyio.Event)
    go_on: anyio.Event | None = None
    """What a summary waits for."""

    async def __call__(self, request: ModelRequest) -> Said:
        self.requests.append(request)
        if not is_summary(request):
            about = request.messages[-1].text or "done"
            return long(about.split()[0].replace("q", "a"))
        self.begun.set()
        if self.go_on is not None:
            await self.go_on.wait()
        return self.fail or f"s{len(self.summaries)}"

    @property
    def summaries(self) -> list[ModelRequest]:
        return [request for request in self.requests if is_summary(request)]

    @property
    def answers(self) -> list[ModelRequest]:
        return [request for request in self.requests if not is_summary(request)]


Say = Callable[[ModelRequest], Said | Awaitable[Said]]


def hosting(say: Say, store: SessionStore, profile: dict[str, Any], **config: Any) -> AgentHost:  # noqa: ANN401
    profile.setdefault("context_window", WINDOW)
    agent = Profile(id="assistant", model="scripted:m", **profile)
    providers = [ScriptedModel.repeat(say)]
    return create_app(AppConfig(profiles=[agent], providers=providers, store=store, **config)).host


async def talk(host: AgentHost, *names: str, kind: str = "chat") -> None:
    """Runs a turn for each question, each when the summary of the one before is written."""
    for name in names:
        await run(host, ChatRequest(long(name), session_id="s"), kind)
        await settled(host)


async def settled(host: AgentHost) -> None:
    """Waits until no history is being summarized."""
    while host.core.compacting:
        await anyio.lowlevel.checkpoint()


async def compacted(store: SessionStore) -> list[ContextCompacted]:
    log = await store.read("s", limit=10_000)
    return [event for event in log if isinstance(event, ContextCompacted)]


def first_words(messages: Sequence[Message]) -> list[str]:
    """Returns what each message is about; of a summary, the summary."""
    lines = [message.text.splitlines() for message in messages]
    return [(line[-1] if message.role == "system" else line[0]).split()[0] for line, message in
            zip(lines, messages, strict=True)]  # fmt: skip


# In time.


@both_doors
async def test_a_history_is_summarized_before_any_of_it_is_left_out(
    new_store: Stores, kind: str
) -> None:
    model, store = Model(), new_store()
    async with hosting(model, store, {}) as host:
        await talk(host, "q1", "q2", "q3", "q4", kind=kind)
        written = await compacted(store)
        await check_log(host)

    assert [first_words(request.messages) for request in model.answers] == [
        ["q1"],
        ["q1", "a1", "q2"],
        ["s1", "q2", "a2", "q3"],
        ["s2", "q3", "a3", "q4"],
    ]
    assert [summary.summary for summary in written] == ["s1", "s2", "s3"]
    assert all(summary.tokens > 0 for summary in written)
    told = [request.messages[1].text for request in model.summaries]
    assert [("q1" in text, "q2" in text, "s1" in text) for text in told[:2]] == [
        (True, False, False),
        (False, True, True),
    ]


async def test_a_history_that_fits_is_left_alone(new_store: Stores) -> None:
    model, store = Model(), new_store()
    async with hosting(model, store, {}) as host:
        await talk(host, "q1")
        tokens = sum(map(estimate_tokens, await transcript(host)))
        assert tokens < HISTORY < 2 * tokens
        assert model.summaries == []
        await talk(host, "q2")
        assert len(model.summaries) == 1


async def test_the_history_itself_stays_as_it_is(new_store: Stores) -> None:
    model, store = Model(), new_store()
    async with hosting(model, store, {}) as host:
        await talk(host, "q1", "q2", "q3")
        said = [message.text for message in await transcript(host)]

    assert said == [long(name) for name in ("q1", "a1", "q2", "a2", "q3", "a3")]


async def test_a_summary_asks_for_text_and_offers_no_tools(new_store: Stores) -> None:
    @tool
    def look() -> str:
        """Look."""
        return "seen"

    model = Model()
    async with hosting(model, new_store(), {"tools": [look], "temperature": 0.5}) as host:
        await talk(host, "q1", "q2", "q3")

    request = model.summaries[0]
    assert (request.tools, request.output, request.temperature) == ((), None, 0.5)
    assert request.max_tokens is not None
    assert [message.role for message in request.messages] == ["system", "user"]
    assert model.answers[0].tools != ()


async def test_a_summary_comes_through_the_middleware_and_the_hooks(new_store: Stores) -> None:
    seen: list[str] = []

    async def whisper(
        request: ModelRequest, call_next: Call[ModelRequest, ModelReply]
    ) -> ModelReply:
        reply = await call_next(request)
        if not is_summary(request):
            return reply
        seen.append("middleware")
        return ModelReply(message=Message.assistant("hush"))

    def note(request: ModelRequest, _context: object) -> None:
        if is_summary(request):
            seen.append("hook")

    plugin = define_plugin("p", before_request=note)
    store = new_store()
    async with hosting(Model(), store, {}, model_middleware=[whisper], plugins=[plugin]) as host:
        await talk(host, "q1", "q2")
        assert [each.summary for each in await compacted(store)] == ["hush"]
    assert seen == ["hook", "middleware"]


async def test_what_a_summary_takes_is_told_with_it(new_store: Stores) -> None:
    def say(request: ModelRequest) -> Said:
        text = "s" if is_summary(request) else long("a")
        usage = Usage(input_tokens=2_000_000, output_tokens=1_000_000)
        return ModelReply(message=Message.assistant(text), usage=usage)

    store = new_store()
    async with hosting(say, store, {"prices": Prices(input=1, output=10)}) as host:
        await talk(host, "q1", "q2")
        (summary,) = await compacted(store)

    assert (summary.usage.input_tokens, summary.usage.output_tokens) == (2_000_000, 1_000_000)
    assert summary.usage.cost == 12


@both_doors
async def test_a_summary_is_no_part_of_the_turn_that_made_it_due(
    new_store: Stores, kind: str
) -> None:
    store = new_store()
    async with hosting(Model(), store, {}) as host:
        await talk(host, "q1")
        request = ChatRequest(long("q2"), session_id="s", idempotency_key="k")
        answer = await run(host, request, kind)
        await settled(host)
        assert await compacted(store)
        turn_id = (await host.chat(request)).turn_id
        events = await again(host, turn_id)

        assert isinstance(events[-1], TurnEnd)
        assert not [event for event in events if isinstance(event, ContextCompacted)]
        assert (await host.chat(request)).message == answer


async def test_turns_go_on_while_a_history_is_summarized_and_one_summary_is_enough(
    new_store: Stores,
) -> None:
    model, store = Model(), new_store()
    model.go_on = anyio.Event()
    async with hosting(model, store, {}) as host:
        for name in ("q1", "q2", "q3", "q4"):
            await run(host, ChatRequest(long(name), session_id="s"), "stream")
        await model.begun.wait()
        assert len(model.summaries) == 1
        assert await compacted(store) == []
        model.go_on.set()
        await settled(host)
        (summary,) = await compacted(store)
        await talk(host, "q5")

    assert summary.summary == "s1"
    assert first_words(model.answers[-1].messages)[0] == "s1"


class Broken(Exception):
    """What no part of the host raises."""


@pytest.mark.parametrize("trouble", ["model", "middleware", "hook", "empty", "refused"])
async def test_a_summary_that_fails_harms_nobody_and_is_tried_again(
    new_store: Stores, trouble: str
) -> None:
    model, store = Model(), new_store()

    async def meddle(request: ModelRequest, call_next: Any) -> ModelReply:  # noqa: ANN401
        if not is_summary(request) or trouble in {"model", "hook"}:
            reply: ModelReply = await call_next(request)
            return reply
        model.requests.append(request)
        if trouble == "middleware":
            raise Broken
        if trouble == "empty":
            return ModelReply(message=Message.assistant(" "))
        return ModelReply(message=Message.assistant("I will not say"), stop_reason="refused")

    def refuse(request: ModelRequest, _context: object) -> None:
        if is_summary(request) and trouble == "hook":
            model.requests.append(request)
            raise Broken

    model.fail = Overloaded("busy") if trouble == "model" else None
    plugin = define_plugin("strict", critical=True, before_request=refuse)
    config: dict[str, Any] = {"model_middleware": [meddle], "plugins": [plugin]}
    async with (
        hosting(model, store, {}, **config) as host,
        host.stream(ChatRequest("other", session_id="other")) as bystander,
    ):
        await talk(host, "q1", "q2", "q3")
        others = [event async for event in bystander]
        assert await compacted(store) == []
        await check_log(host)

    assert isinstance(others[-1], TurnEnd)
    assert len(model.summaries) == 2
    assert first_words(model.answers[-1].messages)[-1] == "q3"


async def test_a_host_that_stops_waits_for_a_summary(new_store: Stores) -> None:
    model, store = Model(), new_store()
    model.go_on = go_on = anyio.Event()
    host = hosting(model, store, {})

    async def let_it_end() -> None:
        await model.begun.wait()
        while host.core.running:
            await anyio.lowlevel.checkpoint()
        go_on.set()

    async with anyio.create_task_group() as group, host:
        await run(host, ChatRequest(long("q1"), session_id="s"), "chat")
        await run(host, ChatRequest(long("q2"), session_id="s"), "chat")
        group.start_soon(let_it_end)

    async with hosting(model, store, {}):
        assert [each.summary for each in await compacted(store)] == ["s1"]


async def test_a_host_that_has_no_time_left_ends_a_summary(new_store: Stores) -> None:
    model, store = Model(), new_store()
    model.go_on = anyio.Event()
    async with hosting(model, store, {}, stop_grace=0.0) as host:
        await run(host, ChatRequest(long("q1"), session_id="s"), "chat")
        await run(host, ChatRequest(long("q2"), session_id="s"), "chat")
        await model.begun.wait()

    assert not host.core.compacting
    model.go_on = None
    async with hosting(model, store, {}) as host:
        assert await compacted(store) == []
        await talk(host, "q3")
        assert [each.summary for each in await compacted(store)] == ["s2"]


@pytest.mark.parametrize("what", ["deleted", "begun anew", "reset"])
async def test_a_summary_of_what_is_gone_is_not_written(new_store: Stores, what: str) -> None:
    model, store = Model(), new_store()
    model.go_on = anyio.Event()
    reset = define_plugin(
        "p",
        on_request_start=lambda context: (
            context.services.session.reset() if context.request_id == "reset" else None
        ),
    )
    async with hosting(model, store, {}, plugins=[reset]) as host:
        await run(host, ChatRequest(long("q1"), session_id="s"), "chat")
        await run(host, ChatRequest(long("q2"), session_id="s"), "chat")
        await model.begun.wait()
        if what != "reset":
            await host.delete_session(ME, "s")
        if what == "reset":
            await host.chat(ChatRequest("q3", session_id="s"), request_id="reset")
        if what == "begun anew":
            await host.chat(ChatRequest("q3", session_id="s"))
        model.go_on.set()
        await settled(host)

        assert await compacted(store) == []
        assert (await store.find("s") is None) == (what == "deleted")
        if what != "deleted":
            await talk(host, "q4")
            assert first_words(model.answers[-1].messages) == ["q3", "a3", "q4"]


async def test_without_compact_the_oldest_is_left_out(new_store: Stores) -> None:
    model, store = Model(), new_store()
    async with hosting(model, store, {"compact": False}) as host:
        await talk(host, "q1", "q2", "q3")

    assert model.summaries == []
    assert first_words(model.answers[-1].messages) == ["q2", "a2", "q3"]


@pytest.mark.parametrize("letter", ["\u6f22", "x", "\U0001f600"])
async def test_what_is_summarized_has_room_in_the_window(new_store: Stores, letter: str) -> None:
    model, store = Model(), new_store()
    async with hosting(model, store, {}) as host:
        for _ in range(4):  # more than what fits is there
            await store_said(store, host, letter * 400)
        await talk(host, "q1")
        request = model.summaries[-1]

    assert sum(map(estimate_tokens, request.messages)) <= WINDOW * 3 // 4
    assert letter * 20 in request.messages[1].text


async def store_said(store: SessionStore, host: AgentHost, text: str) -> None:
    """Lets a turn answer with a text, without a summary of it."""
    host.core.compacting.add("s")
    await run(host, ChatRequest(text, session_id="s"), "chat")
    host.core.compacting.discard("s")
    assert await compacted(store) == []


async def test_the_summary_before_is_told_whole_however_much_came_after(new_store: Stores) -> None:
    model, store = Model(), new_store()
    async with hosting(model, store, {}) as host:
        await talk(host, "q1", "q2")
        for _ in range(4):
            host.core.compacting.add("s")
            await run(host, ChatRequest("y" * 500, session_id="s"), "chat")
            host.core.compacting.discard("s")
        await talk(host, "q3")

    told = model.summaries[-1].messages[1].text
    assert len(model.summaries) == 2
    assert "s1" in told.splitlines()[0]
    assert "y" * 20 in told


async def test_a_summary_reads_a_history_of_many_messages_to_its_beginning(
    new_store: Stores,
) -> None:
    model, store = Model(), new_store()

    def say(request: ModelRequest) -> Said | Awaitable[Said]:
        return model(request) if is_summary(request) else "yes"

    async with hosting(say, store, {"context_window": 4000}) as host:
        for number in range(300):
            await host.chat(ChatRequest(f"question {number}.", session_id="s"))
            await settled(host)
            if model.summaries:
                break
        told = model.summaries[0].messages[1].text.splitlines()
        said = await transcript(host)

    assert len(said) > 250
    assert told[:2] == ["user: question 0.", "assistant: yes"]
    assert 100 < len(told) < len(said)
    assert told == [f"{message.role}: {message.text}" for message in said[: len(told)]]


async def test_a_summary_is_told_of_calls_their_results_and_images(new_store: Stores) -> None:
    @tool
    def look(where: str) -> str:
        """Look."""
        return f"nothing in {where}" + " at all" * 300

    model, store = Model(), new_store()

    def say(request: ModelRequest) -> Said | Awaitable[Said]:
        if request.messages[-1].text == "q1":
            return call_tools(("look", {"where": "the attic"}), text="let me see")
        return model(request)

    image = Image(mime_type="image/png", data=b"x")
    async with hosting(say, store, {"context_window": 4000, "tools": [look]}) as host:
        await host.chat(ChatRequest((Text("q1"), image), session_id="s"))
        await settled(host)
        await host.chat(ChatRequest("q2", session_id="s"))
        await settled(host)

    told = model.summaries[-1].messages[1].text.splitlines()
    assert told[:4] == [
        "user: q1",
        "user showed an image",
        "assistant: let me see",
        "assistant called look {'where': 'the attic'}",
    ]
    assert told[4].startswith("look returned (ok): nothing in the attic at all")
    assert len(told[4]) < 1100


async def test_a_host_that_is_stopping_begins_no_summary(new_store: Stores) -> None:
    model, store = Model(), new_store()
    asked, answer = anyio.Event(), anyio.Event()

    async def say(request: ModelRequest) -> Said:
        if "q2" in request.messages[-1].text:
            asked.set()
            await answer.wait()
        return await model(request)

    host = hosting(say, store, {})

    async def let_it_answer() -> None:
        while host.core.running:
            await anyio.lowlevel.checkpoint()
        answer.set()

    async with anyio.create_task_group() as group, host:
        await talk(host, "q1")
        group.start_soon(run, host, ChatRequest(long("q2"), session_id="s"), "chat")
        await asked.wait()
        group.start_soon(let_it_answer)

    assert (len(model.answers), model.summaries) == (2, [])
    async with hosting(model, store, {}) as host:
        assert [message.text for message in await transcript(host)][-1] == long("a2")
        await talk(host, "q3")
        assert [each.summary for each in await compacted(store)] == ["s1"]


# At once.


@define(slots=False)
class Narrow(Model):
    """Finds the messages too long, so many times from the question ``q3`` on."""

    times: int = 1

    async def __call__(self, request: ModelRequest) -> Said:
        if self.times and not is_summary(request) and "q3" in request.messages[-1].text:
            self.times -= 1
            self.requests.append(request)
            return ContextTooLong("it is too long")
        said = await super().__call__(request)
        if not isinstance(said, str):
            return said
        usage = Usage(input_tokens=100, output_tokens=10)
        return ModelReply(message=Message.assistant(said), usage=usage)


WIDE: dict[str, Any] = {"context_window": 8192, "prompt": "Be brief."}


def made(_context: RequestContext) -> str:
    return "Be brief."


def empty(_context: RequestContext) -> str:
    return ""


@both_doors
@pytest.mark.parametrize("prompt", ["Be brief.", made, empty])
async def test_a_model_that_finds_the_messages_too_long_is_asked_again_with_a_summary(
    new_store: Stores,
    kind: str,
    prompt: Prompt,
) -> None:
    model, store = Narrow(), new_store()
    async with hosting(model, store, {**WIDE, "prompt": prompt}) as host:
        await talk(host, "q1", "q2", "q3", kind=kind)
        await check_log(host)
        said = [message.text for message in await transcript(host)]
        await talk(host, "q4", kind=kind)

    first = [] if prompt is empty else ["Be"]
    assert [first_words(request.messages) for request in model.answers[2:]] == [
        [*first, "q1", "a1", "q2", "a2", "q3"],
        [*first, "s1", "q2", "a2", "q3"],
        [*first, "s1", "q2", "a2", "q3", "a3", "q4"],
    ]
    assert said == [long(name) for name in ("q1", "a1", "q2", "a2", "q3", "a3")]
    assert "q3" not in model.summaries[0].messages[1].text


async def test_what_a_reader_is_shown_of_it_is_what_is_read_again(new_store: Stores) -> None:
    async with hosting(Narrow(), new_store(), {**WIDE}) as host:
        await talk(host, "q1", "q2")
        events = await streamed(host, ChatRequest(long("q3"), session_id="s"))
        told = await again(host, events[0].turn_id)

    kinds = [event.type for event in events if not isinstance(event, MessageDelta)]
    assert kinds == [
        "turn.start",
        "step.start",
        "message.start",
        "context.compacted",
        "message.end",
        "step.end",
        "turn.end",
    ]
    assert told == events
    assert len({event.turn_id for event in events}) == 1
    assert [event.id for event in events] == sorted({event.id for event in events})


async def test_the_summary_counts_for_the_turn_that_needed_it(new_store: Stores) -> None:
    store, prices = new_store(), Prices(input=10_000, output=0)
    async with hosting(Narrow(), store, {**WIDE, "prices": prices}) as host:
        await talk(host, "q1", "q2")
        response = await host.chat(ChatRequest(long("q3"), session_id="s"))
        status = await host.turn(ME, response.turn_id)

    assert (response.usage.input_tokens, response.usage.output_tokens) == (200, 20)
    assert response.usage.cost == pytest.approx(2.0)
    assert status.usage == response.usage


async def test_a_model_that_finds_them_too_long_all_the_same_ends_the_turn(
    new_store: Stores,
) -> None:
    model, store = Narrow(times=2), new_store()
    async with hosting(model, store, {**WIDE}) as host:
        await talk(host, "q1", "q2")
        with pytest.raises(ContextTooLong, match="it is too long"):
            await host.chat(ChatRequest(long("q3"), session_id="s"))
        assert len(model.summaries) == 1
        await check_log(host)
        await talk(host, "q4")

    assert first_words(model.answers[-1].messages) == ["Be", "s1", "q2", "a2", "q3", "q4"]


async def test_without_a_summary_the_turn_ends_with_what_the_model_said_first(
    new_store: Stores,
) -> None:
    model, store = Narrow(fail=Overloaded("busy")), new_store()
    async with hosting(model, store, {**WIDE}) as host:
        await talk(host, "q1", "q2")
        with pytest.raises(ContextTooLong, match="it is too long"):
            await host.chat(ChatRequest(long("q3"), session_id="s"))
        assert (len(model.summaries), await compacted(store)) == (1, [])
        await check_log(host)
        await talk(host, "q4")


async def test_a_turn_without_a_history_has_nothing_to_summarize(new_store: Stores) -> None:
    model, store = Narrow(), new_store()
    async with hosting(model, store, {**WIDE}) as host:
        with pytest.raises(ContextTooLong):
            await host.chat(ChatRequest(long("q3"), session_id="s"))

    assert len(model.requests) == 1


async def test_a_question_that_leaves_no_room_for_a_history_has_nothing_to_summarize(
    new_store: Stores,
) -> None:
    model, store = Narrow(times=2), new_store()
    async with hosting(model, store, {**WIDE}) as host:
        await talk(host, "q1", "q2")
        with pytest.raises(ContextTooLong, match="it is too long"):
            await host.chat(ChatRequest(f"q3 {'word ' * 5000}", session_id="s"))

    assert first_words(model.answers[-1].messages) == ["Be", "q3"]
    assert model.summaries == []


async def test_a_profile_that_does_not_compact_is_not_asked_again(new_store: Stores) -> None:
    model, store = Narrow(), new_store()
    async with hosting(model, store, {**WIDE, "compact": False}) as host:
        await talk(host, "q1", "q2")
        with pytest.raises(ContextTooLong):
            await host.chat(ChatRequest(long("q3"), session_id="s"))

    assert model.summaries == []


async def test_what_a_reader_has_begun_to_read_is_not_said_anew(new_store: Stores) -> None:
    model, store = Narrow(), new_store()

    async def begin(request: ModelRequest, call_next: Any) -> ModelReply:  # noqa: ANN401
        if "q3" in request.messages[-1].text and not is_summary(request):
            await request.emit(Delta(text="I think "))
        reply: ModelReply = await call_next(request)
        return reply

    async with hosting(model, store, {**WIDE}, model_middleware=[begin]) as host:
        await talk(host, "q1", "q2")
        events = await streamed(host, ChatRequest(long("q3"), session_id="s"))

    assert events[-1].type == "turn.error"
    assert "".join(e.text for e in events if isinstance(e, MessageDelta)) == "I think "
    assert model.summaries == []


async def test_results_of_the_turn_are_shown_shorter_where_there_is_no_history(
    new_store: Stores,
) -> None:
    @tool
    def look() -> str:
        """Look."""
        return "seen " * 300

    requests: list[ModelRequest] = []

    def say(request: ModelRequest) -> Said:
        requests.append(request)
        if len(requests) < 5:
            return call_tools(("look", {}))
        return ContextTooLong("it is too long") if len(requests) == 5 else "done"

    store = new_store()
    async with hosting(say, store, {"context_window": 8192, "tools": [look]}) as host:
        assert (await host.chat(ChatRequest("q", session_id="s"))).message == "done"
        kept = [message for message in await transcript(host) if message.role == "tool"]

    lengths = [
        [len(str(message.parts[0])) for message in request.messages if message.role == "tool"]
        for request in requests[4:]
    ]
    assert lengths[1][2:] == lengths[0][2:]
    assert max(lengths[1][:2]) < min(lengths[0]) / 3
    assert [len(str(message.parts[0])) for message in kept] == lengths[0]


async def test_a_turn_that_was_approved_keeps_its_question_and_its_results(
    new_store: Stores,
) -> None:
    @tool
    def send() -> str:
        """Send."""
        return "sent"

    model = Model()
    narrow = [ContextTooLong("it is too long")]

    async def say(request: ModelRequest) -> Said:
        about = [message.text for message in request.messages]
        if is_summary(request) or not any("q3" in text for text in about):
            return await model(request)
        model.requests.append(request)
        if request.messages[-1].role != "tool":
            return call_tools(("send", {}))
        return narrow.pop() if narrow else "done"

    store = new_store()
    profile = {**WIDE, "tools": [send], "permissions": [ask("send")]}
    rain = define_plugin("p", context_providers=[lambda _, __: [Message.system("rain")]])
    async with hosting(say, store, profile, plugins=[rain]) as host:
        await talk(host, "q1", "q2")
        asked = await host.chat(ChatRequest(long("q3"), session_id="s"))
        assert (await approved(host, asked)).message == "done"
        await check_log(host)

    before, too_long, last = model.answers[-3:]
    assert shown(too_long)[: len(before.messages)] == shown(before)
    assert first_words(last.messages[:-2]) == ["Be", "s1", "q2", "a2", "rain", "q3"]
    assert shown(last)[-2:] == shown(too_long)[-2:]
    assert "q3" not in model.summaries[0].messages[1].text


async def test_a_turn_that_goes_on_is_shown_the_summary_that_it_needed_once(
    new_store: Stores,
) -> None:
    @tool
    def send() -> str:
        """Send."""
        return "sent"

    model = Narrow()

    async def say(request: ModelRequest) -> Said:
        said = await model(request)
        asked = "q3" in request.messages[-1].text and not is_summary(request)
        return call_tools(("send", {})) if asked and isinstance(said, ModelReply) else said

    profile = {**WIDE, "tools": [send], "permissions": [ask("send")]}
    async with hosting(say, new_store(), profile) as host:
        await talk(host, "q1", "q2")
        asked = await host.chat(ChatRequest(long("q3"), session_id="s"))
        await approved(host, asked)
        await check_log(host)

    assert first_words(model.answers[-2].messages) == ["Be", "s1", "q2", "a2", "q3"]
    assert shown(model.answers[-1])[:5] == shown(model.answers[-2])
    assert len(model.answers[-1].messages) == 7


@both_doors
async def test_a_turn_that_is_cancelled_while_it_waits_for_its_summary_can_be_followed(
    new_store: Stores, kind: str
) -> None:
    model, store = Narrow(), new_store()
    model.go_on = anyio.Event()
    async with hosting(model, store, {**WIDE}) as host:
        await talk(host, "q1", "q2")
        async with anyio.create_task_group() as group:
            group.start_soon(run, host, ChatRequest(long("q3"), session_id="s"), kind)
            await model.begun.wait()
            group.cancel_scope.cancel()
        await check_log(host)
        assert await compacted(store) == []
        await talk(host, "q4", kind=kind)

    assert first_words(model.answers[-1].messages) == ["Be", "q1", "a1", "q2", "a2", "q3", "q4"]


async def test_each_turn_in_need_has_a_summary_of_its_own(new_store: Stores) -> None:
    model, store = Narrow(), new_store()
    async with hosting(model, store, {**WIDE}) as host:
        await talk(host, "q1", "q2", "q3", "q4")
        model.times = 1
        await talk(host, "q3 again")
        assert [each.summary for each in await compacted(store)] == ["s1", "s2"]

    told = model.summaries[1].messages[1].text
    assert ("s1" in told, "q1" in told, "q2" in told) == (True, False, True)
