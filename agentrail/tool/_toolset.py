"""The tools of one profile, ready to be offered to a model and to be looked up."""

import re
from collections.abc import Iterable, Mapping

from attrs import field, frozen

from agentrail.hook import Tool
from agentrail.messages import ToolSpec

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


@frozen(slots=True)
class Toolset:
    """Tools by name; immutable."""

    tools: Mapping[str, Tool] = field(factory=dict[str, Tool])
    owners: Mapping[str, str] = field(factory=dict[str, str])
    """Who brought each tool, by the tool's name."""
    concurrent: frozenset[str] = frozenset()
    """The names of those whose calls may run at the same time."""
    origins: Mapping[str, str] = field(factory=dict[str, str])
    """Which code each tool is of, by the tool's name; empty for what is the application's own."""
    specs: tuple[ToolSpec, ...] = ()
    """What the model is told, by name in order, so that equal sets read equal in its cache."""

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, Tool]]) -> "tuple[Toolset, tuple[str, ...]]":
        """Return the set of the tools, each given with its owner, and every fault in them.

        Of two tools with one name the first is kept.
        """
        faults: list[str] = []
        tools: dict[str, Tool] = {}
        owners: dict[str, str] = {}
        specs: list[ToolSpec] = []
        for owner, tool in pairs:
            spec = tool.spec
            if fault := name_fault(spec.name):
                faults.append(f"{owner}: {fault}")
            elif spec.name in tools:
                faults.append(
                    f"two tools are named {spec.name!r}, one of {owners[spec.name]} and one of "
                    f"{owner}: give one of them another name"
                )
            else:
                tools[spec.name] = tool
                owners[spec.name] = owner
                specs.append(spec)
        specs.sort(key=lambda spec: spec.name)
        concurrent = frozenset(
            [name for name, tool in tools.items() if getattr(tool, "concurrent", False)]
        )
        origins = {name: str(getattr(tool, "origin", "")) for name, tool in tools.items()}
        return cls(tools, owners, concurrent, origins, tuple(specs)), tuple(faults)


def name_fault(name: str) -> str:
    """Return what is wrong with a tool's name, or nothing."""
    if _NAME.fullmatch(name):
        return ""
    return f"{name!r} is no name for a tool: use 1 to 64 ASCII letters, digits, _ and -"
