"""Versions as Semantic Versioning 2.0 writes them, without a build part, and ranges of them."""

import re
from functools import total_ordering
from typing import Final

from attrs import field, frozen

_VERSION: Final = re.compile(
    r"(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})"
    r"(?:-((?:0|[1-9]\d{0,8}|\d*[A-Za-z-][0-9A-Za-z-]*)"
    r"(?:\.(?:0|[1-9]\d{0,8}|\d*[A-Za-z-][0-9A-Za-z-]*))*))?",
    re.ASCII,
)
_BOUND: Final = re.compile(r"(>=|<=|==|!=|>|<)\s*(\d{1,9}(?:\.\d{1,9}){0,2}(?:-[0-9A-Za-z.-]+)?)")
_LONGEST: Final = 64


@total_ordering
@frozen(slots=True, eq=False)
class Version:
    """A version that can be compared; what stands behind a hyphen comes before the release."""

    text: str
    _key: tuple[object, ...] = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> "Version":
        """Return the version that ``text`` writes.

        Raises:
            ValueError: it is no version, or has a build part.
        """
        match = _VERSION.fullmatch(text) if len(text) <= _LONGEST else None
        if match is None:
            message = (
                f"{text[:80]!r} is no version: write MAJOR.MINOR.PATCH, as 1.4.0 or 2.0.0-rc.1"
            )
            raise ValueError(message)
        *numbers, before = match.groups()
        parts = tuple(
            (0, int(part), "") if part.isdecimal() else (1, 0, part)
            for part in (before or "").split(".")
            if part
        )
        return cls(text, (*map(int, numbers), not before, parts))

    @property
    def is_release(self) -> bool:
        """Whether it is more than a preview."""
        return bool(self._key[3])

    def __str__(self) -> str:
        """Return the version as it was written."""
        return self.text

    def __eq__(self, other: object) -> bool:
        """Tell whether two versions are the same."""
        return isinstance(other, Version) and self._key == other._key

    def __lt__(self, other: "Version") -> bool:
        """Tell whether this version came before the other."""
        return self._key < other._key

    def __hash__(self) -> int:
        """Return a number that equal versions share."""
        return hash(self._key)


@frozen(slots=True)
class Range:
    """The versions that meet all bounds; without any, all versions."""

    text: str
    bounds: tuple[tuple[str, Version], ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Range":
        """Return the range that ``text`` writes, as ``>=1.2,<2``; what is left out is 0.

        Raises:
            ValueError: it is no range.
        """
        bounds: list[tuple[str, Version]] = []
        for part in text.split(",") if text.strip() else ():
            match = _BOUND.fullmatch(part.strip())
            if match is None:
                message = f"{part.strip()[:80]!r} is no bound: write one as >=1.2 or <2"
                raise ValueError(message)
            release, hyphen, before = match[2].partition("-")
            release += ".0" * (2 - release.count("."))
            bounds.append((match[1], Version.parse(release + hyphen + before)))
        return cls(text, tuple(bounds))

    def __contains__(self, version: Version) -> bool:
        """Tell whether a version meets all bounds."""
        return all(_holds(version, sign, bound) for sign, bound in self.bounds)

    def __str__(self) -> str:
        """Return the range as it was written."""
        return self.text or "any version"


def _holds(version: Version, sign: str, bound: Version) -> bool:
    return {
        ">=": version >= bound,
        "<=": version <= bound,
        "==": version == bound,
        "!=": version != bound,
        ">": version > bound,
        "<": version < bound,
    }[sign]
