"""The ends of hot logs, kept so that a turn need not read them again.

Only the event loop's side touches them, after a commit; a transaction in a thread is told the
number of a tail's last event, and reads the history itself when the log's is another one.
"""

from collections.abc import Sequence
from math import inf
from typing import Final

from attrs import define

from agentrail.events import ContextCompacted, Event, SessionReset
from agentrail.session._window import Transcript

TAILS: Final = 256
"""How many sessions' ends are kept."""

TAIL_TOKENS: Final = 4_000_000
"""How many tokens are kept of all of them together."""

SPARE_TOKENS: Final = 1000
"""How far an end may grow over twice what is asked of it, before it is read anew."""


@define(slots=True, eq=False)
class Tail:
    """The end of a log up to the event ``head``."""

    key: int
    head: int
    reach: float
    """The largest window that can be cut from it, in tokens."""
    transcript: Transcript
    size: int = 0
    """How many of the tokens that are kept it was counted for."""

    def tokens(self, window: int) -> int:
        """Return what the history takes, or more than the window when that is not known."""
        known = self.transcript.tokens
        return known if self.reach == inf else max(known, window + 1)

    def extend(self, events: Sequence[Event], head: int) -> None:
        """Take those of the next events that a model sees; ``head`` is the last one of all."""
        for event in events:
            self.transcript.add(event)
            self.reach = (
                inf if isinstance(event, SessionReset) else self.reach + event.window_tokens
            )
        self.head = head


class Tails:
    """Tails by the keys of their sessions, the one that was used last at the end."""

    def __init__(self) -> None:
        self._kept: dict[int, Tail] = {}
        self._tokens = 0

    def find(self, key: int, window: int) -> Tail | None:
        """Return the session's tail if a window of so many tokens should be cut from it."""
        tail = self._kept.get(key)
        if tail is None or tail.reach < window:
            return None
        return None if tail.transcript.tokens > 2 * window + SPARE_TOKENS else tail

    def keep(self, tail: Tail) -> None:
        """Keep a tail in place of the session's last one, and forget those used least lately."""
        self.drop(tail.key)
        self._kept[tail.key] = tail
        tail.size = tail.transcript.tokens
        self._tokens += tail.size
        while len(self._kept) > TAILS or self._tokens > TAIL_TOKENS:
            self.drop(next(iter(self._kept)))

    def extend(self, key: int, first: int, events: Sequence[Event], head: int) -> None:
        """Bring a tail up to date with the events from ``first`` to ``head``, once committed."""
        tail = self._kept.get(key)
        if tail is None:
            return
        compacted = any(isinstance(event, ContextCompacted) for event in events)
        if tail.head + 1 == first and not compacted:
            tail.extend(events, head)
            self.keep(tail)
        else:  # a summary came, another host wrote in between, or two appends changed places
            self.drop(key)

    def drop(self, key: int) -> None:
        """Forget the session's tail."""
        tail = self._kept.pop(key, None)
        if tail is not None:
            self._tokens -= tail.size
