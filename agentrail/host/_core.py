"""What a running host shares with the runs in it."""

from collections.abc import Callable, Coroutine

import anyio
from anyio.abc import TaskGroup
from attrs import define, field

from agentrail.errors import HostNotRunning
from agentrail.hook import Funnel, Watchdog, active_tracer
from agentrail.host._compose import Composition
from agentrail.host._config import AppConfig
from agentrail.model import Models
from agentrail.plugin import Lives
from agentrail.session import SessionStore


@define(slots=True, eq=False)
class Core:
    """The parts of a running host."""

    config: AppConfig
    store: SessionStore
    models: Models
    watchdog: Watchdog
    composition: Composition
    """The present one; it is replaced as a whole, a run keeps the one that it began with."""
    lives: Lives = field(init=False)
    running: bool = field(default=False, init=False)
    _runs: TaskGroup = field(init=False)
    _busy: int = field(default=0, init=False)
    _idle: anyio.Event = field(init=False)

    def __attrs_post_init__(self) -> None:
        """Prepare the plugins' lives."""
        self.lives = Lives(self.composition.hooks, self.funnel(self.composition))

    def funnel(self, composition: Composition) -> Funnel:
        """Return the funnel for one run."""
        return Funnel(
            self.watchdog, self.config.on_plugin_error, active_tracer(), composition.generation
        )

    def open(self, runs: TaskGroup) -> None:
        """Let requests in; ``runs`` owns the streamed ones."""
        self._runs, self._idle, self.running = runs, anyio.Event(), True

    def check(self) -> None:
        """Return when the host is running.

        Raises:
            HostNotRunning: it has not started, or is stopping.
        """
        if not self.running:
            message = "the host is not running: use it inside 'async with app.host', or serve it"
            raise HostNotRunning(message)

    def enter(self) -> None:
        """Count a request in.

        Raises:
            HostNotRunning: the host has not started, or is stopping.
        """
        self.check()
        self._busy += 1

    def leave(self) -> None:
        """Count a request out."""
        self._busy -= 1
        if not self._busy and not self.running:
            self._idle.set()

    def spawn(self, run: Callable[[], Coroutine[object, object, None]], name: str) -> None:
        """Run a streamed request in a task of the host."""
        self._runs.start_soon(run, name=name)

    async def drain(self, seconds: float) -> None:
        """Let no new request in, and wait for those under way; cancel what takes longer."""
        if not self.running:
            return
        self.running = False
        with anyio.CancelScope(shield=True):
            with anyio.move_on_after(seconds):
                while self._busy:
                    await self._idle.wait()
            self._runs.cancel_scope.cancel()
