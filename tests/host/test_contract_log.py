"""What the contract says of the log: what is in it when, and what a failing store leaves in it."""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from agentrail import (
    AgentHost,
    ChatRequest,
    Event,
    Limits,
    MemorySessionStore,
    ModelRequest,
    Profile,
    ScriptedModel,
    ToolResult,
    define_plugin,
    tool,
)
from agentrail.errors import ModelUnavailable, StorageError
from agentrail.events import MessageRecorded, TurnError
from agentrail.model.scripted import call_tools
from agentrail.session import Lease
from agentrail.testing import HookRecorder
from tests.host.conftest import MakeHost
from tests.host.contract import both_doors, events_of, run
from tests.host.office import ME, check_log

ASKED: Final = ChatRequest("hi", session_id="s")
OPENING: Final = ["turn.start", "message"]


@tool
def ping() -> str:
    """Answer."""
    return "pong"


PLUGIN: Final = define_plugin("t", tools=[ping])


class Flaky(MemorySessionStore):
    """A store that does not write what the test says; it notes what it is given to write."""

    def __init__(self) -> None:
        super().__init__()
        self.refuse: Callable[[Sequence[Event]], bool] = lambda _events: False
        self.batches: list[list[str]] = []

    async def append(self, lease: Lease, events: Sequence[Event]) -> tuple[Event, ...]:
        self.batches.append(kept(events))
        if self.refuse(events):
            message = "the disk is full"
            raise StorageError(message)
        return await super().append(lease, events)


def kept(events: Iterable[Event]) -> list[str]:
    """Returns the types of the events that are logged at both doors."""
    return [event.type for event in events if event.audience != "reader"]


async def fails(host: AgentHost, request: ChatRequest, kind: str) -> tuple[str, str]:
    """Runs a turn that fails; returns its id, and the code that the caller is told."""
    turns: list[str] = []
    if kind == "chat":
        with pytest.raises((StorageError, ModelUnavailable)) as caught:
            await host.chat(request)
        log = await host.core.store.read(request.session_id or "")
        turns += [event.turn_id for event in log if event.type == "turn.start"]
        return turns[-1], caught.value.code
    last = (await events_of(host, request))[-1]
    assert isinstance(last, TurnError)
    return last.turn_id, last.code


async def status(host: AgentHost, turn_id: str) -> str:
    record = await host.core.store.turn(turn_id)
    assert record is not None
    return record.status


# --- what is there when -------------------------------------------------------------------------


@both_doors
async def test_a_call_is_in_the_log_before_its_tool_runs_and_its_result_before_the_next_call(
    make_host: MakeHost, kind: str
) -> None:
    found: list[list[str]] = []
    hosts: list[AgentHost] = []

    async def look() -> None:
        found.append(kept(await hosts[0].core.store.read("s")))

    @tool
    async def touch(what: str) -> str:
        """Touch."""
        await look()
        return what

    async def reply(_request: ModelRequest) -> str:
        await look()
        return "fine"

    calls = call_tools(("touch", {"what": "a"}), ("touch", {"what": "b"}))
    plugin = define_plugin("t", tools=[touch])
    async with make_host(calls, reply, plugins=[plugin]) as host:
        hosts.append(host)
        await run(host, ASKED, kind)
        await look()
    first = [*OPENING, "message", "tool.start"]
    second = [*first, "message", "tool.end", "tool.start"]
    answer = [*second, "message", "tool.end"]
    assert found == [first, second, answer, [*answer, "message", "run", "turn.end"]]


async def test_what_a_reader_is_shown_is_in_the_log_already(make_host: MakeHost) -> None:
    script = (call_tools(("ping", {}), text="let me see"), "fine " * 20)
    async with (
        make_host(*script, plugins=[PLUGIN]) as host,
        host.stream(ASKED) as events,
    ):
        async for event in events:
            (logged,) = await host.core.store.read("s", after=event.id - 1, limit=1)
            assert logged == event


@both_doors
async def test_the_log_holds_the_error_of_a_failed_turn(make_host: MakeHost, kind: str) -> None:
    async with make_host(ModelUnavailable("it is down")) as host:
        turn_id, code = await fails(host, ASKED, kind)
        last = (await host.core.store.read("s"))[-1]
        assert isinstance(last, TurnError)
        assert (last.turn_id, last.code, last.detail) == (turn_id, code, "it is down")
        assert (code, await status(host, turn_id)) == ("model_unavailable", "failed")


# --- the answer and the record ------------------------------------------------------------------


@both_doors
async def test_an_answer_is_written_with_the_end_of_its_turn_unless_a_limit_ends_it(
    make_host: MakeHost, kind: str
) -> None:
    store = Flaky()
    profiles = [
        Profile(id="free", model="scripted:m"),
        Profile(id="short", model="scripted:m", limits=Limits(steps=1)),
    ]
    call = call_tools(("ping", {}))
    config = {"profiles": profiles, "plugins": [PLUGIN], "store": store}
    async with make_host(call, "fine", call, **config) as host:
        await run(host, ChatRequest("hi", agent_id="free"), kind)
        assert store.batches[-1] == ["message", "run", "turn.end"]
        await run(host, ChatRequest("hi", agent_id="short"), kind)
        assert store.batches[-1] == ["run", "turn.end"]


@pytest.mark.parametrize("new_store", ["sqlite"], indirect=True)
@both_doors
async def test_an_answer_the_end_of_its_turn_and_its_record_are_there_together_or_not_at_all(
    make_host: MakeHost, tmp_path: Path, kind: str
) -> None:
    def execute(statement: str) -> None:
        with closing(sqlite3.connect(tmp_path / "sessions.db")) as db, db:
            db.execute(statement)

    async with make_host() as host:
        execute(
            "create trigger full before update of status on turn when new.status <> 'running'"
            " begin select raise(abort, 'the disk is full'); end"
        )
        turn_id, code = await fails(host, ASKED, kind)
        assert code == "storage_failed"
        assert kept(await host.core.store.read("s")) == OPENING
        assert await status(host, turn_id) == "running"
        execute("drop trigger full")


# --- what could not be written ------------------------------------------------------------------


def asks_for_a_tool(event: Event) -> bool:
    return isinstance(event, MessageRecorded) and bool(event.message.tool_calls)


LOST: Final[Sequence[tuple[str, Callable[[Event], bool], list[str], str]]] = (
    ("call", asks_for_a_tool, ["message", "message"], "cancelled"),
    (
        "start",
        lambda event: event.type == "tool.start",
        ["message", "tool.start", "message", "tool.end"],
        "cancelled",
    ),
    (
        "result",
        lambda event: event.type == "tool.end",
        ["message", "tool.start", "message", "tool.end"],
        "ok",
    ),
    (
        "answer",
        lambda event: event.type == "turn.end",
        ["message", "tool.start", "message", "tool.end", "message"],
        "ok",
    ),
)
"""What is not written at first, what of it is in the log in the end, and how the call ended."""


@both_doors
@pytest.mark.parametrize(
    ("is_lost", "left", "outcome"), [row[1:] for row in LOST], ids=[row[0] for row in LOST]
)
async def test_what_could_not_be_written_is_tried_once_more_in_its_place_and_the_turn_fails(
    make_host: MakeHost,
    recorder: HookRecorder,
    kind: str,
    is_lost: Callable[[Event], bool],
    left: list[str],
    outcome: str,
) -> None:
    tries: list[int] = []

    def once(events: Sequence[Event]) -> bool:
        tries.append(1 if any(is_lost(event) for event in events) else 0)
        return sum(tries) == tries[-1] == 1

    store = Flaky()
    store.refuse = once
    model = ScriptedModel([call_tools(("ping", {})), "fine", "again"])
    config = {"providers": [model], "plugins": [PLUGIN, recorder], "store": store}
    async with make_host(**config) as host:
        turn_id, code = await fails(host, ASKED, kind)
        assert code == "storage_failed"
        assert kept(await store.read("s")) == [*OPENING, *left, "run", "turn.error"]
        assert await status(host, turn_id) == "failed"
        assert "on_turn_persisted" not in recorder.names
        assert recorder.names[-1] == "on_request_end"
        rows = await host.messages(ME, "s")
        parts = [part for row in rows for part in row.message.parts]
        assert [part.outcome for part in parts if isinstance(part, ToolResult)] == [outcome]
        await run(host, ChatRequest("and now?", session_id="s"), kind)
        await check_log(host)
        assert "on_turn_persisted" in recorder.names
    assert model.requests[-1].messages[-1].text == "and now?"


@both_doors
@pytest.mark.parametrize("later", ["a look", "a turn"])
async def test_a_turn_whose_end_could_not_be_written_is_closed_at_the_next_look_or_turn(
    make_host: MakeHost, recorder: HookRecorder, kind: str, later: str
) -> None:
    store = Flaky()
    store.refuse = lambda _events: True
    async with make_host("fine", "again", plugins=[recorder], store=store) as host:
        turn_id, code = await fails(host, ASKED, kind)
        assert code == "storage_failed"
        assert "on_turn_persisted" not in recorder.names
        assert (kept(await store.read("s")), await status(host, turn_id)) == (OPENING, "running")
        assert list(await store.unannounced()) == []
        store.refuse = lambda _events: False
        if later == "a look":
            assert (await host.turn(ME, turn_id)).status == "failed"
        else:
            assert await run(host, ChatRequest("and?", session_id="s"), kind) == "again"
            assert await status(host, turn_id) == "failed"
        ends = [event for event in await store.read("s") if event.turn_id == turn_id]
        assert isinstance(ends[-1], TurnError)
        assert ends[-1].code == "interrupted"
