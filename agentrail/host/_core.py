"""What a running host shares with the runs in it."""

from collections.abc import Awaitable, Callable, Coroutine

import anyio
from anyio.abc import TaskGroup, TaskStatus
from attrs import define, evolve, field
from opentelemetry.trace import Tracer

from agentrail.errors import HostNotRunning
from agentrail.hook import Breaker, Funnel, Watchdog, Watcher, active_tracer, late_spans
from agentrail.host._check import check_kinds
from agentrail.host._compose import Composition, compose
from agentrail.host._config import AppConfig
from agentrail.host._generation import Generation
from agentrail.host._images import Images
from agentrail.host._live import LiveTurns
from agentrail.host._problems import Hide, hiding_failures
from agentrail.model import Models
from agentrail.plugin import Lives
from agentrail.session import MemorySessionStore, SessionStore, SQLiteSessionStore
from agentrail.storage import Blobs
from agentrail.telemetry import Content, Instruments, active_instruments


@define(slots=True, eq=False)
class Core:
    """The parts of a running host."""

    config: AppConfig
    """What the application says, with settings over it."""
    store: SessionStore
    models: Models
    watchdog: Watchdog
    blobs: Blobs
    """The files that came with messages."""
    hide: Hide = str
    """Returns a text without the values of the host's secrets."""
    first: Composition = field(init=False)
    """What is served when the host starts, before packages are switched on."""
    present: Generation = field(init=False)
    """What new requests go by; it is replaced as a whole, a run keeps the one that it began with.
    """
    generations: list[Generation] = field(factory=list[Generation], init=False)
    """The present one, and those before it that runs still go by."""
    breaker: Breaker = field(init=False)
    lives: Lives = field(init=False)
    compacting: set[str] = field(factory=set[str], init=False)
    """The sessions whose history is being summarized."""
    tracer: Tracer | None = field(default=None, init=False)
    """Makes the spans, while the process has a tracer provider."""
    content: Content | None = field(default=None, init=False)
    """Puts what is said into spans, where the application wants that."""
    instruments: Instruments | None = field(default=None, init=False)
    """Take the measurements, while the process has a meter provider."""
    running: bool = field(default=False, init=False)
    models_at_start: bool = field(default=True, init=False)
    """Whether the profiles' models start with the host, or each when it is first asked."""
    turns: LiveTurns = field(factory=LiveTurns, init=False)
    """The turns that run."""
    _runs: TaskGroup = field(init=False)
    _runs_ended: anyio.Event = field(init=False)
    _over: bool = field(default=False, init=False)
    """Whether what ran at the end of the grace was told to stop."""
    _busy: int = field(default=0, init=False)
    _idle: anyio.Event = field(init=False)

    @classmethod
    def of(cls, config: AppConfig, hide: Hide = str) -> "Core":
        """Return the parts of an application's host; nothing is started or opened yet.

        Raises:
            CompositionError: the application's parts do not fit together.
        """
        check_kinds(config)
        store: SessionStore = config.store or SQLiteSessionStore(
            config.data_dir / "sessions.db", config.clock
        )
        # Files are to last as long as the sessions do that they came with.
        lasting = not isinstance(store, MemorySessionStore)
        blobs = Blobs(config.data_dir / "attachments" if lasting else None, config.clock)
        return cls(config, store, Models(config.providers), Watchdog(config.clock), blobs, hide)

    def __attrs_post_init__(self) -> None:
        """Compose the application, and prepare the plugins' lives."""
        self.breaker = Breaker(self.watchdog.monotonic)
        self.first = self.compose(self.config, self.models, 1, rules=True)
        self.serve(self.first)
        self.lives = Lives(self.funnel)

    @property
    def composition(self) -> Composition:
        """The application as it is served at the moment."""
        return self.present.composition

    @property
    def funnel(self) -> Funnel:
        """Calls the hooks of the present composition."""
        return self.present.funnel

    def compose(
        self, config: AppConfig, models: Models, generation: int, *, rules: bool = False
    ) -> Composition:
        """Return the composition of an application's parts, and of what the host adds to them.

        Raises:
            CompositionError: the parts do not fit together; it lists every fault.
        """
        inner = Images(self.blobs)
        parts = evolve(config, model_middleware=(*config.model_middleware, inner))
        if self.hide is not str:
            hidden = hiding_failures(self.hide)
            parts = evolve(parts, tool_middleware=(*config.tool_middleware, hidden))
        return compose(parts, models, self.watchdog, generation, rules=rules)

    def serve(self, composition: Composition) -> None:
        """Have new requests go by a composition from now on."""
        self.content = self._content()
        self.present = Generation(composition, self._funnel(composition.generation))
        self.generations.append(self.present)

    def _content(self) -> Content | None:
        if self.tracer is None or not self.config.capture_content:
            return None
        # Who captures nothing does not pay for the import.
        from agentrail.middleware import SECRETS, hide_beginning  # noqa: PLC0415

        return Content(lambda text, size: hide_beginning(SECRETS, self.hide(text), size))

    def _funnel(self, generation: int) -> Funnel:
        mode = self.config.hook_spans
        watchers: tuple[Watcher, ...] = ()
        if self.tracer is not None and mode != "all":
            slow = self.config.slow_hook if mode == "slow" else float("inf")
            watchers = (late_spans(self.tracer, generation, slow),)
        if self.instruments is not None:
            watchers = (*watchers, self.instruments.hook)
        return Funnel(
            self.watchdog,
            self.config.on_plugin_error,
            self.tracer if mode == "all" else None,
            generation,
            self.breaker,
            watchers,
        )

    @property
    def watched(self) -> bool:
        """Whether runs are traced or measured."""
        return self.tracer is not None or self.instruments is not None

    def begin(self) -> None:
        """Serve what the application says, traced and measured as the process has providers."""
        self.first.check_profiles()
        self.tracer, self.instruments = active_tracer(), active_instruments()
        self.generations.clear()
        self.serve(self.first)
        self.lives.funnel = self.funnel
        if self.instruments is not None:
            self.breaker.on_change = self.instruments.breaker

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

    def enter(self, generation: Generation | None = None) -> Generation:
        """Count a request in, and return what it goes by: by default the present composition.

        Raises:
            HostNotRunning: the host has not started, or is stopping.
        """
        self.check()
        self._busy += 1
        generation = generation or self.present
        generation.enter()
        return generation

    def leave(self, generation: Generation) -> None:
        """Count a request out."""
        generation.leave()
        self._busy -= 1
        if not self._busy and not self.running:
            self._idle.set()

    def spawn(self, run: Callable[[], Coroutine[object, object, None]], name: str) -> None:
        """Run a streamed request in a task of the host."""
        self._runs.start_soon(run, name=name)

    async def drain(self) -> None:
        """Let no new request in, and wait for those under way; end what takes too long."""
        self.running = False
        with anyio.CancelScope(shield=True):
            with anyio.move_on_after(self.config.stop_grace):
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


async def shielded(stop: Callable[[], Awaitable[None]]) -> None:
    """Stop something, cancelled or not."""
    with anyio.CancelScope(shield=True):
        await stop()
