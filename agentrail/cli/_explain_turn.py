"""``agentrail explain --turn``: who saw, changed, answered or delayed what in one turn."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import anyio
from rich.console import Console
from rich.text import Text

from agentrail.cli._console import print_table, printable
from agentrail.cli._load import load_app
from agentrail.cli._sessions import opened, standing
from agentrail.errors import Interrupted
from agentrail.events import (
    TERMINAL,
    ApprovalDecided,
    ApprovalRequired,
    AttachmentsAdded,
    ContextAdded,
    ContextCompacted,
    Event,
    HookDid,
    HookRan,
    RunRecorded,
    ToolEnd,
    TurnEnd,
    TurnError,
    TurnStart,
)
from agentrail.hook import HOOKS, Kind
from agentrail.host import Past, no_turn, past_of
from agentrail.messages import estimate_tokens
from agentrail.session import TurnRecord

_AFTER: Final = "on_turn_persisted and on_request_end run after the record; a trace shows them"

_ANSWERED: Final = {
    "intercept_chat_request": "answered the request",
    "before_request": "answered in the model's place",
    "on_error": "made up for a failed call",
    "before_tool_call": "gave the result in the tool's place",
    "on_chunk": "kept a piece back",
    "context_providers": "added context",
    "attachment_handler": "added text",
}
"""What it means that a hook answered."""

_CHANGED: Final = {
    "before_request": "changed the request",
    "on_chunk": "changed a piece",
    "after_response": "changed the reply",
    "before_tool_call": "changed the call",
    "after_tool_call": "changed the result",
}


def explain_turn(spec: str, turn_id: str, data_dir: Path | None) -> None:
    """Print what the log tells of a turn: its runs, and who had which part in them.

    Raises:
        ConfigError: the application cannot be loaded.
        TurnNotFound: there is no such turn.
        StorageError: the sessions cannot be read.
    """
    host = load_app(spec, data_dir).host
    found: list[Past] = []

    async def read() -> None:
        async with opened(host) as store:
            record = await store.turn(turn_id)
            if record is None:
                raise no_turn(turn_id)
            found.append(await past_of(store, record))

    anyio.run(read)
    console = Console(highlight=False)
    _print_turn(found[0], console)
    for number, events in enumerate(_runs(found[0].events), 1):
        console.print()
        _print_run(number, events, found[0].record, console)


def _print_turn(past: Past, console: Console) -> None:
    record = past.record
    owner, usage = record.owner, record.usage
    began = datetime.fromtimestamp(record.started_at, UTC)
    ended = record.ended_at
    took = "" if ended is None else f", ended {ended - record.started_at:.3f} s later"
    told = (
        (f"turn {record.turn_id}", f": {standing(record)}"),
        ("session", f" {record.session_id} of {owner.tenant_id}/{owner.user_id}"),
        ("agent", f" {owner.agent_id}"),
        ("began", f" {began:%Y-%m-%d %H:%M:%S} UTC{took}"),
        ("tokens", f" {usage.input_tokens} + {usage.output_tokens}"),
    )
    for what, value in told:
        console.print(Text.assemble((what, "bold"), printable(value)), soft_wrap=True)


def _runs(events: Sequence[Event]) -> Iterator[list[Event]]:
    """Yield the events of each run; those between two runs belong to the earlier one."""
    run: list[Event] = []
    for event in events:
        if isinstance(event, TurnStart) and run:
            yield run
            run = []
        run.append(event)
    if run:
        yield run


def _print_run(number: int, events: Sequence[Event], turn: TurnRecord, console: Console) -> None:
    record = next((event for event in events if isinstance(event, RunRecorded)), None)
    generation = next((e.generation for e in events if isinstance(e, TurnStart)), 0)
    through = f", through {record.transport}" if record is not None else ""
    head = f"run {number}, generation {generation}{through}: {_ended(events, turn)}"
    console.print(Text(printable(head), style="bold"), soft_wrap=True)
    if record is None:
        console.print(f"  it has no record{_lacking(events, turn)}", soft_wrap=True)
    else:
        _print_record(record, events, console)
    for line in _told(events):
        console.print(Text(f"  {printable(line)}"), soft_wrap=True)


def _ended(events: Sequence[Event], turn: TurnRecord) -> str:
    """Return how a run ended, or where its turn stands."""
    for event in events:
        if isinstance(event, TurnEnd):
            return event.outcome
        if isinstance(event, TurnError):
            return f"failed, {event.code}: {event.detail}"
    return standing(turn)


def _lacking(events: Sequence[Event], turn: TurnRecord) -> str:
    """Return why a run has no record."""
    ended = [event for event in events if isinstance(event, TERMINAL)]
    if not ended:
        return " yet: it is written with its end" if turn.elsewhere else ": its host died"
    end = ended[0]
    died = isinstance(end, TurnError) and end.code == Interrupted.code
    return ": its host died" if died else ""


def _print_record(record: RunRecorded, events: Sequence[Event], console: Console) -> None:
    told = [f"{_ms(record.micros)} to its commit", f"{_ms(record.waited)} of them for its session"]
    if record.first_text is not None:
        told.append(f"first text after {_ms(record.first_text)}")
    console.print(f"  took {', '.join(told)}", soft_wrap=True)
    if record.traceparent:
        console.print(f"  trace {record.traceparent.split('-')[1]}", soft_wrap=True)
    if record.hooks:
        rows = [_row(ran, events) for ran in record.hooks]
        _print_rows(["hook", "plugin", "calls", "took", "longest", "what it did"], rows)
        console.print(f"  {_AFTER}", style="dim", soft_wrap=True)
    else:
        console.print("  no plugin had a hook that ran", soft_wrap=True)
    models = [
        (each.model, f"{each.input_tokens} + {each.output_tokens}", _ms(each.micros), each.outcome)
        for each in record.models
    ]
    if models:
        _print_rows(["model", "tokens", "took", "outcome"], models)


def _print_rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    print_table(
        [f"  {head[0]}", *head[1:]],
        [(f"  {printable(row[0])}", *map(printable, row[1:])) for row in rows],
    )


def _row(ran: HookRan, events: Sequence[Event]) -> tuple[str, ...]:
    what = list(_deeds(ran, ran.did or HookDid(), events))
    observes = ran.hook in HOOKS and HOOKS[ran.hook].kind is Kind.OBSERVE
    told = ", ".join(what) or ("saw it" if observes else "let it pass")
    return ran.hook, ran.plugin, str(ran.calls), _ms(ran.micros), _ms(ran.longest), told


def _deeds(ran: HookRan, did: HookDid, events: Sequence[Event]) -> Iterator[str]:
    if did.changed:
        yield _times(_CHANGED.get(ran.hook, "changed it"), did.changed)
    if did.answered:
        added = _added(ran, events)
        yield added or _times(_ANSWERED.get(ran.hook, "answered"), did.answered)
    because = f" ({did.error})" if did.error else ""
    counted: Sequence[tuple[str, int]] = (
        (f"failed{because}", did.errors),
        (f"was late{because}", did.timeouts),
        ("was cut off", did.cancelled),
        ("was left alone because it kept failing", did.skipped),
    )
    for told, times in counted:
        if times:
            yield _times(told, times)


def _added(ran: HookRan, events: Sequence[Event]) -> str:
    """Return what a provider added, by the log."""
    if ran.hook != "context_providers":
        return ""
    messages = [
        message
        for event in events
        if isinstance(event, ContextAdded) and event.source == ran.plugin
        for message in event.messages
    ]
    tokens = sum(map(estimate_tokens, messages))
    plural = "" if len(messages) == 1 else "s"
    return f"added {len(messages)} message{plural}, {tokens} tokens"


def _told(events: Sequence[Event]) -> Iterator[str]:
    """Yield what else the log tells, in its order."""
    waited = False
    for event in events:
        match event:
            case TurnEnd(outcome="cancelled") if waited:
                yield "cancelled while it waited for approval"
            case TurnEnd(outcome="suspended"):
                waited = True
            case ToolEnd():
                took = f"{event.outcome} in {event.duration_ms:.2f} ms"
                yield f"tool {event.name} ({event.call_id}): {took}"
            case ApprovalRequired():
                because = f": {event.reason}" if event.reason else ""
                yield f"approval of {event.name} ({event.call_id}) asked for{because}"
            case ApprovalDecided():
                said = "given" if event.approved else "refused"
                because = f": {event.reason}" if event.reason else ""
                yield f"approval of {event.call_id} {said} by {event.by}{because}"
            case AttachmentsAdded():
                yield f"attachments: {event.tokens} tokens before the message"
            case ContextCompacted():
                yield f"history up to event {event.until} summarized in {event.tokens} tokens"
            case _:
                pass


def _times(what: str, times: int) -> str:
    return what if times == 1 else f"{what}, {times} times"


def _ms(micros: int) -> str:
    return f"{micros / 1000:.2f} ms"
