"""A clock that stands still until it is moved."""

from collections.abc import Callable
from operator import itemgetter

import anyio
import anyio.lowlevel
from attrs import define, field

_Look = Callable[[], object]
_Sleeper = tuple[float, anyio.Event]


@define(eq=False)
class FakeClock:
    """A clock that a test moves, for everything that takes a ``Clock`` or a ``Timer``.

    A host that has it in ``AppConfig(clock=...)`` looks at its deadlines whenever it is moved.

    Attributes:
        time: what it shows, in seconds; ``monotonic`` and ``now`` are the same.
        autojump: whether a sleep moves the clock, instead of waiting for somebody who does.
        slept: the length of each sleep that was begun, in order.
    """

    time: float = 1000.0
    autojump: bool = field(default=False, kw_only=True)
    slept: list[float] = field(factory=list[float], init=False)
    _sleepers: list[_Sleeper] = field(factory=list[_Sleeper], init=False)
    """Those that sleep, in the order of their arrival, each with the time at which it wakes."""
    _watchers: list[_Look] = field(factory=list[_Look], init=False)

    def monotonic(self) -> float:
        """Return the time."""
        return self.time

    def now(self) -> float:
        """Return the time."""
        return self.time

    def advance(self, seconds: float) -> None:
        """Move the clock on; who sleeps until then or earlier wakes, the earliest first.

        It leaps: a sleeper that is woken finds the new time, not the one that it waited for.  From
        another thread, as of a sync tool, call it by ``anyio.from_thread.run_sync``.

        Raises:
            ValueError: ``seconds`` is negative; a clock does not go back.
        """
        if seconds < 0:
            raise ValueError(f"a clock does not go back, as by {seconds:g} s")
        self.time += seconds
        self._wake_next()
        for look in self._watchers:
            look()

    def on_move(self, look: _Look, /) -> None:
        """Have ``look`` called each time that the clock was moved."""
        self._watchers.append(look)

    async def sleep(self, seconds: float, /) -> None:
        """Return when the clock was moved on by ``seconds``."""
        self.slept.append(seconds)
        if self.autojump:
            self.advance(max(seconds, 0))
        await anyio.lowlevel.checkpoint()
        if self.autojump or seconds <= 0:
            return
        sleeper = (self.time + seconds, anyio.Event())
        self._sleepers.append(sleeper)
        try:
            await sleeper[1].wait()
        finally:
            self._sleepers.remove(sleeper)
            self._wake_next()

    def _wake_next(self) -> None:
        """Wake the first who is due; it wakes the next, so that they go on in their order."""
        due = [sleeper for sleeper in self._sleepers if sleeper[0] <= self.time]
        if due:
            min(due, key=itemgetter(0))[1].set()
