"""Commands in the background: answered at once, and the session is told how they ended."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from agentrail import (
    AgentHost,
    ChatRequest,
    ChatResponse,
    Commands,
    MemorySessionStore,
    Message,
    ModelReply,
    ModelRequest,
    Principal,
    RequestContext,
    ScriptedModel,
    SQLiteSessionStore,
    command,
    create_app,
)
from agentrail.command import Command
from agentrail.errors import ConfigError, ModelUnavailable
from agentrail.session import Lease, SessionStore
from tests.command.conftest import Opens, config_of, read
from tests.strays import STRAYS, Stray

pytestmark = pytest.mark.anyio

ME = Principal()
STARTED = "/work runs in the background; this session will say when it is done."


class Work:
    """A command that begins, waits to be let go on, and ends as it is told."""

    def __init__(self, end: Callable[[], object] = lambda: "42") -> None:
        self.begun, self.go_on, self.left = anyio.Event(), anyio.Event(), anyio.Event()
        self._end = end

    async def work(self) -> object:
        """Work."""
        self.begun.set()
        try:
            await self.go_on.wait()
            return self._end()
        finally:
            self.left.set()

    @property
    def command(self) -> Command:
        return command(self.work, background=True)


class Store(MemorySessionStore):
    """Tells when a session was asked for, and when something was noted in it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.noted = anyio.Event(), anyio.Event()

    async def acquire(self, *args: Any, **more: Any) -> Lease:  # noqa: ANN401
        is_note = any(event.type == "message" for event in more.get("events", ())[:1])
        if is_note:
            self.asked.set()
        lease = await super().acquire(*args, **more)
        if is_note:
            self.noted.set()
        return lease


@pytest.fixture
async def store() -> Store:
    return Store()


async def history(host: AgentHost, session: str = "s1") -> list[tuple[str, str]]:
    """What a user sees of the session, oldest first."""
    rows = await host.messages(ME, session)
    return [(row.message.role, row.message.text) for row in reversed(rows)]


async def test_it_is_answered_at_once_and_noted_when_it_is_done(
    open_host: Opens, store: Store
) -> None:
    work = Work()
    model = ScriptedModel(["Hello.", "You asked for work."])
    host = await open_host(work.command, model=model, store=store)
    await host.chat(ChatRequest("hi", "s1"))

    answer = await host.chat(ChatRequest("/work", "s1"))
    assert (answer.status, answer.message, answer.outcome) == (202, STARTED, "intercepted")
    await work.begun.wait()
    assert not work.left.is_set()
    work.go_on.set()

    await store.noted.wait()
    assert (await history(host))[2:] == [("system", "/work is done: 42")]
    await host.chat(ChatRequest("And?", "s1"))
    assert "/work is done: 42" in [each.text for each in model.requests[-1].messages]


async def test_it_outlives_a_stream_that_is_left(open_host: Opens, store: Store) -> None:
    work = Work()
    model = ScriptedModel(["Hello."])
    host = await open_host(work.command, model=model, store=store)
    await host.chat(ChatRequest("hi", "s1"))

    async with host.stream(ChatRequest("/work", "s1")) as events:
        await anext(events)
    await work.begun.wait()
    work.go_on.set()

    await store.noted.wait()
    assert (await history(host))[2:] == [("system", "/work is done: 42")]


def fails() -> object:
    raise ModelUnavailable("the upstream is down")


def breaks() -> object:
    message = "secret"
    raise RuntimeError(message)


ENDS = [
    (lambda: None, "/work is done: Done."),
    (lambda: ChatResponse("Mine."), "/work is done: Mine."),
    (fails, "/work failed: the upstream is down"),
    (breaks, "/work failed; the host's log says why."),
]


@pytest.mark.parametrize(("end", "note"), ENDS)
async def test_the_session_is_told_how_it_ended(
    open_host: Opens, store: Store, end: Callable[[], object], note: str
) -> None:
    work = Work(end)
    host = await open_host(work.command, model=ScriptedModel(["Hello."]), store=store)
    await host.chat(ChatRequest("hi", "s1"))

    await host.chat(ChatRequest("/work", "s1"))
    work.go_on.set()

    await store.noted.wait()
    assert (await history(host))[-1] == ("system", note)


@pytest.mark.parametrize("stray", STRAYS)
async def test_the_session_is_told_that_it_strayed(
    open_host: Opens, store: Store, stray: Stray
) -> None:
    @command(background=True)
    async def work() -> str:
        """Work."""
        await stray()
        return "unreached"

    host = await open_host(work, model=ScriptedModel(["Hello."]), store=store)
    await host.chat(ChatRequest("hi", "s1"))

    await host.chat(ChatRequest("/work", "s1"))

    await store.noted.wait()
    assert (await history(host))[-1] == ("system", "/work failed; the host's log says why.")


async def test_pieces_are_noted_as_a_whole(open_host: Opens, store: Store) -> None:
    @command(background=True)
    async def count() -> AsyncIterator[str]:
        """Count."""
        yield "1 "
        yield "2"

    host = await open_host(count, model=ScriptedModel(["Hello."]), store=store)
    await host.chat(ChatRequest("hi", "s1"))
    await host.chat(ChatRequest("/count", "s1"))

    await store.noted.wait()
    assert (await history(host))[-1] == ("system", "/count is done: 1 2")


async def test_one_that_takes_too_long_is_ended_and_the_session_told(
    open_host: Opens, store: Store
) -> None:
    work = Work()
    host = await open_host(
        command(work.work, background=True, seconds=0.02),
        model=ScriptedModel(["Hello."]),
        store=store,
    )
    await host.chat(ChatRequest("hi", "s1"))
    await host.chat(ChatRequest("/work", "s1"))

    note = "/work took longer than 0.02 s and was ended."
    await store.noted.wait()
    assert (await history(host))[-1] == ("system", note)
    assert work.left.is_set()


async def test_the_request_may_be_kept_too(open_host: Opens, store: Store) -> None:
    work = Work()
    host = await open_host(command(work.work, background=True, keep=True), store=store)

    await host.chat(ChatRequest("/work", "s1"))
    work.go_on.set()

    await store.noted.wait()
    assert await history(host) == [
        ("user", "/work"),
        ("assistant", STARTED),
        ("system", "/work is done: 42"),
    ]


async def test_the_note_waits_for_the_turn_that_is_under_way(
    open_host: Opens, store: Store
) -> None:
    """Also for longer than a session is waited for."""
    work, asked, answer_it = Work(), anyio.Event(), anyio.Event()

    async def say(_request: ModelRequest) -> ModelReply:
        asked.set()
        await answer_it.wait()
        return ModelReply(message=Message.assistant("Hello."))

    host = await open_host(
        work.command, model=ScriptedModel.repeat(say), store=store, session_wait=0
    )
    await host.chat(ChatRequest("/work", "s1"))
    async with anyio.create_task_group() as callers:
        callers.start_soon(host.chat, ChatRequest("hi", "s1"))
        await asked.wait()
        work.go_on.set()
        await store.asked.wait()
        answer_it.set()

    await store.noted.wait()
    assert await history(host) == [
        ("user", "hi"),
        ("assistant", "Hello."),
        ("system", "/work is done: 42"),
    ]


@pytest.fixture(params=["memory", "sqlite"])
def new_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], SessionStore]:
    if request.param == "sqlite":
        return lambda: SQLiteSessionStore(tmp_path / "sessions.db")
    kept = MemorySessionStore()
    return lambda: kept


async def test_a_host_that_stops_ends_it_and_tells_the_session(
    new_store: Callable[[], SessionStore],
) -> None:
    work = Work()
    plugin = Commands([work.command])
    async with create_app(config_of(plugin, store=new_store())).host as host:
        await host.chat(ChatRequest("/work", "s1"))
        await work.begun.wait()
    assert work.left.is_set()

    async with create_app(config_of(plugin, store=new_store())).host as host:
        note = "/work was ended, because the host stopped."
        assert await history(host) == [("system", note)]


async def test_a_session_that_was_deleted_meanwhile_is_not_made_again(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    work, model = Work(), ScriptedModel(["Hello."])
    async with create_app(config_of(Commands([work.command]), model, store=store)).host as host:
        await host.chat(ChatRequest("hi", "s1"))
        await host.chat(ChatRequest("/work", "s1"))
        await work.begun.wait()
        await host.delete_session(ME, "s1")
        work.go_on.set()
        await store.asked.wait()

    assert not store.noted.is_set()
    assert await store.find("s1") is None
    assert [each for each in caplog.messages if "/work" in each] == [
        "/work is over; session s1 is not told: there is no session 's1'"
    ]
    assert not any(each.exc_info for each in caplog.records)


async def test_a_user_has_so_many_in_the_background_and_no_more(
    open_host: Opens, store: Store
) -> None:
    work, others = Work(), [Principal(user_id="eve"), Principal(tenant_id="acme")]
    host = await open_host(work.command, model=ScriptedModel(["Hello."]), store=store)
    await host.chat(ChatRequest("hi", "s1"))

    begun = [await host.chat(ChatRequest("/work", "s1")) for _ in range(4)]
    refused = await host.chat(ChatRequest("/work"))
    theirs = [await host.chat(ChatRequest("/work"), principal=each) for each in others]

    assert [each.status for each in (*begun, *theirs)] == [202] * 6
    assert (refused.status, refused.message) == (
        429,
        "4 of your commands run in the background; wait until one of them is done.",
    )
    work.go_on.set()
    while len(await history(host)) < 6:
        await anyio.wait_all_tasks_blocked()
    await anyio.wait_all_tasks_blocked()
    assert (await host.chat(ChatRequest("/work"))).status == 202


@pytest.mark.parametrize("in_pieces", [False, True])
async def test_what_has_too_much_to_say_fails(
    open_host: Opens, store: Store, *, in_pieces: bool
) -> None:
    closed = anyio.Event()

    async def pieces() -> AsyncIterator[str]:
        try:
            for _ in range(21):
                yield "x" * 50_000
        finally:
            closed.set()

    @command(background=True)
    async def tell() -> ChatResponse:
        """Tell all."""
        if in_pieces:
            return ChatResponse(text_stream=pieces())
        return ChatResponse("x" * 999_001)

    host = await open_host(tell, model=ScriptedModel(["Hello."]), store=store)
    await host.chat(ChatRequest("hi", "s1"))
    await host.chat(ChatRequest("/tell", "s1"))

    await store.noted.wait()
    note = "/tell failed: its answer has more than 999000 characters"
    assert (await history(host))[-1] == ("system", note)
    assert closed.is_set() == in_pieces


@pytest.mark.parametrize("most", [0, -1])
def test_somebody_may_have_one_at_least(most: int) -> None:
    with pytest.raises(ConfigError, match="in_background must be 1 or more"):
        Commands([], in_background=most)


async def test_a_command_may_start_work_of_its_own(open_host: Opens) -> None:
    done = anyio.Event()

    @command
    async def start(context: RequestContext) -> str:
        """Start something."""

        async def run() -> None:
            done.set()

        context.services.background(run)
        return "Started."

    host = await open_host(start)

    assert (await read(host, ChatRequest("/start")))[-1] == ("turn.end", "Started.")
    await done.wait()
