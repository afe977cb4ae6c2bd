"""Which hooks run on which path.  The tests prove every cell, and ``explain --coverage`` prints it.

A hook runs on a path when there is something for it to do: ``attachment_handler`` when files came
with the request, the tool hooks when the model calls a tool.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from attrs import frozen

_ENDS: Final = frozenset({"on_request_start", "on_request_end"})
_ASKED: Final = _ENDS | {"intercept_chat_request"}
_TURN: Final = _ASKED | {"attachment_handler", "context_providers"}
_MODEL: Final = frozenset({"before_request", "on_chunk", "after_response"})
_TOOL: Final = frozenset({"before_tool_call", "after_tool_call"})


@frozen(slots=True)
class Path:
    """One way of a run, or of what the host does on its own."""

    description: str
    hooks: frozenset[str]


COVERAGE: Final[Mapping[str, Path]] = MappingProxyType(
    {
        "chat": Path(
            "a turn is asked for and answered in one piece",
            _TURN | _MODEL | _TOOL | {"on_turn_persisted"},
        ),
        "stream": Path(
            "a turn is asked for and read as it comes",
            _TURN | _MODEL | _TOOL | {"on_turn_persisted"},
        ),
        "intercepted": Path("a plugin answers", _ASKED),
        "kept": Path(
            "a plugin answers, and its answer goes into the history",
            _ASKED | {"on_turn_persisted"},
        ),
        "suspended": Path(
            "a tool call has to wait for approval", _TURN | _MODEL | {"before_tool_call"}
        ),
        "resumed": Path(
            "a suspended turn goes on; what was added to it before is in its log",
            _ENDS | _MODEL | _TOOL | {"on_turn_persisted"},
        ),
        "failed": Path("the model call fails", _TURN | {"before_request", "on_error"}),
        "cancelled": Path("the turn is ended while the model answers", _TURN | {"before_request"}),
        "recovered": Path(
            "the host starts after it died between a commit and its hooks",
            frozenset({"on_turn_persisted"}),
        ),
        "deleted": Path("a session is deleted", frozenset({"on_session_deleted"})),
        "summary": Path("the host has the history summarized", _MODEL),
    }
)
"""The paths, and the hooks that run on each."""
