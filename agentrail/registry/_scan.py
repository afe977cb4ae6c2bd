"""Packages in directories that an application names."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from agentrail.errors import PackageRefused
from agentrail.package import MANIFESTS, Package, files_of, has_manifest
from agentrail.registry._inventory import examined

_LARGEST: Final = 1024 * 1024
_INIT: Final = "__init__.py"
_FUNCTION: Final = re.compile(rb"^def get_manifest\b", re.MULTILINE)


def scan(directory: Path, host: str) -> Sequence[tuple[Path, Package | PackageRefused]]:
    """Return the packages in a directory by their paths, or why they are none.

    A directory with a manifest in it is one, and so is a module with one in a comment; for both, a
    ``get_manifest`` will do. What has none is something else, and left alone.
    """
    found: list[tuple[Path, Package | PackageRefused]] = []
    for path in sorted(directory.iterdir()) if directory.is_dir() else ():
        if not _is_package(path):
            continue
        try:
            found.append((path, examined(files_of(path), host)))
        except PackageRefused as error:
            found.append((path, error))
    return found


def _is_package(path: Path) -> bool:
    try:
        if path.is_dir():
            return any((path / name).is_file() for name in MANIFESTS) or _tells(path / _INIT)
        return path.suffix == ".py" and _tells(path)
    except OSError:
        return False


def _tells(module: Path) -> bool:
    """Tell whether a module may have a manifest in it."""
    if not module.is_file() or module.stat().st_size > _LARGEST:
        return False
    source = module.read_bytes()
    return has_manifest(source) or _FUNCTION.search(source) is not None
