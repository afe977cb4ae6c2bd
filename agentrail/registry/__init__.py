"""The packages of a host: which there are, their states, and how they change."""

from agentrail.registry._alone import alone_in
from agentrail.registry._audited import By
from agentrail.registry._calls import note_calls
from agentrail.registry._configure import configure
from agentrail.registry._events import Events, Handler
from agentrail.registry._inventory import Inventory
from agentrail.registry._known import (
    Commit,
    PackageInfo,
    Retired,
    Swap,
    ToolInfo,
    VersionInfo,
)
from agentrail.registry._machine import State
from agentrail.registry._packages import Packages
from agentrail.registry._rows import SCHEMA, PackageEvent
from agentrail.registry._running import Running
from agentrail.registry._secrets import Hide, hiding

__all__ = [
    "SCHEMA",
    "By",
    "Commit",
    "Events",
    "Handler",
    "Hide",
    "Inventory",
    "PackageEvent",
    "PackageInfo",
    "Packages",
    "Retired",
    "Running",
    "State",
    "Swap",
    "ToolInfo",
    "VersionInfo",
    "alone_in",
    "configure",
    "hiding",
    "note_calls",
]
