"""What is told of the settings that a host goes by."""

import re
from collections.abc import Mapping, Sequence
from typing import Final, Literal

from agentrail.errors import (
    CompositionError,
    ConfigRefused,
    Fault,
    PreconditionFailed,
    StorageError,
    unwrapped,
)
from agentrail.messages import Wire
from agentrail.secret import Secrets
from agentrail.settings._read import Reading
from agentrail.settings._revisions import Asked, WholeRevision, changes_between
from agentrail.settings._shown import digest_of, shown_settings

FOLLOWS: Final = "another process has the data directory open: ask that one for new settings"

HELD: Final = (
    "the settings are those of revision %d, which somebody went back to: the file counts when it "
    "is changed, or after 'agentrail config reload'"
)

ELSEWHERE: Final = (
    "the data directory or the key file is another one there, so a restart would not find what was "
    "gone back to: change these in the file itself, and restart the host"
)

_AT_START: Final = (
    "server.",
    "data_dir",
    "plugins.directory",
    "plugins.watch",
    "reload.",
    "secrets.key_file",
)
"""How the settings begin that count from the next start of the host on."""


_NAMED: Final = re.compile(r"\b(profile|plugin|provider) '([^']+)'")
"""How messages name what settings may declare."""


class ConfigState(Wire, frozen=True, kw_only=True, omit_defaults=False):
    """The settings that a host goes by."""

    state: Literal["ok", "degraded"]
    """``degraded``: what was read last is refused, and this is what was in force before."""
    faults: Sequence[Fault]
    """What is wrong with what was read last."""
    restart: Sequence[str]
    """The settings that are others now, and count from the next start of the host on."""
    pinned: bool
    """Whether somebody went back to it, and the file says something else."""
    revision: WholeRevision


def check_match(expected: int | None, number: int) -> None:
    """Return when the revision in force is the one that somebody expects.

    Raises:
        PreconditionFailed: it is another.
    """
    if expected not in (None, number):
        message = f"the settings were changed since: revision {number} is used"
        raise PreconditionFailed(message)


def waiting_for_restart(started: Reading, present: Reading) -> Sequence[str]:
    """Return the settings that are others than those that a host was started with, and wait."""
    changes = changes_between(shown_settings(started), shown_settings(present))
    return [change.path for change in changes if change.path.startswith(_AT_START)]


def whole_of(
    reading: Reading, secrets: Secrets, before: WholeRevision | None, asked: Asked, at: float
) -> WholeRevision:
    """Return the revision of settings after another; it has no number yet."""
    settings = shown_settings(reading, secrets)
    return WholeRevision(
        number=0,
        at=at,
        actor=asked.actor,
        action=asked.action,
        file=reading.path.name if reading.path is not None else "",
        digest=digest_of(reading, settings),
        changes=() if before is None else changes_between(before.settings, settings),
        settings=settings,
    )


def faults_of_error(error: Exception, reading: Reading | None) -> Sequence[Fault]:
    """Return what is wrong with settings that a host could not go by.

    What is said of a profile, a plugin or a provider that they declare has its place in them.
    """
    if isinstance(error, ConfigRefused):
        return error.faults
    places = dict[tuple[str, str], str]() if reading is None else _places(reading)
    if isinstance(error, CompositionError):
        return [_fault("config_conflict", each, reading, places) for each in error.faults]
    cause = unwrapped(error)
    why = getattr(cause, "detail", f"{type(cause).__name__}: {cause}")
    code = cause.code if isinstance(cause, StorageError) else "config_object"
    return [_fault(code, why, reading, places)]


def _fault(
    code: str, message: str, reading: Reading | None, places: Mapping[tuple[str, str], str]
) -> Fault:
    for found in _NAMED.finditer(message):
        path = places.get((found[1], found[2]))
        if reading is not None and path is not None:
            return reading.layered.fault(code, message, path)
    return Fault(code, message)


def _places(reading: Reading) -> Mapping[tuple[str, str], str]:
    """Return where the settings declare something, by its kind and name."""
    settings = reading.settings
    return {
        **{("profile", each.id): f"profiles.{at}" for at, each in enumerate(settings.profiles)},
        **{
            ("plugin", each.name): f"plugins.entries.{at}"
            for at, each in enumerate(settings.plugins.entries)
        },
        **{("provider", name): f"providers.{name}" for name in settings.providers},
    }
