"""What the tests of the contract share: both doors, and a plugin that has every hook."""

from typing import Final

import pytest

from agentrail import AgentHost, Attachment, ChatRequest, Event, Tool
from agentrail.events import TurnEnd
from agentrail.requests import Resume
from agentrail.testing import HookRecorder

A_FILE: Final = (Attachment("a.txt", "text/plain", b"x"),)

both_doors = pytest.mark.parametrize("kind", ["chat", "stream"])

TOLD: Final = (
    *("on_request_start", "intercept_chat_request", "attachment_handler", "context_providers"),
    *("before_request", "after_response", "before_tool_call", "after_tool_call"),
    *("before_request", "on_chunk", "after_response"),
    *("on_turn_persisted", "on_request_end"),
)
"""The hooks that run in a turn with a file, one tool call, and a short answer, in their order."""


class Witness(HookRecorder):
    """A plugin that has every hook of a request, and tools."""

    def __init__(self, *tools: Tool) -> None:
        super().__init__("witness", hooks={*TOLD, "on_error"})
        self.tools = tools


async def run(host: AgentHost, request: ChatRequest | Resume, kind: str) -> str:
    """Runs a turn through one of the two doors and returns its answer."""
    if kind == "chat":
        return (await host.chat(request)).message
    end = (await events_of(host, request))[-1]
    assert isinstance(end, TurnEnd)
    return end.message


async def events_of(host: AgentHost, request: ChatRequest | Resume) -> list[Event]:
    """Returns what the reader of a turn is shown."""
    async with host.stream(request) as events:
        return [event async for event in events]
