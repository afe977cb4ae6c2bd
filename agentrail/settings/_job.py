"""A change of settings that several may wait for."""

from collections.abc import Awaitable, Callable
from typing import Final

import anyio
from attrs import define, field

from agentrail.errors import HostNotRunning
from agentrail.settings._revisions import WholeRevision

STOPPED: Final = "the host does not run, so its settings are not read anew"
FOLLOWS: Final = "another process has the data directory open: ask that one for new settings"


@define(slots=True, eq=False)
class Job:
    """A change that is done to its end, whoever waits for it."""

    work: Callable[[], Awaitable[WholeRevision]]
    stays: bool = False
    """Whether it stays where somebody went back to, whatever the file says."""
    over: anyio.Event = field(factory=anyio.Event)
    result: WholeRevision | None = None
    error: Exception | None = None

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
