"""One holder per key; the others wait in line, for a bounded time."""

from collections import deque
from collections.abc import Collection

import anyio

from agentrail.errors import SessionBusy


def busy(session_id: str) -> SessionBusy:
    """Return the error for a session whose turn takes too long for those who wait."""
    message = f"session {session_id!r} is busy with another turn; try again when it has ended"
    return SessionBusy(message, retry_after=1.0)


class Turnstile:
    """Lets one writer at a time into each session of this process."""

    def __init__(self) -> None:
        self._lines: dict[str, deque[anyio.Event]] = {}

    @property
    def held(self) -> Collection[str]:
        """The keys that have a holder."""
        return self._lines.keys()

    async def enter(self, key: str, seconds: float) -> None:
        """Become the holder of ``key``; returns in the order of arrival.

        Raises:
            SessionBusy: others still held it after ``seconds``.
        """
        line = self._lines.get(key)
        if line is None:
            self._lines[key] = deque()
            return
        ticket = anyio.Event()
        line.append(ticket)
        admitted = False
        try:
            with anyio.move_on_after(max(seconds, 0)):
                await ticket.wait()
                admitted = True
        finally:
            if not admitted:
                self._give_up(key, ticket)
        if not admitted:
            raise busy(key)

    def leave(self, key: str) -> None:
        """Let the next one in."""
        line = self._lines[key]
        if line:
            line.popleft().set()
        else:
            del self._lines[key]

    def _give_up(self, key: str, ticket: anyio.Event) -> None:
        if ticket.is_set():  # it was let in at the very moment it gave up
            self.leave(key)
        else:
            self._lines[key].remove(ticket)
