"""What a provider caches of a prompt stays the same for as long as it can."""

from collections.abc import Sequence
from itertools import pairwise, permutations

import anyio.lowlevel
import msgspec
import pytest

from agentrail import (
    ChatRequest,
    Message,
    ModelRequest,
    RequestContext,
    ScriptedModel,
    define_plugin,
    tool,
)
from agentrail.hook import Tool
from agentrail.messages import ToolResult
from agentrail.model import call_tools
from agentrail.model.scripted import Scripted
from tests.agent.conftest import ask, make_host

pytestmark = pytest.mark.anyio

both_doors = pytest.mark.parametrize("kind", ["chat", "stream"])


def named(name: str) -> Tool:
    @tool(name=name)
    def made(what: str = "", how: int = 1) -> str:
        """Work."""
        return f"{what} {how} " + "done " * 80

    return made


def sent(messages: Sequence[Message]) -> list[bytes]:
    """Returns what a provider is sent of messages, byte by byte; their ids are the log's."""
    return [msgspec.json.encode((message.role, message.parts)) for message in messages]


def fixed(request: ModelRequest) -> bytes:
    """Returns what a provider is sent before the messages."""
    return msgspec.json.encode((request.model, request.tools, request.output))


def is_prefix(first: Sequence[bytes], second: Sequence[bytes]) -> bool:
    return list(second[: len(first)]) == list(first)


@both_doors
async def test_each_step_of_a_turn_begins_with_the_one_before(kind: str) -> None:
    script: list[Scripted] = [
        call_tools(("b", {"what": "x"}), ("a", {"what": "y", "how": 2}), text="one moment"),
        call_tools(("a", {})),
        call_tools(("a", {"how": 3}), ("a", {"how": 4})),
        "done",
    ]
    model = ScriptedModel(script)
    plugin = define_plugin("p", context_providers=[lambda _, __: [Message.system("it rains")]])
    async with make_host(
        model, [named("b"), named("a")], prompt="Be brief.", plugins=[plugin]
    ) as host:
        await ask(host, kind)

    assert len(model.requests) == 4
    for first, second in pairwise(model.requests):
        assert is_prefix(sent(first.messages), sent(second.messages))
        assert fixed(first) == fixed(second)
        assert first.temperature == second.temperature


@both_doors
async def test_the_next_turn_begins_with_the_last_one_but_for_what_was_for_it_alone(
    kind: str,
) -> None:
    turns: list[int] = []

    def provide(_context: RequestContext, _messages: Sequence[Message]) -> list[Message]:
        turns.append(1)
        return [Message.system(f"it is {len(turns)} o'clock")]

    model = ScriptedModel(
        ["one", call_tools(("b", {}), ("a", {"what": "y"})), "two", call_tools(("a", {})), "three"]
    )
    plugin = define_plugin("clock", context_providers=[provide])
    async with make_host(
        model, [named("b"), named("a")], prompt="Be brief.", plugins=[plugin]
    ) as host:
        for text in ("q1", "q2", "q3"):
            await ask(host, kind, text)

    first, second, _, third, last = model.requests
    stable = [message.text for message in first.messages if "o'clock" not in message.text]
    assert stable == ["Be brief.", "q1"]
    assert [message.text for message in first.messages][-2:] == ["it is 1 o'clock", "q1"]
    for one in (second, third, last):
        assert fixed(one) == fixed(first)
    whole = without_volatile(last)
    for number, request in enumerate((first, second, third), 1):
        assert [m.text for m in request.messages][-2:] == [f"it is {number} o'clock", f"q{number}"]
        assert is_prefix(sent(request.messages[:-2]), whole)
    assert is_prefix(without_volatile(model.requests[2]), without_volatile(third))


def without_volatile(request: ModelRequest) -> list[bytes]:
    return sent([message for message in request.messages if "o'clock" not in message.text])


async def test_the_order_of_the_tools_is_fixed_however_they_are_registered() -> None:
    seen: set[bytes] = set()
    for order in permutations(["d", "b", "e"]):
        plugins = [define_plugin(f"p{name}", tools=[named(name)]) for name in order]
        model = ScriptedModel(["fine"])
        async with make_host(model, [named("c"), named("a")][:: 1 if order[0] == "d" else -1],
                             plugins=plugins) as host:  # fmt: skip
            await ask(host)
        seen.add(fixed(model.requests[0]))
        assert [spec.name for spec in model.requests[0].tools] == ["a", "b", "c", "d", "e"]

    assert len(seen) == 1


async def test_a_summary_stays_as_it_is_until_the_next_one() -> None:
    def say(request: ModelRequest) -> str:
        summary = request.messages[0].text.startswith("Summarize")
        return "in short" if summary else "word " * 40

    model = ScriptedModel.repeat(say)
    async with make_host(model, prompt="Be brief.", context_window=700) as host:
        for number in range(12):
            await host.chat(ChatRequest(f"q{number}", session_id="s"))
            while host.core.compacting:
                await anyio.lowlevel.checkpoint()

    answers = [request for request in model.requests if request.messages[0].text == "Be brief."]
    kept = [
        is_prefix(sent(first.messages), sent(second.messages))
        for first, second in pairwise(answers)
    ]
    summaries = len(model.requests) - len(answers)
    assert summaries > 1
    assert kept.count(False) in {summaries, summaries - 1}  # the last may be for nobody


async def test_a_result_that_had_to_give_way_is_shown_alike_from_then_on() -> None:
    model = ScriptedModel([*[call_tools(("a", {"how": number})) for number in range(9)], "done"])
    async with make_host(model, [named("a")], context_window=900) as host:
        await ask(host)

    shown = [
        [part.content for message in request.messages for part in message.parts
         if isinstance(part, ToolResult)]
        for request in model.requests
    ]  # fmt: skip
    shortened = [[text for text in texts if "were shown before" in text] for texts in shown]
    assert shortened[-1]
    for first, second in pairwise(shortened):
        assert second[: len(first)] == first
    for texts in shown:
        assert not [text for text in texts[-2:] if "were shown before" in text]
        short = ["were shown before" in text for text in texts]
        assert short == sorted(short, reverse=True)
