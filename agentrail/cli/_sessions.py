"""``agentrail sessions``: what is kept, and what the model is given of it."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from rich.console import Console
from rich.text import Text

from agentrail.cli._console import asked_text, call_text, print_table, printable
from agentrail.cli._load import load_app
from agentrail.errors import SessionNotFound
from agentrail.events import TurnError
from agentrail.host import AgentHost, Seen, Served, inspect_context, past_of, said
from agentrail.messages import Message
from agentrail.requests import Principal, TurnStatus
from agentrail.session import SessionStore, SQLiteSessionStore, TurnRecord

SHOWN = 100
"""How many characters of a text are shown in a row."""

ROWS = 200
"""How many sessions, or messages of one, are shown."""

_TOLD = ("completed", "intercepted", "suspended")
"""Where a turn stands that has its answer, or whose calls are shown as waiting."""


def show_sessions(spec: str, data_dir: Path | None, caller: Principal) -> None:
    """Print a user's sessions, the one changed last first, and which turn of each waits.

    Raises:
        ConfigError: the application cannot be loaded.
        StorageError: the sessions cannot be read.
    """
    host = load_app(spec, data_dir).host
    rows: list[tuple[str, ...]] = []

    async def read() -> None:
        async with opened(host) as store:
            for row in await store.sessions(caller.tenant_id, caller.user_id, limit=ROWS):
                turn = await _suspended(store, row.session_id)
                waits = turn.turn_id if turn else ""
                rows.append((row.session_id, row.agent_id, str(row.turns), waits))

    anyio.run(read)
    print_table(["session", "agent", "turns", "waits for approval"], rows)


def show_session(spec: str, session_id: str, data_dir: Path | None, *, context: bool) -> None:
    """Print a session's messages; with ``context``, what the model was given in its last turn.

    Raises:
        ConfigError: the application cannot be loaded.
        SessionNotFound: there is no such session.
        StorageError: the session cannot be read.
    """
    host = load_app(spec, data_dir).host
    console = Console(highlight=False)

    async def read() -> None:
        async with opened(host) as store:
            owner = await store.find(session_id)
            if owner is None:
                raise SessionNotFound(f"there is no session {session_id!r}")
            if context:
                served = host.composition.agent(owner.agent_id)
                _print_context(served, await inspect_context(store, served, session_id), console)
                return
            rows = (await store.messages(session_id, limit=ROWS))[::-1]
            last = {row.turn_id: row for row in rows}
            for row in rows:
                text = f"{row.seq:6} {row.message.role:9} {_line(_told(row.message))}"
                console.print(Text(text.rstrip()), soft_wrap=True)
                if row is last[row.turn_id]:
                    await _print_end(store, row.turn_id, console)
            if (turn := await _suspended(store, session_id)) is not None:
                _print_waiting(turn, console)

    anyio.run(read)


@asynccontextmanager
async def opened(host: AgentHost) -> AsyncGenerator[SessionStore]:
    """Yield the host's store, to be read in the block; the host is not started."""
    kept = host.core.store
    store = kept.reader() if isinstance(kept, SQLiteSessionStore) else kept
    await store.start()
    try:
        yield store
    finally:
        await store.stop()


def standing(record: TurnRecord) -> str:
    """Return where a turn stands; one whose host died stays open until its session is taken."""
    dead = record.status == "running" and not record.elsewhere
    return "not ended" if dead else record.status


async def _print_end(store: SessionStore, turn_id: str, console: Console) -> None:
    """Print how a turn ended, or that it has not, where its last message does not tell."""
    record = await store.turn(turn_id)
    if record is None or (how := standing(record)) in _TOLD:
        return
    why = "its host died" if how == "not ended" else ""
    if how == "failed":
        ends = [e for e in (await past_of(store, record)).events if isinstance(e, TurnError)]
        why = f"{ends[-1].code}: {ends[-1].detail}"
    line = Text(f"{'':6} {how:9} {_line(why)}", style="red" if how == "failed" else "yellow")
    line.rstrip()
    console.print(line, soft_wrap=True)


def _line(text: str) -> str:
    """Return how a text begins, on one line and without what would steer a terminal."""
    line = " ".join(text.split())
    return printable(line if len(line) <= SHOWN else f"{line[: SHOWN - 1].rstrip()}…")


def _told(message: Message) -> str:
    """Return what a message says; of its calls with their arguments."""
    calls = [f"calls {call_text(call)}" for call in message.tool_calls]
    return " ".join([message.text, *calls]) if calls else said(message)


async def _suspended(store: SessionStore, session_id: str) -> TurnStatus | None:
    """Return where a session's last turn stands, when it is suspended."""
    for row in await store.messages(session_id, limit=1):
        record = await store.turn(row.turn_id)
        if record is not None and record.status == "suspended":
            return (await past_of(store, record)).status
    return None


def _print_waiting(turn: TurnStatus, console: Console) -> None:
    waits = "waits for approval of" if turn.approvals else "is decided, and waits to go on"
    console.print(Text(f"turn {turn.turn_id} {waits}", style="yellow"), soft_wrap=True)
    for asked in turn.approvals:
        console.print(Text(f"  {asked.call.id} {asked_text(asked)}"), soft_wrap=True)


def _print_context(served: Served, pieces: Sequence[Seen], console: Console) -> None:
    total = 0
    for seen in pieces:
        left_out = seen.why.startswith("left out")
        total += 0 if left_out else seen.tokens
        line = Text.assemble(
            f"{seen.tokens:6} ",
            (f"{seen.role:9} ", "green"),
            (_line(seen.why), "cyan"),
            f"  {_line(seen.text)}",
        )
        line.rstrip()
        console.print(line, style="dim" if left_out else "", soft_wrap=True)
    profile = served.profile
    console.print(
        f"{total:6} tokens, as estimated; the window has {profile.context_window}, of which "
        f"{profile.context_window - profile.room} are kept for the answer",
        soft_wrap=True,
    )
