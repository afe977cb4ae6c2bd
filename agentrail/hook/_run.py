"""The funnel: every hook of every plugin is called here and nowhere else.

Order, deadline, error policy, circuit breaker, span and record are decided in this module.
Cancellation from outside is never caught: it passes through every hook.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from typing import Final, TypeVar

import anyio
from attrs import Factory, define, field, frozen
from opentelemetry.trace import Tracer

from agentrail.errors import HookTimeout, HookTypeError, RequestRefused
from agentrail.hook._account import Account
from agentrail.hook._breaker import Breaker, LeftAlone
from agentrail.hook._contain import as_failure, contained, thrown
from agentrail.hook._order import Hook
from agentrail.hook._trace import NO_ATTRIBUTES, Attributes, Watcher, hook_span
from agentrail.hook._watchdog import Guard, Watchdog

_log = logging.getLogger("agentrail.hook")

T = TypeVar("T")

REPORT_SECONDS: Final = 10.0
"""How long the application may take to be told of a failure."""

calling: ContextVar[str] = ContextVar("agentrail_calling", default="")
"""The name of the plugin whose hook is running."""


@frozen(slots=True)
class PluginFailure:
    """A hook that failed, as it is reported."""

    plugin: str
    hook: str
    error: Exception


FailureHandler = Callable[[PluginFailure], Awaitable[None] | None]
"""Is told of every hook that failed; the default logs a warning."""


def log_failure(failure: PluginFailure) -> None:
    """Log a hook that failed, with its traceback."""
    _log.warning(
        "plugin %r failed in %s: %s: %s",
        failure.plugin,
        failure.hook,
        type(failure.error).__name__,
        failure.error,
        exc_info=failure.error,
    )


def _breaker_of(funnel: "Funnel") -> Breaker:
    return Breaker(funnel.watchdog.monotonic)


@define(slots=True)
class Funnel:
    """Calls hooks: those of a host, or of one run."""

    watchdog: Watchdog
    on_failure: FailureHandler = log_failure
    tracer: Tracer | None = None
    """Makes a span of every call; None: of none."""
    generation: int = 0
    breaker: Breaker = field(default=Factory(_breaker_of, takes_self=True))
    watchers: tuple[Watcher, ...] = ()
    account: Account | None = None
    """Sums up what the hooks of one run do."""

    def of_run(self, account: Account) -> "Funnel":
        """Return the funnel of one run, which sums up what its hooks do."""
        return Funnel(
            self.watchdog,
            self.on_failure,
            self.tracer,
            self.generation,
            self.breaker,
            self.watchers,
            account,
        )

    async def observe(
        self, hooks: Sequence[Hook], *arguments: object, shield: bool = False
    ) -> None:
        """Call all hooks one by one; a failure is reported and the next one is called.

        ``shield`` keeps a cancellation of the caller out until all of them had their turn.
        """
        if hooks:
            await self._each(hooks, arguments, shield=shield)

    async def first(
        self, hooks: Sequence[Hook], expected: type[T], *arguments: object
    ) -> tuple[T, Hook] | None:
        """Call hooks until one returns something; return that, and who returned it.

        Raises:
            RequestRefused: a hook of a critical plugin failed.
        """
        found: list[tuple[T, Hook]] = []

        def take(hook: Hook, result: object) -> bool:
            if result is None:
                return False
            found.append((_checked(hook, result, expected), hook))
            return True

        if hooks:
            await self._each(hooks, arguments, take, refuse=True)
        return found[0] if found else None

    async def collect(
        self,
        hooks: Sequence[Hook],
        expected: type[T] | tuple[type[T], ...],
        *arguments: object,
        check: Callable[[Hook, T], T] | None = None,
    ) -> list[tuple[Hook, T]]:
        """Call all hooks one by one and return what those that did not fail returned.

        ``check`` returns what is taken of a hook's result; what it raises is the hook's failure.
        """
        results: list[tuple[Hook, T]] = []

        def take(hook: Hook, result: object) -> bool:
            value = _checked(hook, result, expected)
            results.append((hook, value if check is None else check(hook, value)))
            return False

        if hooks:
            await self._each(hooks, arguments, take)
        return results

    async def gather(
        self, hooks: Sequence[Hook], expected: type[T], *arguments: object
    ) -> list[tuple[Hook, T]]:
        """Call all hooks at the same time; return the results in the order of the hooks."""
        if not hooks:
            return []
        if len(hooks) == 1:
            return await self.collect(hooks, expected, *arguments)
        slots: list[list[tuple[Hook, T]]] = [[] for _ in hooks]

        async def fill(index: int) -> None:
            slots[index] = await self.collect(hooks[index : index + 1], expected, *arguments)

        async with anyio.create_task_group() as group:
            for index in range(len(hooks)):
                group.start_soon(fill, index)
        return [result for slot in slots for result in slot]

    def changed(self, hook: Hook) -> None:
        """Note that a hook changed what it was given in place."""
        if self.account is not None:
            self.account.did(hook).changed += 1

    def withheld(self, hook: Hook) -> None:
        """Note that a hook kept back what it was given."""
        if self.account is not None:
            self.account.did(hook).answered += 1

    async def report(self, hook: Hook, error: Exception) -> None:
        """Tell the application of a failure; a handler that fails, or is late, changes nothing."""
        if self.account is not None:
            self.account.failed(hook, error)
        failure = PluginFailure(plugin=hook.plugin, hook=hook.name, error=error)
        with self.watchdog.guard() as guard:
            guard.arm("on_plugin_error", REPORT_SECONDS)
            try:
                told = self.on_failure(failure)
                if told is not None:
                    await told
            except thrown() as raised:  # boundary: observer
                wrong = await as_failure("on_plugin_error", raised)
                _log.error("on_plugin_error failed while it was told of %s", hook, exc_info=wrong)
                log_failure(failure)
        if guard.expired:
            _log.error("on_plugin_error took longer than %g s", REPORT_SECONDS)
            log_failure(failure)

    async def _each(
        self,
        hooks: Sequence[Hook],
        arguments: tuple[object, ...],
        take: Callable[[Hook, object], bool] | None = None,
        *,
        refuse: bool = False,
        shield: bool = False,
    ) -> None:
        """Call hooks in order until ``take`` says that it has what it wanted."""
        start, index, breaker = 0, 0, self.breaker
        troubles = breaker.troubles  # asked for each call, and nearly always empty
        while start < len(hooks):
            failure: Exception | None = None
            with self._guard(hooks, start, shield=shield) as guard:
                for index in range(start, len(hooks)):
                    hook = hooks[index]
                    try:
                        if troubles:
                            breaker.check(hook)
                        calling.set(hook.plugin)
                        guard.arm(hook, hook.deadline)
                        if hook.is_async and self.tracer is None:  # what most calls are
                            result = await hook.call(*arguments)
                        else:
                            result = await self._call(hook, arguments, guard)
                        if guard.expired:  # it swallowed the cancellation and came back
                            break
                        done = take is not None and take(hook, result)
                        if troubles or self.watchers or result is not None:
                            self._called(hook, guard, arguments if take else (), result)
                        if done:
                            return
                    except thrown() as error:  # boundary: plugin
                        failure = await as_failure(hook, error, guard.asked)
                        break
                else:
                    return
            # One guard serves hook after hook; only a failure makes it necessary to open another.
            await self._failed(hooks[index], failure, guard, refuse=refuse, shield=shield)
            start = index + 1

    async def _failed(
        self, hook: Hook, failure: Exception | None, guard: Guard, *, refuse: bool, shield: bool
    ) -> None:
        """Count and report a failure; without one, the hook was late."""
        if failure is None:
            failure = HookTimeout(f"{hook} took longer than {hook.deadline:g} s")
        self._note_failure(hook, failure, guard)
        if not isinstance(failure, LeftAlone):
            self.breaker.failed(hook)
            with anyio.CancelScope(shield=shield):
                await self.report(hook, failure)
        if refuse and hook.critical:
            message = f"plugin {hook.plugin!r} failed in {hook.name} and is critical"
            raise RequestRefused(message) from failure

    async def _call(self, hook: Hook, arguments: tuple[object, ...], guard: Guard) -> object:
        """Call a hook that is sync, or traced."""
        if self.tracer is None:
            result = await hook.invoke(*arguments)
        else:
            with hook_span(self.tracer, hook, self.generation, guard, self._common):
                result = await contained(hook, hook.invoke(*arguments), guard.asked)
        if not hook.is_async and self.watchdog.monotonic() > guard.deadline:
            _log.warning("%s blocked the host for over %g s", hook, hook.deadline)
        return result

    def _guard(self, hooks: Sequence[Hook], index: int, *, shield: bool) -> Guard:
        """Return the guard for the calls of hooks from ``index`` on."""
        guard = self.watchdog.guard(shield=shield)
        if self.account is not None:
            self.account.opened(hooks[index:] if index else hooks, guard)
        if self.watchers:
            guard.on_cut = self._cut
        return guard

    def _called(self, hook: Hook, guard: Guard, given: tuple[object, ...], result: object) -> None:
        """Note a call that came to its end; its result may stand for what was given."""
        self.breaker.succeeded(hook)
        if given and result is not None and self.account is not None:
            self.account.returned(hook, given[-2:][0], result)  # the last one is the context
        if self.watchers:
            self._tell(hook, self.watchdog.monotonic() - guard.times[-1], "ok")

    def _note_failure(self, hook: Hook, failure: Exception, guard: Guard) -> None:
        """Note a call that failed; its guard is closed."""
        if isinstance(failure, LeftAlone):
            if self.account is not None:
                self.account.did(hook).skipped += 1
            self._tell(hook, 0.0, "skipped")
            return
        outcome = "timeout" if isinstance(failure, HookTimeout) else "error"
        self._tell(hook, guard.times[-1] - guard.times[-2], outcome, failure)

    def _cut(self, guard: Guard) -> None:
        """Tell of the hook that was cut off in a guard."""
        if isinstance(guard.what, Hook):
            self._tell(guard.what, guard.times[-1] - guard.times[-2], "cancelled")

    def _tell(
        self, hook: Hook, seconds: float, outcome: str, error: Exception | None = None
    ) -> None:
        for watcher in self.watchers:
            watcher(hook, seconds, outcome, error, self._common)

    @property
    def _common(self) -> Attributes:
        """What all spans of the run have."""
        return NO_ATTRIBUTES if self.account is None else self.account.attributes


def _checked(hook: Hook, result: object, expected: type[T] | tuple[type[T], ...]) -> T:
    if isinstance(result, expected):
        return result
    kinds = expected if isinstance(expected, tuple) else (expected,)
    wanted = " or ".join([kind.__name__ for kind in kinds])
    message = f"{hook} returned {type(result).__name__}, not {wanted}"
    raise HookTypeError(message)
