"""The record of a run: in the log right before the run's end, and for no reader."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from agentrail import (
    ChatRequest,
    MemorySessionStore,
    Message,
    Profile,
    RequestContext,
    ScriptedModel,
    SQLiteSessionStore,
    ToolCall,
    create_app,
    define_plugin,
    tool,
)
from agentrail.errors import AgentrailError, ModelUnavailable, StorageError
from agentrail.events import TERMINAL, Event, ModelAsked, Recorded, RunRecorded
from agentrail.host import AgentHost, AppConfig
from agentrail.model import call_tools
from agentrail.requests import ModelRequest, Principal, Resume
from agentrail.session import Lease
from agentrail.tool import ask

pytestmark = pytest.mark.anyio

ME = Principal()


@tool
def pay(amount: int) -> str:
    """Pay."""
    return f"paid {amount}"


async def fail(_request: ModelRequest) -> str:
    raise ModelUnavailable("down")


def host_of(*script: object, **more: Any) -> AgentHost:  # noqa: ANN401
    profile = Profile(id="a", model="scripted:m", tools=[pay], permissions=[ask("pay")])
    model = ScriptedModel(script)  # type: ignore[arg-type]
    more.setdefault("store", MemorySessionStore())
    config = AppConfig(profiles=[profile], providers=[model], **more)
    return create_app(config).host


def record_of(log: list[Recorded]) -> RunRecorded:
    (record,) = [event for event in log if isinstance(event, RunRecorded)]
    return record


async def test_it_is_the_event_before_the_last_and_neither_a_stream_nor_a_replay_has_it() -> None:
    async with host_of("fine") as host:
        async with host.stream(ChatRequest("hi", session_id="s")) as events:
            sent = [event async for event in events]
        async with host.events(ME, sent[0].turn_id) as again:
            replayed = [event async for event in again]
        log = list(await host.core.store.read("s"))

    assert [event.type for event in log][-2:] == ["run", "turn.end"]
    assert "run" not in {event.type for event in sent}
    assert replayed == sent
    assert record_of(log).models == (ModelAsked("scripted:m", record_of(log).models[0].micros),)
    first_text = record_of(log).first_text
    assert first_text is not None
    assert first_text <= record_of(log).micros


async def test_a_run_that_fails_has_one_that_names_the_models_error() -> None:
    async with host_of(fail) as host:
        with pytest.raises(ModelUnavailable):
            await host.chat(ChatRequest("hi", session_id="s"))
        log = list(await host.core.store.read("s"))

    assert [event.type for event in log][-2:] == ["run", "turn.error"]
    (asked,) = record_of(log).models
    assert (asked.model, asked.outcome) == ("scripted:m", "model_unavailable")


async def test_the_span_of_a_run_that_goes_on_links_to_the_one_before() -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    async with host_of(call_tools(("pay", {"amount": 3})), "done") as host:
        host.core.tracer = provider.get_tracer("test")
        asked = await host.chat(ChatRequest("pay", session_id="s"))
        call_id = asked.approvals[0].call.id
        await host.decide(ME, asked.turn_id, call_id, approved=True)
        await host.chat(Resume(asked.turn_id))

    first, second = [
        each for each in exporter.get_finished_spans() if each.name == "invoke_agent a"
    ]
    (linked,) = [link.context for link in second.links]
    before = first.get_span_context()
    assert before is not None
    assert (linked.trace_id, linked.span_id) == (before.trace_id, before.span_id)
    assert list(first.links) == []


class Full(MemorySessionStore):
    """Has no room for the first end of a turn."""

    def __init__(self) -> None:
        super().__init__()
        self.is_full = True

    async def append(self, lease: Lease, events: Sequence[Event]) -> tuple[Event, ...]:
        if self.is_full and isinstance(events[-1], TERMINAL):
            self.is_full = False
            raise StorageError("full")
        return await super().append(lease, events)


@pytest.mark.parametrize("answer", ["fine", call_tools(("pay", {"amount": 3}))])
async def test_a_turn_whose_end_is_written_at_the_second_try_has_one_right_before_it(
    answer: object,
) -> None:
    async with host_of(answer, store=Full()) as host:
        with pytest.raises(StorageError):
            await host.chat(ChatRequest("pay", session_id="s"))
        log = list(await host.core.store.read("s"))

    assert record_of(log).models[0].outcome == "ok"
    assert [event.type for event in log][-2:] == ["run", "turn.error"]


async def test_a_turn_that_is_given_what_cannot_be_written_has_one(tmp_path: Path) -> None:
    def provide(_context: RequestContext, _messages: Sequence[Message]) -> list[Message]:
        call = ToolCall(id="x", name="y", arguments={"x": object()})
        return [Message(role="system", parts=(call,))]

    plugin = define_plugin("p", context_providers=[provide])
    store = SQLiteSessionStore(tmp_path / "sessions.db")
    async with host_of("fine", plugins=[plugin], store=store) as host:
        with pytest.raises(AgentrailError):
            await host.chat(ChatRequest("hi", session_id="s"))
        log = list(await host.core.store.read("s"))

    assert record_of(log).hooks != ()
    assert [event.type for event in log][-2:] == ["run", "turn.error"]
