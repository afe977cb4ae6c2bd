"""Time, passed in so that tests need neither sleep nor patch."""

import time
from collections.abc import Callable
from typing import Final, Protocol, runtime_checkable

import anyio


class Clock(Protocol):
    """Where the host reads the time."""

    def monotonic(self) -> float:
        """Return seconds since some fixed moment; never goes back."""
        ...

    def now(self) -> float:
        """Return seconds since 1970-01-01T00:00:00Z."""
        ...


class Timer(Clock, Protocol):
    """A clock by which one can wait."""

    async def sleep(self, seconds: float, /) -> None:
        """Return after ``seconds`` of this clock."""
        ...


@runtime_checkable
class SteeredClock(Clock, Protocol):
    """A clock that somebody moves, and that tells of it."""

    def on_move(self, look: Callable[[], object], /) -> None:
        """Have ``look`` called each time that the clock was moved."""
        ...


class SystemClock:
    """The machine's clock."""

    monotonic = staticmethod(time.monotonic)
    now = staticmethod(time.time)
    sleep = staticmethod(anyio.sleep)


SYSTEM_CLOCK: Final = SystemClock()
"""It has no state, so one is enough."""
