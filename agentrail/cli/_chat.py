"""``agentrail chat``: a conversation in the terminal."""

from pathlib import Path

import anyio
from rich.console import Console

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
        err.print("[dim]/quit or Ctrl-D ends; /help lists the commands.[/dim]")
        answered = True
        while (line := await anyio.to_thread.run_sync(_ask, abandon_on_cancel=True)) is not None:
            if line.strip() in QUIT:
                break
            if line.strip():
                answered = await _say(host, ChatRequest(line, session, agent), out, err)
        return answered


def _ask() -> str | None:
    try:
        return input("> ")
    except EOFError:
        return None


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
                        err.print(f"[dim]… {name}[/dim]", markup=True)
                    case ToolEnd(name=name, outcome=outcome) if outcome != "ok":
                        err.print(f"[dim]… {name}: {outcome}[/dim]")
                    case Notice(text=text):
                        err.print(f"[dim]{text}[/dim]")
                    case TurnEnd():
                        out.out("")
                    case TurnError(code=code, detail=detail):
                        if shown:
                            out.out("")
                        err.print(f"[red]{code}[/red]: {detail}", soft_wrap=True)
                        return False
                    case _:
                        pass
    except AgentrailError as error:
        err.print(f"[red]{error.code}[/red]: {error.detail}", soft_wrap=True)
        return False
    return True
