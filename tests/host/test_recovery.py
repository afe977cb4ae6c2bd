"""Turns that go wrong where two things meet: a cancellation, a full file, another store."""

import asyncio  # noqa: TID251 - its own cancellation is tested
import sqlite3
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from agentrail import (
    AgentHost,
    AppConfig,
    ChatRequest,
    ChatResponse,
    ModelRequest,
    Plugin,
    Profile,
    RequestContext,
    ScriptedModel,
    SQLiteSessionStore,
    create_app,
    define_plugin,
    tool,
)
from agentrail.errors import (
    Interrupted,
    KeyReused,
    LeaseLost,
    NotPending,
    SessionBusy,
    StorageError,
    TurnNotFound,
)
from agentrail.model import call_tools
from agentrail.model.scripted import Scripted
from agentrail.requests import Resume
from agentrail.session import Lease, Owner, SessionStore, TurnRecord
from agentrail.tool import ask
from tests.host.conftest import Stores
from tests.host.office import (
    ME,
    Office,
    check_log,
    decide,
    transcript,
    writing,
)
from tests.session.held import Held, held

pytestmark = pytest.mark.anyio

KEYED = ChatRequest("write", session_id="s", idempotency_key="k")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


@pytest.fixture
def store(path: Path) -> SQLiteSessionStore:
    return SQLiteSessionStore(path)


@pytest.fixture
def file(path: Path) -> Generator[sqlite3.Connection]:
    """The file that the hosts share, as another process sees it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


class Steps:
    """A tool that waits in the middle of a turn."""

    def __init__(self) -> None:
        self.begun, self.go_on = anyio.Event(), anyio.Event()

    def config(self, *answers: Scripted, **profile: Any) -> dict[str, Any]:  # noqa: ANN401
        """What makes a host whose first turn waits in the tool."""

        @tool
        async def step() -> str:
            """Take a step."""
            self.begun.set()
            await self.go_on.wait()
            return "taken"

        agent = Profile(id="assistant", model="scripted:m", tools=[step], **profile)
        model = ScriptedModel([call_tools(("step", {})), *answers])
        return {"profiles": [agent], "providers": [model]}


def host_of(
    config: dict[str, Any], store: SessionStore, plugins: Sequence[Plugin] = ()
) -> AgentHost:
    return create_app(AppConfig(**config, store=store, plugins=plugins, session_wait=0.1)).host


def host_on(store: SessionStore, *answers: Scripted, plugins: Sequence[Plugin] = ()) -> AgentHost:
    profile = Profile(id="assistant", model="scripted:m")
    return host_of({"profiles": [profile], "providers": [ScriptedModel(answers)]}, store, plugins)


def statuses(file: sqlite3.Connection) -> list[str]:
    return [row[0] for row in file.execute("select status from turn order by started")]


async def cancelled(task: asyncio.Task[ChatResponse], writer: Held) -> None:
    """Let asyncio cancel a task while the writer does what the task has asked for."""
    await writer.there()
    task.cancel()
    await anyio.wait_all_tasks_blocked()
    writer.let_go()
    with pytest.raises(asyncio.CancelledError):
        await task


async def closed(file: sqlite3.Connection) -> list[str]:
    """Return how the turns of the file have ended, when none of them runs any more."""
    with anyio.fail_after(30):
        while "running" in (found := statuses(file)):
            await anyio.lowlevel.checkpoint()
    return found


# A note that is written while the turn's end is not.


async def test_a_note_does_not_make_a_turn_persisted_whose_end_could_not_be_written(
    store: SQLiteSessionStore, file: sqlite3.Connection
) -> None:
    holding, announced = ExitStack(), list[str]()
    asked, answered = anyio.Event(), anyio.Event()
    writers: list[Held] = []

    async def take_notes(context: RequestContext) -> None:
        async def note() -> None:
            await asked.wait()
            await context.services.session.note("noted")

        context.services.background(note)

    async def announce(context: RequestContext) -> None:
        announced.append(context.turn_id)

    async def answer(_request: ModelRequest) -> str:
        writers.append(holding.enter_context(held(store)))
        asked.set()
        await writers[0].there()  # with the note
        answered.set()
        return "x" * 100_000

    async def chat() -> None:
        with pytest.raises(StorageError):
            await host.chat(ChatRequest("write", session_id="s"))

    plugin = define_plugin("notes", on_request_start=take_notes, on_turn_persisted=announce)
    async with host_on(store, answer, plugins=[plugin]) as host:
        store._database._writer.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 50_000)
        with holding:
            async with anyio.create_task_group() as group:
                group.start_soon(chat)
                await answered.wait()
                await anyio.wait_all_tasks_blocked()  # the turn's end is in line behind the note
                writers[0].let_go()
        assert announced == []
        assert await closed(file) == ["failed"]
        texts = [message.text for message in await transcript(host)]

    assert texts == ["write", "noted"]
    assert announced == []


# asyncio's own cancellation, which comes once and goes through every shield.


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_chat_that_asyncio_cancels_while_its_session_is_found_busy_does_not_go_on(
    store: SQLiteSessionStore, path: Path, file: sqlite3.Connection
) -> None:
    steps = Steps()
    other = host_of(steps.config("done"), SQLiteSessionStore(path))
    async with other, host_on(store, "never said") as host, anyio.create_task_group() as group:
        group.start_soon(other.chat, ChatRequest("wait", session_id="s"))
        await steps.begun.wait()
        with held(store) as writer:
            chat = asyncio.create_task(host.chat(ChatRequest("me too", session_id="s")))
            await cancelled(chat, writer)
        steps.go_on.set()

    assert statuses(file) == ["completed"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("stage", ["begin immediate", "insert into event", "commit"])
async def test_a_chat_that_asyncio_cancels_while_its_turn_is_opened_is_closed_in_the_file(
    store: SQLiteSessionStore, path: Path, file: sqlite3.Connection, stage: str
) -> None:
    other = host_on(SQLiteSessionStore(path), "over there")
    async with host_on(store, "never said") as host, other:
        with held(store, stage) as writer:
            await cancelled(asyncio.create_task(host.chat(KEYED)), writer)

        assert await closed(file) == ["failed"]
        answer = await other.chat(ChatRequest("now", session_id="s"))
        with pytest.raises(Interrupted):
            await other.chat(KEYED)
        texts = [message.text for message in await transcript(other)]
        await check_log(other)

    assert answer.message == "over there"
    assert texts == ["write", "now", "over there"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_resume_that_asyncio_cancels_while_it_takes_a_turn_up_is_closed_in_the_file(
    store: SQLiteSessionStore, path: Path, file: sqlite3.Connection
) -> None:
    office, other = Office(), host_on(SQLiteSessionStore(path), "over there")
    async with host_of(office.config(writing("ada"), "never said"), store) as host, other:
        asked = await host.chat(KEYED)
        await decide(host, asked)
        with held(store, "insert into event") as writer:
            # Not before: what takes the session for it writes no events.
            resume = host.chat(Resume(asked.turn_id, on_disconnect="cancel"))
            await cancelled(asyncio.create_task(resume), writer)

        assert await closed(file) == ["failed"]
        answer = await other.chat(ChatRequest("now", session_id="s"))
        await check_log(other)

    assert answer.message == "over there"
    assert office.done == []


# The end of a turn that is written later.


class Telling(SQLiteSessionStore):
    """A store that tells when somebody was refused a session because it is busy."""

    refused: anyio.Event

    async def acquire(self, session_id: str, owner: Owner, **more: Any) -> Lease:  # noqa: ANN401
        try:
            return await super().acquire(session_id, owner, **more)
        except SessionBusy:
            self.refused.set()
            raise


async def test_the_end_of_a_turn_is_written_though_a_retry_was_busy_with_its_session_meanwhile(
    path: Path, file: sqlite3.Connection
) -> None:
    store = Telling(path)
    store.refused = anyio.Event()

    @tool
    async def lock() -> str:
        """Keep the file to oneself."""
        file.execute("begin immediate")
        return "locked"

    async def retry() -> None:
        with pytest.raises((StorageError, SessionBusy)):
            await host.chat(ChatRequest("once more", session_id="s"))

    profile = Profile(id="assistant", model="scripted:m", tools=[lock])
    model = ScriptedModel([call_tools(("lock", {})), "never said"])
    async with host_of({"profiles": [profile], "providers": [model]}, store) as host:
        store._database._writer.execute("pragma busy_timeout = 10")
        with pytest.raises(StorageError):
            await host.chat(ChatRequest("lock it", session_id="s"))
        with held(store) as writer:
            async with anyio.create_task_group() as group:
                group.start_soon(retry)
                await writer.there()
                await store.refused.wait()
                writer.let_go()  # who holds the session does not get at the file either
        assert statuses(file) == ["running"]
        file.execute("rollback")

        assert await closed(file) == ["failed"]
        await check_log(host)


# Sessions that are deleted, and made again.


async def test_a_key_is_answered_whose_resumed_turn_runs_in_a_session_that_was_deleted(
    new_store: Stores,
) -> None:
    steps, answers = Steps(), list[ChatResponse]()

    async def resume(turn_id: str) -> None:
        with pytest.raises(LeaseLost):
            await host.chat(Resume(turn_id))

    async def again() -> None:
        answers.append(await host.chat(KEYED))

    async with host_of(steps.config("anew", permissions=[ask("step")]), new_store()) as host:
        asked = await host.chat(KEYED)
        await decide(host, asked)
        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                group.start_soon(resume, asked.turn_id)
                await steps.begun.wait()
                await host.delete_session(ME, "s")
                group.start_soon(again)
                await anyio.wait_all_tasks_blocked()
                steps.go_on.set()

    assert [answer.message for answer in answers] == ["anew"]


async def test_a_key_is_known_in_a_session_that_another_store_made_again(
    store: SQLiteSessionStore, path: Path
) -> None:
    other = host_on(SQLiteSessionStore(path), "kept")
    async with host_on(store, "first", "never said") as host, other:
        await host.chat(ChatRequest("before", session_id="s"))
        await other.delete_session(ME, "s")
        kept = await other.chat(KEYED)

        same = await host.chat(KEYED)
        texts = [message.text for message in await transcript(host)]

    assert (same.turn_id, same.message) == (kept.turn_id, "kept")
    assert texts == ["write", "kept"]


async def test_a_key_that_came_with_something_else_in_a_session_made_again_is_refused(
    store: SQLiteSessionStore, path: Path
) -> None:
    other = host_on(SQLiteSessionStore(path), "kept")
    async with host_on(store, "first", "never said") as host, other:
        await host.chat(ChatRequest("before", session_id="s"))
        await other.delete_session(ME, "s")
        await other.chat(KEYED)

        with pytest.raises(KeyReused):
            await host.chat(ChatRequest("else", session_id="s", idempotency_key="k"))


Call = Callable[[AgentHost, ChatResponse], Awaitable[Any]]
CALLS: dict[str, Call] = {
    "status": lambda host, asked: host.turn(ME, asked.turn_id),
    "decide": lambda host, asked: host.decide(
        ME, asked.turn_id, asked.approvals[0].call.id, approved=True
    ),
    "resume": lambda host, asked: host.chat(Resume(asked.turn_id)),
}
"""What is done to a turn that is suspended."""


@pytest.mark.parametrize("what", CALLS)
async def test_a_turn_is_found_in_a_session_that_another_store_made_again(
    store: SQLiteSessionStore, path: Path, what: str
) -> None:
    office = Office()
    other = host_of(office.config(writing("ada")), SQLiteSessionStore(path))
    async with host_of(office.config("first", "sent"), store) as host, other:
        await host.chat(ChatRequest("before", session_id="s"))
        await other.delete_session(ME, "s")
        asked = await other.chat(KEYED)
        if what == "resume":
            await decide(other, asked)

        found = await CALLS[what](host, asked)

    assert found.approvals == (asked.approvals if what == "status" else ())
    assert office.done == (["sent ada"] if what == "resume" else [])


class Meanwhile(SQLiteSessionStore):
    """A store that lets something happen, once, after it has looked a turn up."""

    then: Callable[[], Awaitable[None]] | None = None

    async def turn(self, turn_id: str) -> TurnRecord | None:
        found = await super().turn(turn_id)
        if self.then is not None:
            then, self.then = self.then, None
            await then()
        return found


@pytest.mark.parametrize("what", CALLS)
async def test_a_turn_that_is_deleted_after_it_was_looked_up_is_not_found(
    path: Path, what: str
) -> None:
    office, store = Office(), Meanwhile(path)
    other = host_of(office.config(writing("ada")), SQLiteSessionStore(path))
    async with host_of(office.config("never said"), store) as host, other:
        asked = await other.chat(KEYED)
        if what == "resume":
            await decide(other, asked)
        store.then = partial(other.delete_session, ME, "s")

        with pytest.raises(TurnNotFound):
            await CALLS[what](host, asked)

    assert store.then is None
    assert office.done == []


async def test_a_key_whose_turn_is_deleted_after_it_was_looked_up_is_asked_anew(
    path: Path,
) -> None:
    store, other = Meanwhile(path), host_on(SQLiteSessionStore(path), "before")
    async with host_on(store, "anew") as host, other:
        before = await other.chat(KEYED)
        store.then = partial(other.delete_session, ME, "s")
        answer = await host.chat(KEYED)
        texts = [message.text for message in await transcript(host)]

    assert (before.message, answer.message) == ("before", "anew")
    assert texts == ["write", "anew"]


# A turn that goes on in another process.


async def test_two_resumes_of_a_turn_that_goes_on_elsewhere_are_both_refused(
    store: SQLiteSessionStore, path: Path
) -> None:
    steps, seen = Steps(), list[list[str]]()
    config = steps.config("done", permissions=[ask("step")])
    other, answers = host_of(config, SQLiteSessionStore(path)), list[ChatResponse]()

    async def go_on() -> None:
        answers.append(await other.chat(Resume(asked.turn_id)))

    async def resume() -> None:
        try:
            async with host.stream(Resume(asked.turn_id)) as events:
                steps.go_on.set()
                seen.append([event.type async for event in events])
        except NotPending as error:
            seen.append([error.code])

    async with other, host_on(store) as host:
        asked = await other.chat(KEYED)
        await decide(other, asked)
        async with anyio.create_task_group() as group:
            group.start_soon(go_on)
            await steps.begun.wait()
            async with anyio.create_task_group() as here:
                here.start_soon(resume)
                here.start_soon(resume)
            steps.go_on.set()

    assert seen == [["not_pending"], ["not_pending"]]
    assert [answer.message for answer in answers] == ["done"]
