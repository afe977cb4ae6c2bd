"""Hooks and middleware around model calls and tool calls."""

from collections.abc import Mapping
from typing import Any

import pytest
from msgspec.structs import replace

from agentrail import (
    AgentrailError,
    ChatRequest,
    ChatResponse,
    Delta,
    Limits,
    Message,
    ModelReply,
    ModelRequest,
    PluginFailure,
    Profile,
    RequestContext,
    ScriptedModel,
    ToolCall,
    ToolRequest,
    ToolResult,
    Usage,
    define_plugin,
    tool,
)
from agentrail.errors import ModelUnavailable, RequestRefused
from agentrail.hook import AfterResponse, BeforeRequest, Call
from agentrail.host import AgentHost
from agentrail.model.scripted import call_tools
from tests.host.conftest import MakeHost

both_doors = pytest.mark.parametrize("kind", ["chat", "stream"])


async def run(host: AgentHost, text: str, kind: str) -> tuple[str, str]:
    """Returns the turn's final message, and what a reader of the stream was shown."""
    if kind == "chat":
        message = (await host.chat(ChatRequest(text))).message
        return message, message
    shown, final = "", ""
    async with host.stream(ChatRequest(text)) as events:
        async for event in events:
            shown += getattr(event, "text", "")
            final = getattr(event, "message", "") if event.type == "turn.end" else final
            if event.type == "turn.error":
                raise AgentrailError(getattr(event, "code", ""))
    return final, shown


@both_doors
async def test_before_request_is_a_pipeline_and_may_answer_instead(
    make_host: MakeHost, kind: str
) -> None:
    def add(text: str) -> BeforeRequest:
        def before(request: ModelRequest, _context: RequestContext) -> ModelRequest:
            return replace(request, messages=(*request.messages, Message.system(text)))

        return before

    def answer(request: ModelRequest, _context: RequestContext) -> ModelReply | None:
        if request.messages[0].text == "cached":
            return ModelReply(message=Message.assistant("from the cache"))
        return None

    model = ScriptedModel(["fine"])
    plugins = [
        define_plugin("a", before_request=add("a")),
        define_plugin("b", before_request=add("b")),
        define_plugin("cache", before_request=answer),
    ]
    async with make_host(plugins=plugins, providers=[model]) as host:
        assert await run(host, "ask", kind) == ("fine", "fine")
        assert await run(host, "cached", kind) == ("from the cache", "from the cache")
    assert [message.text for message in model.requests[0].messages] == ["ask", "a", "b"]
    assert len(model.requests) == 1


@both_doors
async def test_on_chunk_changes_and_withholds_pieces_for_the_reader_and_for_the_history(
    make_host: MakeHost, kind: str
) -> None:
    def shout(chunk: Delta, _context: RequestContext) -> Delta | None:
        return None if "secret" in chunk.text else Delta(text=chunk.text.upper())

    at_once = ModelReply(message=Message.assistant("at once"))
    model = ScriptedModel([["one ", "secret ", "two"], ["all secret"], "fine"])
    plugins = [
        define_plugin(
            "cache",
            before_request=lambda request, _context: (
                at_once if request.messages[-1].text == "cached" else None
            ),
        ),
        define_plugin("shout", on_chunk=shout),
    ]
    async with make_host(plugins=plugins, providers=[model]) as host:
        assert await run(host, "hi", kind) == ("ONE TWO", "ONE TWO")
        assert await run(host, "hi", kind) == ("", "")
        assert await run(host, "cached", kind) == ("at once", "at once")
        assert await run(host, "hi", kind) == ("FINE", "FINE")


async def test_after_response_runs_in_reverse_and_cannot_change_what_was_read(
    make_host: MakeHost,
) -> None:
    failures: list[PluginFailure] = []

    def sign(name: str) -> AfterResponse:
        def after(reply: ModelReply, _context: RequestContext) -> ModelReply:
            return replace(reply, message=Message.assistant(f"{reply.message.text} {name}"))

        return after

    plugins = [define_plugin(name, after_response=sign(name)) for name in ("a", "b")]
    config = {"plugins": plugins, "on_plugin_error": failures.append}
    async with make_host("fine", "fine", **config) as host:
        assert (await run(host, "hi", "chat"))[0] == "fine b a"
        assert failures == []
        assert (await run(host, "hi", "stream"))[0] == "fine"
    assert [failure.hook for failure in failures] == ["after_response"] * 2


@both_doors
async def test_on_error_may_make_up_for_a_failed_call(make_host: MakeHost, kind: str) -> None:
    def recover(error: Exception, _context: RequestContext) -> ModelReply:
        return ModelReply(message=Message.assistant(f"sorry: {error}"))

    plugin = define_plugin("sorry", on_error=recover)
    async with make_host(ModelUnavailable("down"), plugins=[plugin]) as host:
        assert await run(host, "hi", kind) == ("sorry: down", "sorry: down")


@both_doors
async def test_a_critical_plugin_that_fails_at_the_model_refuses_the_request(
    make_host: MakeHost, kind: str
) -> None:
    def fail(*_: object) -> None:
        message = "no"
        raise ValueError(message)

    lax = define_plugin("lax", before_request=fail, after_response=fail, on_chunk=fail)
    async with make_host(plugins=[lax]) as host:
        assert await run(host, "hi", kind) == ("fine", "fine")

    def wrong(*_: object) -> Any:  # noqa: ANN401 - what an untyped plugin may do
        return "text"

    for strict in (
        define_plugin("strict", critical=True, before_request=fail),
        define_plugin("strict", critical=True, before_request=wrong),
        define_plugin("strict", critical=True, on_chunk=wrong),
        define_plugin("strict", critical=True, after_response=wrong),
    ):
        async with make_host(plugins=[strict]) as host:
            with pytest.raises(AgentrailError, match=r"request_refused|strict") as caught:
                await run(host, "hi", kind)
        assert kind == "stream" or isinstance(caught.value, RequestRefused)


async def test_middleware_wraps_model_and_tool_calls_inside_the_plugins_hooks(
    make_host: MakeHost,
) -> None:
    log: list[str] = []

    async def model_layer(
        request: ModelRequest, call_next: Call[ModelRequest, ModelReply]
    ) -> ModelReply:
        log.append("model in")
        reply = await call_next(request)
        log.append("model out")
        return reply

    async def tool_layer(
        request: ToolRequest, call_next: Call[ToolRequest, ToolResult]
    ) -> ToolResult:
        log.append(f"tool in {request.context.user_id}")
        result = await call_next(request)
        log.append("tool out")
        return result

    @tool
    def ping() -> str:
        """Answer."""
        log.append("ping")
        return "pong"

    plugin = define_plugin(
        "p",
        tools=[ping],
        before_request=lambda _request, _context: log.append("before_request"),
        before_tool_call=lambda _call, _context: log.append("before_tool_call"),
        after_tool_call=lambda _call, _result, _context: log.append("after_tool_call"),
    )
    config = {
        "plugins": [plugin],
        "model_middleware": [model_layer],
        "tool_middleware": [tool_layer],
    }
    async with make_host(call_tools(("ping", {})), "done", **config) as host:
        await host.chat(ChatRequest("hi"))
    assert log == [
        *("before_request", "model in", "model out"),
        *("before_tool_call", "tool in local", "ping", "tool out", "after_tool_call"),
        *("before_request", "model in", "model out"),
    ]


async def test_a_denied_tool_call_reaches_the_model_as_denied(make_host: MakeHost) -> None:
    executed: list[Mapping[str, object]] = []

    @tool
    def delete(path: str) -> str:
        """Delete a file.

        Args:
            path: which.
        """
        executed.append({"path": path})
        return "gone"

    def deny(call: ToolCall, _context: RequestContext) -> ToolResult:
        return ToolResult(call.id, call.name, "not allowed here", "denied")

    model = ScriptedModel([call_tools(("delete", {"path": "/"})), "as you wish"])
    plugin = define_plugin("policy", tools=[delete], before_tool_call=deny)
    async with make_host(plugins=[plugin], providers=[model]) as host:
        await host.chat(ChatRequest("delete everything"))
    result = model.requests[1].messages[-1].parts[0]
    assert result == ToolResult(
        model.requests[1].messages[-2].tool_calls[0].id, "delete", "not allowed here", "denied"
    )
    assert executed == []


async def test_the_last_step_allows_no_tools_and_the_turn_ends_there(make_host: MakeHost) -> None:
    executed: list[int] = []

    @tool
    def again() -> str:
        """Do it again."""
        executed.append(1)
        return "and again"

    model = ScriptedModel.repeat(call_tools(("again", {}), text="once more"))
    profile = Profile(id="assistant", model="scripted:x", tools=[again], limits=Limits(steps=3))
    async with make_host(profiles=[profile], providers=[model]) as host:
        response = await host.chat(ChatRequest("hi", session_id="s"))
        assert (response.stop_reason, response.message) == ("step_limit", "once more")
        assert [request.tool_choice for request in model.requests] == ["auto", "auto", "none"]
        assert len(executed) == 2
        await host.chat(ChatRequest("go on", session_id="s"))
    roles = [message.role for message in model.requests[3].messages]
    assert roles == ["user", *["assistant", "tool"] * 3, "user"]


async def test_a_call_that_the_token_limit_cut_off_is_not_executed(make_host: MakeHost) -> None:
    executed: list[int] = []

    @tool
    def write(text: str) -> str:
        """Write.

        Args:
            text: what.
        """
        executed.append(len(text))
        return "written"

    cut = replace(call_tools(("write", {"text": "half"})), stop_reason="length")
    broken = ModelReply(
        message=Message.assistant((ToolCall("c1", "write", {}, invalid='not JSON: {"te'),)),
        stop_reason="tool_calls",
    )
    model = ScriptedModel([cut, broken, "done"])
    plugin = define_plugin("t", tools=[write])
    async with make_host(plugins=[plugin], providers=[model]) as host:
        assert (await host.chat(ChatRequest("hi"))).message == "done"
    results = [message.parts[0] for message in model.requests[2].messages if message.role == "tool"]
    assert [getattr(result, "outcome", "") for result in results] == ["error", "error"]
    assert "not JSON" in getattr(results[1], "content", "")
    assert executed == []


async def test_usage_is_the_sum_of_all_steps(make_host: MakeHost) -> None:
    @tool
    def ping() -> str:
        """Answer."""
        return "pong"

    first = replace(call_tools(("ping", {})), usage=Usage(10, 5))
    second = ModelReply(message=Message.assistant("done"), usage=Usage(20, 7, 3))
    async with make_host(first, second, plugins=[define_plugin("t", tools=[ping])]) as host:
        response: ChatResponse = await host.chat(ChatRequest("hi"))
        assert response.usage == Usage(30, 12, 3)
        record = await host.core.store.turn(response.turn_id)
    assert record is not None
    assert (record.status, record.usage) == ("completed", Usage(30, 12, 3))
