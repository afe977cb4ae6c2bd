"""``agentrail plugin`` and the packages of a host."""

import difflib
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import msgspec
from attrs import frozen
from rich.console import Console

from agentrail.cli._console import (
    print_aside,
    print_error,
    print_json,
    print_table,
    printable,
    remark,
    time_text,
)
from agentrail.cli._door import Answered, Door, reach, segment
from agentrail.cli._input import Input, at_terminal
from agentrail.cli._options import Where
from agentrail.cli._plugin_files import placed
from agentrail.cli._plugin_print import (
    happened,
    line_of,
    print_package,
    print_request,
    switch_text,
    why_not,
)
from agentrail.config import read_document
from agentrail.errors import (
    ConfigError,
    Forbidden,
    PackageError,
    PackageNotFound,
    PackageRefused,
    PackageStateError,
)
from agentrail.messages import Wire
from agentrail.package import PackageFiles, files_of, pack
from agentrail.registry import PackageEvent, PackageInfo, State, VersionInfo

T = TypeVar("T")

_WAITS: Final = frozenset({State.RECEIVED, State.STAGED, State.APPROVED})
_ON: Final = frozenset({State.ENABLING, State.ACTIVE, State.IDLE, State.DRAINING})

_LISTED: Final = "'agentrail plugin list' prints those that are there"

_STOPPED: Final = "no host runs here, on {!r}: what is enabled starts with the next one"


class _Plugins(Wire, frozen=True):
    plugins: Sequence[PackageInfo]
    broken: Mapping[str, str] = {}


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
        answer = await door.ask(_Plugins, "GET", "plugins", params=given)
        found = map(partial(_as_kept, door), answer.plugins)
        shown = [each for each in found if state in (None, each.state)]
        if as_json:
            print_json(shown)
            return
        rows = [
            (p.id, p.version, p.state, switch_text(p), p.type, line_of(p.description))
            for p in shown
        ]
        print_table(["plugin", "version", "state", "switch", "type", "description"], rows)
        err = Console(stderr=True, highlight=False)
        for each in shown:
            for what in filter(None, [why_not(each), *each.warnings]):
                print_aside(err, f"{each.id}: {line_of(what)}")
        for place, why in answer.broken.items():
            print_aside(err, f"{place} is not used: {line_of(why)}")
        _tell_stopped(door)

    reach(where, "packages", work)


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
        print_package(found)
        _tell_stopped(door)

    _reach_package(where, package, work)


def install_plugin(where: Where, path: Path, *, yes: bool) -> bool:
    """Upload a package, have it approved, and switch it on; tell whether it is on.

    Raises:
        AgentrailError: it is refused, or fails.
    """
    files = _files_of(path)  # what is refused here need not be sent
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
            print_request(found, version, err)
            again = f"agentrail plugin approve {found.id} --version {version.version} --promote"
            if not yes and not await _agreed("Let its code run in the host's process? [y/N] "):
                print_aside(err, f"it waits for approval: {again}")
                return False
            asked = {"version": version.version, "digest": version.digest, "promote": True}
            try:
                found = await door.ask(PackageInfo, "POST", _path(found.id, "approve"), json=asked)
            except Answered as error:
                if error.code != Forbidden.code:
                    raise
                print_error(err, error.code, error.detail)
                print_aside(err, f"an administrator has to approve it: {again}")
                return False
        if found.version != version.version:
            wanted = {"version": version.version}
            found = await door.ask(PackageInfo, "POST", _path(found.id, "upgrade"), json=wanted)
        if not (found.enabled and (found.state in _ON or not door.running)):
            on = {"enabled": True}
            found = await door.ask(PackageInfo, "POST", _path(found.id, "toggle"), json=on)
        _print_outcome(door, found)
        return True

    return reach(where, "packages", work)


def approve_plugin(where: Where, package: str, asked: Asked) -> None:
    """Grant a version what it asks for.

    Raises:
        AgentrailError: there is none that waits for it, or it has another digest.
    """

    async def work(door: Door) -> None:
        found = await door.ask(PackageInfo, "GET", _path(package))
        meant = _meant(found, asked)
        body = {"version": asked.version, "digest": asked.digest, "promote": asked.promote}
        if meant is not None:
            print_request(found, meant, Console(stderr=True, highlight=False))
            body |= {"version": meant.version, "digest": meant.digest}
        found = await door.ask(PackageInfo, "POST", _path(package, "approve"), json=body)
        for each in found.versions:
            if meant is not None and each.version == meant.version:
                print(f"{found.id} {each.version}: {_state(door, each.state)}, {each.digest}")

    _reach_package(where, package, work)


def _meant(package: PackageInfo, asked: Asked) -> VersionInfo | None:
    """Return the version that is to be approved; None leaves it to the host to say what is wrong.

    Raises:
        PackageStateError: several wait, and none of them is named: what was looked at may be none
            but the one that came last.
    """
    named = asked.version is not None or asked.digest is not None
    fitting = [
        each
        for each in package.versions
        if asked.version in (None, each.version)
        and asked.digest in (None, each.digest)
        and (named or each.state in _WAITS)
    ]
    if len(fitting) > 1:
        which = ", ".join(f"{each.version} ({each.digest})" for each in fitting)
        message = f"several versions of {package.id!r} wait: name one with --version: {which}"
        raise PackageStateError(message)
    return fitting[0] if fitting else None


def change_plugin(where: Where, package: str, verb: str, body: Mapping[str, object]) -> None:
    """Do to a package what a path of the API does, and print what it is then.

    Raises:
        AgentrailError: it cannot be done, or failed.
    """

    async def work(door: Door) -> None:
        found = await door.ask(PackageInfo, "POST", _path(package, verb), json=body)
        _print_outcome(door, found)

    _reach_package(where, package, work)


def configure_plugin(where: Where, package: str, file: Path) -> None:
    """Set the configuration of a package.

    Raises:
        AgentrailError: the file cannot be read, or the package cannot do with what it says.
    """
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{str(file)!r} cannot be read: {error.strerror}") from error
    config = read_document(file.name, raw, 64 * 1024).data
    change_plugin(where, package, "config", {"config": config})


def remove_plugin(where: Where, package: str, version: str | None, *, yes: bool) -> bool:
    """Delete a package with all that it kept, or one version; tell whether that was done.

    Raises:
        AgentrailError: there is none, or it is in use.
    """
    what = f"{package} {version}" if version else f"{package} with all that it kept"

    async def work(door: Door) -> bool:
        found = await door.ask(PackageInfo, "GET", _path(package))
        if not yes and not await _agreed(f"Remove {what}? [y/N] "):
            remark("nothing was removed")
            return False
        params = {"version": version} if version else {}
        await door.send("DELETE", _path(found.id), params=params)
        print(f"removed {what}")
        return True

    return _reach_package(where, package, work)


def show_logs(where: Where, package: str) -> None:
    """Print the last lines that a package logged.

    Raises:
        AgentrailError: there is none of that id.
    """

    async def work(door: Door) -> None:
        found = await door.ask(_Logs, "GET", _path(package, "logs"))
        if not door.running:
            remark("logs are kept while a host runs")
        for line in found.logs:
            print(f"{time_text(line.at)} {line.level:7} {line_of(line.message)}")
            if line.error:
                print("\n".join(printable(each) for each in line.error.splitlines()))

    _reach_package(where, package, work)


def show_events(where: Where, package: str | None, limit: int, *, as_json: bool) -> None:
    """Print what happened to packages, the oldest first.

    Raises:
        AgentrailError: there is no such package, and was none.
    """
    path = _path(package, "events") if package else "plugins/events"

    async def work(door: Door) -> None:
        found = (await door.ask(_Events, "GET", path, params={"limit": limit})).events
        if package and not found:  # of one that was deleted there may be some
            await door.send("GET", _path(package))
        if as_json:
            print_json(found)
            return
        rows = [(time_text(e.at), e.plugin, e.version, e.type, line_of(happened(e))) for e in found]
        print_table(["time", "plugin", "version", "event", "what"], rows)

    _reach_package(where, package or "", work)


def _files_of(path: Path) -> PackageFiles:
    """Return the files of a package.

    Raises:
        PackageRefused: with its path in every fault.
    """
    try:
        return files_of(path)
    except PackageRefused as error:
        raise PackageRefused([placed(path, fault) for fault in error.faults]) from error


def _reach_package(where: Where, package: str, work: Callable[[Door], Awaitable[T]]) -> T:
    """Return what is done with a package of a host.

    Raises:
        AgentrailError: it cannot be done; where there is no such package, with one that is like it.
    """

    async def told(door: Door) -> T:
        try:
            return await work(door)
        except Answered as error:
            if error.code == PackageNotFound.code:
                there = [each.id for each in (await door.ask(_Plugins, "GET", "plugins")).plugins]
                if package not in there:
                    near = difflib.get_close_matches(package, there, 1)
                    more = f"did you mean {near[0]!r}?" if near else _LISTED
                    raise Answered(error.code, f"{error.detail}; {more}") from error
            raise

    return reach(where, "packages", told)


async def _agreed(question: str) -> bool:
    """Ask somebody who is there; nobody there has not agreed."""
    if not (at_terminal() and sys.stderr.isatty()):
        return False
    typed = Input()
    typed.forget()  # what was typed before the question is no answer to it
    said = await typed.ask(question, sys.stderr)
    return (said or "").strip().lower() in {"y", "yes"}


def _path(package: str, verb: str = "") -> str:
    path = f"plugins/{segment(package)}"
    return f"{path}/{verb}" if verb else path


def _as_kept(door: Door, package: PackageInfo) -> PackageInfo:
    """Return a package as it is: where no host runs, none is on."""
    versions = [
        msgspec.structs.replace(each, state=_state(door, each.state)) for each in package.versions
    ]
    state = _state(door, package.state)
    off = "" if package.enabled and not door.running else package.why_off
    return msgspec.structs.replace(package, state=state, versions=versions, why_off=off)


def _state(door: Door, state: str) -> str:
    return State.DISABLED.value if state in _ON and not door.running else state


def _print_outcome(door: Door, package: PackageInfo) -> None:
    found = _as_kept(door, package)
    switch = "enabled" if found.enabled else "not enabled"
    print(f"{found.id} {found.version}: {found.state}, {switch}")
    _tell_stopped(door)


def _tell_stopped(door: Door) -> None:
    if not door.running:
        remark(_STOPPED.format(str(door.data)))
