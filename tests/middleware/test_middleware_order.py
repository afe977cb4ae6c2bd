"""What holds for all middleware that comes with agentrail: its types, its order, cancellation."""

from collections.abc import Sequence
from typing import Any

import anyio
import pytest

from agentrail import AppConfig, ChatRequest, Profile, ToolRequest, ToolResult, middleware
from agentrail.hook import Call, chain
from agentrail.messages import ToolOutcome
from agentrail.model.scripted import call_tools
from agentrail.requests import ModelReply, ModelRequest
from tests.middleware.calls import Reader, asking, calling, result_of
from tests.middleware.conftest import Opens, stream

pytestmark = pytest.mark.anyio


class Nothing:
    def pre_process(self, ctx: middleware.CallContext) -> None: ...

    def post_process(self, ctx: middleware.CallContext, result: object) -> None: ...


async def add_all(requests: Sequence[ToolRequest]) -> Sequence[object]:
    await anyio.sleep_forever()
    return []


FOR_BOTH = [
    middleware.logging(content=True),
    middleware.slow_log(1),
    middleware.metrics(),
    middleware.rate_limit(1000, 1),
    middleware.redact(),
    middleware.cache(60, tools=["add"]),
    middleware.retry(3, tools=["add"]),
    middleware.from_pre_post(Nothing()),
]
FOR_TOOLS = [
    middleware.authorize({"add": {"clerk"}}, otherwise="allow"),
    middleware.batch("other", add_all),
]


def test_the_same_objects_stand_in_both_lists() -> None:
    """The type checkers read this."""
    config = AppConfig(
        profiles=[Profile(id="assistant", model="scripted:m")],
        model_middleware=FOR_BOTH,
        tool_middleware=[*FOR_BOTH, *FOR_TOOLS],
    )

    assert config.model_middleware == FOR_BOTH


async def hang(_request: object) -> Any:  # noqa: ANN401
    await anyio.sleep_forever()


@pytest.mark.parametrize("each", FOR_BOTH)
async def test_cancellation_passes_through_around_a_model(each: middleware.BothSeams) -> None:
    came_back = False
    with anyio.move_on_after(0.01) as scope:
        await each(asking(emit=Reader()), hang)
        came_back = True

    assert scope.cancelled_caught
    assert not came_back


@pytest.mark.parametrize(
    "each",
    [*FOR_BOTH, middleware.authorize({}, otherwise="allow"), middleware.batch("add", add_all)],
)
async def test_cancellation_passes_through_around_a_tool(each: middleware.ToolMiddleware) -> None:
    came_back = False
    with anyio.move_on_after(0.01) as scope:
        await each(calling(), hang)
        came_back = True

    assert scope.cancelled_caught
    assert not came_back


@pytest.mark.parametrize("each", FOR_BOTH)
async def test_an_error_passes_through(each: middleware.BothSeams) -> None:
    async def fail(_request: object) -> Any:  # noqa: ANN401
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        await each(asking(), fail)
    with pytest.raises(LookupError, match="gone"):
        await each(calling(), fail)


def marking(log: list[str], mark: str) -> middleware.BothSeams:
    async def model(request: ModelRequest, call_next: Call[ModelRequest, ModelReply]) -> ModelReply:
        log.append(f"model {mark}")
        return await call_next(request)

    async def tool(request: ToolRequest, call_next: Call[ToolRequest, ToolResult]) -> ToolResult:
        log.append(f"tool {mark}")
        return await call_next(request)

    return middleware.BothSeams(model, tool)


@pytest.mark.parametrize("door", ["chat", "stream"])
async def test_the_first_in_the_list_is_outermost_on_both_doors(
    open_host: Opens, door: str
) -> None:
    """What stands before a cache is asked each time, what stands after it once."""
    log: list[str] = []
    around = [
        marking(log, "outside"),
        middleware.cache(60, tools=["add"]),
        marking(log, "inside"),
    ]
    replies = [call_tools(("add", {"a": 2, "b": 3})), "five"] * 2
    host = await open_host(replies, model=around, tools=around)

    for session in ("s1", "s2"):
        if door == "chat":
            answered = await host.chat(ChatRequest("add", session_id=session))
            assert answered.message == "five"
        else:
            assert await stream(host, "add", session) == ["five", "turn.end"]

    assert log == [
        *("model outside", "model inside", "tool outside", "tool inside"),
        *("model outside", "model inside"),
        *("model outside", "model inside", "tool outside"),
        "model outside",
    ]


@pytest.mark.parametrize("outcome", ["ok", "error", "denied", "timeout"])
async def test_a_whole_list_leaves_a_result_as_it_is(outcome: ToolOutcome) -> None:
    request = calling("plain")

    async def tool(request: ToolRequest) -> ToolResult:
        return result_of(request, "made", outcome)

    assert await chain([*FOR_BOTH, *FOR_TOOLS], tool)(request) == result_of(
        request, "made", outcome
    )
