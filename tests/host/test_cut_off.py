"""Tool calls that are cut off: each that began is told to have ended, before the turn's end."""

from collections.abc import Sequence

import anyio
import pytest

from agentrail import (
    ChatRequest,
    Event,
    Profile,
    ScriptedModel,
    ToolCall,
    ToolResult,
    define_plugin,
    tool,
)
from agentrail.events import ToolEnd, ToolStart
from agentrail.model import call_tools
from agentrail.route import frame
from tests.host.conftest import MakeHost
from tests.host.office import ME, again, streamed

pytestmark = pytest.mark.anyio


def told(events: Sequence[Event]) -> list[str]:
    """Tells a turn's tool calls and its end, each in a few letters."""
    return [
        f"{event.name} {event.outcome}"
        if isinstance(event, ToolEnd)
        else f"{event.name} begins"
        if isinstance(event, ToolStart)
        else event.type
        for event in events
        if event.type.startswith(("tool.", "turn."))
    ]


@tool
async def dig() -> str:
    """Dig."""
    await anyio.sleep_forever()
    return "never"


async def test_of_a_cancelled_turn_the_call_that_ran_ends_and_the_one_after_it_is_not_shown(
    make_host: MakeHost,
) -> None:
    model = ScriptedModel([call_tools(("dig", {}), ("dig", {}))])
    profile = Profile(id="assistant", model="scripted:m", tools=[dig])
    events: list[Event] = []
    async with make_host(providers=[model], profiles=[profile]) as host:
        async with host.stream(ChatRequest("go", session_id="s")) as stream:
            async for event in stream:
                events.append(event)
                if isinstance(event, ToolStart):
                    await host.cancel(ME, event.turn_id)
        assert [frame(e) for e in await again(host, events[0].turn_id)] == [
            frame(e) for e in events
        ]
    assert told(events) == ["turn.start", "dig begins", "dig cancelled", "turn.end"]
    (end,) = [event for event in events if isinstance(event, ToolEnd)]
    assert (end.step, end.duration_ms) == (1, 0)
    assert "may have had its effects" in end.content


async def test_of_a_failed_turn_each_call_that_ran_beside_the_failure_ends(
    make_host: MakeHost,
) -> None:
    watching, both = list[str](), anyio.Event()

    @tool(concurrent=True)
    async def watch() -> str:
        """Watch."""
        watching.append("me too")
        if len(watching) > 1:
            both.set()
        await anyio.sleep_forever()
        return "never"

    @tool(concurrent=True)
    async def call_home() -> str:
        """Call home."""
        await both.wait()
        return "nobody there"

    def fail(call: ToolCall, _result: ToolResult, _context: object) -> None:
        raise ValueError(call.name)

    model = ScriptedModel([call_tools(("watch", {}), ("call_home", {}), ("watch", {}))])
    config = {
        "providers": [model],
        "profiles": [Profile(id="assistant", model="scripted:m", tools=[watch, call_home])],
        "plugins": [define_plugin("strict", critical=True, after_tool_call=fail)],
    }
    async with make_host(**config) as host:
        events = await streamed(host, ChatRequest("go"))
    first, *calls, last = told(events)
    assert (first, last) == ("turn.start", "turn.error")
    assert sorted(calls) == [
        *("call_home begins", "call_home cancelled"),
        *("watch begins", "watch begins", "watch cancelled", "watch cancelled"),
    ]
    for call_id in {event.call_id for event in events if isinstance(event, ToolStart | ToolEnd)}:
        mine = [
            e.type for e in events if isinstance(e, ToolStart | ToolEnd) and e.call_id == call_id
        ]
        assert mine == ["tool.start", "tool.end"]
