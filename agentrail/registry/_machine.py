"""The states of a package's version, and what leads from one to another; nothing here does I/O.

::

    received ─approve→ approved ─promote→ disabled ─enable→ enabling ─started→ active ⇄ idle
       │                  ↑                   ↑                 │                │      │
     stage             approve             drained            fail            disable   │
       ↓                  │                   │                 ↓                ↓      ↓
    staged ───────────────┘                draining ←───────────┼───────────────────────┘
                                                              failed ─enable→ enabling
"""

from collections.abc import Mapping
from enum import StrEnum
from itertools import product
from typing import Final

from attrs import define, field

from agentrail.errors import PackageStateError


class State(StrEnum):
    """Where a version of a package stands."""

    RECEIVED = "received"
    """Taken in and checked; nobody has approved it, and none of it has run."""
    STAGED = "staged"
    """The same, beside a version that is in use."""
    APPROVED = "approved"
    """An administrator granted what it asks for; it may not run in the host's process yet."""
    DISABLED = "disabled"
    """Ready, and switched off."""
    ENABLING = "enabling"
    """Being loaded and started."""
    ACTIVE = "active"
    """Part of the host's composition."""
    IDLE = "idle"
    """The same, but not loaded: whoever calls it loads it."""
    DRAINING = "draining"
    """No longer part of it; runs that began before still use it."""
    FAILED = "failed"
    """It could not be loaded or started, or broke down."""
    QUARANTINED = "quarantined"
    """It broke down again and again, and waits for an administrator."""
    DELETED = "deleted"
    """Its files are gone."""


class Event(StrEnum):
    """What happens to a version of a package."""

    STAGE = "stage"
    APPROVE = "approve"
    PROMOTE = "promote"
    ENABLE = "enable"
    STARTED = "started"
    DEFER = "defer"
    """It is to be loaded when it is first called."""
    FAIL = "fail"
    REST = "rest"
    """It was not called for a while."""
    WAKE = "wake"
    """It is called, and loaded for that."""
    DISABLE = "disable"
    DRAINED = "drained"
    QUARANTINE = "quarantine"
    RELEASE = "release"
    DELETE = "delete"


_S, _E = State, Event

TRANSITIONS: Final[Mapping[tuple[State, Event], State]] = {
    (_S.RECEIVED, _E.STAGE): _S.STAGED,
    (_S.RECEIVED, _E.APPROVE): _S.APPROVED,
    (_S.RECEIVED, _E.DELETE): _S.DELETED,
    (_S.STAGED, _E.APPROVE): _S.APPROVED,
    (_S.STAGED, _E.DELETE): _S.DELETED,
    (_S.APPROVED, _E.PROMOTE): _S.DISABLED,
    (_S.APPROVED, _E.DELETE): _S.DELETED,
    (_S.DISABLED, _E.ENABLE): _S.ENABLING,
    (_S.DISABLED, _E.DELETE): _S.DELETED,
    (_S.ENABLING, _E.STARTED): _S.ACTIVE,
    (_S.ENABLING, _E.DEFER): _S.IDLE,
    (_S.ENABLING, _E.FAIL): _S.FAILED,
    (_S.ENABLING, _E.QUARANTINE): _S.QUARANTINED,
    (_S.ACTIVE, _E.REST): _S.IDLE,
    (_S.ACTIVE, _E.DISABLE): _S.DRAINING,
    (_S.ACTIVE, _E.FAIL): _S.FAILED,
    (_S.ACTIVE, _E.QUARANTINE): _S.QUARANTINED,
    (_S.IDLE, _E.WAKE): _S.ACTIVE,
    (_S.IDLE, _E.DISABLE): _S.DRAINING,
    (_S.IDLE, _E.FAIL): _S.FAILED,
    (_S.IDLE, _E.QUARANTINE): _S.QUARANTINED,
    (_S.DRAINING, _E.DRAINED): _S.DISABLED,
    (_S.DRAINING, _E.ENABLE): _S.ENABLING,  # loaded once more, beside what drains
    (_S.FAILED, _E.ENABLE): _S.ENABLING,
    (_S.FAILED, _E.DISABLE): _S.DISABLED,
    (_S.FAILED, _E.QUARANTINE): _S.QUARANTINED,
    (_S.FAILED, _E.DELETE): _S.DELETED,
    (_S.QUARANTINED, _E.RELEASE): _S.DISABLED,
    (_S.QUARANTINED, _E.DELETE): _S.DELETED,
}
"""Where each event leads; what is not here cannot happen."""

IN_USE: Final = frozenset({_S.ENABLING, _S.ACTIVE, _S.IDLE, _S.DRAINING})
"""The states in which a version's files are needed."""

WAITING: Final = frozenset({_S.RECEIVED, _S.STAGED, _S.APPROVED})
"""The states in which an administrator is waited for."""

LASTING: Final = frozenset(
    {_S.RECEIVED, _S.STAGED, _S.APPROVED, _S.DISABLED, _S.QUARANTINED, _S.DELETED}
)
"""The states that are kept over a restart; the others are what a running host makes of them."""

_STATE_HINTS: Final[Mapping[State, str]] = {
    _S.RECEIVED: "approve it first",
    _S.STAGED: "approve it first",
    _S.APPROVED: "promote its digest first, so that its code may run in the host's process",
    _S.DISABLED: "it is not on",
    _S.ENABLING: "wait until it has started",
    _S.ACTIVE: "switch it off first",
    _S.IDLE: "switch it off first",
    _S.DRAINING: "wait until the runs that use it have ended",
    _S.FAILED: "switch it on to try again, or off",
    _S.QUARANTINED: "it kept breaking down: release it first",
    _S.DELETED: "upload it again",
}
_PROMOTED: Final = (_S.DISABLED, *IN_USE, _S.QUARANTINED)

_HINTS: Final[Mapping[tuple[State, Event], str]] = {
    **dict.fromkeys(product(_S, [_E.RELEASE]), "there is nothing to release"),
    **dict.fromkeys(
        product(_PROMOTED, [_E.APPROVE, _E.PROMOTE]), "it is approved and promoted already"
    ),
    **dict.fromkeys(product(_S, [_E.DISABLE]), "it is not on"),
    **dict.fromkeys(product(IN_USE, [_E.ENABLE]), "it is on already"),
    (_S.APPROVED, _E.APPROVE): "it is approved already, and may be promoted",
    (_S.FAILED, _E.APPROVE): "it does not wait for approval",
    (_S.FAILED, _E.PROMOTE): "it does not wait for approval",
    (_S.ENABLING, _E.DISABLE): _STATE_HINTS[_S.ENABLING],
    (_S.DRAINING, _E.DISABLE): "it is switched off already",
    (_S.DELETED, _E.DELETE): "it is deleted already",
}
"""What to say to who asks for what cannot happen; for what nobody asks for, the state has one."""


def hint(state: State) -> str:
    """Return what to do about a package that is in a state."""
    return _STATE_HINTS[state]


def step(state: State, event: Event, what: str = "the package") -> State:
    """Return the state that an event leads to.

    Raises:
        PackageStateError: it cannot happen in that state; ``what`` names the package.
    """
    after = TRANSITIONS.get((state, event))
    if after is None:
        hint = _HINTS.get((state, event), _STATE_HINTS[state])
        message = f"{what} is {state}, so there is no {event!s}: {hint}"
        raise PackageStateError(message)
    return after


CRASHES: Final = 3
"""How often a version may break down before it is quarantined…"""

CRASH_SECONDS: Final = 300.0
"""…within this many seconds."""


@define(slots=True)
class Crashes:
    """When a version broke down lately."""

    _times: list[float] = field(factory=list[float])

    def note(self, now: float) -> bool:
        """Note that it broke down; tell whether that was once too often."""
        self._times = [at for at in self._times if now - at < CRASH_SECONDS][-CRASHES:]
        self._times.append(now)
        return len(self._times) >= CRASHES
