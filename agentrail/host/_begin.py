"""From a request to a run, or to the run that was asked for before."""

from contextlib import suppress
from hashlib import sha256
from typing import Final

import msgspec
from msgspec.structs import replace

from agentrail.agent import Reader
from agentrail.errors import (
    KeyReused,
    RequestError,
    SessionBusy,
    SessionNotFound,
)
from agentrail.events import TurnStart
from agentrail.host._admit import Caller, admit, admit_again, principal_of
from agentrail.host._core import Core
from agentrail.host._generation import Generation
from agentrail.host._live import Follow, LiveTurn
from agentrail.host._past import Past, Reading, no_turn, past_of
from agentrail.host._resume import check_resumable
from agentrail.host._turn import Turn
from agentrail.ids import new_id
from agentrail.requests import ChatRequest, Principal, Resume
from agentrail.session import TurnRecord

KEY_CHARS: Final = 255
"""The longest idempotency key, in characters."""


async def begin(
    core: Core, request: ChatRequest | Resume, caller: Caller, reader: Reader | None = None
) -> Turn | Follow:
    """Return a turn that is ready to run, or the events of the one that was asked for before.

    The turn must be closed when it has run.

    Raises:
        RequestError: the request is not whole, or not the caller's to make.
        HostNotRunning: the host has not started, or is stopping.
    """
    generation = core.enter()
    entered = False
    try:
        if isinstance(request, ChatRequest) and not request.idempotency_key:
            turn_id = new_id("turn")
        elif isinstance(request, ChatRequest):
            turn_id = _keyed_id(request, principal_of(request, caller))
        else:
            turn_id = request.turn_id
        while True:
            live = core.turns.begin(turn_id)
            if live is None:
                follow = await _join(core, turn_id, request, caller)
                if follow is None:
                    continue
                return follow
            live.resumes, live.generation = isinstance(request, Resume), generation
            try:
                begun = await _begin(core, generation, live, request, caller, reader)
                core.check_grace()  # from here on it is told when the host stops
                entered = isinstance(begun, Turn)
                return begun
            finally:
                if not entered:
                    core.turns.end(live)
    finally:
        if not entered:
            core.leave(generation)


async def _begin(
    core: Core,
    generation: Generation,
    live: LiveTurn,
    request: ChatRequest | Resume,
    caller: Caller,
    reader: Reader | None,
) -> Turn | Follow:
    if isinstance(request, Resume):
        found = await find_turn(core, request.turn_id, caller.principal)
        past = await past_of(core.store, await settle(core, found))
        check_resumable(past)
        live.after = past.events[-1].id
        return Turn(core, admit_again(core, generation, past, caller), live, reader)
    fingerprint = ""
    if request.idempotency_key:
        fingerprint = _fingerprint(request, principal_of(request, caller))
        record = await core.store.turn(live.turn_id)
        if record is not None and await _is_same(core, record, fingerprint):
            return follow_turn(core, await settle(core, record))
    admitted = await admit(core, generation, request, caller, live.turn_id, fingerprint)
    return Turn(core, admitted, live, reader)


async def join(core: Core, turn: Turn) -> Follow:
    """Return the events of a turn that another process has begun under the same key.

    Raises:
        KeyReused: it was asked for something else there.
    """
    record = await find_turn(core, turn.context.turn_id, None)
    await _is_same(core, record, turn.admitted.fingerprint)
    return follow_turn(core, await settle(core, record))


async def _join(
    core: Core, turn_id: str, request: ChatRequest | Resume, caller: Caller
) -> Follow | None:
    """Return the events of a turn that runs, or None when it has ended without a trace."""
    live = core.turns.get(turn_id)
    while live is not None:
        news = live.news()
        if isinstance(request, Resume):
            found = await find_turn(core, turn_id, caller.principal)
            # Whoever could not go on with the turn left it as it was, for the next one to try.
            if live.resumed or (found.status == "running" and not live.resumes):
                return follow_turn(core, found, live.after)
        elif (record := await core.store.turn(turn_id)) is not None and await _is_same(
            core, record, _fingerprint(request, principal_of(request, caller))
        ):
            return follow_turn(core, record)
        await news.wait()
        if not (live.resumed and isinstance(request, Resume)):
            live = core.turns.get(turn_id)
    return None


async def find_turn(core: Core, turn_id: str, principal: Principal | None) -> TurnRecord:
    """Return the record of a turn of the principal's; without one, of anybody's.

    Raises:
        TurnNotFound: there is none.
    """
    record = await core.store.turn(turn_id)
    if record is not None and (
        principal is None
        or (record.owner.tenant_id, record.owner.user_id)
        == (principal.tenant_id, principal.user_id)
    ):
        return record
    raise no_turn(turn_id)


async def settle(core: Core, record: TurnRecord) -> TurnRecord:
    """Return the record of a turn that does not run here; one that a dead host left is closed.

    It says ``running`` when the turn runs in another process.

    Raises:
        TurnNotFound: it was deleted meanwhile.
    """
    if record.status != "running" or record.elsewhere:
        return record
    with suppress(SessionBusy, SessionNotFound):
        core.store.release(
            await core.store.acquire(record.session_id, record.owner, wait=0, create=False)
        )
    return await find_turn(core, record.turn_id, None)


def follow_turn(core: Core, record: TurnRecord, after: int = 0) -> Follow:
    """Return a turn's events with numbers over ``after``."""

    async def runs_elsewhere() -> bool:
        found = await core.store.turn(record.turn_id)
        return found is not None and (await settle(core, found)).status == "running"

    reading = Reading(core.store, record, max(after, record.first - 1))
    return Follow(core.turns, reading, runs_elsewhere, core.check)


async def _is_same(core: Core, record: TurnRecord, fingerprint: str) -> bool:
    """Tell whether the key came with the same request before; not when that is deleted by now.

    Raises:
        KeyReused: it came with another one.
    """
    first = await core.store.read(record.session_id, after=record.first - 1, limit=1)
    asked = first[0].fingerprint if first and isinstance(first[0], TurnStart) else ""
    if first and asked != fingerprint:
        raise KeyReused("the idempotency key came with another request before: use a new one")
    return bool(first)


def _keyed_id(request: ChatRequest, principal: Principal) -> str:
    """Return the id of the one turn that there is for a user's key."""
    key = request.idempotency_key
    if len(key) > KEY_CHARS or not (key.isascii() and key.isprintable()):
        raise RequestError(f"an idempotency key has up to {KEY_CHARS} printable ASCII characters")
    whose = f"{principal.tenant_id}\n{principal.user_id}\n{key}"
    return f"turn_{sha256(whose.encode()).hexdigest()[:24]}"


def _fingerprint(request: ChatRequest, principal: Principal) -> str:
    asked = replace(
        request,
        tenant_id=principal.tenant_id,
        user_id=principal.user_id,
        metadata={name: each for name, each in request.metadata.items() if name != "locale"},
        idempotency_key="",
        on_disconnect="cancel",
    )
    return sha256(msgspec.json.encode(asked, order="deterministic")).hexdigest()[:32]


async def answered(core: Core, follow: Follow) -> Past:
    """Wait until a turn that somebody else runs has ended, and return what it was."""
    async for _ in follow:
        pass
    record = await find_turn(core, follow.reading.record.turn_id, None)
    return await past_of(core.store, record)
