"""A cache of answers, in which equal calls that come together are made once."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import anyio
import pytest
from anyio.abc import TaskGroup
from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from agentrail import (
    ChatRequest,
    Delta,
    Image,
    Message,
    ModelReply,
    ModelRequest,
    ToolRequest,
    ToolResult,
    Usage,
    middleware,
)
from agentrail.clock import SYSTEM_CLOCK
from agentrail.errors import ConfigError, Overloaded
from agentrail.hook import chain
from agentrail.messages import (
    OutputSpec,
    Reasoning,
    StopReason,
    Text,
    ToolCall,
    ToolOutcome,
    ToolSpec,
)
from agentrail.middleware._cache import LARGEST, Shared
from agentrail.requests import Kind
from agentrail.testing import FakeClock
from tests.contexts import context_of
from tests.middleware.calls import (
    ANN,
    Model,
    Reader,
    ToolBox,
    asking,
    calling,
    others_run,
    result_of,
    saying,
)
from tests.middleware.conftest import Opens, stream

pytestmark = pytest.mark.anyio


async def test_a_second_equal_call_is_answered_from_the_cache_and_uses_nothing() -> None:
    model, cache = Model([saying("one"), saying("two")]), middleware.cache(60)
    first, second = Reader(), Reader()

    made = await cache(asking(emit=first), model)
    kept = await cache(asking(emit=second), model)

    assert (made.usage, kept.usage) == (saying().usage, Usage())
    assert made.message == kept.message == Message.assistant("one")
    assert [delta.text for delta in first.deltas] == ["one"]
    assert second.text == "one"
    assert len(model.requests) == 1


async def test_what_was_thought_is_said_again_too() -> None:
    message = Message.assistant((Reasoning(text="hm"), Text(text="yes")))
    model, cache, reader = Model([ModelReply(message=message)]), middleware.cache(60), Reader()
    await cache(asking(), model)

    await cache(asking(emit=reader), model)

    assert (reader.reasoning, reader.text) == ("hm", "yes")


OTHERS: dict[str, Any] = {
    "model": "other",
    "provider": "other",
    "messages": (Message.user("other"),),
    "tools": (ToolSpec(name="t", description="d"),),
    "tool_choice": "none",
    "temperature": 0.5,
    "max_tokens": 5,
    "output": OutputSpec(name="o", parameters={}),
}


@pytest.mark.parametrize("field", OTHERS)
async def test_everything_that_decides_the_answer_tells_calls_apart(field: str) -> None:
    model, cache = Model([saying("one"), saying("two")]), middleware.cache(60)
    await cache(asking(), model)

    other = await cache(asking(**{field: OTHERS[field]}), model)

    assert other.message.text == "two"


async def test_the_ids_of_messages_and_the_session_do_not_tell_calls_apart() -> None:
    model, cache = Model([saying("one")]), middleware.cache(60)
    await cache(asking(messages=(Message(role="user", parts=(Text("hi"),), id="m1"),)), model)

    await cache(asking(context=context_of("bob")), model)

    assert len(model.requests) == 1


@pytest.mark.parametrize("other", [context_of(tenant="other"), context_of(agent="other"), None])
async def test_tenants_and_agents_share_nothing_and_the_hosts_own_calls_are_not_kept(
    other: Any,  # noqa: ANN401
) -> None:
    model = Model([saying("one"), saying("two"), saying("three")])
    cache = middleware.cache(60)
    await cache(asking(), model)

    assert (await cache(asking(context=other), model)).message.text == "two"
    assert (await cache(asking(), model)).message.text == "one"


@pytest.mark.parametrize("stop_reason", ["length", "tool_calls", "refused"])
async def test_a_reply_that_is_not_whole_is_not_kept(stop_reason: StopReason) -> None:
    cut = ModelReply(message=Message.assistant("cut"), stop_reason=stop_reason)
    model, cache = Model([cut, saying("whole")]), middleware.cache(60)
    await cache(asking(), model)

    assert (await cache(asking(), model)).message.text == "whole"


async def test_a_reply_with_tool_calls_is_not_kept_whatever_it_says_of_itself() -> None:
    message = Message.assistant((ToolCall(id="c1", name="add"),))
    model, cache = Model([ModelReply(message=message), saying("done")]), middleware.cache(60)
    await cache(asking(), model)

    assert (await cache(asking(), model)).message.text == "done"


async def test_a_failure_is_not_kept() -> None:
    model, cache = Model([Overloaded("busy"), saying("fine")]), middleware.cache(60)
    with pytest.raises(Overloaded):
        await cache(asking(), model)

    assert (await cache(asking(), model)).message.text == "fine"


async def test_an_answer_holds_for_its_time() -> None:
    clock, model = FakeClock(), Model([saying("one"), saying("two")])
    cache = middleware.cache(60, clock=clock)
    await cache(asking(), model)

    clock.advance(59.9)
    assert (await cache(asking(), model)).message.text == "one"
    clock.advance(0.1)
    assert (await cache(asking(), model)).message.text == "two"


async def test_of_too_many_answers_the_one_used_longest_ago_goes() -> None:
    model = Model([lambda request: saying(request.messages[0].text)])
    cache = middleware.cache(60, size=2)
    for text in ("a", "b", "a", "c", "a", "b"):
        await cache(asking(text), model)

    assert [request.messages[0].text for request in model.requests] == ["a", "b", "c", "b"]


async def test_only_tools_that_are_named_are_cached() -> None:
    box, cache = ToolBox(["1", "2", "3"]), middleware.cache(60, tools=["add"])
    for name in ("add", "add", "send", "send"):
        await cache(calling(name), box)

    assert [request.call.name for request in box.requests] == ["add", "send", "send"]


async def test_a_kept_result_answers_the_present_call() -> None:
    box, cache = ToolBox(["5"]), middleware.cache(60, tools=["add"])
    await cache(calling(call_id="c1"), box)

    result = await cache(calling(call_id="c2"), box)

    assert result == ToolResult(call_id="c2", name="add", content="5")
    assert len(box.requests) == 1


async def test_the_order_of_arguments_does_not_tell_calls_apart() -> None:
    box, cache = ToolBox(["1", "2"]), middleware.cache(60, tools=["add"])
    await cache(calling(arguments={"a": 1, "b": {"c": 2, "d": 3}}), box)
    await cache(calling(arguments={"b": {"d": 3, "c": 2}, "a": 1}), box)
    assert len(box.requests) == 1

    await cache(calling(arguments={"a": 1, "b": {"c": 2, "d": 4}}), box)
    assert len(box.requests) == 2


@pytest.mark.parametrize("outcome", ["error", "denied", "timeout", "cancelled"])
async def test_a_result_that_is_not_ok_is_not_kept(outcome: ToolOutcome) -> None:
    box, cache = ToolBox([("no", outcome), "5"]), middleware.cache(60, tools=["add"])
    await cache(calling(), box)

    assert (await cache(calling(), box)).content == "5"


@pytest.mark.parametrize("size", [LARGEST, LARGEST + 1])
@pytest.mark.parametrize("of", ["text", "image"])
async def test_a_large_result_is_not_kept(size: int, of: str) -> None:
    image = Image(mime_type="image/png", data=b"x" * size)
    text, images = ("x" * size, ()) if of == "text" else ("", (image,))
    calls: list[ToolRequest] = []

    async def tool(request: ToolRequest) -> ToolResult:
        calls.append(request)
        return replace(result_of(request, text), images=images)

    cache = middleware.cache(60, tools=["add"])
    for _ in range(2):
        assert (await cache(calling(), tool)).images == images

    assert len(calls) == (1 if size == LARGEST else 2)


async def test_callers_with_other_roles_share_no_results() -> None:
    """Else whoever may not call the tool would get the result of one who may."""
    inside: list[middleware.ToolMiddleware] = [
        middleware.cache(60, tools=["add"]),
        middleware.authorize({"add": {"clerk"}}, otherwise="deny"),
    ]
    call = chain(inside, ToolBox(["5"]))

    async def outcome(*roles: str) -> str:
        return (await call(calling(context=context_of(roles=roles)))).outcome

    assert [await outcome("clerk"), await outcome(), await outcome("clerk")] == [
        "ok",
        "denied",
        "ok",
    ]


@pytest.mark.parametrize("permitted", [ToolCall(id="c1", name="add", arguments={"a": 1}), None])
async def test_a_call_that_is_not_the_one_that_was_permitted_goes_to_the_tool(
    permitted: ToolCall | None,
) -> None:
    box, cache = ToolBox(["5"]), middleware.cache(60, tools=["add"])
    changed = ToolRequest(call=calling().call, context=ANN, permitted=permitted)
    await cache(calling(), box)

    await cache(changed, box)

    assert len(box.requests) == 2


async def test_a_call_that_cannot_be_read_is_none_without_arguments() -> None:
    box, cache = ToolBox(["5", ("no JSON", "error")]), middleware.cache(60, tools=["add"])
    unreadable = ToolCall(id="c2", name="add", invalid="no JSON")
    await cache(calling(), box)

    request = ToolRequest(call=unreadable, context=ANN, permitted=unreadable)

    assert (await cache(request, box)).outcome == "error"


async def test_arguments_that_cannot_be_encoded_go_through() -> None:
    box, cache = ToolBox(["5"]), middleware.cache(60, tools=["add"])
    for value in (object(), 2**70, "\ud800"):
        for _ in range(2):
            assert (await cache(calling(arguments={"a": value}), box)).content == "5"

    assert len(box.requests) == 6


@pytest.mark.parametrize("wrong", [{"ttl": 0}, {"ttl": 1, "size": 0}, {"ttl": 1, "tools": "add"}])
def test_a_cache_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        middleware.cache(**wrong)


class Gate:
    """A tool that answers when it is told to; its calls are answered by number."""

    def __init__(self) -> None:
        self.calls: list[anyio.Event] = []
        self.failing: set[int] = set()
        self.outcome: ToolOutcome = "ok"

    async def __call__(self, request: ToolRequest) -> ToolResult:
        number = len(self.calls)
        self.calls.append(anyio.Event())
        await self.calls[number].wait()
        if number in self.failing:
            raise LookupError(number)
        return result_of(request, str(number), self.outcome)


async def test_equal_calls_that_come_together_are_made_once() -> None:
    gate, cache = Gate(), middleware.cache(60, tools=["add"])
    results: dict[str, ToolResult] = {}

    async def call(call_id: str) -> None:
        results[call_id] = await cache(calling(call_id=call_id), gate)

    async with anyio.create_task_group() as tasks:
        for call_id in ("c1", "c2", "c3"):
            tasks.start_soon(call, call_id)
        await anyio.wait_all_tasks_blocked()
        assert len(gate.calls) == 1
        gate.calls[0].set()

    assert {key: (each.call_id, each.content) for key, each in results.items()} == {
        "c1": ("c1", "0"),
        "c2": ("c2", "0"),
        "c3": ("c3", "0"),
    }


@pytest.mark.parametrize("waiting", ["chat", "stream"])
async def test_nobody_waits_for_somebody_elses_reader(waiting: Kind) -> None:
    model, cache, read = Model([saying("one")]), middleware.cache(60), anyio.Event()
    replies: list[ModelReply] = []

    async def read_slowly(_delta: Delta) -> None:
        await read.wait()

    async def ask(request: ModelRequest) -> None:
        replies.append(await cache(request, model))

    async with anyio.create_task_group() as tasks:
        slow = asking(emit=read_slowly, context=context_of(kind="stream"))
        tasks.start_soon(ask, slow)
        await anyio.wait_all_tasks_blocked()
        await ask(asking(emit=Reader(), context=context_of(kind=waiting)))
        assert len(replies) == 1
        read.set()

    assert len(model.requests) == len(replies) == 2


async def test_when_the_call_fails_one_of_those_that_wait_is_made() -> None:
    gate, cache = Gate(), middleware.cache(60, tools=["add"])
    gate.failing = {0}
    results: list[str] = []

    async def call() -> None:
        try:
            results.append((await cache(calling(), gate)).content)
        except LookupError:
            results.append("failed")

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        gate.calls[0].set()
        await anyio.wait_all_tasks_blocked()
        assert len(gate.calls) == 2
        gate.calls[1].set()

    assert sorted(results) == ["1", "1", "failed"]


async def test_when_the_answer_is_not_kept_all_that_wait_are_made_at_once() -> None:
    gate, cache = Gate(), middleware.cache(60, tools=["add"])
    gate.outcome = "error"

    async def call() -> None:
        await cache(calling(), gate)

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        gate.calls[0].set()
        await anyio.wait_all_tasks_blocked()
        assert len(gate.calls) == 3
        gate.calls[1].set()
        gate.calls[2].set()


ENDINGS = ("share", "private", "fail")


@define
class Scenario:
    """Callers that share answers by two keys, and calls that end when and as they are told to."""

    shared: Shared[str] = field(factory=lambda: Shared[str](3600, 8, SYSTEM_CLOCK))
    running: list["Made"] = field(factory=list["Made"])
    scopes: list[anyio.CancelScope] = field(factory=list[anyio.CancelScope])
    ended: dict[int, str] = field(factory=dict[int, str])

    async def ask(self, number: int, key: int) -> None:
        with self.scopes[number] as scope:
            try:
                answer, _ = await self.shared.get(key, partial(self.make, key), self.may_share)
                self.ended[number] = f"{key} {answer}"
            except LookupError:
                self.ended[number] = "failed"
        if scope.cancelled_caught:
            self.ended[number] = "cancelled"

    async def make(self, key: int) -> str:
        made = Made(key)
        assert self.may_many or key not in [each.key for each in self.running]
        self.running.append(made)
        try:
            await made.go.wait()
        finally:
            self.running.remove(made)
        if made.answer == "fail":
            raise LookupError
        return made.answer

    may_many: bool = False
    """Whether an answer was not for sharing, so that several calls of one key may run."""

    def may_share(self, answer: str) -> bool:
        self.may_many = self.may_many or answer == "private"
        return answer == "share"

    async def step(self, tasks: TaskGroup, kind: str, detail: int) -> None:
        if kind == "ask":
            self.scopes.append(anyio.CancelScope())
            tasks.start_soon(self.ask, len(self.scopes) - 1, detail % 2)
        elif kind == "cancel" and detail < len(self.scopes):
            self.scopes[detail].cancel()
        elif kind == "pause":
            await others_run()
        elif kind in ENDINGS and self.running:
            self.running[detail % len(self.running)].end(kind)

    async def run(self, script: Sequence[tuple[str, int]]) -> None:
        async with anyio.create_task_group() as tasks:
            for kind, detail in script:
                await self.step(tasks, kind, detail)
            while len(self.ended) < len(self.scopes):
                await others_run()
                for made in [*self.running]:
                    made.end("share")


@define(eq=False)
class Made:
    """A call that is under way."""

    key: int
    go: anyio.Event = field(factory=anyio.Event)
    answer: str = ""

    def end(self, answer: str) -> None:
        self.answer = self.answer or answer
        self.go.set()


kinds = st.sampled_from(["ask", "ask", "ask", "cancel", "pause", "pause", *ENDINGS])


@settings(max_examples=60)
@given(script=st.lists(st.tuples(kinds, st.integers(0, 9)), max_size=30))
async def test_whatever_fails_or_is_cancelled_nobody_waits_in_vain(
    script: Sequence[tuple[str, int]],
) -> None:
    """Of equal calls one is made at a time; whoever is not cancelled comes to an end."""
    scenario = Scenario()
    with anyio.fail_after(30):
        await scenario.run(script)

    for number, ended in scenario.ended.items():
        assert ended != "cancelled" or scenario.scopes[number].cancel_called
    assert scenario.shared.flights == {}


async def test_a_turn_whose_question_was_answered_before_asks_no_model(open_host: Opens) -> None:
    host = await open_host(["one", "two"], model=[middleware.cache(60)])

    first = await host.chat(ChatRequest("hi", tenant_id="acme"))
    second = await host.chat(ChatRequest("hi", tenant_id="acme", user_id="bob"))
    third = await host.chat(ChatRequest("hi", tenant_id="other"))

    assert [each.message for each in (first, second, third)] == ["one", "one", "two"]
    assert second.usage == Usage()


async def test_a_kept_answer_is_streamed(open_host: Opens) -> None:
    host = await open_host(["one"], model=[middleware.cache(60)])

    assert await stream(host) == await stream(host) == ["one", "turn.end"]
