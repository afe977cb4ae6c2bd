"""What is told of the settings that a host goes by."""

from collections.abc import Sequence
from typing import Final, Literal

from agentrail.errors import CompositionError, ConfigRefused, Fault, unwrapped
from agentrail.messages import Wire
from agentrail.settings._read import Reading
from agentrail.settings._revisions import WholeRevision, changes_between
from agentrail.settings._shown import shown_settings

_AT_START: Final = ("server.", "data_dir", "plugins.directory", "plugins.watch", "reload.")
"""How the settings begin that count from the next start of the host on."""


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


def waiting_for_restart(started: Reading, present: Reading) -> Sequence[str]:
    """Return the settings that are others than those that a host was started with, and wait."""
    changes = changes_between(shown_settings(started), shown_settings(present))
    return [change.path for change in changes if change.path.startswith(_AT_START)]


def faults_of_error(error: Exception, file: str) -> Sequence[Fault]:
    """Return what is wrong with settings that a host could not go by."""
    if isinstance(error, ConfigRefused):
        return error.faults
    if isinstance(error, CompositionError):
        return [Fault("config_conflict", each, file) for each in error.faults]
    cause = unwrapped(error)
    why = getattr(cause, "detail", f"{type(cause).__name__}: {cause}")
    return [Fault("config_object", why, file)]
