"""What packages need of each other."""

from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter

from agentrail.errors import PackageError, PackageStateError
from agentrail.package import Package, PluginRequirement, Version
from agentrail.registry._known import Entry, Known
from agentrail.registry._machine import State

_ON = frozenset({State.ACTIVE, State.IDLE})


class Circle(PackageError):
    """Packages depend on each other in a circle.

    Attributes:
        packages: their ids.
    """

    def __init__(self, packages: Iterable[str]) -> None:
        self.packages = tuple(dict.fromkeys(packages))
        circle = " → ".join([*self.packages, self.packages[0]])
        super().__init__(f"packages depend on each other in a circle: {circle}")


def in_order(packages: Mapping[str, Package | None]) -> list[str]:
    """Return the ids of packages, each after those that it depends on, else by name.

    Raises:
        Circle: they depend on each other in a circle.
    """
    graph = {
        package: sorted({need.id for need in needs(packages[package])} & packages.keys())
        for package in sorted(packages)
    }
    try:
        return list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        raise Circle(error.args[1]) from error


def needs(package: Package | None) -> tuple[PluginRequirement, ...]:
    """Return which other packages a package depends on."""
    return () if package is None else tuple(package.manifest.plugins)


def check_dependencies(known: Known, entries: Mapping[str, Entry]) -> None:
    """Return when all that a version depends on is on.

    Raises:
        PackageStateError: something is not, or in another version.
    """
    faults: list[str] = []
    for need in needs(known.package):
        entry = entries.get(need.id)
        other = entry.on if entry is not None else None
        if other is None or other.state not in _ON:
            faults.append(f"{need} is not on")
        elif Version.parse(other.row.version) not in need.versions:
            faults.append(f"{need} is needed, and {other.row.version} is on")
    if faults:
        message = f"{known} depends on other packages: {'; '.join(faults)}"
        raise PackageStateError(message)


def check_dependents(
    entry: Entry, known: Known, new: Known | None, entries: Mapping[str, Entry]
) -> None:
    """Return when what is on can do without a version, or with the one in its place.

    Raises:
        PackageStateError: it cannot.
    """
    needed_by = [
        other.id
        for other in entries.values()
        if other is not entry and other.on is not None
        for need in needs(other.on.package)
        if need.id == entry.id
        and (new is None or Version.parse(new.row.version) not in need.versions)
    ]
    if needed_by:
        message = f"{known} is needed by {', '.join(needed_by)}: switch those off first"
        raise PackageStateError(message)
