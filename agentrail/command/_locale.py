"""From the languages that somebody reads to one of those that there are."""

from collections.abc import Iterator, Mapping
from typing import Final, TypeVar

T = TypeVar("T")

_CHARS: Final = 1_000
"""How much of a locale is looked at."""


def in_language(choices: Mapping[str, T], locale: str) -> T:
    """Return the choice for the reader's language; the first one where none is for it.

    Args:
        choices: by language tags, as ``de`` or ``pt-BR``.
        locale: language tags in the syntax of ``Accept-Language``, as ``de-AT, en;q=0.5``;
            ``de-AT`` takes ``de`` where there is no ``de-AT``.
    """
    tagged = {_plain(tag): choice for tag, choice in choices.items()}
    for wanted in _wanted(locale[:_CHARS]):
        tag = wanted
        while tag:
            if tag in tagged:
                return tagged[tag]
            tag = tag.rpartition("-")[0]
    return next(iter(choices.values()))


def _wanted(locale: str) -> Iterator[str]:
    """Yield the tags, the most wanted first."""
    weighed: list[tuple[float, str]] = []
    for part in locale.split(","):
        tag, _, weight = part.partition(";")
        try:
            weighed.append((float(weight.strip().removeprefix("q=") or 1), _plain(tag)))
        except ValueError:
            continue
    for share, tag in sorted(weighed, key=lambda each: -each[0]):
        if share > 0:
            yield tag


def _plain(tag: str) -> str:
    return tag.strip().casefold().replace("_", "-")
