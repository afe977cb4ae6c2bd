"""An office: an agent that may look things up, and has to ask before it sends a letter."""

from collections.abc import Sequence
from typing import Any

import anyio.lowlevel
from attrs import define, field

from agentrail import (
    AgentHost,
    ChatRequest,
    ChatResponse,
    Event,
    Message,
    ModelRequest,
    Part,
    Principal,
    Profile,
    ScriptedModel,
    Tool,
    ToolCall,
    ToolResult,
    tool,
)
from agentrail.events import TERMINAL
from agentrail.model import call_tools
from agentrail.model.scripted import Scripted
from agentrail.requests import Resume, TurnStatus
from agentrail.tool import ask

ME = Principal()
REASON = "letters cannot be called back"


@define
class Office:
    """What was done, and the tools that did it."""

    done: list[str] = field(factory=list[str])

    @property
    def tools(self) -> Sequence[Tool]:
        @tool
        async def send(to: str) -> str:
            """Send a letter."""
            await anyio.lowlevel.checkpoint()
            self.done.append(f"sent {to}")
            await anyio.lowlevel.checkpoint()
            return f"the letter to {to} is sent"

        @tool(concurrent=True)
        async def look(what: str) -> str:
            """Look something up."""
            self.done.append(f"looked {what}")
            return f"{what} is there"

        return [send, look]

    def config(self, *script: Scripted, **profile: Any) -> dict[str, Any]:  # noqa: ANN401
        """What makes a host of this office."""
        profile.setdefault("permissions", [ask("send", reason=REASON)])
        agent = Profile(id="assistant", model="scripted:m", tools=self.tools, **profile)
        return {"profiles": [agent], "providers": [ScriptedModel(script)]}


def letter(to: str = "ada") -> tuple[str, dict[str, str]]:
    """Return the call that sends a letter."""
    return ("send", {"to": to})


def writing(*to: str) -> Scripted:
    """Return the reply that wants letters to be sent."""
    return call_tools(*[letter(name) for name in to or ("ada",)])


def seen_by(config: dict[str, Any]) -> list[ModelRequest]:
    """Return what an office's model was asked."""
    model: ScriptedModel = config["providers"][0]
    return model.requests


def shown(request: ModelRequest) -> list[tuple[str, tuple[Part, ...]]]:
    """Return what a model was shown of each message."""
    return [(message.role, message.parts) for message in request.messages]


async def decide(
    host: AgentHost, response: ChatResponse, *, approved: bool = True, reason: str = ""
) -> TurnStatus:
    """Decide about all the calls that a turn waits for, in the same way."""
    status = await host.turn(ME, response.turn_id)
    for asked in response.approvals:
        status = await host.decide(
            ME, response.turn_id, asked.call.id, approved=approved, reason=reason
        )
    return status


async def approved(host: AgentHost, response: ChatResponse) -> ChatResponse:
    """Approve all that a turn waits for, and let it go on."""
    await decide(host, response)
    return await host.chat(Resume(response.turn_id))


async def streamed(host: AgentHost, request: ChatRequest | Resume) -> list[Event]:
    """Return the events of a run that is read to its end."""
    async with host.stream(request) as events:
        return [event async for event in events]


async def again(host: AgentHost, turn_id: str, after: int = 0) -> list[Event]:
    """Return the events of a turn, read again."""
    async with host.events(ME, turn_id, after=after) as events:
        return [event async for event in events]


async def transcript(host: AgentHost, session_id: str = "s") -> list[Message]:
    """Return all messages of a session, oldest first."""
    rows = await host.messages(ME, session_id, limit=500)
    return [row.message for row in reversed(rows)]


def results(messages: Sequence[Message]) -> list[tuple[str, str]]:
    """Return outcome and text of the tool results among messages."""
    parts = [part for message in messages for part in message.parts]
    return [(part.outcome, part.content) for part in parts if isinstance(part, ToolResult)]


def check_transcript(messages: Sequence[Message]) -> None:
    """Assert that a model would take the messages: each call has one result, and in its place."""
    waiting: list[str] = []
    for message in messages:
        if message.role == "tool":
            for part in message.parts:
                assert isinstance(part, ToolResult)
                waiting.remove(part.call_id)
        elif message.role != "system":
            assert waiting == []
        waiting += [part.id for part in message.parts if isinstance(part, ToolCall)]
    assert waiting == []


async def check_log(host: AgentHost, session_id: str = "s") -> None:
    """Assert that a session's log can go on: its turns have ended, its calls have results."""
    log = await host.core.store.read(session_id, limit=10_000)
    assert [event.id for event in log] == list(range(1, len(log) + 1))
    last: dict[str, Event] = {event.turn_id: event for event in log if event.turn_id}
    assert all(isinstance(event, TERMINAL) for event in last.values())
    check_transcript(await transcript(host, session_id))
