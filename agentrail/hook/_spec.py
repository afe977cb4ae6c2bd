"""All hooks as data: their kind, arguments and default deadline."""

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final

from msgspec import Struct


class Kind(Enum):
    """What a hook is for, which decides how it is composed and what its failure means."""

    LIFECYCLE = "lifecycle"
    OBSERVE = "observe"
    DECIDE = "decide"
    CONTRIBUTE = "contribute"
    MODEL = "model"
    TOOL = "tool"


class HookSpec(Struct, frozen=True):
    """One hook of the plugin contract."""

    kind: Kind
    parameters: tuple[str, ...]
    """What it is called with, by position."""
    deadline: float
    """The default deadline in seconds; an async hook is cancelled by it."""


HOOKS: Final[Mapping[str, HookSpec]] = MappingProxyType(
    {
        "start": HookSpec(Kind.LIFECYCLE, (), 10.0),
        "stop": HookSpec(Kind.LIFECYCLE, (), 10.0),
        "on_request_start": HookSpec(Kind.OBSERVE, ("context",), 2.0),
        "intercept_chat_request": HookSpec(Kind.DECIDE, ("request", "context"), 2.0),
        "attachment_handler": HookSpec(Kind.CONTRIBUTE, ("attachments", "context"), 60.0),
        "context_providers": HookSpec(Kind.CONTRIBUTE, ("context", "messages"), 3.0),
        "before_request": HookSpec(Kind.MODEL, ("request", "context"), 2.0),
        "on_chunk": HookSpec(Kind.MODEL, ("chunk", "context"), 0.2),
        "after_response": HookSpec(Kind.MODEL, ("reply", "context"), 2.0),
        "on_error": HookSpec(Kind.MODEL, ("error", "context"), 2.0),
        "before_tool_call": HookSpec(Kind.TOOL, ("call", "context"), 2.0),
        "after_tool_call": HookSpec(Kind.TOOL, ("call", "result", "context"), 2.0),
        "on_turn_persisted": HookSpec(Kind.OBSERVE, ("context",), 10.0),
        "on_request_end": HookSpec(Kind.OBSERVE, ("context",), 2.0),
        "on_session_deleted": HookSpec(Kind.OBSERVE, ("context",), 10.0),
    }
)
"""The hooks, in the order in which a turn comes by them; a deleted session is no turn's.

``context_providers`` is a sequence of hooks, every other member is one.
"""

ATTRIBUTES: Final = frozenset(
    {"name", "version", "priority", "critical", "deadlines", "on_failure", "tools"}
)
"""What a plugin may carry besides hooks."""

POLICIES: Final = ("abort", "skip")
"""What a plugin may say of its failures around model calls and tool calls, or a fallback."""
