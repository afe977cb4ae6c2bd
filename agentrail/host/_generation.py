"""One composition with the runs that go by it."""

import anyio
from attrs import define, field

from agentrail.hook import Funnel
from agentrail.host._compose import Composition


@define(slots=True, eq=False)
class Generation:
    """A composition, and how many runs go by it; a run keeps the one that it began with."""

    composition: Composition
    funnel: Funnel
    """Calls its hooks."""
    runs: int = field(default=0, init=False)
    summaries: set[anyio.CancelScope] = field(factory=set[anyio.CancelScope], init=False)
    """Around the summaries that are made in the background, each a run."""
    _idle: anyio.Event | None = field(default=None, init=False)

    @property
    def number(self) -> int:
        """Which composition of the host it is, from 1."""
        return self.composition.generation

    def enter(self) -> None:
        """Count a run in."""
        self.runs += 1

    def leave(self) -> None:
        """Count a run out."""
        self.runs -= 1
        if not self.runs and self._idle is not None:
            self._idle.set()

    def stop_summaries(self) -> None:
        """Let the summaries go that are being made; the next turn tries again."""
        for scope in list(self.summaries):
            scope.cancel()

    async def ended(self) -> None:
        """Return once no run goes by it, when no new one can begin."""
        while self.runs:
            self._idle = anyio.Event()
            await self._idle.wait()
