"""Deadlines that cost next to nothing until they are missed.

A timer for each hook would cost more than most hooks do.  So a guard opens one cancel scope for a
whole phase and only notes, per hook, when the hook has to be done; one task of the host sleeps
until the earliest of all those moments and cancels the scopes that are late.  Code that goes on
after it was cancelled cannot be stopped from outside; it is reported by name.
"""

import logging
from collections.abc import Callable
from types import TracebackType
from typing import Self

import anyio

from agentrail.clock import Clock, SteeredClock
from agentrail.hook._contain import cancel_requests

_log = logging.getLogger("agentrail.hook")

_GRACE = 1.0
"""Seconds that cancelled code has to get out before it is reported."""

_NEVER = float("inf")


class Guard:
    """A cancel scope whose deadline moves on, hook by hook."""

    __slots__ = (
        "_monotonic",
        "_scope",
        "_watchdog",
        "asked",
        "cut",
        "deadline",
        "expired",
        "on_cut",
        "over",
        "times",
        "what",
    )

    def __init__(self, watchdog: "Watchdog", *, shield: bool = False) -> None:
        self._watchdog = watchdog
        self.times: list[float] = []
        """When it was armed, each time, and at last when it was closed."""
        self.over = False
        self.cut = False
        """Whether what was inside was left by an exception, before its deadline."""
        self.on_cut: Callable[[Guard], None] | None = None
        self._monotonic = watchdog.monotonic
        # Called, the class would initialize what its ``__new__`` returns a second time.
        self._scope = anyio.CancelScope.__new__(anyio.CancelScope, shield=shield)
        self.deadline = _NEVER
        self.what: object = ""
        self.expired = False
        self.asked = cancel_requests() if shield else 0
        """How often the task was cancelled before; what is shielded goes on in spite of it."""

    def arm(self, what: object, seconds: float) -> None:
        """Give what follows ``seconds`` from now; ``what`` is its name, made a text if needed."""
        self.what = what
        now = self._monotonic()
        self.times.append(now)
        self.deadline = deadline = now + seconds
        if deadline < self._watchdog.next_look:
            self._watchdog.look_at(deadline)

    def rest(self) -> None:
        """Have no deadline until armed again."""
        self.deadline = _NEVER

    def dismiss(self) -> None:
        """End what is inside, without its being late."""
        self._scope.cancel()

    def expire(self) -> None:
        """Cancel what runs inside; or, when it was cancelled before, say that it goes on."""
        if self.expired:
            self.deadline = _NEVER
            _log.error("%s was cancelled at its deadline and goes on regardless", self.what)
            return
        self.expired = True
        self.deadline = self._monotonic() + _GRACE
        self._scope.cancel()

    def __enter__(self) -> Self:
        """Open the scope."""
        self._scope.__enter__()
        self._watchdog.guards.add(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """Close the scope; a cancellation by the deadline ends here, and ``expired`` tells."""
        self._watchdog.guards.discard(self)
        self.times.append(self._monotonic())
        self.over = True
        if error is not None and not self.expired:
            self.cut = True
            if self.on_cut is not None:
                self.on_cut(self)
        return bool(self._scope.__exit__(kind, error, traceback))


class Watchdog:
    """Looks after the guards of one host."""

    def __init__(self, clock: Clock) -> None:
        self.monotonic = clock.monotonic
        self.guards: set[Guard] = set()
        self.next_look = _NEVER
        self._wake = anyio.Event()
        if isinstance(clock, SteeredClock):
            clock.on_move(self._look)

    def guard(self, *, shield: bool = False) -> Guard:
        """Return a guard to open with ``with``; ``shield`` keeps cancellation from outside out."""
        return Guard(self, shield=shield)

    def look_at(self, moment: float) -> None:
        """Have the watchdog look at ``moment``, which is earlier than it would have."""
        self.next_look = moment
        self._wake.set()

    def _look(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        """Cancel what is late, for ever."""
        while True:
            now = self.monotonic()
            for guard in [guard for guard in self.guards if guard.deadline <= now]:
                guard.expire()
            self.next_look = min((guard.deadline for guard in self.guards), default=_NEVER)
            self._wake = anyio.Event()
            with anyio.move_on_after(None if self.next_look == _NEVER else self.next_look - now):
                await self._wake.wait()
