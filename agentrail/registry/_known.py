"""A package as a running host knows it."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import anyio
from attrs import define, field

from agentrail.errors import PackageNotFound, PackageStateError
from agentrail.hook import Plugin
from agentrail.messages import Wire
from agentrail.package import Loaded, Package, Version
from agentrail.registry._machine import IN_USE, WAITING, Crashes, Event, State, step
from agentrail.registry._rows import PackageRow, VersionRow


class Retired(Protocol):
    """What a host used before a swap, and does not use any more."""

    @property
    def busy(self) -> bool:
        """Whether runs use it."""
        ...

    async def wait(self) -> None:
        """Return once no run uses it, and the plugins that are in no use were stopped."""
        ...


Commit = Callable[[], Awaitable[None]]
"""Makes a change durable."""


class Swap(Protocol):
    """Exchanges the plugins of a host while it runs."""

    async def __call__(self, plugins: Sequence[Plugin], commit: Commit | None = None) -> Retired:
        """Make the plugins of the host the application's own and these.

        ``commit`` is called when they have started; once it returns, nothing can fail any more.

        Raises:
            CompositionError: they do not fit together; nothing has changed.
            PluginStartError: one did not start; nothing has changed.
            Exception: what ``commit`` raises; nothing has changed.
        """
        ...


def _set_event() -> anyio.Event:
    event = anyio.Event()
    event.set()
    return event


@define(slots=True, eq=False)
class Known:
    """One version of a package."""

    row: VersionRow
    package: Package | None
    """None when its files are gone or were changed."""
    state: State
    reason: str = ""
    """Why it failed or is quarantined."""
    loaded: Loaded | None = None
    plugin: Plugin | None = None
    """What the host's composition holds of it."""
    path: Path | None = None
    """Where it is in a directory of the application."""
    crashes: Crashes = field(factory=Crashes)
    called_at: float = 0.0
    """When one of its tools was last called."""
    retired: Retired | None = None
    """What is waited for since it was switched off last."""
    draining: int = 0
    """How many times it was switched off with runs that go on with it."""
    drained: anyio.Event = field(factory=_set_event)
    """Set while there are none."""

    def __str__(self) -> str:
        """Return the package and the version, for messages."""
        return f"package {self.row.id!r} {self.row.version}"

    def step(self, event: Event, reason: str = "") -> None:
        """Go to the state that an event leads to.

        Raises:
            PackageStateError: it cannot happen now.
        """
        self.state = step(self.state, event, str(self))
        self.reason = reason

    def check_ready(self) -> None:
        """Return when it can be switched on.

        Raises:
            PackageStateError: it cannot, and why.
        """
        if self.package is None:
            message = f"{self} cannot be used: {self.reason or 'its files are gone'}"
            raise PackageStateError(message)
        step(self.state, Event.ENABLE, str(self))


@define(slots=True, eq=False)
class Said:
    """What the application says of packages; it counts more than what administrators say."""

    only: Collection[str] | None = None
    """Those that are on; None leaves it to what follows."""
    switched: Mapping[str, bool] = field(factory=dict[str, bool])
    """Which are on or off, by their ids."""
    versions: Mapping[str, str] = field(factory=dict[str, str])
    """Which version is used, by their ids."""

    def on(self, package: str) -> bool | None:
        """Return whether a package is on; None when the application does not say."""
        if self.only is not None and package not in self.only:
            return False
        return self.switched.get(package, None if self.only is None else True)


@define(slots=True, eq=False)
class Entry:
    """A package with all its versions."""

    row: PackageRow
    said: Said = field(factory=Said)
    versions: dict[str, Known] = field(factory=dict[str, Known])
    coming: Known | None = None
    """What is tried in the place of a version in a directory that has changed."""
    leaving: list[Known] = field(factory=list[Known])
    """Versions that were in a directory, and may be in use by runs."""
    trouble: str = ""
    """Why what is in its directory now is not used."""

    @property
    def id(self) -> str:
        """The package's id."""
        return self.row.id

    @property
    def present(self) -> list[Known]:
        """The versions that are not deleted, the newest last."""
        known = [each for each in self.versions.values() if each.state is not State.DELETED]
        return sorted(known, key=lambda each: Version.parse(each.row.version))

    @property
    def pinned(self) -> bool:
        """Whether the application says which version is used."""
        return self.id in self.said.versions

    @property
    def active(self) -> Known | None:
        """The version that is used when the package is on."""
        named = self.said.versions.get(self.id) or self.row.active
        if named is None and self.said.on(self.id):  # nobody has chosen one
            ready = [each for each in self.present if each.state not in WAITING]
            return ready[-1] if ready else None
        return self.versions.get(named or "")

    @property
    def in_use(self) -> Known | None:
        """The version that is used when the package is on, while anything uses it."""
        active = self.active
        return active if active is not None and active.state in IN_USE else None

    @property
    def on(self) -> Known | None:
        """The version that is part of the composition, or about to be."""
        active = self.in_use
        return active if active is not None and active.state is not State.DRAINING else None

    @property
    def wanted(self) -> bool:
        """Whether the package is to be on."""
        return self.wants(self.row.enabled)

    def wants(self, enabled: bool | None) -> bool:
        """Return whether it is to be on when an administrator said so; None: did not say."""
        said = self.said.on(self.id)
        if said is not None:
            return said
        if enabled is not None:
            return enabled
        active = self.active
        if active is None or active.package is None or active.row.source != "directory":
            return False
        return active.package.manifest.enabled

    def check_switch(self, on: bool | None) -> None:
        """Return when administrators may switch it so.

        Raises:
            PackageStateError: the application says otherwise.
        """
        said = self.said.on(self.id)
        if None not in (said, on) and said is not on:
            is_on = "on" if said else "off"
            message = f"the settings say that package {self.id!r} is {is_on}: change it there"
            raise PackageStateError(message)

    def check_use(self) -> None:
        """Return when administrators may choose its version.

        Raises:
            PackageStateError: the application says which one is used.
        """
        if self.pinned:
            version = self.said.versions[self.id]
            message = f"the settings say that package {self.id!r} is {version}: change it there"
            raise PackageStateError(message)

    def waiting(self, digest: str | None) -> Known:
        """Return the version that waits for an approval, else the one that is used.

        Raises:
            PackageStateError: more than one waits, and ``digest`` is of none of them.
        """
        waiting = [known for known in self.present if known.state in WAITING]
        meant = [known for known in waiting if known.row.digest == digest] or waiting
        if len(meant) > 1:
            versions = ", ".join(known.row.version for known in meant)
            message = f"versions {versions} of package {self.id!r} wait: say which one is meant"
            raise PackageStateError(message)
        return meant[0] if meant else self.version(None)

    def version(self, version: str | None) -> Known:
        """Return a version; None names the one that is used, or else the newest.

        Raises:
            PackageNotFound: there is none.
        """
        present = self.present
        if version is not None:
            found = next((each for each in present if each.row.version == version), None)
        else:
            found = self.active if self.active in present else next(reversed(present), None)
        if found is None:
            what = f"version {version[:64]!r}" if version is not None else "version that is left"
            raise PackageNotFound(f"package {self.id!r} has no {what}")
        return found


class VersionInfo(Wire, frozen=True):
    """A version of a package, as the host shows it."""

    version: str
    state: str
    digest: str
    source: str
    received_at: float
    received_by: str
    permissions: Mapping[str, object] = {}
    """What it asks for."""
    beyond: Sequence[str] = ()
    """What of that the version in use was not granted."""
    error: str = ""


class ToolInfo(Wire, frozen=True):
    """A tool of a package, as the model knows it."""

    name: str
    description: str


class PackageInfo(Wire, frozen=True, kw_only=True):
    """A package, as the host shows it."""

    id: str
    name: str
    version: str
    """The one that is used when it is on; before any is, the newest."""
    description: str
    author: str
    type: str
    tags: Sequence[str]
    state: str
    enabled: bool
    """Whether it is to be on."""
    overridden: bool
    """Whether an administrator said so, and not the manifest."""
    digest: str
    permissions: Mapping[str, object]
    """What it asks for."""
    granted: Mapping[str, object]
    tools: Sequence[ToolInfo]
    versions: Sequence[VersionInfo]
    previous: str | None
    revision: int
    why_off: str = ""
    """Why it is not on; empty while it is, or is to be with a host that runs."""
    error: str = ""
    """Why it does not run."""
    warnings: Sequence[str] = ()
    """What an administrator should know before approving it."""
