"""Names the code that keeps the event loop from going on.

While a hook or a tool computes, or waits without ``await``, no deadline of the host can be kept and
no other request goes on.  A thread sees that the loop's heart has stopped, looks at what its thread
executes, and says so while it lasts.
"""

import logging
import sys
import threading
import time
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Final

import anyio
from attrs import define, field

from agentrail.hook import Guard

_log = logging.getLogger("agentrail.host")

_frames = sys._current_frames  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - documented

BEAT_SECONDS: Final = 0.5
"""How often the loop's heart beats, and is looked at."""
BLOCKED_SECONDS: Final = 1.0
"""After how long without a beat the loop is reported."""
STACK_LINES: Final = 8
"""How many of the innermost calls are shown."""


@define(slots=True, eq=False)
class Heart:
    """Beats in the event loop, and is watched from a thread."""

    thread: int = field(factory=threading.get_ident)
    """Where the loop runs."""
    beat: float = field(factory=time.monotonic)
    stopped: threading.Event = field(factory=threading.Event)

    async def run(self) -> None:
        """Beat as long as the loop goes on."""
        while True:
            self.beat = time.monotonic()
            await anyio.sleep(BEAT_SECONDS)

    def watch(self) -> None:
        """Report each time that the heart stands still, and that it beats again."""
        reported, told = 0.0, list[str]()
        while not self.stopped.wait(BEAT_SECONDS):
            beat, now = self.beat, time.monotonic()
            if reported and beat != reported:
                who = ", then ".join(told)
                _log.warning("the event loop goes on after %.1f s: %s", beat - reported, who)
                reported, told = 0.0, []
            if now - beat > BLOCKED_SECONDS:
                frame = _frames().get(self.thread)
                reported, what = beat, _culprit(frame)
                if what in told[-1:]:
                    continue
                told.append(what)
                stack = "".join(traceback.format_stack(frame, limit=STACK_LINES))
                _log.error(
                    "the event loop has been blocked for %.1f s: %s\n%s", now - beat, what, stack
                )


@contextmanager
def watched_loop() -> Generator[Heart]:
    """Report what blocks the event loop of this thread, while its heart is run in a task."""
    heart = Heart()
    watcher = threading.Thread(target=heart.watch, name="agentrail loop watch", daemon=True)
    watcher.start()
    try:
        yield heart
    finally:
        heart.stopped.set()
        watcher.join()


def _culprit(frame: FrameType | None) -> str:
    """Return which hook or tool a thread executes, as the guard of its deadline knows it."""
    while frame is not None:
        guard: object = frame.f_locals.get("guard")
        if isinstance(guard, Guard):
            return str(guard.what)
        frame = frame.f_back
    return "code of no hook and no tool"
