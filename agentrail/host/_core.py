"""What a running host shares with the runs in it."""

from collections.abc import Callable, Coroutine

import anyio
from anyio.abc import TaskGroup, TaskStatus
from attrs import define, field
from opentelemetry.trace import Tracer

from agentrail.errors import HostNotRunning
from agentrail.hook import Funnel, Watchdog, active_tracer, late_spans
from agentrail.host._compose import Composition
from agentrail.host._config import AppConfig
from agentrail.host._live import LiveTurns
from agentrail.model import Models
from agentrail.plugin import Lives
from agentrail.session import SessionStore
from agentrail.storage import Blobs
from agentrail.telemetry import Instruments, active_instruments


@define(slots=True, eq=False)
class Core:
    """The parts of a running host."""

    config: AppConfig
    store: SessionStore
    models: Models
    watchdog: Watchdog
    composition: Composition
    """The present one; it is replaced as a whole, a run keeps the one that it began with."""
    blobs: Blobs
    """The files that came with messages."""
    funnel: Funnel = field(init=False)
    """Calls the hooks of the present composition."""
    lives: Lives = field(init=False)
    compacting: set[str] = field(factory=set[str], init=False)
    """The sessions whose history is being summarized."""
    tracer: Tracer | None = field(default=None, init=False)
    """Makes the spans, while the process has a tracer provider."""
    instruments: Instruments | None = field(default=None, init=False)
    """Take the measurements, while the process has a meter provider."""
    running: bool = field(default=False, init=False)
    turns: LiveTurns = field(factory=LiveTurns, init=False)
    """The turns that run."""
    _runs: TaskGroup = field(init=False)
    _runs_ended: anyio.Event = field(init=False)
    _over: bool = field(default=False, init=False)
    """Whether what ran at the end of the grace was told to stop."""
    _busy: int = field(default=0, init=False)
    _idle: anyio.Event = field(init=False)

    def __attrs_post_init__(self) -> None:
        """Prepare the plugins' lives."""
        self.funnel = Funnel(
            self.watchdog,
            self.config.on_plugin_error,
            generation=self.composition.generation,
        )
        self.lives = Lives(self.composition.hooks, self.funnel)

    @property
    def watched(self) -> bool:
        """Whether runs are traced or measured."""
        return self.tracer is not None or self.instruments is not None

    def watch(self) -> None:
        """Trace and measure from now on, with the providers that the process has."""
        self.tracer, self.instruments = active_tracer(), active_instruments()
        funnel, mode = self.funnel, self.config.hook_spans
        funnel.tracer = self.tracer if mode == "all" else None
        funnel.watchers = ()
        if self.tracer is not None and mode != "all":
            slow = self.config.slow_hook if mode == "slow" else float("inf")
            funnel.watchers = (late_spans(self.tracer, funnel.generation, slow),)
        if self.instruments is not None:
            funnel.watchers = (*funnel.watchers, self.instruments.hook)
            funnel.breaker.on_change = self.instruments.breaker

    async def own_runs(self, *, task_status: TaskStatus[None]) -> None:
        """Be the task that owns the streamed runs, until ``drain`` ends it."""
        self._runs_ended, self._idle = anyio.Event(), anyio.Event()
        self._over = False
        try:
            async with anyio.create_task_group() as self._runs:
                task_status.started()
                await anyio.sleep_forever()
        finally:
            self._runs_ended.set()

    def check(self) -> None:
        """Return when the host is running.

        Raises:
            HostNotRunning: it has not started, or is stopping.
        """
        if not self.running:
            message = "the host is not running: use it inside 'async with app.host', or serve it"
            raise HostNotRunning(message)

    def check_grace(self) -> None:
        """Return when a run may begin whose request was let in.

        Raises:
            HostNotRunning: the runs were ended.
        """
        if self._over:
            raise HostNotRunning("the host stopped before the turn began")

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
        """Let no new request in, and wait for those under way; end what takes longer."""
        self.running = False
        with anyio.CancelScope(shield=True):
            with anyio.move_on_after(seconds):
                while self._busy:
                    await self._idle.wait()
            self._over = True
            for live in self.turns.all():
                if live.run is not None:
                    live.run.stop()
            self._runs.cancel_scope.cancel()
            await self._runs_ended.wait()
            while self._busy:
                await self._idle.wait()
