"""``agentrail chat``: a conversation in the terminal."""

import sys
from pathlib import Path

import anyio
from rich.console import Console

from agentrail.cli._console import print_aside, print_error
from agentrail.cli._load import load_app
from agentrail.errors import AgentrailError
from agentrail.events import MessageDelta, Notice, ToolEnd, ToolStart, TurnEnd, TurnError
from agentrail.host import AgentHost
from agentrail.requests import ChatRequest

QUIT = {"/quit", "/exit"}


def chat(
    spec: str, message: str | None, session: str | None, agent: str | None, data_dir: Path | None
) -> bool:
    """Say one message, or talk until the input ends; tell whether all of it was answered.

    Raises:
        AgentrailError: the application cannot be loaded or started.
    """
    return anyio.run(_talk, spec, message, session, agent, data_dir)


async def _talk(
    spec: str, message: str | None, session: str | None, agent: str | None, data_dir: Path | None
) -> bool:
    out, err = Console(highlight=False, soft_wrap=True), Console(stderr=True, highlight=False)
    async with load_app(spec, data_dir).host as host:
        if message is not None:
            return await _say(host, ChatRequest(message, session, agent), out, err)
        if sys.stdin.isatty():
            print_aside(err, "/quit or Ctrl-D ends")
        answered = True
        while (line := await _ask()) is not None:
            if line.strip() in QUIT:
                break
            if line.strip():
                answered = await _say(
                    host, ChatRequest(line.rstrip("\n"), session, agent), out, err
                )
        return answered


async def _ask() -> str | None:
    """Return the next line; None at the end.  Only a person is asked for it."""
    if sys.stdin.isatty():
        sys.stdout.write("> ")
        sys.stdout.flush()
        # Not ``input`` in a thread, which nothing could end: an interrupt is to end the command.
        await anyio.wait_readable(sys.stdin)
        line = sys.stdin.readline()
    else:
        line = await anyio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)
    return line or None


async def _say(host: AgentHost, request: ChatRequest, out: Console, err: Console) -> bool:
    """Print the answer to one message as it comes; tell whether there was one."""
    shown = False
    try:
        async with host.stream(request, transport="terminal") as events:
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
                    case TurnEnd():
                        out.out("")
                    case TurnError(code=code, detail=detail):
                        if shown:
                            out.out("")
                        print_error(err, code, detail)
                        return False
                    case _:
                        pass
    except AgentrailError as error:
        print_error(err, error.code, error.detail)
        return False
    return True
