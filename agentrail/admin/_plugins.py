"""What is asked about packages, and done to them."""

from collections.abc import Mapping, Sequence
from typing import Annotated

from msgspec import UNSET, Meta, UnsetType
from starlette.responses import Response

from agentrail.admin._call import ID, Call, Nothing, check_version, listed, shown
from agentrail.admin._logs import LogLine
from agentrail.errors import PackageError, PackageNotFound
from agentrail.messages import Wire
from agentrail.registry import PackageInfo, Packages, State, configure
from agentrail.route import reply

PackageId = Annotated[str, Meta(pattern=ID)]

_ON = (State.ACTIVE, State.IDLE)


class PluginsQuery(Wire, frozen=True, forbid_unknown_fields=True):
    """Which packages are wanted."""

    state: Annotated[State | None, Meta(description="those in this state")] = None
    type: Annotated[str | None, Meta(description="those of this type, as `tool`")] = None
    tag: Annotated[str | None, Meta(description="those with this tag")] = None
    q: Annotated[
        str | None, Meta(description="those with this in their id, name or description")
    ] = None


class VersionQuery(Wire, frozen=True, forbid_unknown_fields=True):
    """Which version is meant."""

    version: Annotated[str | None, Meta(description="this version alone")] = None


class Toggle(Wire, frozen=True, forbid_unknown_fields=True):
    """Whether a package is to be on."""

    enabled: bool | UnsetType | None = UNSET
    """Null leaves it to the manifest; when it is left out, the package is switched over."""


class Approval(Wire, frozen=True, forbid_unknown_fields=True):
    """What is approved, and why."""

    version: str | None = None
    """May be left out when one version waits for it."""
    digest: str | None = None
    """The digest of what was looked at; anything else is not approved."""
    promote: bool = False
    """Whether its code may run in the host's process."""
    reason: str = ""


class Change(Wire, frozen=True, forbid_unknown_fields=True):
    """Which version is to be used."""

    version: str | None = None


class PackageConfig(Wire, frozen=True, forbid_unknown_fields=True):
    """The configuration of a package."""

    config: Mapping[str, object]
    """Over what its manifest and the application say."""


class PluginList(Wire, frozen=True, omit_defaults=False):
    """The packages, by their ids."""

    plugins: Sequence[PackageInfo]
    broken: Mapping[str, str]
    """What is not used of the application's directories, by its place, and why."""


class ToolOwner(Wire, frozen=True, omit_defaults=False):
    """A tool, and the package that it is of."""

    name: str
    description: str
    plugin: str


class ToolList(Wire, frozen=True, omit_defaults=False):
    """The tools of all packages that are on, by their packages' ids."""

    tools: Sequence[ToolOwner]


class LogList(Wire, frozen=True, omit_defaults=False):
    """What a package logged, the oldest first."""

    logs: Sequence[LogLine]


class Import(Wire, frozen=True, omit_defaults=False):
    """What became of a status that was imported."""

    status: Mapping[str, bool]
    """Which packages are to be on now."""
    failed: Mapping[str, str]
    """Why the others are not as it says."""


async def list_plugins(call: Call, query: PluginsQuery, _body: Nothing) -> Response:
    """List the packages that fit all that the query says."""
    found = await call.packages.list(
        state=query.state, kind=query.type, tag=query.tag, keyword=query.q
    )
    return listed(call.request, PluginList(found, call.packages.broken))


async def get_plugin(call: Call, _query: Nothing, _body: Nothing) -> Response:
    """Show a package with its versions and what they ask for."""
    return shown(await call.packages.get(call.name))


async def configure_plugin(call: Call, _query: Nothing, body: PackageConfig) -> Response:
    """Set the configuration of a package, and load it anew with it."""
    return shown(await configure(call.packages, call.name, body.config, call.by()))


async def toggle_plugin(call: Call, _query: Nothing, body: Toggle) -> Response:
    """Switch a package on or off; without a body, over."""
    wanted = body.enabled
    if isinstance(wanted, UnsetType):
        wanted = not (await call.packages.get(call.name)).enabled
    return shown(await call.packages.switch(call.name, call.by(), on=wanted))


async def delete_plugin(call: Call, query: VersionQuery, _body: Nothing) -> Response:
    """Delete a package with all that it kept, or one version of it."""
    await call.packages.delete(call.name, call.by(), version=check_version(query.version))
    return Response(status_code=204)


async def approve_plugin(call: Call, _query: Nothing, body: Approval) -> Response:
    """Grant a version what it asks for; `promote` lets its code run in the host's process."""
    return shown(
        await call.packages.approve(
            call.name,
            call.by(body.reason),
            version=check_version(body.version),
            digest=body.digest,
            promote=body.promote,
        )
    )


async def upgrade_plugin(call: Call, _query: Nothing, body: Change) -> Response:
    """Use another version, by default the newest; runs under way go on with the old one."""
    version = check_version(body.version)
    return shown(await call.packages.upgrade(call.name, call.by(), version=version))


async def rollback_plugin(call: Call, _query: Nothing, body: Change) -> Response:
    """Use the version that was used before, or another one, again."""
    version = check_version(body.version)
    return shown(await call.packages.rollback(call.name, call.by(), version=version))


async def release_plugin(call: Call, _query: Nothing, body: Change) -> Response:
    """Let a quarantined version be switched on again, by default the newest of them."""
    version = check_version(body.version)
    return shown(await call.packages.release(call.name, call.by(), version=version))


async def plugin_logs(call: Call, _query: Nothing, _body: Nothing) -> Response:
    """Show the last lines that a package logged."""
    await call.packages.get(call.name)
    return reply(LogList(call.managed.logs.of(call.name)))


async def list_tools(call: Call, _query: Nothing, _body: Nothing) -> Response:
    """List the tools of all packages that are on."""
    tools = [
        ToolOwner(tool.name, tool.description, package.id)
        for package in await call.packages.list()
        if package.state in _ON
        for tool in package.tools
    ]
    return listed(call.request, ToolList(tools))


async def export_status(call: Call, _query: Nothing, _body: Nothing) -> Response:
    """Export which packages are to be on."""
    return listed(call.request, await _status(call.packages))


async def import_status(call: Call, _query: Nothing, body: Mapping[str, bool]) -> Response:
    """Switch packages on and off as an exported status says; others stay as they are."""
    before = await _status(call.packages)
    unknown = [name for name in body if name not in before]
    if unknown:
        raise PackageNotFound(f"there is no package {unknown[0][:64]!r}; nothing was changed")
    failed = dict[str, str]()
    order = _order(call.packages, before)
    for on, names in ((False, reversed(order)), (True, order)):
        for name in names:
            if body.get(name) is on and before[name] is not on:
                try:
                    await call.packages.switch(name, call.by("imported"), on=on)
                except PackageError as error:
                    failed[name] = error.detail
    return reply(Import(await _status(call.packages), failed))


async def _status(packages: Packages) -> Mapping[str, bool]:
    return {package.id: package.enabled for package in await packages.list()}


def _order(packages: Packages, names: Mapping[str, bool]) -> Sequence[str]:
    """Return the packages, each after those that it depends on where that can be."""
    entries = packages.inventory.entries
    try:
        return packages.running.order([entries[name] for name in names])
    except PackageError:  # in a circle; none of those can be switched on
        return list(names)
