"""What tools take of a window: their descriptions, their arguments, their results."""

from collections.abc import Sequence
from typing import Any

import anyio.lowlevel
import pytest
from attrs import define, field

from agentrail import (
    AgentHost,
    AppConfig,
    ChatRequest,
    Message,
    ModelRequest,
    Profile,
    ScriptedModel,
    Tool,
    ToolCall,
    create_app,
    define_plugin,
    tool,
)
from agentrail.errors import CompositionError, ContextTooLong
from agentrail.events import ContextCompacted
from agentrail.host import inspect_context
from agentrail.messages import estimate_spec_tokens, estimate_tokens
from agentrail.model import call_tools
from agentrail.model.scripted import Said
from agentrail.session import SessionStore
from agentrail.tool import ask
from tests.host.conftest import Stores
from tests.host.contract import both_doors, run
from tests.host.office import approved, check_log

pytestmark = pytest.mark.anyio

WINDOW = 8192
ROOM = WINDOW * 3 // 4
"""What is there for messages and tools."""

SAYING = "word " * 200


def wordy(count: int) -> Sequence[Tool]:
    """Returns tools that take some 140 tokens each."""

    def make(number: int) -> Tool:
        async def described(a: str) -> str:
            return a

        described.__name__ = f"tool_{number}"
        described.__doc__ = "Does something. " + "It is described at some length. " * 12
        return tool(described)

    return [make(number) for number in range(count)]


@define(slots=False)
class Model:
    """Says much, and has a window that it keeps to."""

    sent: list[int] = field(factory=list[int])
    """What the requests took: messages and tools."""
    requests: list[ModelRequest] = field(factory=list[ModelRequest])
    script: list[Said] = field(factory=list[Said])

    def __call__(self, request: ModelRequest) -> Said:
        if request.messages[0].text.startswith("Summarize"):
            return "in short"
        self.requests.append(request)
        taken = sum(map(estimate_tokens, request.messages)) + estimate_spec_tokens(request.tools)
        self.sent.append(taken)
        if taken > ROOM:
            return ContextTooLong(f"{taken} tokens")
        return self.script.pop(0) if self.script else SAYING


def hosting(model: Model, store: SessionStore, **profile: Any) -> AgentHost:  # noqa: ANN401
    config = {"plugins": profile.pop("plugins", [])}
    profile.setdefault("context_window", WINDOW)
    agent = Profile(id="assistant", model="scripted:m", **profile)
    providers = [ScriptedModel.repeat(model)]
    return create_app(AppConfig(profiles=[agent], providers=providers, store=store, **config)).host


@both_doors
async def test_a_history_leaves_room_for_the_tools(new_store: Stores, kind: str) -> None:
    model = Model()
    async with hosting(model, new_store(), tools=wordy(25), compact=False) as host:
        for _ in range(12):
            await run(host, ChatRequest(SAYING, session_id="s"), kind)
        seen = await inspect_context(host.core.store, host.composition.agent("assistant"), "s")

    assert len(model.sent) == 12
    assert max(model.sent) <= ROOM
    assert model.sent[-1] > ROOM * 3 // 4
    history = [each.text for each in seen if each.why == "the history"]
    assert history == [message.text for message in model.requests[-1].messages[:-1]]
    assert [each.why for each in seen].count("left out: it does not fit the window") == 1


@pytest.mark.parametrize(("tools", "summaries"), [(0, 0), (25, 1)])
async def test_a_history_is_summarized_sooner_beside_many_tools(
    new_store: Stores, tools: int, summaries: int
) -> None:
    store = new_store()
    async with hosting(Model(), store, tools=wordy(tools)) as host:
        for _ in range(5):
            await host.chat(ChatRequest(SAYING, session_id="s"))
            while host.core.compacting:
                await anyio.lowlevel.checkpoint()
        log = await store.read("s")

    assert len([event for event in log if isinstance(event, ContextCompacted)]) == summaries


async def test_tools_of_plugins_count_too(new_store: Stores) -> None:
    model, tools = Model(), wordy(25)
    plugin = define_plugin("p", tools=tools)
    async with hosting(model, new_store(), plugins=[plugin], compact=False) as host:
        for _ in range(12):
            await host.chat(ChatRequest(SAYING, session_id="s"))

    assert max(model.sent) <= ROOM


@pytest.mark.parametrize("of_plugin", [False, True])
def test_tools_that_leave_nothing_of_the_window_refuse_to_compose(
    new_store: Stores, *, of_plugin: bool
) -> None:
    tools = wordy(60)
    plugin = define_plugin("p", tools=tools)
    parts: dict[str, Any] = {"plugins": [plugin]} if of_plugin else {"tools": tools}
    taken = estimate_spec_tokens([each.spec for each in tools])
    fault = f"profile 'assistant': its tools take {taken} tokens, and its context_window of 8192"
    with pytest.raises(CompositionError, match=fault):
        hosting(Model(), new_store(), **parts)
    hosting(Model(), new_store(), context_window=2 * WINDOW, **parts)


def test_arguments_are_counted_like_text() -> None:
    for text in ("漢" * 4000, "é" * 4000, "x" * 4000):
        said = estimate_tokens(Message.user(text))
        call = ToolCall(id="1", name="write", arguments={"text": text})
        assert said <= estimate_tokens(Message.assistant((call,))) < said + 10


@tool
def read() -> str:
    """Read."""
    return "漢" * 20_000


TWICE = call_tools(("read", {}), ("read", {}))


@both_doors
async def test_two_results_that_fill_the_window_each_do_not_end_the_turn(
    new_store: Stores, kind: str
) -> None:
    model = Model(script=[TWICE, "done", "more"])
    async with hosting(model, new_store(), tools=[read]) as host:
        assert await run(host, ChatRequest("q", session_id="s"), kind) == "done"
        assert await run(host, ChatRequest("q", session_id="s"), kind) == "more"
        await check_log(host)

    assert max(model.sent) <= ROOM
    assert model.sent[1] > ROOM // 2


async def test_the_same_holds_for_calls_that_were_approved(new_store: Stores) -> None:
    model = Model(script=[TWICE, "done"])
    profile = {"tools": [read], "permissions": [ask("read")]}
    async with hosting(model, new_store(), **profile) as host:
        asked = await host.chat(ChatRequest("q", session_id="s"))
        assert (await approved(host, asked)).message == "done"

    assert ROOM // 2 < model.sent[-1] <= ROOM
