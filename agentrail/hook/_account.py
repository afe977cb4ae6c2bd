"""What a run did, summed up for its record."""

from collections.abc import Sequence, Sized
from itertools import pairwise
from typing import Final

from agentrail.errors import HookTimeout
from agentrail.events import HookDid, HooksRan, ModelAsked, RunRecorded
from agentrail.hook._order import Hook
from agentrail.hook._trace import NO_ATTRIBUTES
from agentrail.hook._watchdog import Guard
from agentrail.messages import ToolCall

MANY: Final = 64
"""Of so many phases, those that are over are summed up before the run's end."""

NO_HOOKS: Final = HooksRan()
"""What a run has that no hook was called in."""


class Account:
    """Sums up one run.

    A call of a hook is noted by its phase alone: the guard that the calls go through knows when
    each of them began, which is when the one before it ended.

    Args:
        transport: the door that the request came through.
        began: when the run began, by the monotonic clock that all of its moments are of.
    """

    __slots__ = (
        "_did",
        "_often",
        "_phases",
        "_ran",
        "asked",
        "attributes",
        "began",
        "first_text",
        "traceparent",
        "transport",
        "waited",
    )

    def __init__(self, transport: str, began: float) -> None:
        self.transport = transport
        self.began = began
        self.waited = 0.0
        self.first_text: float | None = None
        self.traceparent = ""
        self.attributes = NO_ATTRIBUTES
        self.asked: list[ModelAsked] = []
        self._phases: list[tuple[Sequence[Hook], Guard]] = []
        self._ran: dict[Hook, int] = {}  # what it took
        self._often: dict[Hook, tuple[int, int]] = {}  # the calls, and the longest of them
        self._did: dict[Hook, HookDid] = {}

    def opened(self, hooks: Sequence[Hook], guard: Guard) -> None:
        """Note that these hooks, or the first of them, are called one by one in a guard."""
        self._phases.append((hooks, guard))
        if len(self._phases) > MANY:
            self._sum_up()

    def returned(self, hook: Hook, given: object, result: object) -> None:
        """Note what a hook made of what it was given, unless it let that pass."""
        if result is given or isinstance(result, ToolCall):  # of calls the gate knows better
            return
        if isinstance(result, Sized) and not len(result):
            return
        if type(result) is type(given):
            self.did(hook).changed += 1
        else:
            self.did(hook).answered += 1

    def failed(self, hook: Hook, error: Exception) -> None:
        """Note a failure, which may be found long after the call."""
        did = self.did(hook)
        did.error = type(error).__name__
        if isinstance(error, HookTimeout):
            did.timeouts += 1
        else:
            did.errors += 1

    def did(self, hook: Hook) -> HookDid:
        """Return what is known of a hook besides its calls."""
        did = self._did.get(hook)
        if did is None:
            did = self._did[hook] = HookDid()
        return did

    def record(self, turn_id: str, session_id: str, now: float) -> RunRecorded:
        """Return the record of the run, whose hooks are forgotten then."""
        first, began = self.first_text, self.began
        return RunRecorded(
            turn_id=turn_id,
            session_id=session_id,
            transport=self.transport,
            micros=int((now - began) * 1e6),
            waited=int(self.waited * 1e6),
            first_text=None if first is None else int((first - began) * 1e6),
            ran=self._taken() if self._phases or self._ran else NO_HOOKS,
            models=tuple(self.asked),
            traceparent=self.traceparent,
        )

    def _taken(self) -> HooksRan:
        """Return what the hooks did, and begin anew."""
        self._sum_up()
        ran, often, did = self._ran, self._often, self._did
        self._ran, self._often, self._did = {}, {}, {}
        for hook in did:
            if hook not in ran:  # it was left alone
                ran[hook], often[hook] = 0, (0, 0)
        places = {hook: place for place, hook in enumerate(ran)} if often or did else {}
        return HooksRan(
            tuple([hook.name for hook in ran]),
            tuple([hook.plugin for hook in ran]),
            tuple(ran.values()),
            tuple([(places[hook], *calls) for hook, calls in often.items()]),
            tuple([(places[hook], what) for hook, what in did.items()]),
        )

    def _sum_up(self) -> None:
        """Sum up the phases that are over."""
        ran, phases, self._phases = self._ran, self._phases, []
        for hooks, guard in phases:
            if not guard.over:
                self._phases.append((hooks, guard))
                continue
            took = [int((ended - began) * 1e6) for began, ended in pairwise(guard.times)]
            called = hooks[: len(took)]
            if ran.keys().isdisjoint(called):  # the first time, which mostly is the only one
                ran.update(zip(called, took, strict=True))
            else:
                for hook, micros in zip(called, took, strict=True):
                    self._add(hook, micros)
            if guard.cut:
                self.did(called[-1]).cancelled += 1

    def _add(self, hook: Hook, micros: int) -> None:
        before = self._ran.get(hook)
        if before is not None:
            calls, longest = self._often.get(hook, (1, before))
            self._often[hook] = calls + 1, max(longest, micros)
        self._ran[hook] = (before or 0) + micros
