"""Packages in directories that an application names."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from agentrail.errors import PackageRefused
from agentrail.package import MANIFESTS, Package, files_of, has_manifest
from agentrail.registry._inventory import examined

_LARGEST: Final = 1024 * 1024


def scan(directory: Path, host: str) -> Sequence[tuple[Path, Package | PackageRefused]]:
    """Return the packages in a directory by their paths, or why they are none.

    A directory with a manifest in it is one, and so is a module with a manifest in a comment; what
    has none is something else, and left alone.
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
            return any((path / name).is_file() for name in MANIFESTS)
        if path.suffix != ".py" or not path.is_file() or path.stat().st_size > _LARGEST:
            return False
        return has_manifest(path.read_bytes())
    except OSError:
        return False
