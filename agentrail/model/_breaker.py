"""Leaves an upstream alone that keeps failing, and a model that said when to come back."""

from typing import Final

from attrs import define, field
from msgspec.structs import replace

from agentrail.clock import Clock
from agentrail.errors import (
    CircuitOpen,
    ModelError,
    ModelProtocolError,
    ModelUnavailable,
    Overloaded,
    RateLimited,
)
from agentrail.hook import Call
from agentrail.requests import Delta, ModelReply, ModelRequest

FAILURES: Final = 5
"""How many calls in a row have to fail before no more are made."""
PAUSE_SECONDS: Final = 15.0
"""How long no calls are made then."""
LONGEST_SECONDS: Final = 300.0
"""How long a model may ask to be left alone."""
TRIAL_SECONDS: Final = 1.0
"""When to ask again while another call tries the upstream."""

_FAULTS: Final = (Overloaded, ModelUnavailable, ModelProtocolError)


@define(eq=False)
class Breaker:
    """The circuit breaker of one upstream.

    Only what speaks of the upstream counts as a failure; an error that speaks of the request or of
    the account shows that the upstream answers.  A call that is cancelled, or whose reader fails,
    shows nothing.  A rate limit is one model's: that model alone is not asked, for as long as the
    upstream said.
    """

    name: str
    """Who is left alone, for the error's text."""
    clock: Clock
    _failures: int = 0
    _until: float | None = None
    """When a call may be tried again; None while all are made."""
    _trial: object = None
    """The call that tries the upstream, until it is known how it goes."""
    _resting: dict[str, float] = field(factory=dict[str, float])
    """Until when a model is not asked."""

    async def call(self, ask: Call[ModelRequest, ModelReply], request: ModelRequest) -> ModelReply:
        """Ask the upstream, unless it is left alone.

        After the pause one call is made; the others go on failing until its answer begins.

        Raises:
            CircuitOpen: the upstream is left alone; ``retry_after`` says for how long.
        """
        trial = self._admit(request.model)
        try:
            reply = await ask(request if trial is None else self._watched(request, trial))
        except _FAULTS:
            self._failures += 1
            if self._failures >= FAILURES:
                self._until = self.clock.monotonic() + PAUSE_SECONDS
            raise
        except ModelError as error:
            if isinstance(error, RateLimited) and error.retry_after:
                self._rest(request.model, min(error.retry_after, LONGEST_SECONDS))
            self._answered(trial)
            raise
        else:
            self._answered(trial)
            return reply
        finally:
            if self._tries(trial):
                self._trial = None

    def _admit(self, model: str) -> object:
        """Return what stands for the call if it tries the upstream, and None for others."""
        now = self.clock.monotonic()
        rest = self._resting.get(model, now) - now
        if rest > 0:
            message = f"{self.name} is not asked for the model {model!r}: it said to wait"
            raise CircuitOpen(message, retry_after=rest)
        if self._until is None:
            return None
        left = self._until - now
        if left > 0 or self._trial is not None:
            message = f"{self.name} is left alone for now: it kept failing"
            raise CircuitOpen(message, retry_after=max(left, TRIAL_SECONDS))
        self._trial = object()
        return self._trial

    def _watched(self, request: ModelRequest, trial: object) -> ModelRequest:
        """Return the request, whose first piece shows that the upstream is back.

        Its last one may be minutes away.
        """

        async def emit(delta: Delta) -> None:
            self._answered(trial)
            await request.emit(delta)

        return replace(request, emit=emit)

    def _tries(self, trial: object) -> bool:
        return trial is not None and trial is self._trial

    def _answered(self, trial: object) -> None:
        # A call that began before the circuit opened does not close it.
        if self._until is None or self._tries(trial):
            self._failures, self._until, self._trial = 0, None, None

    def _rest(self, model: str, seconds: float) -> None:
        now = self.clock.monotonic()
        until = max(now + seconds, self._resting.get(model, now))
        # Those that are over go, so that it does not grow.
        rest = {name: time for name, time in self._resting.items() if time > now}
        self._resting = rest | {model: until}
