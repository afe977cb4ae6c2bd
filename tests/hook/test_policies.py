"""What the failure of a hook around a model call or a tool call means, for each of the six."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from attrs import define, field

from agentrail import (
    AgentHost,
    AgentrailError,
    AppConfig,
    ChatRequest,
    Delta,
    MemorySessionStore,
    Message,
    ModelReply,
    ModelRequest,
    PluginFailure,
    Profile,
    ScriptedModel,
    ToolCall,
    ToolResult,
    create_app,
    define_plugin,
    tool,
)
from agentrail.errors import HookTypeError, ModelUnavailable, RequestRefused
from agentrail.hook import FAILED, Funnel, Plugin, Policy, attempt, compile_hooks, fallback
from agentrail.model import call_tools

pytestmark = pytest.mark.anyio

SEAMS = (
    "before_request",
    "on_chunk",
    "after_response",
    "on_error",
    "before_tool_call",
    "after_tool_call",
)
both_doors = pytest.mark.parametrize("kind", ["chat", "stream"])
each_seam = pytest.mark.parametrize("hook", SEAMS)


def fail(*_: object) -> None:
    message = "no"
    raise ValueError(message)


def wrong(*_: object) -> Any:  # noqa: ANN401 - what an untyped plugin may do
    return 42


def reply(text: str) -> ModelReply:
    return ModelReply(message=Message.assistant(text))


def result(text: str) -> ToolResult:
    return ToolResult(call_id="", name="", content=text)


def plugin(name: str, hook: str, call: Callable[..., object], **members: Any) -> Plugin:  # noqa: ANN401
    members[hook] = call
    return define_plugin(name, **members)


@define
class Told:
    """Runs a turn with some plugins, and holds what became of it."""

    plugins: Sequence[Plugin]
    failures: list[PluginFailure] = field(factory=list[PluginFailure])
    executed: list[str] = field(factory=list[str])
    tool_result: str = ""

    async def turn(self, hook: str, kind: str) -> str:
        """Returns the answer of a turn that comes by the hook."""

        @tool
        def ping() -> str:
            """Answer."""
            self.executed.append("ping")
            return "pong"

        script: list[ModelReply | Exception] = [reply("fine")]
        if hook == "on_error":
            script = [ModelUnavailable("down")]
        elif "tool" in hook:
            script.insert(0, call_tools(("ping", {})))
        model = ScriptedModel(script)
        config = AppConfig(
            profiles=[Profile(id="assistant", model="scripted:x", tools=[ping])],
            providers=[model],
            plugins=self.plugins,
            store=MemorySessionStore(),
            on_plugin_error=self.failures.append,
        )
        async with create_app(config).host as host:
            text = await answer(host, kind)
        for request in model.requests:
            for part in request.messages[-1].parts:
                if isinstance(part, ToolResult):
                    self.tool_result = part.content
        return text


async def answer(host: AgentHost, kind: str) -> str:
    if kind == "chat":
        return (await host.chat(ChatRequest("hi"))).message
    final = ""
    async with host.stream(ChatRequest("hi")) as events:
        async for event in events:
            if event.type == "turn.error":
                raise ByStream(getattr(event, "code", ""), getattr(event, "detail", ""))
            final = getattr(event, "message", "") if event.type == "turn.end" else final
    return final


class ByStream(AgentrailError):
    """What the last frame of a stream said."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.said = code


@both_doors
@each_seam
@pytest.mark.parametrize("broken", [fail, wrong])
async def test_abort_refuses_the_request(
    hook: str, kind: str, broken: Callable[..., object]
) -> None:
    told = Told([plugin("strict", hook, broken, on_failure={hook: "abort"})])

    with pytest.raises(AgentrailError, match=f"'strict' failed in {hook}") as caught:
        await told.turn(hook, kind)

    code = getattr(caught.value, "said", caught.value.code)
    assert code == RequestRefused.code
    kinds = [(each.plugin, each.hook, type(each.error)) for each in told.failures]
    assert kinds == [("strict", hook, ValueError if broken is fail else HookTypeError)]


@both_doors
@each_seam
@pytest.mark.parametrize("broken", [fail, wrong])
async def test_skip_goes_on_as_if_the_hook_were_not_there(
    hook: str, kind: str, broken: Callable[..., object]
) -> None:
    told = Told([plugin("lax", hook, broken, on_failure={hook: "skip"}, critical=True)])

    if hook == "on_error":
        with pytest.raises(AgentrailError, match="down"):
            await told.turn(hook, kind)
    else:
        assert await told.turn(hook, kind) == "fine"
        assert told.tool_result == ("pong" if "tool" in hook else "")
    assert {(each.plugin, each.hook) for each in told.failures} == {("lax", hook)}


@both_doors
@each_seam
async def test_what_a_critical_plugin_does_not_say_is_abort_and_for_before_tool_call_deny(
    hook: str, kind: str
) -> None:
    told = Told([plugin("strict", hook, fail, critical=True)])

    if hook == "before_tool_call":
        assert await told.turn(hook, kind) == "fine"
        assert told.tool_result.startswith("denied: plugin 'strict' failed")
        assert told.executed == []
    else:
        with pytest.raises(AgentrailError, match=f"'strict' failed in {hook}"):
            await told.turn(hook, kind)


@each_seam
async def test_what_another_plugin_does_not_say_is_skip_and_for_before_tool_call_deny(
    hook: str,
) -> None:
    told = Told([plugin("lax", hook, fail)])

    if hook == "on_error":
        with pytest.raises(ModelUnavailable):
            await told.turn(hook, "chat")
    else:
        assert await told.turn(hook, "chat") == "fine"
        assert told.executed == (["ping"] if hook == "after_tool_call" else [])


VALUES = {
    "before_request": reply("instead"),
    "on_chunk": Delta(text="instead"),
    "after_response": reply("instead"),
    "on_error": reply("instead"),
    "before_tool_call": result("instead"),
    "after_tool_call": result("instead"),
}


@both_doors
@each_seam
async def test_a_value_stands_in_for_what_the_hook_would_have_returned(
    hook: str, kind: str
) -> None:
    told = Told([plugin("lame", hook, fail, on_failure={hook: fallback(VALUES[hook])})])

    text = await told.turn(hook, kind)

    if "tool" in hook:
        assert (text, told.tool_result) == ("fine", "instead")
        assert told.executed == ([] if hook == "before_tool_call" else ["ping"])
    elif hook == "after_response" and kind == "stream":
        assert text == "fine"  # the reader has seen it
    else:
        assert text == "instead"


@both_doors
@each_seam
async def test_another_plugin_stands_in_with_the_same_hook_and_the_same_arguments(
    hook: str, kind: str
) -> None:
    seen: list[tuple[object, ...]] = []

    def stand_in(*arguments: object) -> object:
        seen.append(arguments)
        return VALUES[hook]

    lame = plugin("lame", hook, fail, on_failure={hook: fallback("able")}, priority=1)
    lone, both = (
        Told([plugin("able", hook, stand_in)]),
        Told([lame, plugin("able", hook, stand_in)]),
    )

    expected = await lone.turn(hook, kind)
    alone = len(seen)

    assert await both.turn(hook, kind) == expected
    assert (both.tool_result, both.executed) == (lone.tool_result, lone.executed)
    # A stand-in that answers ends the hooks that decide; around the others it has its own turn too.
    decides = hook in {"before_request", "on_error", "before_tool_call"}
    assert len(seen) == alone * (2 if decides else 3)
    assert len({tuple(map(type, arguments)) for arguments in seen}) == 1


@each_seam
async def test_a_stand_in_that_fails_too_is_skipped_and_both_are_reported(hook: str) -> None:
    told = Told(
        [
            plugin("lame", hook, fail, on_failure={hook: fallback("able")}, priority=1),
            plugin("able", hook, fail, on_failure={hook: "skip"}),
        ]
    )

    if hook == "on_error":
        with pytest.raises(ModelUnavailable):
            await told.turn(hook, "chat")
    else:
        assert await told.turn(hook, "chat") == "fine"
    assert told.executed == (["ping"] if hook == "after_tool_call" else [])
    assert {each.plugin for each in told.failures} == {"lame", "able"}


async def test_none_stands_in_to_withhold_a_piece() -> None:
    told = Told([plugin("redact", "on_chunk", fail, on_failure={"on_chunk": fallback(None)})])

    assert await told.turn("on_chunk", "stream") == ""


async def test_a_stand_in_need_not_be_hashable(funnel: Funnel) -> None:
    call = ToolCall(id="c1", name="ping", arguments={"n": 1})
    calling = ModelReply(message=Message.assistant((call,)), stop_reason="tool_calls")
    guest = plugin("lame", "on_error", fail, on_failure={"on_error": fallback(calling)})
    hooks, faults = compile_hooks([guest])
    (hook,) = hooks["on_error"]

    assert faults == ()
    assert await attempt(funnel, (hook,), hook, (ModelReply,), ValueError(), None) is calling


async def test_an_attempt_returns_what_the_hook_does(funnel: Funnel) -> None:
    request = ModelRequest(model="x", messages=())
    for returned in (None, request, reply("a")):

        def hold(*_: object, it: object = returned) -> object:
            return it

        hooks, _ = compile_hooks([plugin("p", "before_request", hold)])
        (hook,) = hooks["before_request"]
        expected = (ModelRequest, ModelReply)
        assert await attempt(funnel, (hook,), hook, expected, request, None) is returned


async def test_a_failed_attempt_is_told_apart_from_none(
    funnel: Funnel, failures: list[PluginFailure]
) -> None:
    hooks, _ = compile_hooks([plugin("p", "before_request", fail)])
    (hook,) = hooks["before_request"]

    assert await attempt(funnel, (hook,), hook, (ModelRequest,), None, None) is FAILED
    assert [each.hook for each in failures] == ["before_request"]


@pytest.mark.parametrize(
    ("on_failure", "said"),
    [
        ("skip", "on_failure must be a mapping"),
        ({"on_request_start": "skip"}, "not for 'on_request_start'"),
        ({"before_reqest": "skip"}, "not for 'before_reqest'"),
        ({"before_request": "ignore"}, "'abort', 'skip' or fallback(...), not 'ignore'"),
        ({"before_tool_call": "deny"}, "'abort', 'skip' or fallback(...), not 'deny'"),
        ({"before_request": None}, "'abort', 'skip' or fallback(...), not None"),
        ({"before_tool_call": fallback(42)}, "can fall back on the name of a plugin or ToolResult"),
        ({"on_chunk": fallback(reply("a"))}, "'on_chunk' can fall back on"),
        ({"before_request": fallback("nobody")}, "'nobody', which has no before_request"),
        ({"before_request": fallback("p")}, "'p', which has no before_request"),
        ({"before_request": fallback("other")}, "'other', which has no before_request"),
    ],
)
def test_a_policy_that_cannot_hold_is_a_fault(on_failure: object, said: str) -> None:
    guest = plugin("p", "before_request", fail, before_tool_call=fail, on_failure=on_failure)
    other = plugin("other", "on_chunk", fail)

    _, faults = compile_hooks([guest, other])

    assert any(said in fault for fault in faults), faults


@each_seam
def test_a_plugins_own_word_comes_before_critical(hook: str) -> None:
    policies: list[Policy] = ["skip", "abort", fallback(VALUES[hook]), fallback("other")]
    for policy in policies:
        guest = plugin("p", hook, fail, critical=True, on_failure={hook: policy})
        hooks, faults = compile_hooks([guest, plugin("other", hook, fail)])
        assert faults == ()
        assert hooks[hook][0].policy == policy


def test_what_a_hook_itself_may_not_return_is_no_fallback_either() -> None:
    for hook in SEAMS:
        guest = plugin("p", hook, fail, on_failure={hook: fallback(42)})
        assert len(compile_hooks([guest])[1]) == 1
