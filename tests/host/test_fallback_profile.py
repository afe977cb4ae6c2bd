"""A profile with fallbacks, through whole turns: who is asked, and what a reader is shown."""

from collections.abc import Sequence

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from agentrail import (
    AgentHost,
    AppConfig,
    ChatRequest,
    MemorySessionStore,
    Message,
    ModelReply,
    Plugin,
    Profile,
    RequestContext,
    ScriptedModel,
    create_app,
    define_plugin,
    tool,
)
from agentrail.errors import CompositionError, ConfigError, Overloaded
from agentrail.events import MessageDelta, MessageEnd, TurnEnd, TurnError
from agentrail.messages import ToolResult
from agentrail.model import ModelProvider, call_tools
from agentrail.model.openai import OpenAICompatible
from tests.host.contract import both_doors, events_of, run
from tests.model.upstream import Answer, breaks_off, hangs_up, piece, refuses, running, says

pytestmark = pytest.mark.anyio


def host_with(
    *providers: ModelProvider,
    fallbacks: tuple[str, ...] = ("second:b",),
    plugins: Sequence[Plugin] = (),
) -> AgentHost:
    """Makes a host whose profile asks ``first:a``, and then its fallbacks."""
    profile = Profile(id="assistant", model="first:a", fallbacks=fallbacks, tools=[look_up])
    store = MemorySessionStore()
    config = AppConfig(profiles=[profile], providers=providers, store=store, plugins=plugins)
    return create_app(config).host


@tool
def look_up(word: str) -> str:
    """Look a word up.

    Args:
        word: the word.
    """
    return f"{word} is a word"


@both_doors
async def test_the_second_model_answers_when_the_first_is_out_of_order(kind: str) -> None:
    first, second = ScriptedModel([Overloaded("no")], "first"), ScriptedModel(["fine"], "second")

    async with host_with(first, second) as host:
        assert await run(host, ChatRequest("hi", session_id="s"), kind) == "fine"

    assert [request.model for request in (*first.requests, *second.requests)] == ["a", "b"]
    assert second.requests[0].messages == first.requests[0].messages


async def test_events_and_spans_name_the_model_that_answered() -> None:
    first = ScriptedModel([call_tools(("look_up", {"word": "x"})), Overloaded("no")], "first")
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    async with host_with(first, ScriptedModel(["fine"], "second")) as host:
        host.core.tracer = provider.get_tracer("test")
        events = await events_of(host, ChatRequest("hi"))

    ends = [event.model for event in events if isinstance(event, MessageEnd)]
    assert ends == ["first:a", "second:b"]
    asked = ("gen_ai.request.model", "gen_ai.provider.name", "gen_ai.response.model")
    spans = [each for each in exporter.get_finished_spans() if each.name.startswith("chat")]
    assert [[(each.attributes or {}).get(name) for name in asked] for each in spans] == [
        ["a", "first", "a"],
        ["a", "second", "b"],
    ]


async def test_an_answer_of_a_plugin_names_no_model() -> None:
    answer = define_plugin(
        "answer",
        before_request=lambda _request, _context: ModelReply(message=Message.assistant("mine")),
    )

    async with host_with(
        ScriptedModel([], "first"), ScriptedModel([], "second"), plugins=[answer]
    ) as host:
        events = await events_of(host, ChatRequest("hi"))

    assert [event.model for event in events if isinstance(event, MessageEnd)] == [""]


async def test_each_step_of_a_turn_begins_with_the_first_model() -> None:
    first = ScriptedModel([call_tools(("look_up", {"word": "x"})), Overloaded("no")], "first")
    second = ScriptedModel(["fine"], "second")

    async with host_with(first, second) as host:
        assert (await host.chat(ChatRequest("hi"))).message == "fine"

    last = second.requests[0].messages[-1].parts[0]
    assert isinstance(last, ToolResult)
    assert last.content == "x is a word"
    assert len(first.requests) == 2


@pytest.mark.parametrize(
    "failing",
    [hangs_up, refuses(529, ""), refuses(401, ""), refuses(429, "", retry_after="9")],
    ids=["hangs up", "529", "401", "429"],
)
async def test_an_upstream_that_fails_before_its_answer_is_not_seen(failing: Answer) -> None:
    async with running(failing) as bad, running(says("fi", "ne")) as good:
        first = OpenAICompatible("first", bad.base_url)
        second = OpenAICompatible("second", good.base_url)
        async with host_with(first, second) as host:
            events = await events_of(host, ChatRequest("hi"))

    shown = [event.text for event in events if isinstance(event, MessageDelta)]
    assert "".join(shown) == "fine"
    assert isinstance(events[-1], TurnEnd)
    assert (bad.requests[0].body["model"], good.requests[0].body["model"]) == ("a", "b")


@pytest.mark.parametrize("begun", [{"content": "half"}, {"reasoning_content": "Hm."}])
async def test_what_a_reader_has_seen_of_one_model_no_other_goes_on_with(
    begun: dict[str, str],
) -> None:
    async with running(breaks_off(piece(**begun))) as bad, running(says("never")) as good:
        first = OpenAICompatible("first", bad.base_url)
        second = OpenAICompatible("second", good.base_url)
        async with host_with(first, second) as host:
            events = await events_of(host, ChatRequest("hi"))

    shown = [event for event in events if isinstance(event, MessageDelta)]
    assert [event.text or event.reasoning for event in shown] == list(begun.values())
    last = events[-1]
    assert isinstance(last, TurnError)
    assert (last.code, last.retryable) == ("model_unavailable", True)
    assert not good.requests


async def test_the_turn_after_one_that_broke_off_is_answered() -> None:
    answers = [breaks_off(piece(content="half")), refuses(503, "")]
    async with running(*answers) as bad, running(says("fine")) as good:
        first = OpenAICompatible("first", bad.base_url)
        second = OpenAICompatible("second", good.base_url)
        async with host_with(first, second) as host:
            await events_of(host, ChatRequest("one", session_id="s"))
            answer = await host.chat(ChatRequest("two", session_id="s"))

    assert answer.message == "fine"


def test_a_fallback_that_names_no_provider_is_a_fault_of_the_composition() -> None:
    with pytest.raises(CompositionError, match=r"profile 'assistant': 'nobody:x' names no"):
        host_with(ScriptedModel([], "first"), fallbacks=("nobody:x",))


async def test_a_fallback_that_cannot_start_is_known_at_the_hosts_start() -> None:
    keyless = OpenAICompatible("second", "ftp://nowhere")

    with pytest.raises(ConfigError, match="'second' is not http"):
        async with host_with(ScriptedModel([], "first"), keyless):
            pass


async def test_a_plugin_that_asks_the_agents_model_gets_its_fallbacks_too() -> None:
    async def name_it(context: RequestContext, _messages: Sequence[Message]) -> list[Message]:
        return [await context.services.model().complete([Message.user("name?")])]

    first = ScriptedModel.repeat(Overloaded("no"), "first")
    second = ScriptedModel(["a name", "fine"], "second")
    namer = define_plugin("namer", context_providers=[name_it])

    async with host_with(first, second, plugins=[namer]) as host:
        assert (await host.chat(ChatRequest("hi"))).message == "fine"

    assert [request.model for request in second.requests] == ["b", "b"]
