"""A package as it is shown to people."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Final

from attrs import asdict

from agentrail.hook import Tool
from agentrail.package import Permissions
from agentrail.registry._known import Entry, Known, PackageInfo, ToolInfo, VersionInfo
from agentrail.registry._machine import WAITING, State, hint

_NEAR: Final = 0.8
_ALIKE: Final = str.maketrans({"0": "o", "1": "l", "-": "", "_": ""})


def info_of(entry: Entry, others: Iterable[Entry], *, runs: bool) -> PackageInfo:
    """Return a package as it is shown to people; ``runs`` tells whether the host lets any run."""
    known = entry.version(None)
    previous = entry.row.previous
    manifest = known.package.manifest if known.package is not None else None
    tools: list[Tool] = list(getattr(known.plugin, "tools", ()))
    return PackageInfo(
        id=entry.id,
        name=manifest.name if manifest else entry.id,
        version=known.row.version,
        description=manifest.description if manifest else "",
        author=manifest.author if manifest else "",
        type=manifest.type if manifest else "",
        tags=manifest.tags if manifest else (),
        state=str(known.state),
        enabled=entry.wanted,
        overridden=entry.row.enabled is not None,
        digest=known.row.digest,
        permissions=_shown(manifest.permissions if manifest else Permissions()),
        granted=_shown(known.row.granted),
        tools=[ToolInfo(tool.spec.name, tool.spec.description) for tool in tools],
        versions=[_version(entry, each) for each in entry.present],
        previous=previous if previous != known.row.version else None,
        revision=entry.row.revision,
        why_off=_why_off(entry, known, runs=runs),
        error=known.reason or entry.trouble,
        warnings=_warnings(entry, known, others),
    )


def _why_off(entry: Entry, known: Known, *, runs: bool) -> str:
    """Return why a package is not on; nothing while it is, or is to be with a host that runs."""
    if known is entry.on:
        return ""
    if not runs:
        return "the settings let no package run"
    if known.state in WAITING or known.state is State.QUARANTINED:
        return hint(known.state)
    if entry.wanted:
        return f"it failed: {known.reason}" if known.state is State.FAILED else ""
    if entry.said.on(entry.id) is False:
        return "the settings say so"
    own = known.row.source == "directory"
    nobody = "its manifest says so" if own else "nobody has switched it on"
    return "an administrator said so" if entry.row.enabled is False else nobody


def _version(entry: Entry, known: Known) -> VersionInfo:
    row, active = known.row, entry.active
    asked = known.package.manifest.permissions if known.package else Permissions()
    granted = Permissions() if active is None else active.row.granted
    return VersionInfo(
        version=row.version,
        state=str(known.state),
        digest=row.digest,
        source=row.source,
        received_at=row.received_at,
        received_by=row.received_by,
        permissions=_shown(asked),
        beyond=asked.beyond(granted),
        error=known.reason,
    )


def _shown(permissions: Permissions) -> Mapping[str, object]:
    return {name: value for name, value in asdict(permissions).items() if value}


def _warnings(entry: Entry, known: Known, others: Iterable[Entry]) -> tuple[str, ...]:
    """Return what to think of before approving a version."""
    if known.state not in (State.RECEIVED, State.STAGED, State.APPROVED):
        return ()
    found = [
        f"its id is very like {other.id!r}, which is there already: is it what you mean?"
        for other in others
        if other is not entry and other.present and _looks_like(entry.id, other.id)
    ]
    active = entry.active
    if known.package is not None and active is not None and active is not known:
        more = known.package.manifest.permissions.beyond(active.row.granted)
        if more:
            found.append(f"it asks for more than {active.row.version}: {', '.join(more)}")
    if known.package is not None and "*" in known.package.manifest.permissions.network:
        found.append("it may send anything to any host on the internet")
    return tuple(found)


def _looks_like(one: str, other: str) -> bool:
    plain, like = (
        text.translate(_ALIKE).replace("rn", "m").replace("i", "l") for text in (one, other)
    )
    return plain == like or difflib.SequenceMatcher(None, plain, like).ratio() > _NEAR
