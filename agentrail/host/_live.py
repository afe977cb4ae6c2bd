"""The turns that run in this host, and those who follow or end them from outside."""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, Self

import anyio
from attrs import define, field

from agentrail.errors import StorageError
from agentrail.events import Event
from agentrail.host._generation import Generation
from agentrail.host._past import Reading

LOOK_SECONDS: Final = 0.25
"""How often to look for news of a turn that runs in another process."""


class Endable(Protocol):
    """A run, to whoever has to end it."""

    def stop(self) -> None:
        """End the run with ``host_not_running``."""
        ...

    def cancel(self) -> None:
        """End the run as cancelled."""
        ...


@define(slots=True, eq=False)
class LiveTurn:
    """A turn that runs; it is there from before its first step until after its last."""

    turn_id: str
    run: Endable | None = None
    """None while the request is being admitted."""
    after: int = 0
    """The number of the last event that the turn had before this run."""
    generation: Generation | None = None
    """What the run goes by."""
    resumes: bool = False
    """Whether the run is to let a turn that was suspended go on."""
    resumed: bool = False
    """Whether a turn that was suspended goes on, by its log."""
    _news: anyio.Event | None = field(default=None, init=False)

    def begin(self, run: Endable) -> None:
        """Be a run that can be ended."""
        self.run = run
        self.tell()

    def news(self) -> anyio.Event:
        """Return what is set when the turn has begun, has written events, or has ended."""
        if self._news is None:
            self._news = anyio.Event()
        return self._news

    def tell(self) -> None:
        """Wake whoever waits for news."""
        if self._news is not None:
            self._news.set()
            self._news = None


@define(slots=True)
class LiveTurns:
    """The turns that run, by their ids."""

    _by_id: dict[str, LiveTurn] = field(factory=dict[str, LiveTurn], init=False)

    def begin(self, turn_id: str) -> LiveTurn | None:
        """Return a new entry, or None when the turn runs already."""
        if turn_id in self._by_id:
            return None
        live = self._by_id[turn_id] = LiveTurn(turn_id)
        return live

    def end(self, live: LiveTurn) -> None:
        """Take the turn out, and tell those who follow it."""
        del self._by_id[live.turn_id]
        live.run = None  # which knows its entry: what a run has used is let go of at once
        live.tell()

    def get(self, turn_id: str) -> LiveTurn | None:
        """Return the turn's entry while it runs."""
        return self._by_id.get(turn_id)

    def all(self) -> tuple[LiveTurn, ...]:
        """Return those that run."""
        return tuple(self._by_id.values())


@define(slots=True, eq=False)
class Follow:
    """The events of a turn from its log, those to come included; it ends when the turn has."""

    turns: LiveTurns
    reading: Reading
    runs_elsewhere: Callable[[], Awaitable[bool]]
    """Whether the turn runs in another process."""
    check: Callable[[], None]
    """Raises when the host has stopped."""
    _settled: bool = field(default=False, init=False)
    """Whether it was seen that the turn does not run, and all has been written."""
    _ready: deque[Event] = field(factory=deque[Event], init=False)

    status: int = field(default=200, init=False)
    headers: dict[str, str] = field(factory=dict[str, str], init=False)

    def __aiter__(self) -> Self:
        """Return the stream itself."""
        return self

    async def __anext__(self) -> Event:
        """Return the next event, or end after the turn's last one.

        Raises:
            HostNotRunning: the host stopped before.
        """
        try:
            return await self._next()
        except StorageError:
            self.check()
            raise

    async def _next(self) -> Event:
        while not self._ready:
            live = self.turns.get(self.reading.record.turn_id)
            news = None if live is None else live.news()  # taken before the log is read
            more = await self.reading.more()
            self._ready.extend([event for event in more if event.audience != "log"])
            if more:
                continue
            if self.reading.ended or (news is None and self._settled):
                raise StopAsyncIteration
            if news is not None:
                await news.wait()
            elif await self.runs_elsewhere():
                await anyio.sleep(LOOK_SECONDS)
            else:
                self._settled = True
        return self._ready.popleft()
