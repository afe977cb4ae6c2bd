"""What a turn has used is known although its host died."""

from collections.abc import Sequence
from pathlib import Path
from shutil import copyfile

import anyio
import pytest

from agentrail import (
    AgentHost,
    AppConfig,
    ChatRequest,
    Message,
    ModelReply,
    ModelRequest,
    Profile,
    ScriptedModel,
    ToolCall,
    Usage,
    create_app,
    tool,
)
from agentrail.agent import Prices
from agentrail.errors import ContextTooLong
from agentrail.events import MessageEnd
from agentrail.model.scripted import Said
from agentrail.session import SQLiteSessionStore
from tests.host.conftest import MakeHost
from tests.host.contract import both_doors, run
from tests.host.office import ME

pytestmark = pytest.mark.anyio

USED = Usage(input_tokens=1000, output_tokens=50)


def reply(*calls: str, usage: Usage = USED, text: str = "") -> ModelReply:
    parts = tuple([ToolCall(id=name, name=name) for name in calls])
    message = Message.assistant(parts or text)
    return ModelReply(message=message, stop_reason="tool_calls" if calls else "stop", usage=usage)


def hosting(path: Path, script: Sequence[Said], begun: anyio.Event | None = None) -> AgentHost:
    said = list(script)

    def say(request: ModelRequest) -> Said:
        if request.messages[0].text.startswith("Summarize"):
            return reply(text="in short")
        return said.pop(0)

    @tool
    async def look() -> str:
        """Look."""
        return "seen"

    @tool
    async def hang() -> None:
        """Never end."""
        assert begun is not None
        begun.set()
        await anyio.sleep_forever()

    profile = Profile(
        id="assistant", model="scripted:m", tools=[look, hang], prices=Prices(input=1000, output=0)
    )
    providers, store = [ScriptedModel.repeat(say)], SQLiteSessionStore(path)
    return create_app(AppConfig(profiles=[profile], providers=providers, store=store)).host


@both_doors
@pytest.mark.parametrize(
    ("script", "calls"),
    [
        ([reply("hang")], 1),
        ([reply("look"), reply("hang")], 2),
        ([ContextTooLong("long"), reply("look"), reply("hang")], 3),
    ],
)
async def test_a_turn_whose_host_died_has_what_it_used(
    tmp_path: Path, kind: str, script: list[Said], calls: int
) -> None:
    begun = anyio.Event()
    before: list[Said] = [reply(text="word " * 100), reply(text="word " * 100)]
    dying = hosting(tmp_path / "s.db", [*before, *script], begun)
    async with dying, anyio.create_task_group() as group:
        for _ in before:
            await dying.chat(ChatRequest("hi", session_id="s"))
        group.start_soon(run, dying, ChatRequest("hi", session_id="s"), kind)
        await begun.wait()
        (tmp_path / "left").mkdir()
        for name in ("s.db", "s.db-wal"):
            copyfile(tmp_path / name, tmp_path / "left" / name)
        group.cancel_scope.cancel()

    async with hosting(tmp_path / "left" / "s.db", []) as host:
        turn_id = (await host.messages(ME, "s", limit=1))[0].turn_id
        status = await host.turn(ME, turn_id)

    assert status.status == "failed"
    usage = status.usage
    assert (usage.input_tokens, usage.output_tokens) == (1000 * calls, 50 * calls)
    assert usage.cost == pytest.approx(calls)


async def test_a_chat_logs_the_end_of_a_message_only_where_there_is_something_to_keep(
    make_host: MakeHost,
) -> None:
    @tool
    async def look() -> str:
        """Look."""
        return "seen"

    script = [reply("look"), reply("look", usage=Usage()), reply(text="done")]
    profile = Profile(id="assistant", model="scripted:test", tools=[look])
    async with make_host(*script, profiles=[profile]) as host:
        response = await host.chat(ChatRequest("hi", session_id="s"))
        log = await host.core.store.read("s")

    ends = [event for event in log if isinstance(event, MessageEnd)]
    assert [(end.step, end.usage) for end in ends] == [(1, USED)]
    assert response.usage.input_tokens == 2000
