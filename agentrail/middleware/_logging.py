"""A log record per call, and a warning per slow one."""

import re
from collections.abc import Callable, Mapping, Sequence
from logging import INFO, WARNING, getLogger
from typing import Final, cast

import msgspec

from agentrail.clock import SYSTEM_CLOCK, Clock
from agentrail.messages import Message, Part, Text, ToolCall, ToolResult
from agentrail.middleware._hide import DEEPEST, Hider, hide, hide_values
from agentrail.middleware._observe import (
    Outcome,
    Request,
    Result,
    observer,
    outcome_of,
    what,
    who,
)
from agentrail.middleware._patterns import SECRETS, Pattern
from agentrail.middleware._seams import BothSeams
from agentrail.requests import ModelReply, ModelRequest, ToolRequest
from agentrail.telemetry import trace_ids

_log: Final = getLogger("agentrail.middleware")
_log.addFilter(trace_ids)

_SECRET: Final = re.compile(
    r"passw|passphrase|secret|token|(?:api|access|private)[_-]?key|credential|authorization|cookie",
    re.IGNORECASE,
)
"""Is found in the names of arguments whose values are nobody's business."""

CONTENT_CHARS: Final = 2000
"""Of a longer text, only so much is logged."""

SEARCHED_CHARS: Final = 50_000
"""Of a longer text, only so much is searched; what may go on in the rest is left out."""


def logging(
    *, content: bool = False, patterns: Sequence[Pattern] = SECRETS, clock: Clock = SYSTEM_CLOCK
) -> BothSeams:
    """Return a middleware that logs each call when it has ended.

    The records go to ``agentrail.middleware``: failures and missed deadlines as warnings, the rest
    as information.  The message names the call, how it ended, and the agent and turn that wait; the
    fields are listed in ``docs/reference/middleware.md``.  With content, arguments whose name looks
    like that of a secret, and what the patterns find, are left out.

    It keeps nothing between calls.

    Args:
        content: whether what is said is logged too: the last message and the answer, a tool's
            arguments and its result, each cut to 2,000 characters.
        patterns: what is hidden in the content.
        clock: measures.
    """
    shown = tuple(patterns) if content else None

    def tell(request: Request, result: Result | None, seconds: float) -> None:
        outcome = outcome_of(result)
        level = WARNING if outcome.outcome in {"error", "timeout"} else INFO
        if not _log.isEnabledFor(level):
            return
        fields = _fields(request, outcome, seconds)
        used = ""
        if outcome.error:
            fields["error"] = outcome.error
        if isinstance(result, ModelReply):
            usage = result.usage
            fields["stop_reason"] = result.stop_reason
            fields["input_tokens"] = usage.input_tokens
            fields["output_tokens"] = usage.output_tokens
            used = f", {usage.input_tokens} + {usage.output_tokens} tokens"
        if isinstance(request, ToolRequest):
            fields["call_id"] = request.call.id
        if shown is not None:
            fields |= _content(shown, request, result)
        code = f" {outcome.error}" if outcome.outcome == "error" and outcome.error else ""
        ended = f"{outcome.outcome}{code} in {seconds:.3f} s{used}"
        _log.log(level, "%s: %s%s", _called(request), ended, _for_whom(request), extra=fields)

    return observer(tell, clock)


def slow_log(seconds: float, *, clock: Clock = SYSTEM_CLOCK) -> BothSeams:
    """Return a middleware that logs a warning of each call that took longer than ``seconds``.

    The records go to ``agentrail.middleware`` when the call has ended, however it did, and say who
    waited.  It keeps nothing between calls.

    Args:
        seconds: what is not slow yet.
        clock: measures.
    """

    def tell(request: Request, result: Result | None, took: float) -> None:
        if took <= seconds:
            return
        fields = _fields(request, outcome_of(result), took)
        _log.warning("slow %s: %.3f s%s", _called(request), took, _for_whom(request), extra=fields)

    return observer(tell, clock)


def _fields(request: Request, outcome: Outcome, seconds: float) -> dict[str, object]:
    """Return the fields that every record of a call has."""
    kind, name = what(request)
    provider = {"provider": request.provider} if isinstance(request, ModelRequest) else {}
    return {
        "kind": kind,
        **provider,
        kind: name,
        "outcome": outcome.outcome,
        "duration_ms": round(seconds * 1000, 3),
        **who(request),
    }


def _called(request: Request) -> str:
    """Return what is called, as a message says it."""
    kind, name = what(request)
    if isinstance(request, ModelRequest) and request.provider:
        name = f"{request.provider}:{name}"
    # The name may be what a model made up: quoted, it cannot pass for another record.
    return f"{kind} {name!r}"


def _for_whom(request: Request) -> str:
    """Return whose call it is, as a message says it; nothing for a call of the host's own."""
    context = request.context
    return "" if context is None else f" (agent {context.agent_id}, turn {context.turn_id})"


def _content(
    patterns: Sequence[Pattern], request: Request, result: Result | None
) -> Mapping[str, str]:
    def shown(text: str) -> str:
        begin = text[:SEARCHED_CHARS]
        whole = len(begin) == len(text)
        found = hide(patterns, text) if whole else Hider(patterns).feed(begin)
        return found[:CONTENT_CHARS]

    if isinstance(request, ToolRequest):
        fields = {"arguments": _arguments(patterns, request.call)[:CONTENT_CHARS]}
        if isinstance(result, ToolResult):
            fields["result"] = shown(result.content)
        return fields
    fields = {"prompt": _text(patterns, request.messages[-1], shown) if request.messages else ""}
    if isinstance(result, ModelReply):
        fields["answer"] = _text(patterns, result.message, shown)
    return fields


def _text(patterns: Sequence[Pattern], message: Message, shown: Callable[[str], str]) -> str:
    """Return what a message says and does, for people to read."""

    def of(part: Part) -> str:
        if isinstance(part, Text):
            return shown(part.text)
        if isinstance(part, ToolResult):
            return shown(part.content)
        if isinstance(part, ToolCall):
            return f"{part.name}({_arguments(patterns, part)})"
        return ""

    return "\n".join(filter(None, map(of, message.parts)))[:CONTENT_CHARS]


def _arguments(patterns: Sequence[Pattern], call: ToolCall) -> str:
    hidden = hide_values(patterns, without_secrets(call.arguments))
    try:
        return msgspec.json.encode(hidden, enc_hook=str).decode()
    except (TypeError, ValueError):
        return "[not JSON]"


def without_secrets(value: object, depth: int = 0) -> object:
    """Return a JSON value with ``[secret]`` for what stands under a name like that of a secret."""
    if depth == DEEPEST:
        return "[too deep]"
    if isinstance(value, Mapping):
        members = cast("Mapping[str, object]", value)
        return {
            name: "[secret]" if _SECRET.search(str(name)) else without_secrets(member, depth + 1)
            for name, member in members.items()
        }
    if isinstance(value, list | tuple):
        return [without_secrets(item, depth + 1) for item in cast("Sequence[object]", value)]
    return value
