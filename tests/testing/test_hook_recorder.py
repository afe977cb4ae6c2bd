"""Hooks that are written down as they are called."""

from collections.abc import Awaitable, Sequence
from functools import partial
from typing import Any

import anyio
import pytest

from agentrail import (
    AppConfig,
    Attachment,
    ChatRequest,
    ChatResponse,
    MemorySessionStore,
    Message,
    Plugin,
    PluginFailure,
    Profile,
    RequestContext,
    ScriptedModel,
    create_app,
    define_plugin,
    tool,
)
from agentrail.errors import CompositionError, Overloaded
from agentrail.hook import HOOKS, compile_hooks
from agentrail.host import AgentHost
from agentrail.model import call_tools
from agentrail.testing import HookCall, HookRecorder

pytestmark = pytest.mark.anyio

FILES = (Attachment(filename="a.txt", mime_type="text/plain", data=b"a"),)


@tool
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def host_of(*plugins: Plugin, replies: tuple[Any, ...] = ("fine",), **config: Any) -> AgentHost:  # noqa: ANN401
    app = AppConfig(
        profiles=[Profile(id="assistant", model="scripted:m", tools=[add])],
        providers=[ScriptedModel(replies)],
        plugins=plugins,
        store=MemorySessionStore(),
        **config,
    )
    return create_app(app).host


def outcomes(recorder: HookRecorder, hook: str) -> list[str]:
    return [call.outcome for call in recorder.calls(hook)]


async def test_every_hook_of_a_turn_is_written_down_in_order() -> None:
    recorder = HookRecorder()
    replies = (call_tools(("add", {"a": 1, "b": 2})), "three")
    async with host_of(recorder, replies=replies) as host:
        answer = await host.chat(ChatRequest("hi", session_id="s", attachments=FILES))

    assert answer.message == "three"
    assert recorder.names == [
        "start",
        "on_request_start",
        "intercept_chat_request",
        "attachment_handler",
        "context_providers",
        "before_request",
        "after_response",
        "before_tool_call",
        "after_tool_call",
        "before_request",
        "on_chunk",
        "after_response",
        "on_turn_persisted",
        "on_request_end",
        "stop",
    ]
    assert {call.outcome for call in recorder.log} == {"returned"}
    (persisted,) = recorder.calls("on_turn_persisted")
    assert (persisted.context.turn_id, persisted.context.session_id) == (answer.turn_id, "s")
    assert str(persisted) == "recorder.on_turn_persisted"
    (before,) = recorder.calls("before_tool_call")
    assert getattr(before.arguments[0], "arguments", None) == {"a": 1, "b": 2}


async def test_a_hook_that_recovers_from_errors_is_one_of_them() -> None:
    recorder = HookRecorder()
    async with host_of(recorder, replies=(Overloaded("busy"),)) as host:
        with pytest.raises(Overloaded):
            await host.chat(ChatRequest("hi"))

    (failed,) = recorder.calls("on_error")
    assert isinstance(failed.arguments[0], Overloaded)


async def test_a_recorder_changes_nothing_that_a_reader_sees() -> None:
    texts: list[list[str]] = []
    for plugins in ((), (HookRecorder(),)):
        async with host_of(*plugins, replies=(["one ", "two ", "three"],)) as host:
            async with host.stream(ChatRequest("hi")) as events:
                seen = [event async for event in events]
            texts.append([event.text for event in seen if event.type == "message.delta"])  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]

    assert texts[0] == texts[1]
    assert "".join(texts[0]) == "one two three"


async def test_a_recorder_has_the_hooks_that_it_is_to_have() -> None:
    recorder = HookRecorder("ends", hooks=["on_request_start", "on_request_end"])
    async with host_of(recorder) as host:
        await host.chat(ChatRequest("hi"))

    assert recorder.names == ["on_request_start", "on_request_end"]


async def test_a_hook_of_a_subclass_is_called_and_written_down() -> None:
    class Closed(HookRecorder):
        def intercept_chat_request(
            self, request: ChatRequest, context: RequestContext
        ) -> ChatResponse:
            return ChatResponse(f"{self.name} is closed")

    recorder = Closed("shop")
    async with host_of(recorder) as host:
        assert (await host.chat(ChatRequest("hi"))).message == "shop is closed"

    assert recorder.calls("intercept_chat_request")[0].result == ChatResponse("shop is closed")
    assert recorder.names[1:3] == ["on_request_start", "intercept_chat_request"]


async def test_several_recorders_may_write_to_one_log() -> None:
    first = HookRecorder("a")
    second = HookRecorder("b", first.log)
    async with host_of(first, second) as host:
        first.clear()
        await host.chat(ChatRequest("hi"))
        assert [str(call) for call in first.log][:2] == ["a.on_request_start", "b.on_request_start"]
        assert [call.plugin for call in second.calls("on_request_end")] == ["a", "b"]
        assert len(second.calls("on_request_end", "b")) == 1
        first.clear()
    assert [str(call) for call in second.log] == ["b.stop", "a.stop"]


async def test_a_wrapped_plugin_does_what_it_did_and_each_call_of_it_is_written_down() -> None:
    recorder = HookRecorder()

    class Greeter:
        name = "greeter"
        version = "2.1"
        priority = 5
        tools = (add,)

        def __init__(self) -> None:
            self.started = 0

        async def start(self) -> None:
            self.started += 1

        def intercept_chat_request(
            self, request: ChatRequest, context: RequestContext
        ) -> ChatResponse | None:
            return ChatResponse("hello") if request.text == "hi" else None

    greeter = Greeter()
    wrapped = recorder.wrap(greeter)
    config = AppConfig(
        profiles=[Profile(id="assistant", model="scripted:m")],
        providers=[ScriptedModel(["fine"])],
        plugins=[wrapped],
        store=MemorySessionStore(),
    )
    async with create_app(config).host as host:
        assert (await host.chat(ChatRequest("hi"))).message == "hello"
        assert (await host.chat(ChatRequest("and now?"))).message == "fine"
        table = host.composition.hooks

    assert greeter.started == 1
    assert [str(call) for call in recorder.log] == [
        "greeter.start",
        "greeter.intercept_chat_request",
        "greeter.intercept_chat_request",
    ]
    assert recorder.log[1].result == ChatResponse("hello")
    assert recorder.log[2].result is None
    assert [(hook.version, hook.is_async) for hook in table["intercept_chat_request"]] == [
        ("2.1", False)
    ]
    assert [hook.is_async for hook in table["start"]] == [True]
    assert [name for name, _ in table.tools] == ["greeter"]


async def test_a_hook_that_raises_is_written_down_with_its_error() -> None:
    recorder, failures = HookRecorder(), list[PluginFailure]()

    def fail(_context: RequestContext) -> None:
        raise ValueError("broken")

    plugin = recorder.wrap(define_plugin("p", on_request_start=fail))
    async with host_of(plugin, on_plugin_error=failures.append) as host:
        await host.chat(ChatRequest("hi"))

    (call,) = recorder.log
    assert (call.outcome, str(call.error)) == ("raised", "broken")
    assert [failure.error for failure in failures] == [call.error]


async def test_a_hook_that_is_cancelled_is_written_down_as_such() -> None:
    recorder, begun = HookRecorder(), anyio.Event()

    async def hang(_context: RequestContext) -> None:
        begun.set()
        await anyio.sleep_forever()

    plugin = recorder.wrap(define_plugin("p", on_request_start=hang))
    async with host_of(plugin) as host, anyio.create_task_group() as tasks:
        tasks.start_soon(host.chat, ChatRequest("hi"))
        await begun.wait()
        assert outcomes(recorder, "on_request_start") == ["running"]
        tasks.cancel_scope.cancel()

    assert outcomes(recorder, "on_request_start") == ["cancelled"]


async def test_a_sync_hook_that_returns_an_awaitable_ends_when_that_does() -> None:
    recorder, go_on = HookRecorder(), anyio.Event()

    async def wait() -> None:
        await go_on.wait()

    def observe(_context: RequestContext) -> Awaitable[None]:
        return wait()

    plugin = recorder.wrap(define_plugin("p", on_request_start=observe))
    async with host_of(plugin) as host, anyio.create_task_group() as tasks:
        tasks.start_soon(host.chat, ChatRequest("hi"))
        await anyio.wait_all_tasks_blocked()
        assert outcomes(recorder, "on_request_start") == ["running"]
        go_on.set()

    (call,) = recorder.log
    assert (call.outcome, call.result) == ("returned", None)


async def test_partials_and_callable_objects_are_hooks_too() -> None:
    recorder, seen = HookRecorder(), list[object]()

    class Observer:
        async def __call__(self, context: RequestContext) -> None:
            seen.append(self)

    async def observe(what: str, _context: RequestContext) -> None:
        seen.append(what)

    plugin = define_plugin(
        "p", on_request_start=Observer(), on_request_end=partial(observe, "the end")
    )
    async with host_of(recorder.wrap(plugin)) as host:
        await host.chat(ChatRequest("hi"))

    assert len(seen) == 2
    assert recorder.names == ["on_request_start", "on_request_end"]


async def test_each_context_provider_is_written_down() -> None:
    recorder = HookRecorder()

    def provide(_context: RequestContext, _messages: Sequence[Message]) -> list[Message]:
        return []

    plugin = define_plugin("p", context_providers=[provide, provide])
    async with host_of(recorder.wrap(plugin)) as host:
        await host.chat(ChatRequest("hi"))

    assert recorder.names == ["context_providers"] * 2


class Misspelled:
    name = "p"

    def on_turn_persist(self, _context: RequestContext) -> None: ...


def test_a_misspelled_method_is_found_though_its_plugin_is_wrapped() -> None:
    with pytest.raises(CompositionError, match="did you mean 'on_turn_persisted'"):
        host_of(HookRecorder().wrap(Misspelled()))


@pytest.mark.parametrize(
    ("members", "fault"),
    [
        ({"on_turn_persist": print}, "on_turn_persist"),
        ({"on_request_start": lambda: None}, "must take"),
        ({"context_providers": [3]}, "must be a function"),
    ],
)
def test_what_is_wrong_with_a_plugin_is_found_though_it_is_wrapped(
    members: dict[str, Any], fault: str
) -> None:
    with pytest.raises(CompositionError, match=fault):
        host_of(HookRecorder().wrap(define_plugin("p", **members)))


def test_a_recorder_looks_like_a_plugin_and_nothing_else() -> None:
    table, faults = compile_hooks([HookRecorder()])
    assert faults == ()
    assert {name for name in HOOKS if table[name]} == set(HOOKS)


def test_what_is_called_without_a_request_has_no_context() -> None:
    with pytest.raises(LookupError, match="called without a context"):
        _ = HookCall("p", "start", ()).context
