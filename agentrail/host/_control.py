"""What is done to a turn from outside: it is looked at, decided about, ended, left alone."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

import anyio
from msgspec.structs import replace

from agentrail.errors import (
    AgentrailError,
    HostNotRunning,
    NotPending,
    SessionBusy,
    TurnExists,
)
from agentrail.events import ApprovalDecided, Event
from agentrail.hook import as_failure, thrown
from agentrail.host._begin import answered, find_turn, follow_turn, join, settle
from agentrail.host._core import Core
from agentrail.host._live import Follow
from agentrail.host._past import Past, past_of
from agentrail.host._problems import unexpected
from agentrail.host._resume import write_on
from agentrail.host._turn import Turn
from agentrail.requests import ChatResponse, Principal, TurnStatus
from agentrail.session import TurnRecord, cancelling_events


@asynccontextmanager
async def turn_events(
    core: Core, principal: Principal, turn_id: str, after: int
) -> AsyncGenerator[Follow]:
    """Yield the events of a turn from its log; reading them does not touch the turn.

    One that was left unfinished by a host that died is closed before.

    Raises:
        TurnNotFound: the principal has no such turn.
    """
    record = await _settled_record(core, principal, turn_id)
    yield follow_turn(core, record, after)


async def turn_status(core: Core, principal: Principal, turn_id: str) -> TurnStatus:
    """Return where a turn stands."""
    record = await _settled_record(core, principal, turn_id)
    return (await past_of(core.store, record)).status


async def cancel_turn(core: Core, principal: Principal, turn_id: str) -> TurnStatus:
    """End a turn, and return where it stands when it has ended.

    Raises:
        SessionBusy: it runs in another process.
    """
    record = await _settled_record(core, principal, turn_id)
    while (live := core.turns.get(turn_id)) is not None:
        news = live.news()
        if live.run is not None:
            live.run.cancel()
        await news.wait()
    record = await find_turn(core, turn_id, principal)
    if record.status == "running":
        raise SessionBusy(f"turn {turn_id!r} runs in another process: cancel it there")
    if record.status == "suspended":
        await _append(core, record, _cancelling)
    return await turn_status(core, principal, turn_id)


async def decide_call(
    core: Core, principal: Principal, turn_id: str, decided: ApprovalDecided
) -> TurnStatus:
    """Record what somebody says of a call that waits for approval.

    To say the same again changes nothing.

    Raises:
        NotPending: the turn does not wait for that call, or somebody has decided otherwise.
    """
    core.check()
    past = await past_of(core.store, await find_turn(core, turn_id, principal))
    deciding = partial(_deciding, decided)
    if deciding(past):
        await _append(core, past.record, deciding)
    return await turn_status(core, principal, turn_id)


async def run_here(core: Core, turn: Turn) -> ChatResponse:
    """Run a turn, or wait for the one that another process has begun under the same key."""
    try:
        return await turn.run()
    except TurnExists:
        pass  # what comes then, comes when this turn is closed
    finally:
        turn.close()
    return (await answered(core, await join(core, turn))).answer()


async def run_apart(core: Core, turn: Turn) -> ChatResponse:
    """Run a turn in a task of the host, which goes on when the caller does not wait."""
    answers: list[ChatResponse] = []
    failures: list[AgentrailError] = []
    done = anyio.Event()

    async def run() -> None:
        try:
            answers.append(await run_here(core, turn))
        except AgentrailError as error:
            failures.append(error)
        except thrown() as error:  # boundary: ASGI edge - the host must go on
            failure = await as_failure("the turn", error)
            failures.append(unexpected(failure, turn.context.turn_id))
        finally:
            done.set()

    core.spawn(run, f"turn {turn.context.turn_id}")
    await done.wait()
    if not answers:
        raise failures[0] if failures else HostNotRunning("the host stopped before the turn ended")
    return answers[0]


async def _settled_record(core: Core, principal: Principal, turn_id: str) -> TurnRecord:
    """Return a turn's record; what a host that died left unfinished is closed before."""
    core.check()
    ran = core.turns.get(turn_id)  # before the record is read: it may end meanwhile
    record = await find_turn(core, turn_id, principal)
    return record if ran or core.turns.get(turn_id) else await settle(core, record)


def _cancelling(past: Past) -> Sequence[Event]:
    """Return what ends a turn that is suspended."""
    if past.record.status != "suspended":
        return ()
    return cancelling_events(past.events, past.record.turn_id, past.record.session_id)


def _deciding(decided: ApprovalDecided, past: Past) -> Sequence[Event]:
    """Return what records a decision; nothing when it is recorded already.

    Raises:
        NotPending: the turn does not wait for that call, or somebody has decided otherwise.
    """
    record, call_id = past.record, decided.call_id
    if call_id in {asked.call.id for asked in past.waiting}:
        return [replace(decided, turn_id=record.turn_id, session_id=record.session_id)]
    before = past.decisions.get(call_id)
    if before is None or before.approved != decided.approved:
        raise NotPending(f"turn {record.turn_id!r} does not wait for call {call_id!r}")
    return ()


async def _append(
    core: Core, record: TurnRecord, events_of: Callable[[Past], Sequence[Event]]
) -> None:
    """Write to a turn's log what it needs as it stands when its session is held."""
    lease, _ = await write_on(core, record, events_of)
    core.store.release(lease)
