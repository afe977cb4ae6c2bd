"""Leaves a hook alone that keeps failing."""

import logging
from collections.abc import Callable, Iterable
from typing import Final

from attrs import define, field

from agentrail.hook._order import Hook

_log = logging.getLogger("agentrail.hook")

FAILURES: Final = 5
"""How often in a row a hook has to fail before it is called no more."""
PAUSE_SECONDS: Final = 30.0
"""How long it is left alone then, before one call tries it again."""

ALWAYS_CALLED: Final = frozenset({"on_session_deleted"})
"""What is never left alone: what a call is about does not come again."""


class LeftAlone(Exception):
    """The hook is not called for now."""


@define(slots=True)
class _Trouble:
    hook: Hook
    failures: int = 0
    until: float = 0.0


_Key = tuple[str, int, int]


def _key(hook: Hook) -> _Key:
    """Return what a hook of one plugin object has in common in all compositions."""
    call = hook.call
    return hook.name, id(getattr(call, "__self__", None)), id(getattr(call, "__func__", call))


@define(slots=True, eq=False)
class Breaker:
    """The circuit breakers of all hooks; it knows only of those whose last call failed."""

    monotonic: Callable[[], float]
    on_change: Callable[[Hook, bool], None] | None = None
    """Is told which hook is left alone from now on, or is no more."""
    troubles: dict[_Key, _Trouble] = field(factory=dict[_Key, _Trouble], init=False)

    def check(self, hook: Hook) -> None:
        """Return when ``hook`` is to be called; after the pause, one caller is let by.

        Raises:
            LeftAlone: it kept failing.
        """
        trouble = self.troubles.get(_key(hook))
        if trouble is None or trouble.failures < FAILURES:
            return
        now = self.monotonic()
        if now < trouble.until:
            raise LeftAlone(f"{hook} kept failing and is left alone for now")
        # Whatever becomes of this call, the next try is a pause away, unless it succeeds.
        trouble.until = now + PAUSE_SECONDS

    def failed(self, hook: Hook) -> None:
        """Count a failure, unless the hook is never left alone."""
        if hook.name in ALWAYS_CALLED:
            return
        trouble = self.troubles.setdefault(_key(hook), _Trouble(hook))
        trouble.failures += 1
        if trouble.failures >= FAILURES:
            trouble.until = self.monotonic() + PAUSE_SECONDS
        if trouble.failures == FAILURES:
            _log.error(
                "%s failed %d times in a row and is left alone; it is tried again every %g s",
                hook,
                FAILURES,
                PAUSE_SECONDS,
            )
            self._changed(hook, left_alone=True)

    def succeeded(self, hook: Hook) -> None:
        """Forget what was counted."""
        trouble = self.troubles.pop(_key(hook), None)
        if trouble is not None and trouble.failures >= FAILURES:
            _log.warning("%s is back", hook)
            self._changed(hook, left_alone=False)

    def keep(self, hooks: Iterable[Hook]) -> None:
        """Forget what was counted of all other hooks."""
        kept = {_key(hook) for hook in hooks}
        for key in [key for key in self.troubles if key not in kept]:
            del self.troubles[key]

    def _changed(self, hook: Hook, *, left_alone: bool) -> None:
        if self.on_change is not None:
            self.on_change(hook, left_alone)
