"""What the tests of the contract share: both doors, and a plugin that has every hook."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final, cast

import pytest

from agentrail import AgentHost, Attachment, ChatRequest, Event, Plugin, RequestContext
from agentrail.events import TurnEnd
from agentrail.requests import Resume

A_FILE: Final = (Attachment("a.txt", "text/plain", b"x"),)

both_doors = pytest.mark.parametrize("kind", ["chat", "stream"])

TOLD: Final = (
    *("on_request_start", "intercept_chat_request", "attachment_handler", "context_providers"),
    *("before_request", "after_response", "before_tool_call", "after_tool_call"),
    *("before_request", "on_chunk", "after_response"),
    *("on_turn_persisted", "on_request_end"),
)
"""The hooks that run in a turn with a file, one tool call, and a short answer, in their order."""

Seen = list[tuple[str, RequestContext]]
"""Which hook was told which context."""


def witness(seen: Seen, **members: object) -> Plugin:
    """Is a plugin that has every hook of a request, changes nothing, and notes who is told what."""

    def note(hook: str) -> Callable[..., Any]:
        def noted(*arguments: object) -> object:
            (context,) = [each for each in arguments if isinstance(each, RequestContext)]
            seen.append((hook, context))
            return {
                "on_chunk": arguments[0],
                "attachment_handler": "",
                "context_providers": (),
            }.get(hook)

        return noted

    hooks: dict[str, object] = {hook: note(hook) for hook in (*TOLD, "on_error")}
    hooks["context_providers"] = [hooks["context_providers"]]
    return cast("Plugin", SimpleNamespace(**{"name": "witness", **hooks, **members}))


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
