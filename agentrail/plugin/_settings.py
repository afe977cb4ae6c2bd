"""How a host deals with plugin packages."""

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from attrs import field, frozen

from agentrail.secret import PREFIX


def secret_variable(name: str) -> str | None:
    """Return the value of the environment variable ``AGENTRAIL_SECRET_`` and the name."""
    return os.environ.get(f"{PREFIX}{name}")


def _paths(paths: Sequence[str | Path]) -> tuple[Path, ...]:
    return tuple(Path(path) for path in paths)


@frozen(kw_only=True)
class PackageSettings:
    """Where plugin packages come from, and what they are given."""

    enabled: bool = True
    """Whether packages run; when not, none does, whatever is to be on."""
    directories: Sequence[str | Path] = field(default=(), converter=_paths)
    """Each directory in them that has a manifest is a package, and so is each ``.py`` file with a
    manifest in a comment.  They are the application's own code: they run without being approved."""
    watch: bool = False
    """Whether a package in one of the directories is loaded anew when its files change."""
    quiet_seconds: float = 1.0
    """How long its files must not have changed for that."""
    uploads: bool = True
    """Whether packages may be uploaded."""
    config: Mapping[str, Mapping[str, object]] = field(
        factory=dict[str, Mapping[str, object]], repr=False
    )
    """The configuration of packages by their ids, over what their manifests say."""
    only: Collection[str] | None = None
    """The packages that may be on, by their ids, and are; None leaves it to what follows."""
    switched: Mapping[str, bool] = field(factory=dict[str, bool])
    """Which packages are on or off, by their ids, whatever administrators say."""
    versions: Mapping[str, str] = field(factory=dict[str, str])
    """Which version of a package is used, by its id, whatever administrators say."""
    secrets: Callable[[str], str | None] = secret_variable
    """Returns the value of a secret; by default of the variable ``AGENTRAIL_SECRET_<NAME>``."""
    load_seconds: float = 10.0
    """How long loading a package's code may take."""
    drain_seconds: float = 60.0
    """How long runs that began with a package may go on after it was switched off."""
    idle_seconds: float = 600.0
    """After how long without a call a package that is loaded on demand is put away again."""
