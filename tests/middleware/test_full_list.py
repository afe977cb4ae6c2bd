"""The whole list of middleware around a host's calls, on both doors."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from attrs import define, field
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader

from agentrail import (
    AppConfig,
    ChatRequest,
    ChatResponse,
    Delta,
    MemorySessionStore,
    Message,
    ModelReply,
    ModelRequest,
    Principal,
    Profile,
    RequestContext,
    ScriptedModel,
    ToolCall,
    ToolError,
    ToolRequest,
    ToolResult,
    create_app,
    define_plugin,
    middleware,
    tool,
)
from agentrail.errors import Overloaded, TooManyRequests
from agentrail.events import Event, MessageDelta, TurnError
from agentrail.host import AgentHost
from agentrail.model import call_tools
from agentrail.model.scripted import Scripted
from agentrail.requests import Resume
from agentrail.testing import FakeClock
from agentrail.tool import Rule, allow, ask

pytestmark = pytest.mark.anyio

CLERK = Principal(user_id="ann", roles=frozenset({"clerk"}))
GUEST = Principal(user_id="bob")
DOORS = pytest.mark.parametrize("door", ["chat", "stream"])


@define
class Answered:
    """What a turn came to, whichever door it was asked through."""

    text: str
    """The text of the answer; of a stream, its pieces joined."""
    failure: str = ""
    """The code of the error that it ended with."""
    events: list[Event] = field(factory=list[Event])


@define
class Shop:
    """A host whose every call goes through the whole list, and what can be seen from outside."""

    replies: Sequence[Scripted]
    calls: int = 100
    """How many calls a user may make in an hour."""
    rules: Sequence[Rule] = ()
    before: Sequence[middleware.BothSeams] = ()
    """Middleware before the list."""
    batched: Callable[[Sequence[ToolRequest]], Any] | None = None
    """Handles the calls of ``stock`` together."""
    plugins: Sequence[Any] = ()
    made: list[str] = field(factory=list[str])
    """The tool calls that came through."""
    hanging: anyio.Event = field(factory=anyio.Event)
    clock: FakeClock = field(factory=lambda: FakeClock(autojump=True))
    reader: InMemoryMetricReader = field(factory=InMemoryMetricReader)
    model: ScriptedModel = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.model = ScriptedModel(self.replies, chunk=5)

    def tools(self) -> list[Any]:
        @tool
        async def stock(item: str) -> str:
            """Count what is there."""
            self.made.append(f"stock {item}")
            return f"3 {item}, ask ann@example.com"

        @tool
        async def weigh(item: str) -> str:
            """Weigh something; the scale is broken at first."""
            self.made.append(f"weigh {item}")
            if len(self.made) == 1:
                raise ToolError("the scale is broken")
            return "5 kg"

        @tool
        async def hang() -> str:
            """Take for ever."""
            self.hanging.set()
            await anyio.sleep_forever()
            return ""

        return [stock, weigh, hang]

    def host(self) -> AgentHost:
        provider = MeterProvider([self.reader], shutdown_on_exit=False)
        # The order that the documentation gives.
        around = [
            *self.before,
            middleware.logging(content=True),
            middleware.metrics(meter=provider.get_meter("test")),
            middleware.rate_limit(self.calls, 3600, clock=self.clock),
            middleware.cache(60, tools=["stock"], clock=self.clock),
            middleware.retry(3, tools=["weigh"], clock=self.clock),
            middleware.redact(),
        ]
        inside = [
            middleware.authorize({"stock": {"clerk"}}, otherwise="allow"),
            *([middleware.batch("stock", self.batched, window=0)] if self.batched else []),
        ]
        slow = middleware.slow_log(0.5, clock=self.clock)
        config = AppConfig(
            profiles=[
                Profile(id="shop", model="scripted:m", tools=self.tools(), permissions=self.rules)
            ],
            providers=[self.model],
            plugins=self.plugins,
            model_middleware=[*around, slow],
            tool_middleware=[*around, *inside, slow],
            store=MemorySessionStore(),
        )
        return create_app(config).host

    def measured(self) -> Mapping[str, int]:
        """Returns how many calls of each kind the metrics counted."""
        data = self.reader.get_metrics_data()
        found: dict[str, int] = {}
        for resource in data.resource_metrics if data else ():
            for metric in (each for scope in resource.scope_metrics for each in scope.metrics):
                points = [p for p in metric.data.data_points if isinstance(p, HistogramDataPoint)]
                found[metric.name] = sum(point.count for point in points)
        return found


async def asked(
    host: AgentHost, door: str, text: str = "go", who: Principal = CLERK, session: str | None = None
) -> Answered:
    request = ChatRequest(text, session_id=session)
    if door == "chat":
        return Answered((await host.chat(request, principal=who)).message)
    events: list[Event] = []
    async with host.stream(request, principal=who) as stream:
        events += [event async for event in stream]
    pieces = [event.text for event in events if isinstance(event, MessageDelta)]
    failure = events[-1].code if isinstance(events[-1], TurnError) else ""
    return Answered("".join(pieces), failure, events)


def ask_for_tea() -> list[Scripted]:
    """Returns the script of a turn; the id of its call is new, so no reply is in the cache."""
    return [call_tools(("stock", {"item": "tea"})), "done"]


def results(request: ModelRequest) -> list[tuple[str, str]]:
    """Returns the results that a model is shown."""
    parts = [part for message in request.messages for part in message.parts]
    return [(part.outcome, part.content) for part in parts if isinstance(part, ToolResult)]


def records(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [vars(each) for each in caplog.records if each.name == "agentrail.middleware"]


@DOORS
async def test_a_turn_goes_through_the_whole_list(
    door: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "agentrail.middleware")
    calls = call_tools(("weigh", {"item": "tea"}), ("stock", {"item": "tea"}))
    shop = Shop([Overloaded("busy"), calls, "Ask sk-abcdefghijklmnop0123, ann@example.com."])
    async with shop.host() as host:
        answered = await asked(host, door, "Is there tea? I am bob@example.com")

    assert answered.text == "Ask [api key], [email]."
    assert shop.model.requests[0].provider == "scripted"
    assert shop.made == ["weigh tea", "weigh tea", "stock tea"]
    assert len(shop.clock.slept) == 2  # before the second model call, and before the scale's
    assert shop.model.requests[-1].messages[0].text == "Is there tea? I am [email]"
    assert results(shop.model.requests[-1]) == [("ok", "5 kg"), ("ok", "3 tea, ask [email]")]
    logged = [each for each in records(caplog) if "duration_ms" in each]
    assert [(each["kind"], each["outcome"], each["user_id"]) for each in logged] == [
        ("model", "ok", "ann"),
        ("tool", "ok", "ann"),
        ("tool", "ok", "ann"),
        ("model", "ok", "ann"),
    ]
    assert "example.com" not in str(logged)
    assert shop.measured() == {
        "gen_ai.client.operation.duration": 2,
        "gen_ai.client.operation.time_to_first_chunk": 1,
        "gen_ai.execute_tool.duration": 2,
    }


@DOORS
async def test_a_second_turn_is_answered_from_the_cache_and_streams(door: str) -> None:
    hooks: list[str] = []

    def chunk(delta: Delta, _context: RequestContext) -> Delta:
        hooks.append(f"chunk {delta.text}")
        return delta

    plugin = define_plugin(
        "seen",
        on_chunk=chunk,
        after_response=lambda reply, _context: hooks.append(f"reply {reply.message.text}"),
    )
    shop = Shop(["I am at ann@example.com."], plugins=[plugin])
    async with shop.host() as host:
        first = await asked(host, door)
        hooks.clear()
        second = await asked(host, door, who=GUEST)

    assert first.text == second.text == "I am at [email]."
    assert hooks == ["chunk I am at [email].", "reply I am at [email]."]
    assert len(shop.model.requests) == 1


@DOORS
async def test_a_cached_result_is_not_for_those_who_may_not_call_the_tool(door: str) -> None:
    """The cache stands before ``authorize`` in the list."""
    hooks: list[str] = []

    def after(_call: ToolCall, result: ToolResult, _context: RequestContext) -> None:
        hooks.append(result.outcome)

    shop = Shop(
        [*ask_for_tea(), *ask_for_tea(), *ask_for_tea()],
        plugins=[define_plugin("seen", after_tool_call=after)],
    )
    async with shop.host() as host:
        for who in (CLERK, GUEST, CLERK):
            await asked(host, door, who=who)

    shown = [results(request) for request in shop.model.requests[1::2]]
    assert shown == [
        [("ok", "3 tea, ask [email]")],
        [("denied", "denied: this tool may not be called here")],
        [("ok", "3 tea, ask [email]")],
    ]
    assert shop.made == ["stock tea"]
    assert hooks == ["ok", "denied", "ok"]


async def test_models_of_one_name_at_two_providers_share_no_answers() -> None:
    async def ask_both(_request: ChatRequest, context: RequestContext) -> ChatResponse:
        question = [Message.user("who are you?")]
        names = ("scripted:m", "other:m", "scripted:m")
        said = [await context.services.model(name).complete(question) for name in names]
        return ChatResponse(" ".join(each.text for each in said))

    model, other = ScriptedModel(["scripted"]), ScriptedModel(["other"], "other")
    config = AppConfig(
        profiles=[Profile(id="shop", model="scripted:m")],
        providers=[model, other],
        plugins=[define_plugin("ask", intercept_chat_request=ask_both)],
        model_middleware=[middleware.cache(60)],
        store=MemorySessionStore(),
    )
    async with create_app(config).host as host:
        assert (await asked(host, "chat")).text == "scripted other scripted"
    assert {each.requests[0].provider for each in (model, other)} == {"scripted", "other"}


async def test_a_turn_over_the_limit_fails_by_its_type() -> None:
    shop = Shop(["one", "two"], calls=2)
    async with shop.host() as host:
        await asked(host, "chat", "a")
        assert (await asked(host, "stream", "b")).failure == ""
        with pytest.raises(TooManyRequests):
            await asked(host, "chat", "c")
        assert (await asked(host, "stream", "d")).failure == TooManyRequests.code


@DOORS
async def test_an_answer_that_broke_off_is_not_begun_again(door: str) -> None:
    async def break_off(request: ModelRequest) -> ModelReply:
        await request.emit(Delta(text="It was "))
        raise Overloaded("busy")

    shop = Shop([break_off, "never said"])
    async with shop.host() as host:
        if door == "chat":
            with pytest.raises(Overloaded):
                await asked(host, door)
        else:
            answered = await asked(host, door)
            assert (answered.text, answered.failure) == ("It was ", Overloaded.code)
    assert shop.clock.slept == []


async def test_a_cached_result_still_needs_approval() -> None:
    shop = Shop([*ask_for_tea(), *ask_for_tea()], rules=[ask("stock")])
    async with shop.host() as host:
        for _ in range(2):
            suspended = await host.chat(ChatRequest("go"), principal=CLERK)
            assert suspended.outcome == "suspended"
            (waiting,) = suspended.approvals
            await host.decide(CLERK, suspended.turn_id, waiting.call.id, approved=True)
            done = await host.chat(Resume(turn_id=suspended.turn_id), principal=CLERK)
            assert done.outcome == "completed"

    assert shop.made == ["stock tea"]
    assert results(shop.model.requests[-1]) == [("ok", "3 tea, ask [email]")]


class Swap:
    """Asks for something else than the model did."""

    def pre_process(self, ctx: middleware.CallContext) -> None:
        if ctx.params.get("item") == "tea":
            ctx.params["item"] = "gold"


@DOORS
@pytest.mark.parametrize("is_batched", [True, False])
async def test_what_a_middleware_makes_of_a_call_needs_permission_whoever_would_answer_it(
    door: str, *, is_batched: bool
) -> None:
    batches: list[int] = []

    async def count(requests: Sequence[ToolRequest]) -> Sequence[str]:
        batches.append(len(requests))
        return ["gold" for _ in requests]

    shop = Shop(
        ask_for_tea(),
        rules=[allow("stock", item="tea")],
        before=[middleware.from_pre_post(Swap())],
        batched=count if is_batched else None,
    )
    async with shop.host() as host:
        await asked(host, door)

    ((outcome, content),) = results(shop.model.requests[-1])
    assert outcome == "denied"
    assert "not permitted" in content
    assert (batches, shop.made) == ([], [])


async def test_a_turn_that_is_cancelled_in_a_tool_is_told_of_and_the_next_one_works(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "agentrail.middleware")
    shop = Shop([call_tools(("hang", {})), "fine"])
    async with shop.host() as host:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(asked, host, "stream", "go", CLERK, "s")
            await shop.hanging.wait()
            tasks.cancel_scope.cancel()
        again = await asked(host, "stream", "and now?", session="s")

    outcomes = [(each["kind"], each["outcome"]) for each in records(caplog)]
    assert outcomes == [("model", "ok"), ("tool", "cancelled"), ("model", "ok")]
    assert again.text == "fine"
    assert [outcome for outcome, _ in results(shop.model.requests[-1])] == ["cancelled"]


@DOORS
async def test_wherever_a_turn_is_cancelled_the_same_question_is_answered_afterwards(
    door: str,
) -> None:
    """Nothing of a cancelled call is left that an equal one would wait for."""

    def answer(request: ModelRequest) -> ModelReply | list[str]:
        if request.messages[-1].role == "user":
            return call_tools(("weigh", {"item": "tea"}), ("stock", {"item": "tea"}))
        return ["do", "ne"]

    async def count(requests: Sequence[ToolRequest]) -> Sequence[str]:
        await anyio.lowlevel.checkpoint()
        return ["3" for _ in requests]

    at_the_end = False
    for steps in range(200):
        shop = Shop([answer] * 6, batched=count)
        async with shop.host() as host:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(asked, host, door, "go", CLERK, "s")
                for _ in range(steps):
                    await anyio.lowlevel.checkpoint()
                at_the_end = len(shop.model.requests) == 2
                tasks.cancel_scope.cancel()
            again = await asked(host, door, session="s")
            other = await asked(host, door, session="other")
        assert (again.text, other.text) == ("done", "done")
        if at_the_end:
            break
    assert at_the_end
