"""What a package depends on: Python packages, and other plugin packages."""

import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from attrs import frozen
from packaging.requirements import InvalidRequirement, Requirement

from agentrail.config import shown
from agentrail.package._semver import Range

_LONGEST: Final = 200
_ID: Final = r"[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?"
_PLUGIN: Final = re.compile(rf"({_ID})\s*(.*)", re.DOTALL)


@frozen(slots=True)
class PluginRequirement:
    """Another package that must be active first, in a version of the range."""

    id: str
    versions: Range

    def __str__(self) -> str:
        """Return the requirement as a manifest writes it."""
        return f"{self.id}{self.versions.text}"


def plugin_requirement(text: str) -> PluginRequirement:
    """Return the requirement that ``text`` writes, as ``geo>=2,<3``.

    Raises:
        ValueError: it is none.
    """
    match = _PLUGIN.fullmatch(text.strip()) if len(text) <= _LONGEST else None
    if match is None:
        message = f"{shown(text, 80)!r} names no package: write an id and a range, as geo>=2,<3"
        raise ValueError(message)
    return PluginRequirement(match[1], Range.parse(match[2]))


def missing_requirements(requirements: Iterable[str]) -> list[str]:
    """Return those of the requirements that this interpreter's packages do not meet."""
    missing: list[str] = []
    for text in requirements:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            missing.append(text)
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            missing.append(text)
    return missing


def python_fault(text: str) -> str | None:
    """Return what is wrong with a requirement of a Python package, None for a plain one."""
    if len(text) > _LONGEST:
        return f"a requirement may have {_LONGEST} characters"
    try:
        requirement = Requirement(text)
    except RecursionError:
        return f"{shown(text, 80)!r} is nested too deeply"
    except InvalidRequirement as error:
        return f"{shown(text, 80)!r} is no requirement: {str(error).splitlines()[0][:120]}"
    if requirement.url is not None:
        return f"{shown(text, 80)!r} names an address; only names and versions are taken"
    return None
