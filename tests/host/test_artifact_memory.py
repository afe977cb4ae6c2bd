"""A turn with artifacts that are many and large: what is read of it does not take their memory."""

import tracemalloc
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from shutil import copyfile

import anyio
import pytest
from msgspec.structs import replace

from agentrail import AgentHost, AppConfig, ChatRequest, Profile, ScriptedModel, create_app, tool
from agentrail.errors import NotPending
from agentrail.events import ArtifactKept, Event, ToolEnd
from agentrail.model import call_tools
from agentrail.model.scripted import Scripted
from agentrail.session import Owner, SQLiteSessionStore
from tests.host.conftest import Stores
from tests.host.office import ME, again, transcript

pytestmark = pytest.mark.anyio

LARGE = 2_500_000
MANY = 16
LITTLE = 6 * LARGE
"""Bytes that a few artifacts take, as rows and as texts."""


def page(number: int) -> str:
    """Returns a large text that only this number has."""
    return f"{number} {'x' * LARGE} {number}"


@tool
def big(number: int) -> str:
    """Return much."""
    return page(number)


CALLS = call_tools(*[("big", {"number": number}) for number in range(MANY)])


def hosting(path: Path, *script: Scripted, begun: anyio.Event | None = None) -> AgentHost:
    @tool
    async def hang() -> None:
        """Never end."""
        assert begun is not None
        begun.set()
        await anyio.sleep_forever()

    profile = Profile(id="assistant", model="scripted:m", tools=[big, hang])
    store, model = SQLiteSessionStore(path), ScriptedModel(script)
    return create_app(AppConfig(profiles=[profile], providers=[model], store=store)).host


@asynccontextmanager
async def measured() -> AsyncGenerator[list[int]]:
    """Yields a list that has the bytes that were taken at most, when the block is done."""
    peaks: list[int] = []
    tracemalloc.start()
    try:
        yield peaks
        peaks.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()


async def artifact_ids(host: AgentHost, turn_id: str) -> list[str]:
    """Returns the ids of a turn's artifacts, as the model was told them."""
    ends = [event for event in await again(host, turn_id) if isinstance(event, ToolEnd)]
    return [end.content.partition("all is in ")[2].partition("]")[0] for end in ends]


async def status(host: AgentHost, turn_id: str) -> None:
    assert (await host.turn(ME, turn_id)).status == "completed"


async def decide(host: AgentHost, turn_id: str) -> None:
    with pytest.raises(NotPending):
        await host.decide(ME, turn_id, "no", approved=True)


async def find_the_last(host: AgentHost, turn_id: str) -> None:
    artifact_id = (await artifact_ids(host, turn_id))[-1]
    assert await host.artifact(ME, "s", artifact_id) == page(MANY - 1)


@pytest.mark.parametrize("look", [status, decide, find_the_last])
async def test_a_turn_is_looked_at_in_little_memory(
    tmp_path: Path, look: Callable[[AgentHost, str], Awaitable[None]]
) -> None:
    async with hosting(tmp_path / "s.db", CALLS, "done") as host:
        turn_id = (await host.chat(ChatRequest("hi", session_id="s"))).turn_id
        async with measured() as peaks:
            await look(host, turn_id)

    assert peaks[0] < LITTLE


async def test_every_artifact_is_found(tmp_path: Path) -> None:
    async with hosting(tmp_path / "s.db", CALLS, "done") as host:
        turn_id = (await host.chat(ChatRequest("hi", session_id="s"))).turn_id
        ids = await artifact_ids(host, turn_id)
        assert len(set(ids)) == MANY
        for number, artifact_id in enumerate(ids):
            assert await host.artifact(ME, "s", artifact_id) == page(number)


async def test_a_turn_whose_host_died_is_closed_in_little_memory(tmp_path: Path) -> None:
    begun = anyio.Event()
    dying = hosting(tmp_path / "s.db", CALLS, call_tools(("hang", {})), begun=begun)
    async with dying, anyio.create_task_group() as group:
        group.start_soon(dying.chat, ChatRequest("hi", session_id="s"))
        await begun.wait()
        (tmp_path / "left").mkdir()
        for name in ("s.db", "s.db-wal"):
            copyfile(tmp_path / name, tmp_path / "left" / name)
        group.cancel_scope.cancel()

    async with hosting(tmp_path / "left" / "s.db") as host:
        turn_id = (await host.messages(ME, "s", limit=1))[0].turn_id
        async with measured() as peaks:
            assert (await host.turn(ME, turn_id)).status == "failed"
        said = await transcript(host)
        ids = await artifact_ids(host, turn_id)
        assert await host.artifact(ME, "s", ids[3]) == page(3)

    assert peaks[0] < LITTLE
    assert [message.role for message in said].count("tool") == MANY + 1


async def test_large_events_are_read_in_pages_that_miss_none(new_store: Stores) -> None:
    store = new_store()
    await store.start()
    lease = await store.acquire("s", Owner("t", "u", "a"))
    kept: list[Event] = [ArtifactKept(artifact_id=str(n), text=page(n)) for n in range(5)]
    for event in kept:
        await store.append(lease, [event])
    read: list[Event] = []
    while more := await store.read("s", after=len(read)):
        read += more
    none = await store.read("s", limit=0)
    await store.stop()

    assert [replace(event, id=0) for event in read] == kept
    assert [event.id for event in read] == [1, 2, 3, 4, 5]
    assert list(none) == []
