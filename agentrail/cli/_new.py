"""``agentrail new``: a project that begins as a copy of the reference host."""

import os
import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory
from typing import Final

from agentrail.errors import ConfigError

_TEMPLATE: Final = Path(__file__).with_name("_template")
"""The reference host, in a wheel."""

_SKELETON: Final = Path(__file__).with_name("_skeleton")
"""What a project has and a checkout has otherwise."""

_CHECKOUT: Final = Path(__file__).parents[2]
_PARTS: Final[Mapping[str, str]] = {
    "app.py": "app.py",
    "plugins": "plugins",
    "profiles": "profiles",
    "routes": "routes",
    "tests/reference/test_app.py": "tests/test_app.py",
}
"""The reference host in a checkout, and where it goes; ``hatch_build.py`` has the same."""

_DISTRIBUTION: Final = "agentrail-host"


def new(name: str, directory: Path | None) -> Path:
    """Return the directory of a new project; it is made whole or not at all.

    Args:
        name: of the project, and of its directory unless that is given.
        directory: to be made, or empty; the one above it is there.

    Raises:
        ConfigError: the name or the directory cannot be taken.
    """
    _check_name(name)
    target = Path(name) if directory is None else directory
    try:
        _check_free(target)
        # Beside its place, so that it comes there in one step.
        with TemporaryDirectory(prefix=".new-", dir=target.absolute().parent) as beside:
            made = Path(beside, "made")
            _fill(made, name)
            made.rename(target)
    except OSError as error:
        raise ConfigError(f"cannot make {target}: {error.strerror}") from error
    return target


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", name):
        message = (
            f"{name!r} names no project: write ASCII letters, digits and, between them, "
            "'.', '_' or '-', as 'my-host'"
        )
        raise ConfigError(message)
    if re.sub(r"[-_.]+", "-", name).lower() == _DISTRIBUTION:
        message = f"{name!r} is the name of what the project depends on: choose another"
        raise ConfigError(message)


def _check_free(target: Path) -> None:
    if target.is_dir() and target.samefile(Path.cwd()):
        message = f"{target} is the current directory: run this in the one above it"
        raise ConfigError(message)
    if any(target.iterdir()) if target.is_dir() else os.path.lexists(target):
        message = f"{target} is there already: choose another name, or a place with --directory"
        raise ConfigError(message)


def _fill(made: Path, name: str) -> None:
    if _TEMPLATE.is_dir():
        _copy(_TEMPLATE, made)
    else:
        for source, place in _PARTS.items():
            _copy(_CHECKOUT / source, made / place)
    for each in _SKELETON.iterdir():
        text = Template(each.read_text(encoding="utf-8"))
        filled = text.substitute(name=name, version=version(_DISTRIBUTION))
        (made / each.stem).write_text(filled, encoding="utf-8")


def _copy(source: Path, target: Path) -> None:
    """Copy a file, or a directory without what Python compiled; as files of the user's own."""
    if source.is_dir():
        for each in source.iterdir():
            if each.name != "__pycache__":
                _copy(each, target / each.name)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
