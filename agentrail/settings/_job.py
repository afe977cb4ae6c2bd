"""Changes of settings, one after the other, each of which several may wait for."""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import anyio
from anyio.abc import TaskGroup
from attrs import define, field

from agentrail.errors import HostNotRunning
from agentrail.settings._revisions import WholeRevision

STOPPED: Final = "the host does not run, so its settings are not read anew"


@define(slots=True, eq=False)
class Job:
    """A change that is done to its end, whoever waits for it."""

    key: object
    """What is asked for; who asks for the same before it begins waits for it too."""
    work: Callable[[], Awaitable[WholeRevision]]
    scope: anyio.CancelScope = field(factory=anyio.CancelScope, init=False)
    over: anyio.Event = field(factory=anyio.Event, init=False)
    result: WholeRevision | None = field(default=None, init=False)
    error: Exception | None = field(default=None, init=False)

    async def run(self) -> None:
        """Do it; whoever waits is told what came of it."""
        try:
            with self.scope:
                self.result = await self.work()
        except Exception as error:  # noqa: BLE001 - boundary: plugin, and raised in who waits
            self.error = error
        finally:
            self.over.set()

    async def wait(self) -> WholeRevision:
        """Return the revision that it led to.

        Raises:
            HostNotRunning: the host stopped before.
            Exception: why it led to none.
        """
        await self.over.wait()
        if self.error is not None:
            raise self.error
        if self.result is None:
            raise HostNotRunning(STOPPED)
        return self.result


@define(slots=True, eq=False)
class Jobs:
    """The changes that were asked for, in that order."""

    _group: TaskGroup | None = field(default=None, init=False)
    _waiting: deque[Job] = field(factory=deque[Job], init=False)
    _under_way: Job | None = field(default=None, init=False)
    _idle: anyio.Event | None = field(default=None, init=False)
    """Set when nothing is under way; None when nothing was."""

    def open(self, group: TaskGroup) -> None:
        """Take changes from now on, and make them in a task of the group."""
        self._group = group

    async def close(self, grace: float) -> None:
        """Let the change under way end, for ``grace`` seconds, and no other begin."""
        self._group = None
        if self._idle is None:
            return
        with anyio.move_on_after(grace):
            await self._idle.wait()
        if self._under_way is not None:
            self._under_way.scope.cancel()
        await self._idle.wait()

    async def do(self, key: object, work: Callable[[], Awaitable[WholeRevision]]) -> WholeRevision:
        """Make a change when those before it are made, and return the revision it leads to.

        Raises:
            HostNotRunning: the host does not run, or stopped before.
            Exception: why it led to none.
        """
        if self._group is None:
            raise HostNotRunning(STOPPED)
        # What was asked for in between is not to be overtaken.
        if not self._waiting or self._waiting[-1].key != key:
            self._waiting.append(Job(key, work))
            if self._idle is None or self._idle.is_set():
                self._idle = anyio.Event()
                self._group.start_soon(self._run, self._idle)
        return await self._waiting[-1].wait()

    async def _run(self, idle: anyio.Event) -> None:
        try:
            while self._waiting and self._group is not None:
                self._under_way = self._waiting.popleft()
                await self._under_way.run()
        finally:
            self._under_way = None
            for job in self._waiting:
                job.over.set()
            self._waiting.clear()
            idle.set()
