"""Code that strays: the turns of others and the host go on, and a cancelled turn is cancelled."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from types import SimpleNamespace
from typing import cast

import anyio
import anyio.lowlevel
import pytest
from attrs import define, field

from agentrail import (
    AgentHost,
    ChatRequest,
    ChatResponse,
    Event,
    MemorySessionStore,
    ModelRequest,
    Plugin,
    PluginFailure,
    Profile,
    RequestContext,
    ScriptedModel,
    SessionStore,
    Tool,
    tool,
)
from agentrail.errors import AgentrailError
from agentrail.events import ToolEnd, TurnEnd, TurnError
from agentrail.model import call_tools
from agentrail.model.scripted import Said
from tests.host.conftest import MakeHost
from tests.strays import STRAYS, Stray

pytestmark = pytest.mark.anyio

CANCELLABLE = (
    "on_request_start",
    "intercept_chat_request",
    "context_providers",
    "before_request",
    "after_response",
    "before_tool_call",
    "after_tool_call",
)
HOOKS = (*CANCELLABLE, "on_turn_persisted", "on_request_end")


@define
class Company:
    """An agent with a tool; in session ``s`` something is done ``where`` it is to be."""

    where: str
    what: Callable[[], Awaitable[object]]
    failures: list[PluginFailure] = field(factory=list[PluginFailure])
    begun: anyio.Event = field(factory=anyio.Event)
    go_on: anyio.Event = field(factory=anyio.Event)

    async def act(self, *arguments: object) -> object:
        (context,) = [each for each in arguments if isinstance(each, RequestContext)]
        if context.session_id == "s":
            await self.what()
        return [] if self.where == "context_providers" else None

    async def answer(self, request: ModelRequest) -> Said:
        """Be the model: in session ``other``, one that is waited for."""
        assert request.context is not None
        if request.context.session_id == "other":
            self.begun.set()
            await self.go_on.wait()
        elif request.messages[-1].role == "user":
            return call_tools(("look", {}))
        if self.where == "model":
            await self.act(request.context)
        return "fine"

    @property
    def tools(self) -> Sequence[Tool]:
        @tool
        async def look(context: RequestContext) -> str:
            """Look."""
            if self.where == "tool":
                await self.act(context)
            return "seen"

        return [look]

    def host(
        self, make_host: MakeHost, store: SessionStore | None = None, **more: object
    ) -> AgentHost:
        hook = [self.act] if self.where == "context_providers" else self.act
        members = {self.where: hook} if self.where in HOOKS else more
        return make_host(
            profiles=[Profile(id="assistant", model="scripted:m", tools=self.tools)],
            providers=[ScriptedModel.repeat(self.answer)],
            plugins=[cast("Plugin", SimpleNamespace(name="wayward", **members))],
            on_plugin_error=self.failures.append,
            **({} if store is None else {"store": store}),
        )


async def streamed(host: AgentHost, session_id: str) -> list[Event]:
    async with host.stream(ChatRequest("hi", session_id)) as events:
        return [each async for each in events]


async def beside(
    company: Company,
    host: AgentHost,
    then: Callable[[], Awaitable[None]] = anyio.lowlevel.checkpoint,
) -> tuple[list[Event], list[Event]]:
    """Return the events of a turn in ``s``, and those of one that it ran in the middle of."""
    seen: dict[str, list[Event]] = {}

    async def read(session_id: str) -> None:
        seen[session_id] = await streamed(host, session_id)

    async with anyio.create_task_group() as readers:
        readers.start_soon(read, "other")
        await company.begun.wait()
        await read("s")
        await then()
        company.go_on.set()
    return seen["s"], seen["other"]


def is_complete(events: Sequence[Event]) -> bool:
    return isinstance(events[-1], TurnEnd) and events[-1].outcome == "completed"


@pytest.mark.parametrize("stray", STRAYS)
@pytest.mark.parametrize("hook", HOOKS)
async def test_a_hook_that_strays_is_reported_and_ends_nothing(
    make_host: MakeHost, hook: str, stray: Stray
) -> None:
    company = Company(hook, stray)
    async with company.host(make_host) as host:
        own, other = await beside(company, host)
        after = await host.chat(ChatRequest("hi", "other"))

    assert is_complete(own)
    assert is_complete(other)
    assert after.outcome == "completed"
    assert {(each.plugin, each.hook) for each in company.failures} == {("wayward", hook)}
    assert {type(each.error).__name__ for each in company.failures} == {"HookError"}


@pytest.mark.parametrize("stray", STRAYS)
async def test_a_tool_that_strays_has_failed_and_ends_nothing(
    make_host: MakeHost, stray: Stray
) -> None:
    company = Company("tool", stray)
    async with company.host(make_host) as host:
        own, other = await beside(company, host)

    assert is_complete(own)
    assert is_complete(other)
    assert [each.outcome for each in own if isinstance(each, ToolEnd)] == ["error"]


@pytest.mark.parametrize("stray", STRAYS)
async def test_a_model_that_strays_fails_its_turn_and_no_other(
    make_host: MakeHost, stray: Stray
) -> None:
    company = Company("model", stray)
    async with company.host(make_host) as host:
        own, other = await beside(company, host)
        with pytest.raises(AgentrailError):
            await host.chat(ChatRequest("hi", "s", on_disconnect="continue"))
        after = await host.chat(ChatRequest("hi", "other"))

    assert isinstance(own[-1], TurnError)
    assert is_complete(other)
    assert after.outcome == "completed"


@pytest.mark.parametrize("stray", STRAYS)
async def test_an_answer_that_strays_is_refused_and_reported(
    make_host: MakeHost, stray: Stray
) -> None:
    async def pieces() -> AsyncIterator[str]:
        yield "So"
        await stray()

    def intercept(_request: ChatRequest, context: RequestContext) -> ChatResponse | None:
        return ChatResponse(text_stream=pieces()) if context.session_id == "s" else None

    company = Company("intercept", stray)
    async with company.host(make_host, intercept_chat_request=intercept) as host:
        own, other = await beside(company, host)

    assert isinstance(own[-1], TurnError)
    assert is_complete(other)
    assert [(each.plugin, each.hook) for each in company.failures] == [
        ("wayward", "intercept_chat_request")
    ]


@pytest.mark.parametrize("stray", STRAYS)
async def test_a_store_that_strays_after_the_commit_ends_no_other_turn(
    make_host: MakeHost, stray: Stray
) -> None:
    class Store(MemorySessionStore):
        async def announced(self, turn_id: str) -> None:
            await super().announced(turn_id)
            if not company.go_on.is_set():
                await stray()

    company = Company("store", stray)
    async with company.host(make_host, store=Store()) as host:

        async def left_to_itself() -> None:
            with pytest.raises(AgentrailError):
                await host.chat(ChatRequest("hi", "t", on_disconnect="continue"))

        own, other = await beside(company, host, left_to_itself)
        after = await host.chat(ChatRequest("hi", "s"))

    assert is_complete(own)
    assert is_complete(other)
    assert after.outcome == "completed"


@pytest.mark.parametrize("where", [*CANCELLABLE, "tool", "model"])
async def test_a_turn_that_is_cancelled_there_is_cancelled(make_host: MakeHost, where: str) -> None:
    begun = anyio.Event()

    async def wait() -> None:
        begun.set()
        await anyio.sleep_forever()

    company = Company(where, wait)
    async with company.host(make_host) as host:
        answers: list[object] = []

        async def chat() -> None:
            answers.append(await host.chat(ChatRequest("hi", "s")))

        async with anyio.create_task_group() as callers:
            callers.start_soon(chat)
            await begun.wait()
            callers.cancel_scope.cancel()
        company.go_on.set()
        after = await host.chat(ChatRequest("hi", "other"))

    assert (answers, company.failures) == ([], [])
    assert after.outcome == "completed"
