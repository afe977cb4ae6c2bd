"""Steps, tokens, money and time: each limit ends the turn in a way of its own, and no session."""

from collections.abc import Mapping
from typing import Any

import anyio
import pytest

from agentrail import (
    AgentHost,
    ChatRequest,
    ChatResponse,
    Limits,
    Message,
    ModelReply,
    ModelRequest,
    Profile,
    ScriptedModel,
    ToolResult,
    Usage,
    tool,
)
from agentrail.agent import Prices
from agentrail.errors import CompositionError, DeadlineExceeded
from agentrail.events import MessageEnd, TurnEnd, TurnError
from agentrail.messages import StopReason
from agentrail.model import call_tools
from agentrail.model.scripted import Scripted
from agentrail.tool import ask
from tests.host.conftest import MakeHost
from tests.host.contract import both_doors
from tests.host.office import approved, check_log, results, streamed, transcript

pytestmark = pytest.mark.anyio

EACH = Usage(input_tokens=100, output_tokens=10)
"""What a scripted call uses here."""

PRICES = Prices(input=1000, output=10_000)
"""So that such a call costs 0.2."""


class Looking:
    """A model that looks again and again, and answers when it may look no more; and its tool."""

    def __init__(self) -> None:
        self.looked = 0
        self.requests: list[ModelRequest] = []

    def config(self, limits: Limits, **profile: Any) -> dict[str, Any]:  # noqa: ANN401
        @tool
        def look(number: int) -> str:
            """Look."""
            self.looked += 1
            return f"{number} seen"

        agent = Profile(id="assistant", model="scripted:m", tools=[look], limits=limits, **profile)
        return {"profiles": [agent], "providers": [ScriptedModel.repeat(self.say)]}

    def say(self, request: ModelRequest) -> ModelReply:
        self.requests.append(request)
        if request.tool_choice == "none" or request.messages[-1].text == "hi":
            return used("that is all")
        return used(call_tools(("look", {"number": len(self.requests)}), text="let me see"))


def used(said: str | ModelReply) -> ModelReply:
    reply = said if isinstance(said, ModelReply) else ModelReply(message=Message.assistant(said))
    return ModelReply(message=reply.message, stop_reason=reply.stop_reason, usage=EACH)


async def answer(host: AgentHost, kind: str, text: str = "look") -> ChatResponse:
    """Runs a turn through one of the doors; of a stream, what its end says."""
    request = ChatRequest(text, session_id="s")
    if kind == "chat":
        return await host.chat(request)
    end = (await streamed(host, request))[-1]
    assert isinstance(end, TurnEnd)
    return ChatResponse(end.message, stop_reason=end.stop_reason, usage=end.usage)


async def goes_on(host: AgentHost, kind: str) -> None:
    """Checks that the session's log is whole and its next turn is like any other."""
    await check_log(host)
    response = await answer(host, kind, "hi")
    assert (response.message, response.stop_reason) == ("that is all", "stop")


@both_doors
@pytest.mark.parametrize("steps", [1, 3])
async def test_the_last_step_may_call_no_tool(make_host: MakeHost, kind: str, steps: int) -> None:
    model = Looking()
    async with make_host(**model.config(Limits(steps=steps))) as host:
        response = await answer(host, kind)
        assert (response.message, response.stop_reason) == ("that is all", "stop")
        assert model.looked == steps - 1
        await goes_on(host, kind)

    choices = [request.tool_choice for request in model.requests[:steps]]
    assert choices == [*["auto"] * (steps - 1), "none"]


CASES: Mapping[str, tuple[Limits, StopReason, int]] = {
    "tokens": (Limits(tokens=250), "token_limit", 3),
    "tokens to the last": (Limits(tokens=220), "token_limit", 2),
    "cost": (Limits(cost=0.5), "cost_limit", 3),
    "cost to the last": (Limits(cost=0.4), "cost_limit", 2),
    "the first to come": (Limits(cost=0.5, tokens=1), "token_limit", 1),
}


@both_doors
@pytest.mark.parametrize("case", CASES)
async def test_the_turn_ends_after_the_call_that_reaches_a_limit(
    make_host: MakeHost, kind: str, case: str
) -> None:
    limits, stop_reason, calls = CASES[case]
    model = Looking()
    async with make_host(**model.config(limits, prices=PRICES)) as host:
        response = await answer(host, kind)
        told = results(await transcript(host))

        assert (response.stop_reason, response.message) == (stop_reason, "let me see")
        assert (len(model.requests), model.looked) == (calls, calls - 1)
        assert response.usage.input_tokens == 100 * calls
        assert response.usage.cost == pytest.approx(0.2 * calls)
        assert [outcome for outcome, _ in told] == [*["ok"] * (calls - 1), "error"]
        what = {"token_limit": "no tokens are left", "cost_limit": "no money is left"}
        assert what[stop_reason] in told[-1][1]
        if case != "the first to come":
            await goes_on(host, kind)


async def test_an_answer_that_reaches_a_limit_is_an_answer(make_host: MakeHost) -> None:
    model = Looking()
    async with make_host(**model.config(Limits(tokens=1, cost=0.0001), prices=PRICES)) as host:
        response = await host.chat(ChatRequest("hi", session_id="s"))

    assert (response.message, response.stop_reason) == ("that is all", "stop")


async def test_without_prices_nothing_costs_anything(make_host: MakeHost) -> None:
    model = Looking()
    async with make_host(**model.config(Limits(steps=4, cost=0.0001))) as host:
        response = await host.chat(ChatRequest("look", session_id="s"))

    assert (response.stop_reason, response.usage.cost, len(model.requests)) == ("stop", 0.0, 4)


def test_what_comes_from_a_cache_has_a_price_of_its_own() -> None:
    usage = Usage(
        input_tokens=1_000_000,
        output_tokens=100_000,
        cache_read_tokens=600_000,
        cache_write_tokens=300_000,
    )

    assert Prices(input=2, output=10).cost(usage) == pytest.approx(2 + 1)
    priced = Prices(input=2, output=10, cache_read=0.2, cache_write=2.5)
    assert priced.cost(usage) == pytest.approx(0.1 * 2 + 1 + 0.6 * 0.2 + 0.3 * 2.5)
    assert Prices(input=2, output=10, cache_read=0).cost(usage) == pytest.approx(0.4 * 2 + 1)


async def test_each_message_and_the_turn_tell_what_they_cost(make_host: MakeHost) -> None:
    model = Looking()
    async with make_host(**model.config(Limits(steps=3), prices=PRICES)) as host:
        events = await streamed(host, ChatRequest("look", session_id="s"))

    ends = [event for event in events if isinstance(event, MessageEnd)]
    assert [end.usage.cost for end in ends] == pytest.approx([0.2] * 3)
    last = events[-1]
    assert isinstance(last, TurnEnd)
    assert last.usage.cost == pytest.approx(0.6)


async def test_a_turn_that_goes_on_has_used_what_it_used_before(make_host: MakeHost) -> None:
    model = Looking()
    config = model.config(Limits(tokens=220), permissions=[ask("look")])
    async with make_host(**config) as host:
        first = await host.chat(ChatRequest("look", session_id="s"))
        assert (first.outcome, first.usage.input_tokens) == ("suspended", 100)
        second = await approved(host, first)
        assert (second.stop_reason, second.usage.input_tokens) == ("token_limit", 200)
        assert (model.looked, len(model.requests)) == (1, 2)
        await goes_on(host, "chat")


async def test_steps_count_on_when_a_turn_goes_on(make_host: MakeHost) -> None:
    model = Looking()
    config = model.config(Limits(steps=2), permissions=[ask("look")])
    async with make_host(**config) as host:
        response = await approved(host, await host.chat(ChatRequest("look", session_id="s")))

    assert (response.message, response.stop_reason) == ("that is all", "stop")
    assert [request.tool_choice for request in model.requests] == ["auto", "none"]


@pytest.mark.parametrize(
    ("limits", "window"), [(Limits(max_tokens=8192), 8192), (Limits(max_tokens=9000), 8192)]
)
def test_an_answer_that_may_fill_the_window_refuses_to_compose(
    make_host: MakeHost, limits: Limits, window: int
) -> None:
    with pytest.raises(CompositionError, match="'assistant': its context_window of 8192 tokens"):
        make_host(**Looking().config(limits, context_window=window))
    make_host(**Looking().config(limits, context_window=9100))


# Time.


def waiting(limits: Limits, *script: Scripted) -> tuple[dict[str, Any], list[str]]:
    """Returns a host's parts with a tool that never ends, and what became of it."""
    ended: list[str] = []

    @tool(concurrent=True)
    async def wait() -> None:
        """Wait."""
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("ended")

    @tool(concurrent=True)
    async def quick() -> str:
        """Be quick."""
        return "quick"

    agent = Profile(id="assistant", model="scripted:m", tools=[wait, quick], limits=limits)
    return {"profiles": [agent], "providers": [ScriptedModel(script)]}, ended


@both_doors
async def test_a_tool_that_takes_too_long_is_a_result_and_the_turn_goes_on(
    make_host: MakeHost, kind: str
) -> None:
    calls = call_tools(("quick", {}), ("wait", {}), ("quick", {}))
    config, ended = waiting(Limits(tool_seconds=0.01), calls, "that is all", "that is all")
    async with make_host(**config) as host:
        assert (await answer(host, kind)).message == "that is all"
        told = results(await transcript(host))
        await goes_on(host, kind)

    assert ended == ["ended"]
    assert sorted(outcome for outcome, _ in told) == ["ok", "ok", "timeout"]
    (late,) = [text for outcome, text in told if outcome == "timeout"]
    assert "took longer than 0.01 s" in late


@both_doors
async def test_a_turn_that_takes_too_long_is_an_error_with_every_call_answered(
    make_host: MakeHost, kind: str
) -> None:
    config, ended = waiting(
        Limits(seconds=0.05), call_tools(("quick", {}), ("wait", {})), "that is all"
    )
    async with make_host(**config) as host:
        if kind == "chat":
            with pytest.raises(DeadlineExceeded):
                await host.chat(ChatRequest("look", session_id="s"))
        else:
            end = (await streamed(host, ChatRequest("look", session_id="s")))[-1]
            assert isinstance(end, TurnError)
            assert (end.code, end.status, end.retryable) == ("deadline_exceeded", 504, True)
        told = [
            part
            for message in await transcript(host)
            for part in message.parts
            if isinstance(part, ToolResult)
        ]
        await goes_on(host, kind)

    assert ended == ["ended"]
    assert [(part.name, part.outcome) for part in told] == [("quick", "ok"), ("wait", "cancelled")]


# The same for ever.


@both_doors
async def test_a_model_that_repeats_one_call_for_ever_is_stopped(
    make_host: MakeHost, kind: str
) -> None:
    made: list[int] = []

    @tool
    def look() -> str:
        """Look."""
        made.append(1)
        return "nothing"

    model = ScriptedModel.repeat(call_tools(("look", {})))
    agent = Profile(id="assistant", model="scripted:m", tools=[look], limits=Limits(steps=12))
    async with make_host(profiles=[agent], providers=[model]) as host:
        response = await answer(host, kind)
        told = results(await transcript(host))
        await check_log(host)

    assert (response.stop_reason, len(model.requests), len(made)) == ("step_limit", 12, 5)
    assert [outcome for outcome, _ in told] == [*["ok"] * 5, *["error"] * 7]
    assert all("5 times in a row" in text for _, text in told[5:11])
    assert "no steps are left" in told[11][1]
