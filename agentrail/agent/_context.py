"""How the messages of a long turn are kept within a model's window.  A view; nothing is lost."""

from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from agentrail.messages import Message, ToolResult, estimate_tokens

RECENT: Final = 2
"""How many of the newest tool messages are shown whole at least, as long as there is a way."""

PREVIEW: Final = 200
"""How many characters are shown of a result that has to give way, at least."""

_NOTE: Final = 60
"""How many characters the note has at most that stands for what was cut."""

_BEFORE: Final = " were shown before]"
_UNSHOWN: Final = " do not fit here]"


def fit(messages: Sequence[Message], room: int) -> list[Message]:
    """Return the messages with the oldest tool results cut short until all fit in ``room`` tokens.

    What is cut first stays cut: so what a provider has cached of the turn changes as little as it
    can.  The newest results, all those of the last step among them, give way last, the longest of
    them first, and their images at the end.
    """
    fitted = list(messages)
    over = sum(map(estimate_tokens, fitted)) - room
    if over <= 0:
        return fitted
    tools = [place for place, message in enumerate(fitted) if message.role == "tool"]
    calls = [place for place, message in enumerate(fitted) if message.tool_calls]
    recent = max(RECENT, len([place for place in tools if calls and place > calls[-1]]))
    older, newest = tools[:-recent], tools[-recent:]
    for place in older:
        if over <= 0:
            return fitted
        fitted[place] = _shortened(messages[place], PREVIEW, _BEFORE)
        over -= estimate_tokens(messages[place]) - estimate_tokens(fitted[place])
    limit = 2 * PREVIEW + max([_longest(messages[place]) for place in newest], default=0)
    while over > 0 and limit > PREVIEW:
        limit = max(PREVIEW, limit * 3 // 4)
        for place in newest:
            over -= estimate_tokens(fitted[place])
            fitted[place] = _shortened(messages[place], limit, _UNSHOWN)
            over += estimate_tokens(fitted[place])
    return fitted


def _longest(message: Message) -> int:
    results = [part for part in message.parts if isinstance(part, ToolResult)]
    return max([len(result.content) for result in results], default=0)


def _shortened(message: Message, limit: int, note: str) -> Message:
    parts = [_cut(p, limit, note) if isinstance(p, ToolResult) else p for p in message.parts]
    return message if parts == [*message.parts] else replace(message, parts=tuple(parts))


def _cut(result: ToolResult, limit: int, note: str) -> ToolResult:
    """Return a result cut short; one that was cut before, or is short, stays as it is."""
    text, left_out = result.content, len(result.content) - limit
    images = len(result.images) if limit == PREVIEW else 0
    if text.endswith(_BEFORE) or (left_out <= _NOTE and not images):
        return result
    pieces = [f"{left_out} more characters"] if left_out > 0 else []
    pieces += [f"{images} images"] if images else []
    short = f"{text[:limit]}\n[{' and '.join(pieces)}{note}"
    return replace(result, content=short, images=() if images else result.images)
