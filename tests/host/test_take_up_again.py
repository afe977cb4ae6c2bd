"""A suspended turn goes on once, and only when it is still suspended by the time it does."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from attrs import define, field

from agentrail import (
    AgentHost,
    AppConfig,
    ChatRequest,
    ChatResponse,
    Event,
    RequestContext,
    SQLiteSessionStore,
    create_app,
    define_plugin,
)
from agentrail.errors import (
    AgentrailError,
    Interrupted,
    NotPending,
    SessionBusy,
    StorageError,
    TurnNotFound,
)
from agentrail.events import TurnError, TurnStart
from agentrail.host._past import Past, past_of
from agentrail.requests import Resume
from agentrail.session import Lease, SessionStore
from tests.host.conftest import MakeHost, Stores
from tests.host.office import ME, Office, check_log, decide, streamed, writing

pytestmark = pytest.mark.anyio

ASKED = ChatRequest("write to ada", session_id="s")


@define
class Door:
    """Holds the runs of a turn that goes on right before they begin, once it is shut."""

    shut: bool = False
    reached: anyio.Event = field(factory=anyio.Event)
    opened: anyio.Event = field(factory=anyio.Event)

    @property
    def plugin(self) -> object:
        return define_plugin("door", on_request_start=self._start)

    async def _start(self, context: RequestContext) -> None:
        if self.shut and context.request_id == "held":
            self.reached.set()
            await self.opened.wait()


@define
class Called:
    """A store that tells of the calls of one of its methods."""

    store: SessionStore
    method: str
    tell: Callable[[], Awaitable[None]]

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any member of a store
        member: Any = getattr(self.store, name)
        if name != self.method:
            return member

        async def call(*arguments: Any, **named: Any) -> object:  # noqa: ANN401
            await self.tell()
            result: object = await member(*arguments, **named)
            return result

        return call


async def suspended(host: AgentHost) -> ChatResponse:
    """Return a turn that may go on."""
    response = await host.chat(ASKED)
    await decide(host, response)
    return response


async def held(host: AgentHost, turn_id: str, told: list[str]) -> None:
    """Let a turn go on behind the door, and note what came of it."""
    try:
        told.append((await host.chat(Resume(turn_id), request_id="held")).outcome)
    except AgentrailError as error:
        told.append(error.code)


async def _superseded(host: AgentHost, _turn_id: str) -> None:
    assert (await host.chat(ChatRequest("never mind", session_id="s"))).outcome == "completed"


async def _deleted(host: AgentHost, _turn_id: str) -> None:
    await host.delete_session(ME, "s")


async def _begun_anew(host: AgentHost, _turn_id: str) -> None:
    await host.delete_session(ME, "s")
    await host.chat(ChatRequest("hello again", session_id="s"))


@pytest.mark.parametrize(
    ("happens", "code", "status"),
    [
        (_superseded, NotPending.code, "cancelled"),
        (_deleted, TurnNotFound.code, ""),
        (_begun_anew, TurnNotFound.code, ""),
    ],
)
async def test_what_happens_to_a_turn_while_it_is_to_go_on_counts(
    make_host: MakeHost,
    happens: Callable[[AgentHost, str], Awaitable[None]],
    code: str,
    status: str,
) -> None:
    office, door, told, log = Office(), Door(), list[str](), list[Event]()
    config = office.config(writing("ada"), "answer", "more")
    async with make_host(**config, plugins=[door.plugin]) as host:
        turn_id = (await suspended(host)).turn_id
        door.shut = True
        async with anyio.create_task_group() as callers:
            callers.start_soon(held, host, turn_id, told)
            await door.reached.wait()
            await happens(host, turn_id)
            log.extend(await host.core.store.read("s"))
            door.opened.set()

        assert told == [code]
        assert office.done == []
        assert await host.core.store.read("s") == log
        record = await host.core.store.turn(turn_id)
        assert (record.status if record else "") == status
        if happens is _deleted:
            assert await host.sessions(ME) == []
        assert (await host.chat(ChatRequest("and?", session_id="s"))).outcome == "completed"
        await check_log(host)


async def test_a_turn_that_is_cancelled_just_before_it_goes_on_does_not(
    make_host: MakeHost, new_store: Stores
) -> None:
    office, store, told = Office(), new_store(), list[str]()
    watching, waiting = False, anyio.Event()

    async def tell() -> None:
        if watching:
            waiting.set()

    config = office.config(writing("ada"), "answer")
    async with make_host(**config, store=Called(store, "acquire", tell)) as host:
        turn_id = (await suspended(host)).turn_id
        record = await store.turn(turn_id)
        assert record is not None
        lease = await store.acquire("s", record.owner)
        watching = True
        async with anyio.create_task_group() as callers:

            async def cancel() -> None:
                told.append((await host.cancel(ME, turn_id)).status)

            callers.start_soon(cancel)
            await waiting.wait()
            waiting = anyio.Event()
            callers.start_soon(held, host, turn_id, told)
            await waiting.wait()
            store.release(lease)

        assert sorted(told) == ["cancelled", NotPending.code]
        assert office.done == []
        await check_log(host)


async def test_of_two_hosts_with_one_file_one_goes_on_with_a_turn(tmp_path: Path) -> None:
    office, door, told = Office(), Door(), list[str]()
    config = office.config(writing("ada"), "sent", "more")

    def host_on(**more: Any) -> AgentHost:  # noqa: ANN401
        return _host(config, SQLiteSessionStore(tmp_path / "s.db"), **more)

    async with host_on() as one, host_on(plugins=[door.plugin]) as other:
        turn_id = (await suspended(one)).turn_id
        door.shut = True
        async with anyio.create_task_group() as callers:
            callers.start_soon(held, other, turn_id, told)
            await door.reached.wait()
            assert (await one.chat(Resume(turn_id))).outcome == "completed"
            door.opened.set()
        await check_log(other)
    assert told == [NotPending.code]
    assert office.done == ["sent ada"]


def _host(config: dict[str, Any], store: SessionStore, **more: Any) -> AgentHost:  # noqa: ANN401

    return create_app(AppConfig(**config, store=store, **more)).host


# Whoever joins.


@pytest.mark.parametrize("door", ["chat", "stream"])
async def test_who_joins_a_run_that_cannot_begin_tries_too(make_host: MakeHost, door: str) -> None:
    office, hold, told = Office(), Door(), list[str]()
    config = office.config(writing("ada"), "sent")
    async with make_host(**config, plugins=[hold.plugin], session_wait=0) as host:
        turn_id = (await suspended(host)).turn_id
        record = await host.core.store.turn(turn_id)
        assert record is not None
        lease = await host.core.store.acquire("s", record.owner)
        hold.shut = True

        async def join() -> None:
            resume = host.chat if door == "chat" else partial(streamed, host)
            with pytest.raises(SessionBusy):
                await resume(Resume(turn_id))
            told.append("joined")

        async with anyio.create_task_group() as callers:
            callers.start_soon(held, host, turn_id, told)
            await hold.reached.wait()
            callers.start_soon(join)
            await anyio.wait_all_tasks_blocked()
            hold.opened.set()
        assert sorted(told) == ["joined", SessionBusy.code]
        host.core.store.release(lease)
        assert (await host.chat(Resume(turn_id))).outcome == "completed"
        assert office.done == ["sent ada"]


@pytest.mark.parametrize("door", ["chat", "stream"])
async def test_who_joins_a_run_is_given_its_answer_however_fast_that_was(
    make_host: MakeHost, door: str
) -> None:
    office, hold, told = Office(), Door(), list[str]()
    config = office.config(writing("ada"), "sent")
    async with make_host(**config, plugins=[hold.plugin]) as host:
        turn_id = (await suspended(host)).turn_id
        hold.shut = True

        async def join() -> None:
            if door == "chat":
                told.append((await host.chat(Resume(turn_id))).message)
            else:
                events = await streamed(host, Resume(turn_id))
                assert [events[0].type, events[-1].type] == ["turn.start", "turn.end"]
                told.append("sent")

        async with anyio.create_task_group() as callers:
            callers.start_soon(held, host, turn_id, told)
            await hold.reached.wait()
            callers.start_soon(join)
            await _joined(host, turn_id)
            hold.opened.set()
        assert sorted(told) == ["completed", "sent"]
        assert office.done == ["sent ada"]


async def test_who_looks_when_the_run_that_it_joined_has_ended_is_given_its_answer(
    make_host: MakeHost, new_store: Stores
) -> None:
    hold, told, ended = Door(), list[str](), anyio.Event()
    looks = -1

    async def tell() -> None:
        nonlocal looks
        looks += looks >= 0
        if looks == 2:  # the first one is the run's own
            await ended.wait()

    config = Office().config(writing("ada"), "sent")
    store = Called(new_store(), "turn", tell)
    async with make_host(**config, plugins=[hold.plugin], store=store) as host:
        turn_id = (await suspended(host)).turn_id
        hold.shut = True

        async def first() -> None:
            await held(host, turn_id, told)
            ended.set()

        async def second() -> None:
            told.append((await host.chat(Resume(turn_id))).message)

        async with anyio.create_task_group() as callers:
            callers.start_soon(first)
            await hold.reached.wait()
            callers.start_soon(second)
            await _joined(host, turn_id)
            await anyio.wait_all_tasks_blocked()
            looks = 0
            hold.opened.set()
        assert told == ["completed", "sent"]


async def test_a_turn_that_goes_on_has_no_answer_before_it_ends_again(make_host: MakeHost) -> None:
    async with make_host(**Office().config(writing("ada"), "sent")) as host:
        turn_id = (await suspended(host)).turn_id
        record = await host.core.store.turn(turn_id)
        assert record is not None
        past = await past_of(host.core.store, record)
    assert past.answer().outcome == "suspended"
    goes_on = Past(record, [*past.events, TurnStart(agent_id="assistant", generation=1)])
    with pytest.raises(SessionBusy):
        goes_on.answer()


async def _joined(host: AgentHost, turn_id: str) -> None:
    """Return when somebody waits for news of a turn."""
    live = host.core.turns.get(turn_id)
    assert live is not None
    while live._news is None:
        await anyio.wait_all_tasks_blocked()


@define
class Full:
    """A store whose disk is full once it is said to be."""

    store: SessionStore
    full: bool = False

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any member of a store
        return getattr(self.store, name)

    async def append(self, lease: Lease, events: Sequence[Event]) -> tuple[Event, ...]:
        if self.full:
            raise StorageError("the disk is full")
        return await self.store.append(lease, events)


@pytest.mark.parametrize("door", ["chat", "stream"])
async def test_who_joins_a_turn_whose_end_is_not_written_is_told_that_it_was_interrupted(
    make_host: MakeHost, new_store: Stores, door: str
) -> None:
    begun, go_on, told = anyio.Event(), anyio.Event(), list[str]()
    store = Full(new_store())
    request = ChatRequest("hi", session_id="s", idempotency_key="k")

    async def say(_request: object) -> str:
        begun.set()
        await go_on.wait()
        return "x"

    async with make_host(say, "again", store=store) as host, anyio.create_task_group() as callers:

        async def first() -> None:
            with pytest.raises(StorageError):
                await host.chat(request)

        async def second() -> None:
            if door == "chat":
                with pytest.raises(Interrupted):
                    await host.chat(request)
            else:
                last = (await streamed(host, request))[-1]
                assert isinstance(last, TurnError)
                assert last.code == Interrupted.code
            told.append("joined")

        callers.start_soon(first)
        await begun.wait()
        (turn_id,) = {event.turn_id for event in await store.read("s")}
        callers.start_soon(second)
        await _joined(host, turn_id)
        store.full = True
        go_on.set()
    assert told == ["joined"]
