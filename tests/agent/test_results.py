"""What becomes of a tool's result: one for each call, cut to size, and kept whole elsewhere."""

from collections.abc import Sequence
from typing import Any, get_args

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from agentrail import (
    AppConfig,
    ChatRequest,
    Limits,
    MemorySessionStore,
    Message,
    ModelReply,
    Principal,
    Profile,
    RequestContext,
    ScriptedModel,
    ToolCall,
    ToolError,
    ToolResult,
    create_app,
    define_plugin,
    tool,
)
from agentrail.agent import _calls as calls_module
from agentrail.errors import ArtifactNotFound, SessionNotFound
from agentrail.events import MessageRecorded, ToolEnd, ToolStart
from agentrail.hook import Tool
from agentrail.messages import ToolOutcome
from agentrail.model import call_tools
from agentrail.tool import deny
from tests.agent.conftest import ask, log_of, make_host, results_in, shown
from tests.conftest import Serve

pytestmark = pytest.mark.anyio

ME = Principal()
both_doors = pytest.mark.parametrize("kind", ["chat", "stream"])


def printer(*texts: str) -> tuple[Tool, ModelReply]:
    """Returns a tool that returns the texts one after another, and the call of it."""
    left = iter(texts)

    @tool(name="print")
    def made() -> str:
        """Print."""
        return next(left)

    return made, call_tools(("print", {}))


def artifact_in(result: ToolResult) -> str:
    """Returns the artifact that a result names."""
    return result.content.partition("all is in ")[2].partition("]")[0]


# The size.


@both_doors
async def test_a_long_result_is_shown_in_part_and_kept_whole(kind: str) -> None:
    text = "".join(chr(0x4E00 + number) for number in range(1000))
    print_it, call = printer(text)
    model = ScriptedModel([call, "done", "again"])
    async with make_host(model, [print_it], Limits(result_chars=100)) as host:
        await ask(host, kind)
        (result,) = shown(model)
        whole = await host.artifact(ME, "s", artifact_in(result))
        await ask(host, kind)
        log = await log_of(host)

    head, note, tail = result.content.splitlines()
    assert (head, tail) == (text[:80], text[-20:])
    assert note.startswith("[900 characters were left out; all is in ")
    assert whole == text
    assert result.outcome == "ok"
    assert [each.content for each in shown(model)] == [result.content]
    assert [each.content for each in log if isinstance(each, ToolEnd)] == [result.content]


@pytest.mark.parametrize("over", [0, 1])
async def test_a_result_that_fits_is_left_alone(over: int) -> None:
    print_it, call = printer("x" * (100 + over))
    model = ScriptedModel([call, "done"])
    async with make_host(model, [print_it], Limits(result_chars=100)) as host:
        await ask(host)
        log = await log_of(host)

    assert (shown(model)[0].content == "x" * (100 + over)) == (over == 0)
    assert [event.type for event in log].count("artifact") == over


async def test_without_a_limit_it_is_the_windows_tokens() -> None:
    print_it, call = printer("x" * 500, "x" * 501)
    model = ScriptedModel([call, call, "done"])
    async with make_host(model, [print_it], context_window=500) as host:
        await ask(host)

    assert [bool(artifact_in(each)) for each in all_shown(model)] == [False, True]


def all_shown(model: ScriptedModel) -> list[ToolResult]:
    return results_in([m for m in model.requests[-1].messages if m.role == "tool"])


async def test_failures_are_cut_too_and_the_hooks_see_them_whole() -> None:
    seen: list[int] = []

    @tool
    def fail() -> None:
        """Fail."""
        raise ToolError("x" * 1000)

    plugin = define_plugin(
        "p", after_tool_call=lambda _call, result, _context: seen.append(len(result.content))
    )
    model = ScriptedModel([call_tools(("fail", {})), "done"])
    async with make_host(model, [fail], Limits(result_chars=50), plugins=[plugin]) as host:
        await ask(host)
        (result,) = shown(model)
        assert await host.artifact(ME, "s", artifact_in(result)) == "x" * 1000

    assert (seen, result.outcome) == ([1000], "error")


async def test_what_a_hook_makes_too_long_is_cut() -> None:
    print_it, call = printer("short")

    def lengthen(_call: ToolCall, result: ToolResult, _context: RequestContext) -> ToolResult:
        return replace(result, content=result.content * 100)

    model = ScriptedModel([call, "done"])
    plugin = define_plugin("p", after_tool_call=lengthen)
    async with make_host(model, [print_it], Limits(result_chars=50), plugins=[plugin]) as host:
        await ask(host)
        (result,) = shown(model)
        assert await host.artifact(ME, "s", artifact_in(result)) == "short" * 100


async def test_a_model_that_uses_an_id_again_has_an_artifact_for_each_result() -> None:
    print_it, call = printer("a" * 100, "b" * 100)  # the same call, with the same id
    model = ScriptedModel([call, call, "done"])
    async with make_host(model, [print_it], Limits(result_chars=50)) as host:
        await ask(host)
        whole = [await host.artifact(ME, "s", artifact_in(each)) for each in all_shown(model)]

    assert whole == ["a" * 100, "b" * 100]


async def test_a_later_tool_may_read_an_artifact() -> None:
    print_it, call = printer("left " * 50 + "right " * 50)

    @tool
    async def read(artifact: str, context: RequestContext) -> str:
        """Read."""
        text = await context.services.session.artifact(artifact)
        return "nothing" if text is None else text[240:260]

    def read_it(request: Any) -> ModelReply:  # noqa: ANN401
        (result,) = results_in(request.messages)
        return call_tools(("read", {"artifact": artifact_in(result)}), ("read", {"artifact": "x"}))

    model = ScriptedModel([call, read_it, "done"])
    async with make_host(model, [print_it, read], Limits(result_chars=50)) as host:
        await ask(host)

    assert [each.content for each in shown(model)][1:] == ["left left right righ", "nothing"]


async def test_an_artifact_is_its_sessions_alone() -> None:
    print_it, call = printer("x" * 100)
    model = ScriptedModel([call, "done", "hello"])
    async with make_host(model, [print_it], Limits(result_chars=50)) as host:
        await ask(host)
        artifact = artifact_in(shown(model)[0])
        await host.chat(ChatRequest("hi", session_id="other"))

        for session, name in (("s", "nothing"), ("s", f"{artifact}x"), ("other", artifact)):
            with pytest.raises(ArtifactNotFound):
                await host.artifact(ME, session, name)
        for stranger in (Principal(user_id="eve"), Principal(tenant_id="elsewhere")):
            with pytest.raises(SessionNotFound):
                await host.artifact(stranger, "s", artifact)
        await host.delete_session(ME, "s")
        with pytest.raises(SessionNotFound):
            await host.artifact(ME, "s", artifact)


async def test_an_artifact_is_read_over_http(served: Serve) -> None:
    text = "line\n\u6f22 \U0001f600 \x00" * 50
    print_it, call = printer(text)
    model = ScriptedModel([call, "done"])
    profile = Profile(
        id="assistant", model="scripted:x", tools=[print_it], limits=Limits(result_chars=50)
    )
    app = create_app(AppConfig(profiles=[profile], providers=[model], store=MemorySessionStore()))
    client = await served(app)
    answer = await client.post("/chat", json={"message": "hi", "sessionId": "s"})
    assert answer.json()["message"] == "done"

    found = await client.get(f"/sessions/s/artifacts/{artifact_in(shown(model)[0])}")
    missing = await client.get("/sessions/s/artifacts/nothing")
    strange = await client.get(
        f"/sessions/s/artifacts/{artifact_in(shown(model)[0])}", params={"userId": "eve"}
    )

    assert (found.status_code, found.text) == (200, text)
    assert found.headers["content-type"].startswith("text/plain")
    assert found.headers["x-content-type-options"] == "nosniff"
    assert (missing.status_code, missing.json()["code"]) == (404, "artifact_not_found")
    assert (strange.status_code, strange.json()["code"]) == (404, "session_not_found")


async def test_of_a_result_without_end_only_so_much_is_kept() -> None:
    limit = calls_module.ARTIFACT_CHARS
    print_it, call = printer("x" * limit + "y")
    model = ScriptedModel([call, "done"])
    async with make_host(model, [print_it], Limits(result_chars=50)) as host:
        await ask(host)
        (result,) = shown(model)
        assert await host.artifact(ME, "s", artifact_in(result)) == "x" * limit


# One for each.


@tool(concurrent=True)
def fine(number: int) -> int:
    """Be fine."""
    return number


@tool(concurrent=True)
def broken(number: int) -> None:
    """Break."""
    raise ValueError(number)


@tool
def alone(number: int) -> int:
    """Be fine, and alone."""
    return number


@tool(concurrent=True, timeout=0.001)
async def slow(number: int) -> int:
    """Take too long."""
    await anyio.sleep_forever()
    return number


@tool(concurrent=True)
def forbidden(number: int) -> int:
    """Be forbidden."""
    return number


ENDS: dict[str, ToolOutcome] = {
    "fine": "ok",
    "broken": "error",
    "alone": "ok",
    "slow": "timeout",
    "forbidden": "denied",
    "missing": "error",
}
KINDS = st.sampled_from([*sorted(ENDS), "unreadable", "unfit"])


def call_of(kind: str, number: int) -> ToolCall:
    arguments: dict[str, object] = {"number": "one" if kind == "unfit" else number}
    name = kind if kind in ENDS else "fine"
    invalid = "no JSON" if kind == "unreadable" else ""
    return ToolCall(id=f"c{number}", name=name, arguments=arguments, invalid=invalid)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@settings(max_examples=30)
@given(steps=st.lists(st.lists(KINDS, min_size=1, max_size=6), min_size=1, max_size=3),
       cut=st.integers(0, 5), stream=st.booleans())  # fmt: skip
def test_each_call_ends_in_one_result_in_its_place(
    backend: str, steps: Sequence[Sequence[str]], cut: int, *, stream: bool
) -> None:
    script: list[Any] = []
    wanted: list[tuple[str, ToolOutcome]] = []
    for index, kinds in enumerate(steps):
        made = [call_of(kind, len(wanted) + place) for place, kind in enumerate(kinds)]
        whole = index != cut
        script.append(
            ModelReply(
                message=Message.assistant(tuple(made)),
                stop_reason="tool_calls" if whole else "length",
            )
        )
        for call, kind in zip(made, kinds, strict=True):
            wanted.append((call.id, ENDS.get(kind, "error") if whole else "error"))
    model = ScriptedModel([*script, "done"])

    async def main() -> list[Any]:
        tools: list[Tool] = [fine, broken, alone, slow, forbidden]
        async with make_host(model, tools, permissions=[deny("forbidden")]) as host:
            await ask(host, "stream" if stream else "chat")
            return await log_of(host)

    log = anyio.run(main, backend=backend)
    assert [(each.call_id, each.outcome) for each in shown(model)] == wanted
    assert {outcome for _, outcome in wanted} <= {*get_args(ToolOutcome)}
    ids = sorted(call_id for call_id, _ in wanted)
    for event in (ToolStart, ToolEnd):
        assert sorted(each.call_id for each in log if isinstance(each, event)) == ids
    logged = results_in([event.message for event in log if isinstance(event, MessageRecorded)])
    assert sorted(each.call_id for each in logged) == ids
