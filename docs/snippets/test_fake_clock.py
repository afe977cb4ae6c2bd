import anyio
import pytest

from agentrail import (
    AppConfig,
    ChatRequest,
    Limits,
    MemorySessionStore,
    Profile,
    ScriptedModel,
    ToolResult,
    create_app,
    middleware,
    tool,
)
from agentrail.errors import Overloaded
from agentrail.model import call_tools
from agentrail.testing import FakeClock

pytestmark = pytest.mark.anyio


# region deadline
async def test_a_tool_that_takes_a_minute_too_long_is_cut_off() -> None:
    clock, begun = FakeClock(), anyio.Event()

    @tool
    async def search() -> str:
        """Search the archive."""
        begun.set()
        await anyio.sleep_forever()
        return "nothing"

    model = ScriptedModel([call_tools(("search", {})), "I could not find it."])
    limits = Limits(tool_seconds=60)
    archivist = Profile(id="archivist", model="scripted:any", tools=[search], limits=limits)
    app = create_app(
        AppConfig(profiles=[archivist], providers=[model], clock=clock, store=MemorySessionStore())
    )

    async with app.host as host, anyio.create_task_group() as tasks:
        tasks.start_soon(host.chat, ChatRequest("Where is it?"))
        await begun.wait()
        clock.advance(60)

    (result,) = model.requests[1].messages[-1].parts
    assert isinstance(result, ToolResult)
    assert result.outcome == "timeout"


# endregion


# region jump
async def test_a_busy_model_is_asked_again() -> None:
    clock = FakeClock(autojump=True)
    app = create_app(
        AppConfig(
            profiles=[Profile(id="assistant", model="scripted:any")],
            providers=[ScriptedModel([Overloaded("busy"), Overloaded("busy"), "Hello."])],
            model_middleware=[middleware.retry(3, clock=clock)],
            store=MemorySessionStore(),
        )
    )

    async with app.host as host:
        assert (await host.chat(ChatRequest("hi"))).message == "Hello."

    assert len(clock.slept) == 2


# endregion
