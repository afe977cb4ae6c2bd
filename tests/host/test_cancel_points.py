"""A turn is ended at each point where it can be: its log is whole, and its session goes on.

A walk counts the points of a turn: each time that its code gives way, and both sides of each write
and read of its log.  Turn after turn is ended one point later, until one gets to its end.
"""

from collections.abc import Awaitable, Callable, Generator, Sequence
from functools import partial
from inspect import iscoroutinefunction
from typing import Any, ClassVar, TypeVar, cast

import anyio
import anyio.lowlevel
import pytest
from attrs import define, field

from agentrail import (
    AgentHost,
    ChatRequest,
    Delta,
    Event,
    Limits,
    Message,
    ModelReply,
    ModelRequest,
    Plugin,
    Profile,
    RequestContext,
    ScriptedModel,
    SessionStore,
    define_plugin,
    tool,
)
from agentrail.errors import ContextTooLong, NotPending
from agentrail.events import TERMINAL, ContextCompacted, TurnEnd
from agentrail.model import call_tools
from agentrail.requests import Resume
from agentrail.route import frame
from agentrail.testing import HookRecorder
from agentrail.tool import ask
from tests.host.conftest import REQUEST_HOOKS, MakeHost, Stores
from tests.host.office import (
    ME,
    again,
    check_log,
    check_transcript,
    decide,
    results,
    streamed,
    transcript,
)

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

T = TypeVar("T")


# The walk.


@define
class Walk:
    """Counts the points of a turn, and acts at the ``at``-th."""

    at: int = 0
    seen: int = 0
    act: Callable[[], object] = bool

    def begin(self, at: int, act: Callable[[], object]) -> None:
        """Count from the beginning."""
        self.at, self.seen, self.act = at, 0, act

    def end(self) -> bool:
        """Act no more; tell whether it came to that."""
        acted, self.at = 0 < self.at <= self.seen, 0
        return acted

    def count(self) -> None:
        """Be at the next point."""
        self.seen += 1
        if self.seen == self.at:
            self.act()

    async def pause(self) -> None:
        """Give way once, as code of the application's does."""
        await Steps(anyio.lowlevel.checkpoint(), self)


@define
class Steps(Awaitable[T]):
    """Awaits ``work``; each time that it gives way is a point of the walk."""

    work: Awaitable[T]
    walk: Walk

    def __await__(self) -> Generator[Any, Any, T]:
        inner = self.work.__await__()
        step: Callable[[], Any] = partial(next, inner)
        while True:
            try:
                waited_for = step()
            except StopIteration as done:
                return cast("T", done.value)
            self.walk.count()
            try:
                value = yield waited_for
            except BaseException as error:  # noqa: BLE001 - as `yield from` does
                step = partial(inner.throw, error)
            else:
                step = partial(inner.send, value)


@define
class Stepping:
    """A store, both sides of whose every call are points of the walk, and what is between."""

    store: SessionStore
    walk: Walk

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any member of a store
        member: Any = getattr(self.store, name)
        if not iscoroutinefunction(member):
            return member

        async def stepped(*arguments: object, **named: object) -> object:
            self.walk.count()
            result: object = await Steps(member(*arguments, **named), self.walk)
            self.walk.count()
            return result

        return stepped


# What is walked through.


@define
class Story:
    """An application, the request that is walked through, and what its effects were."""

    walk: Walk = field(factory=Walk)
    recorder: HookRecorder = field(factory=lambda: HookRecorder(hooks=REQUEST_HOOKS))
    done: list[str] = field(factory=list[str])
    floor: ClassVar[int] = 50
    """The fewest points that there must be; a walk that sees none proves nothing."""

    def ran(self, hook: str) -> int:
        """How often a hook was called."""
        return self.recorder.names.count(hook)

    def config(self) -> dict[str, Any]:
        """What makes a host."""
        profile = Profile(id="assistant", model="scripted:m", **self.profile())
        model = ScriptedModel.repeat(self.answer)
        plugins = [self.recorder, self.hooks()]
        return {"profiles": [profile], "providers": [model], "plugins": plugins}

    def profile(self) -> dict[str, Any]:
        """The agent's tools and limits."""

        @tool
        async def one(what: str) -> str:
            """Do it alone."""
            await self.walk.pause()
            self.done.append(what)
            await self.walk.pause()
            return what

        @tool(concurrent=True)
        async def many(what: str) -> str:
            """Do it beside others."""
            await self.walk.pause()
            self.done.append(what)
            await self.walk.pause()
            return what

        return {"tools": [one, many]}

    def hooks(self) -> Plugin:
        """A plugin with hooks that give way."""

        async def observe(*_: object) -> None:
            await self.walk.pause()

        async def provide(_context: RequestContext, _messages: Sequence[Message]) -> list[Message]:
            await self.walk.pause()
            return [Message.system("now")]

        return define_plugin(
            "busy",
            on_request_start=observe,
            intercept_chat_request=observe,
            context_providers=[provide, provide],
            before_request=observe,
            before_tool_call=observe,
            after_tool_call=observe,
            on_turn_persisted=observe,
            on_request_end=observe,
        )

    async def answer(self, request: ModelRequest) -> ModelReply:
        """Answer as the model, to whom every transcript is a whole one."""
        check_transcript(request.messages)
        await self.walk.pause()
        reply = self.say(request)
        for piece in (reply.message.text[:4], reply.message.text[4:]):
            await request.emit(Delta(text=piece))
            await self.walk.pause()
        return reply

    def say(self, request: ModelRequest) -> ModelReply:
        """Work with tools, and be done."""
        if request.messages[-1].text != "work":
            return ModelReply(message=Message.assistant("well, done"))
        calls = [(name, {"what": f"{n}"}) for n, name in enumerate(["one", "many", "many", "one"])]
        return call_tools(*calls, text="well, let me see")

    async def before(self, _host: AgentHost, session_id: str) -> ChatRequest | Resume:
        """Come to where the walk begins; return what is asked there."""
        return ChatRequest("work", session_id=session_id)

    async def after(self, _host: AgentHost, _session_id: str) -> None:
        """Check what is particular to the story."""
        assert len(self.done) == len(set(self.done)) <= 4


class Resumed(Story):
    """The second run of a turn, which makes a call that was approved."""

    floor = 30

    def profile(self) -> dict[str, Any]:
        return {**super().profile(), "permissions": [ask("one")]}

    def say(self, request: ModelRequest) -> ModelReply:
        if request.messages[-1].text == "write":
            return call_tools(("one", {"what": "a"}), ("many", {"what": "b"}))
        return ModelReply(message=Message.assistant("well, done"))

    async def before(self, host: AgentHost, session_id: str) -> ChatRequest | Resume:
        suspended = await host.chat(ChatRequest("write", session_id=session_id))
        await decide(host, suspended)
        assert self.done == []
        return Resume(suspended.turn_id, on_disconnect="cancel")

    async def after(self, host: AgentHost, session_id: str) -> None:
        log = await host.core.store.read(session_id)
        turn_id = log[0].turn_id
        if (await host.turn(ME, turn_id)).status == "suspended":
            assert self.done == []  # it had not begun, and is taken up again
            await host.chat(Resume(turn_id))
            assert self.done == ["a", "b"]
        told = results(await transcript(host, session_id))
        assert len(told) == 2
        # The result of each call is told, or that it may have had its effects: none is made again.
        for what, (outcome, text) in zip("ab", told, strict=True):
            assert self.done.count(what) <= 1
            if outcome == "ok":
                assert what in self.done
            else:
                assert outcome == "cancelled"
                assert what not in self.done or "may have had its effects" in text


class Compacted(Story):
    """A turn whose history is too long for the model, and is summarized in the middle of it."""

    floor = 25

    def profile(self) -> dict[str, Any]:
        return {"context_window": 700, "limits": Limits(max_tokens=100)}

    def say(self, request: ModelRequest) -> ModelReply:
        texts = [message.text for message in request.messages]
        if texts[0].startswith("Summarize"):
            return ModelReply(message=Message.assistant("a summary"))
        if texts[-1] in {"talk", "chat"}:
            length = 150 if texts[-1] == "talk" else 1
            return ModelReply(message=Message.assistant("blah " * length))
        if not any("a summary" in text for text in texts):
            raise ContextTooLong("too long")
        return ModelReply(message=Message.assistant("well, done"))

    async def before(self, host: AgentHost, session_id: str) -> ChatRequest | Resume:
        for text in ("talk", "chat"):
            await host.chat(ChatRequest(text, session_id=session_id))
        return ChatRequest("work", session_id=session_id)

    async def after(self, host: AgentHost, session_id: str) -> None:
        log = await host.core.store.read(session_id)
        assert sum(isinstance(event, ContextCompacted) for event in log) <= 1


# The properties.


def everything(host: AgentHost) -> Callable[[], None]:
    """Return what ends the turns that run, as ``POST /turns/{id}/cancel`` does."""

    def cancel() -> None:
        for live in host.core.turns.all():
            if live.run is not None:
                live.run.cancel()

    return cancel


async def run(host: AgentHost, request: ChatRequest | Resume, door: str) -> list[Event]:
    """Run a turn through a door; return what the reader of a stream was shown."""
    if door == "chat":
        await host.chat(request)
        return []
    try:
        return await streamed(host, request)
    except NotPending:  # it was ended before there was anything to show
        return []


async def completed(host: AgentHost, session_id: str) -> int:
    """Return how many turns of a session were completed."""
    log = await host.core.store.read(session_id, limit=10_000)
    return sum(isinstance(event, TurnEnd) and event.outcome == "completed" for event in log)


async def check_next_turn(host: AgentHost, session_id: str) -> None:
    """Assert that a session can go on, now, and with a turn that does all that a turn does."""
    if await host.core.store.find(session_id) is not None:
        await check_log(host, session_id)
    with anyio.fail_after(20):  # a lease that was not given back would hold it up for 30
        response = await host.chat(ChatRequest("work", session_id=session_id))
    assert (response.message, response.outcome) == ("well, done", "completed")
    await check_log(host, session_id)


@pytest.mark.parametrize("who", ["caller", "wish"])
@pytest.mark.parametrize("door", ["chat", "stream"])
@pytest.mark.parametrize("story_of", [Story, Resumed, Compacted])
async def test_a_turn_that_is_ended_at_any_point_leaves_a_session_that_goes_on(
    make_host: MakeHost, new_store: Stores, story_of: type[Story], door: str, who: str
) -> None:
    """By its caller, who leaves, or on somebody's wish; then what was logged is what was shown."""
    story = story_of()
    walk = story.walk
    store = cast("SessionStore", Stepping(new_store(), walk))
    at, ended = 0, True
    async with make_host(**story.config(), store=store) as host:
        while ended:
            at += 1
            session_id = f"s{at}"
            story.done.clear()
            request = await story.before(host, session_id)
            before = await completed(host, session_id)
            story.recorder.clear()
            sent: list[Event] = []
            scope = anyio.CancelScope()
            walk.begin(at, scope.cancel if who == "caller" else everything(host))
            with scope:
                sent = await run(host, request, door)
            ended = walk.end()
            if who == "wish":
                assert not scope.cancelled_caught
            if sent:
                shown = await again(host, sent[0].turn_id, sent[0].id - 1)
                assert [frame(event) for event in sent] == [frame(event) for event in shown]
                assert isinstance(sent[-1], TERMINAL)
            assert host.core.turns.all() == ()
            assert story.ran("on_request_end") == story.ran("on_request_start")
            persisted = story.ran("on_turn_persisted")
            assert persisted == await completed(host, session_id) - before
            if await host.core.store.find(session_id) is not None:
                await story.after(host, session_id)
            await check_next_turn(host, session_id)
    assert at > story.floor


async def test_a_chat_that_is_cancelled_whenever_it_gives_way_leaves_a_session_that_goes_on(
    make_host: MakeHost,
) -> None:
    """Whenever any of its code does, the host's own included."""
    story = Story()
    at, ended = 0, True
    async with make_host(**story.config()) as host:
        while ended:
            at += 1
            story.recorder.clear()
            scope = anyio.CancelScope()
            walk = Walk(at, act=scope.cancel)
            with scope:
                await Steps(host.chat(ChatRequest("work", session_id=f"s{at}")), walk)
            ended = walk.end()
            assert story.ran("on_request_end") == story.ran("on_request_start")
            assert host.core.turns.all() == ()
            await check_next_turn(host, f"s{at}")
    assert at > 20


async def test_a_reader_that_is_cancelled_whenever_it_gives_way_leaves_a_session_that_goes_on(
    make_host: MakeHost,
) -> None:
    story = Story()
    at, ended = 0, True
    async with make_host(**story.config()) as host:
        while ended:
            at += 1
            scope = anyio.CancelScope()
            walk = Walk(at, act=scope.cancel)
            with scope:
                await Steps(streamed(host, ChatRequest("work", session_id=f"s{at}")), walk)
            ended = walk.end()
            assert host.core.turns.all() == ()
            await check_next_turn(host, f"s{at}")
    assert at > 5


async def test_a_stream_that_is_left_after_any_event_leaves_a_session_that_goes_on(
    make_host: MakeHost,
) -> None:
    story = Story()
    at, left = 0, True
    async with make_host(**story.config()) as host:
        while left:
            left = False
            story.recorder.clear()
            async with host.stream(ChatRequest("work", session_id=f"s{at}")) as events:
                for _ in range(at):
                    if await anext(events, None) is None:
                        break
                else:
                    left = True
            assert story.ran("on_request_end") == 1
            assert story.ran("on_turn_persisted") == await completed(host, f"s{at}")
            assert host.core.turns.all() == ()
            await check_next_turn(host, f"s{at}")
            at += 1
    assert at > 15
