"""What a tool's docstring tells the model: Google style, as far as tools need it."""

import inspect
import re
import textwrap
from itertools import takewhile

_SECTION = re.compile(r"[A-Z][A-Za-z ]*:")
_ENTRY = re.compile(r"(\w+)(?: \([^)]*\))?:\s*(.*)")


def parse_docstring(text: str) -> tuple[str, dict[str, str]]:
    """Return the first paragraph, and what the ``Args:`` section says of each parameter."""
    lines = inspect.cleandoc(text).splitlines()
    first = takewhile(lambda line: line.strip() and not _SECTION.fullmatch(line), lines)
    return " ".join(line.strip() for line in first), _arguments(lines)


def _arguments(lines: list[str]) -> dict[str, str]:
    if "Args:" not in lines:
        return {}
    rest = lines[lines.index("Args:") + 1 :]
    section = takewhile(lambda line: not line or line[0].isspace(), rest)
    described: dict[str, list[str]] = {}
    current: list[str] = []
    for line in textwrap.dedent("\n".join(section)).splitlines():
        if entry := _ENTRY.fullmatch(line):
            current = described.setdefault(entry[1], [])
            line = entry[2]  # noqa: PLW2901 - what is left of the line
        if line.strip():
            current.append(line.strip())
    return {name: " ".join(texts) for name, texts in described.items()}
