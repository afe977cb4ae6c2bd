"""``agentrail plugin`` and the packages of a host."""

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, cast
from urllib.parse import quote

import msgspec
from attrs import frozen
from rich.console import Console
from rich.text import Text

from agentrail.cli._console import print_aside, print_json, print_table, printable, time_text
from agentrail.cli._door import Door, reach
from agentrail.cli._input import Input, at_terminal
from agentrail.cli._options import Where
from agentrail.errors import ConfigError, PackageError
from agentrail.messages import Wire
from agentrail.package import files_of, pack
from agentrail.registry import PackageEvent, PackageInfo, State, VersionInfo

_WAITS: Final = frozenset({State.RECEIVED, State.STAGED, State.APPROVED})
_ON: Final = frozenset({State.ENABLING, State.ACTIVE, State.IDLE, State.DRAINING})

_STOPPED: Final = "no host runs here: what is enabled starts with the next one"


class _Plugins(Wire, frozen=True):
    plugins: Sequence[PackageInfo]


class _Events(Wire, frozen=True):
    events: Sequence[PackageEvent]


class _Line(Wire, frozen=True):
    at: float
    level: str
    message: str
    error: str


class _Logs(Wire, frozen=True):
    logs: Sequence[_Line]


@frozen
class Asked:
    """What is to be approved, and how far."""

    version: str | None = None
    digest: str | None = None
    promote: bool = False


def show_plugins(where: Where, keyword: str | None, state: str | None, *, as_json: bool) -> None:
    """Print a host's packages, those that fit.

    Raises:
        ConfigError: there is no such state.
        AgentrailError: there is no such host, or it refuses.
    """
    if state is not None and state not in set(State):
        raise ConfigError(f"there is no state {state!r}: name one of {', '.join(State)}")
    query = {"q": keyword, "state": state}

    async def work(door: Door) -> None:
        # Asked for without the state where no host runs: there it is another one.
        given = {k: v for k, v in query.items() if v and (k == "q" or door.running)}
        found = (await door.ask(_Plugins, "GET", "plugins", params=given)).plugins
        shown = [
            each for each in map(partial(_as_kept, door), found) if state in (None, each.state)
        ]
        if as_json:
            print_json(shown)
            return
        rows = [(p.id, p.version, p.state, _switch(p), p.type, _line(p.description)) for p in shown]
        print_table(["plugin", "version", "state", "switch", "type", "description"], rows)
        err = Console(stderr=True, highlight=False)
        for each in shown:
            for what in filter(None, [each.error, *each.warnings]):
                print_aside(err, f"{each.id}: {printable(what)}")
        _tell_stopped(door)

    reach(where, work)


def inspect_plugin(where: Where, package: str, *, as_json: bool) -> None:
    """Print all that is known of a package.

    Raises:
        AgentrailError: there is none of that id.
    """

    async def work(door: Door) -> None:
        found = _as_kept(door, await door.ask(PackageInfo, "GET", _path(package)))
        if as_json:
            print_json(found)
            return
        _print_package(found)
        _tell_stopped(door)

    reach(where, work)


def install_plugin(where: Where, path: Path, *, yes: bool) -> bool:
    """Upload a package, have it approved, and switch it on; tell whether it is on.

    Raises:
        AgentrailError: it is refused, or fails.
    """
    files = files_of(path)  # what is refused here need not be sent
    content = pack(path) if path.is_dir() else path.read_bytes()
    name = f"{path.resolve().name}.zip" if path.is_dir() else path.name

    async def work(door: Door) -> bool:
        upload = {"file": (name, content, "application/octet-stream")}
        found = await door.ask(PackageInfo, "POST", "plugins/upload", files=upload)
        version = next((each for each in found.versions if each.digest == files.digest), None)
        if version is None:
            raise PackageError(f"{path} was changed while it was read: install it again")
        err = Console(stderr=True, highlight=False)
        if version.state in _WAITS:
            _print_request(found, version, err)
            if not yes and not await _agreed("Let its code run in the host's process? [y/N] "):
                again = f"agentrail plugin approve {found.id} --version {version.version} --promote"
                print_aside(err, f"it waits for approval: {again}")
                return False
            asked = {"version": version.version, "digest": version.digest, "promote": True}
            found = await door.ask(PackageInfo, "POST", _path(found.id, "approve"), json=asked)
        if found.version != version.version:
            wanted = {"version": version.version}
            found = await door.ask(PackageInfo, "POST", _path(found.id, "upgrade"), json=wanted)
        if not (found.enabled and (found.state in _ON or not door.running)):
            on = {"enabled": True}
            found = await door.ask(PackageInfo, "POST", _path(found.id, "toggle"), json=on)
        _print_outcome(door, found)
        return True

    return reach(where, work)


def approve_plugin(where: Where, package: str, asked: Asked) -> None:
    """Grant a version what it asks for.

    Raises:
        AgentrailError: there is none that waits for it, or it has another digest.
    """
    body = {"version": asked.version, "digest": asked.digest, "promote": asked.promote}

    async def work(door: Door) -> None:
        found = await door.ask(PackageInfo, "POST", _path(package, "approve"), json=body)
        for each in found.versions:
            if asked.version in (None, each.version):
                print(f"{found.id} {each.version}: {_state(door, each.state)}, {each.digest}")

    reach(where, work)


def change_plugin(where: Where, package: str, verb: str, body: Mapping[str, object]) -> None:
    """Do to a package what a path of the API does, and print what it is then.

    Raises:
        AgentrailError: it cannot be done, or failed.
    """

    async def work(door: Door) -> None:
        found = await door.ask(PackageInfo, "POST", _path(package, verb), json=body)
        _print_outcome(door, found)

    reach(where, work)


def remove_plugin(where: Where, package: str, version: str | None, *, yes: bool) -> bool:
    """Delete a package with all that it kept, or one version; tell whether that was done.

    Raises:
        AgentrailError: there is none, or it is in use.
    """
    what = f"{package} {version}" if version else f"{package} with all that it kept"

    async def work(door: Door) -> bool:
        found = await door.ask(PackageInfo, "GET", _path(package))
        if not yes and not await _agreed(f"Remove {what}? [y/N] "):
            print_aside(Console(stderr=True, highlight=False), "nothing was removed")
            return False
        params = {"version": version} if version else {}
        await door.send("DELETE", _path(found.id), params=params)
        print(f"removed {what}")
        return True

    return reach(where, work)


def show_logs(where: Where, package: str) -> None:
    """Print the last lines that a package logged.

    Raises:
        AgentrailError: there is none of that id.
    """

    async def work(door: Door) -> None:
        found = await door.ask(_Logs, "GET", _path(package, "logs"))
        if not door.running:
            print_aside(Console(stderr=True, highlight=False), "logs are kept while a host runs")
        for line in found.logs:
            print(f"{time_text(line.at)} {line.level:7} {_line(line.message)}")
            if line.error:
                print("\n".join(printable(each) for each in line.error.splitlines()))

    reach(where, work)


def show_events(where: Where, package: str | None, limit: int, *, as_json: bool) -> None:
    """Print what happened to packages, the oldest first."""
    path = _path(package, "events") if package else "plugins/events"

    async def work(door: Door) -> None:
        found = (await door.ask(_Events, "GET", path, params={"limit": limit})).events
        if as_json:
            print_json(found)
            return
        rows = [
            (time_text(e.at), e.plugin, e.version, e.type, _line(e.error or e.message))
            for e in found
        ]
        print_table(["time", "plugin", "version", "event", "what"], rows)

    reach(where, work)


async def _agreed(question: str) -> bool:
    """Ask somebody who is there; nobody there has not agreed."""
    if not (at_terminal() and sys.stderr.isatty()):
        return False
    typed = Input()
    typed.forget()  # what was typed before the question is no answer to it
    said = await typed.ask(question, sys.stderr)
    return (said or "").strip().lower() in {"y", "yes"}


def _path(package: str, verb: str = "") -> str:
    path = f"plugins/{quote(package, safe='')}"
    return f"{path}/{verb}" if verb else path


def _as_kept(door: Door, package: PackageInfo) -> PackageInfo:
    """Return a package as it is: where no host runs, none is on."""
    versions = [
        msgspec.structs.replace(each, state=_state(door, each.state)) for each in package.versions
    ]
    state = _state(door, package.state)
    return msgspec.structs.replace(package, state=state, versions=versions)


def _state(door: Door, state: str) -> str:
    return State.DISABLED.value if state in _ON and not door.running else state


def _switch(package: PackageInfo) -> str:
    return f"{'on' if package.enabled else 'off'}{', set' if package.overridden else ''}"


def _print_outcome(door: Door, package: PackageInfo) -> None:
    found = _as_kept(door, package)
    switch = "enabled" if found.enabled else "not enabled"
    print(f"{found.id} {found.version}: {found.state}, {switch}")
    _tell_stopped(door)


def _tell_stopped(door: Door) -> None:
    if not door.running:
        print_aside(Console(stderr=True, highlight=False), _STOPPED)


def _print_request(package: PackageInfo, version: VersionInfo, console: Console) -> None:
    """Print what a version asks for."""
    title = f"{package.id} {version.version}, {version.digest}"
    console.print(Text(title, style="bold"), soft_wrap=True)
    for line in _permissions(version.permissions) or ["  it asks for nothing"]:
        console.print(Text(line), soft_wrap=True)
    for warning in package.warnings:
        console.print(Text(f"  {printable(warning)}", style="yellow"), soft_wrap=True)


def _permissions(asked: Mapping[str, object]) -> Sequence[str]:
    lines: list[str] = []
    for name, value in asked.items():
        what = _told(cast("list[object]", value)) if isinstance(value, list) else "yes"
        lines.append(f"  {name}: {printable(what)}")
    return lines


def _told(values: Sequence[object]) -> str:
    return ", ".join(map(str, values))


def _print_package(package: PackageInfo) -> None:
    console = Console(highlight=False)
    rows = [
        ("name", package.name),
        ("version", package.version),
        ("state", package.state),
        ("switch", _switch(package)),
        ("type", package.type),
        ("author", package.author),
        ("tags", ", ".join(package.tags)),
        ("digest", package.digest),
        ("previous", package.previous or ""),
        ("error", package.error),
        ("description", package.description),
    ]
    console.print(Text(package.id, style="bold"), soft_wrap=True)
    for name, value in rows:
        if value:
            console.print(Text(f"  {name:12} {_line(value)}"), soft_wrap=True)
    for title, lines in (
        ("asks for", _permissions(package.permissions)),
        ("was granted", _permissions(package.granted)),
        ("tools", [f"  {tool.name}: {_line(tool.description)}" for tool in package.tools]),
        ("warnings", [f"  {printable(each)}" for each in package.warnings]),
        ("versions", [_version(each) for each in package.versions]),
    ):
        for line in [title, *lines] if lines else []:
            console.print(Text(line), soft_wrap=True)


def _version(version: VersionInfo) -> str:
    how = f"{version.source} by {version.received_by} at {time_text(version.received_at)}"
    return f"  {version.version} {version.state}, {version.digest}, {_line(how)}"


def _line(text: str) -> str:
    return printable(" ".join(text.split()))
