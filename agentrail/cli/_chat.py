"""``agentrail chat``: a conversation in the terminal."""

import signal
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Final

import anyio
from anyio.abc import TaskStatus
from rich.console import Console

from agentrail.cli._console import asked_text, print_aside, print_error
from agentrail.cli._input import Input, at_terminal
from agentrail.cli._load import load_app
from agentrail.errors import AgentrailError
from agentrail.events import MessageDelta, Notice, ToolEnd, ToolStart, TurnEnd, TurnError
from agentrail.host import AgentApp, AgentHost
from agentrail.ids import new_id
from agentrail.requests import ChatRequest, Principal, Resume, TurnStatus

QUIT = {"/quit", "/exit"}

_ME: Final = Principal()
"""Whoever sits at the terminal: the user of requests that name none."""


def chat(
    spec: str, message: str | None, session: str | None, agent: str | None, data_dir: Path | None
) -> bool:
    """Say one message, or talk until the input ends; tell whether the last one was answered.

    SIGINT and SIGTERM cancel the turn under way and stop the host; a second one does not wait.

    Raises:
        AgentrailError: the application cannot be loaded or started.
        KeyboardInterrupt: it was ended by SIGINT.
        SystemExit: it was ended by SIGTERM; the status is the shell's for that.
    """
    return anyio.run(
        _until_signal, partial(_talk, load_app(spec, data_dir), message, session, agent)
    )


async def _until_signal(talk: Callable[[], Awaitable[bool]]) -> bool:
    """Return what ``talk`` returns; a signal ends it."""
    numbers = [] if sys.platform == "win32" else [signal.SIGINT, signal.SIGTERM]
    # What was started to be deaf to one, as a shell does in the background, stays so.
    heard = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    sent, answered = list[signal.Signals](), False
    failure: AgentrailError | None = None

    async def listen(*, task_status: TaskStatus[None]) -> None:
        with anyio.open_signal_receiver(*heard) as signals:
            task_status.started()
            sent.append(await anext(signals))
        group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        if heard:
            await group.start(listen)
        try:
            answered = await talk()
        except AgentrailError as error:
            failure = error
        group.cancel_scope.cancel()
    if failure is not None:
        raise failure
    if sent and sys.stderr.isatty():
        sys.stderr.write("\n")  # whatever comes next is not to stand behind what was cut off
    if sent and sent[0] is signal.SIGINT:
        raise KeyboardInterrupt
    if sent:
        sys.exit(128 + sent[0])
    return answered


async def _talk(app: AgentApp, message: str | None, session: str | None, agent: str | None) -> bool:
    out, err = Console(highlight=False, soft_wrap=True), Console(stderr=True, highlight=False)
    typed = Input()
    app.host.core.models_at_start = False  # a command needs none
    async with app.host as host:
        if session is None:
            session = new_id("ses")
            print_aside(err, f"session {session}")
        if message is not None:
            return await _say(host, ChatRequest(message, session, agent), typed, out, err)
        if at_terminal():
            print_aside(err, "/quit or Ctrl-D ends")
        answered = True
        while (line := await typed.ask("> ", sys.stdout)) is not None:
            if line.strip() in QUIT:
                return answered
            if line.strip():
                answered = await _say(host, ChatRequest(line, session, agent), typed, out, err)
        if at_terminal():
            out.out("")
        return answered


async def _say(
    host: AgentHost, request: ChatRequest, typed: Input, out: Console, err: Console
) -> bool:
    """Print the answer to one message, and ask what it waits for; tell whether there was one."""
    run: ChatRequest | Resume = request
    try:
        while (end := await _show(host, run, out, err)) is not None:
            if end.outcome != "suspended":
                return True
            if not await _decide(host, await host.turn(_ME, end.turn_id), typed):
                _print_waiting(await host.turn(_ME, end.turn_id), err)
                return False
            run = Resume(end.turn_id, on_disconnect="cancel")
    except AgentrailError as error:
        print_error(err, error.code, error.detail)
    return False


async def _show(
    host: AgentHost, request: ChatRequest | Resume, out: Console, err: Console
) -> TurnEnd | None:
    """Print what a turn says as it comes; return how it ended, None when it failed."""
    shown, end = False, None
    async with host.stream(request, principal=_ME, transport="terminal") as events:
        async for event in events:
            match event:
                case MessageDelta(text=text):
                    out.out(text, end="")
                    shown = shown or bool(text)
                case ToolStart(name=name):
                    print_aside(err, f"… {name}")
                case ToolEnd(name=name, outcome=outcome) if outcome != "ok":
                    print_aside(err, f"… {name}: {outcome}")
                case Notice(text=text):
                    print_aside(err, text)
                case TurnEnd(outcome=outcome):
                    if shown or outcome != "suspended":
                        out.out("")
                    end = event
                case TurnError(code=code, detail=detail):
                    if shown:
                        out.out("")
                    print_error(err, code, detail)
                case _:
                    pass
    return end


async def _decide(host: AgentHost, turn: TurnStatus, typed: Input) -> bool:
    """Ask about each call that a turn waits for; tell whether somebody was there to decide."""
    if not (at_terminal() and sys.stderr.isatty()):
        return False
    for asked in turn.approvals:
        # What was typed before the question was seen is no answer to it.
        typed.forget()
        said = await typed.ask(f"{asked_text(asked)}. Allow? [y/N] ", sys.stderr)
        if said is None:
            sys.stderr.write("\n")
            return False
        approved = said.strip().lower() in {"y", "yes"}
        await host.decide(_ME, turn.turn_id, asked.call.id, approved=approved)
    return True


def _print_waiting(turn: TurnStatus, err: Console) -> None:
    print_aside(err, f"turn {turn.turn_id} of session {turn.session_id} waits for approval:")
    for asked in turn.approvals:
        print_aside(err, f"  {asked_text(asked)}")
        print_aside(err, f"    POST /turns/{turn.turn_id}/approvals/{asked.call.id}")
    print_aside(err, 'decide while it is served, with {"approved": true} or {"approved": false}')
