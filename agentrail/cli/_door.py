"""How a command reaches a host: as a client of its API, whether it runs or not.

A host that runs is looked for first, and asked over HTTP, so that what it runs changes and is
audited there; nothing is made of the settings here.  Where none runs, the same API answers in this
process from the data directory, and none of the packages' code runs.
"""

import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, TypeVar
from urllib.parse import quote, urlsplit

import anyio
import httpx
import msgspec
from attrs import frozen

from agentrail.cli._announce import Address
from agentrail.cli._console import remark
from agentrail.cli._kept import Kept
from agentrail.cli._load import application, found_settings, load_app
from agentrail.cli._options import Where
from agentrail.errors import (
    AgentrailError,
    ConfigError,
    ConfigRefused,
    HostNotRunning,
    InvalidId,
    RequestError,
    SettingsNotFound,
    StorageError,
)
from agentrail.host import AgentHost, AppConfig, SettingsSource
from agentrail.messages import Wire
from agentrail.registry import alone_in
from agentrail.secret import DATABASE
from agentrail.storage import Presence

T = TypeVar("T")

About = Literal["packages", "settings", "secrets", "records"]
"""What a command is about; records are the audit log and the tokens."""

TOKEN: Final = "AGENTRAIL_TOKEN"  # noqa: S105 - the name of a variable

_TIMEOUT: Final = httpx.Timeout(10, read=900)
"""Seconds; a package has its time to start, and the runs that use it have theirs to end."""

_NO_SETTINGS: Final = (
    "there are no settings here: put an agentrail.yaml beside app.py, or name a file with "
    "AGENTRAIL_CONFIG"
)

_HERE: Final = "http://127.0.0.1"
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


class Answered(AgentrailError):
    """The API answered with a problem."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class _Problem(Wire, frozen=True):
    code: str
    detail: str


@frozen
class Door:
    """A client of a host's API."""

    client: httpx.AsyncClient
    data: Path | None = None
    """Where that is kept which answers when no host does."""

    @property
    def running(self) -> bool:
        """Whether a host answers."""
        return self.data is None

    async def ask(
        self,
        kind: type[T],
        method: str,
        path: str,
        **more: Any,  # noqa: ANN401 - what httpx takes
    ) -> T:
        """Return what a path below ``/api`` answers.

        Raises:
            HostNotRunning: nobody answers.
            Answered: with a problem.
        """
        try:
            return msgspec.json.decode(await self.send(method, path, **more), type=kind)
        except msgspec.DecodeError as error:
            message = f"{self.client.base_url} answers something unknown: is it of this release?"
            raise HostNotRunning(message) from error

    async def send(
        self,
        method: str,
        path: str,
        **more: Any,  # noqa: ANN401 - as above
    ) -> bytes:
        """Return what a path below ``/api`` answers, as it is.

        Raises:
            HostNotRunning: nobody answers.
            RequestError: it cannot be asked for.
            Answered: with a problem.
        """
        try:
            response = await self.client.request(method, f"/api/{path}", **more)
        except httpx.TransportError as error:
            why = str(error) or type(error).__name__
            message = (
                f"no host answers at {self.client.base_url} ({why}): "
                "start it with 'agentrail serve', or name another with --url"
            )
            raise HostNotRunning(message) from error
        except (httpx.InvalidURL, UnicodeEncodeError) as error:
            message = "what the command is given is too long for a request, or no text of UTF-8"
            raise RequestError(message) from error
        if not response.is_success:
            raise _told(response)
        return response.content


def segment(text: str) -> str:
    """Return an id as one part of a path.

    Raises:
        InvalidId: it would be several, or another; a server reads a quoted slash as one.
    """
    if text in {"", ".", ".."} or "/" in text:
        raise InvalidId(f"{text!r} is no id")
    return quote(text, safe="", errors="surrogateescape")


def _told(response: httpx.Response) -> Answered:
    """Return the problem of an answer."""
    try:
        problem = msgspec.json.decode(response.content, type=_Problem)
    except msgspec.DecodeError:
        problem = _Problem("http_error", f"{response.url} answers {response.status_code}")
    detail = problem.detail
    if problem.code == "not_found":
        detail = f"{detail}: is it a host with AppConfig(packages=PackageSettings(...))?"
    if problem.code == "unauthenticated":
        makes = (
            "'agentrail token create me --role admin' makes one beside the host's data directory"
        )
        detail = f"{detail}: set {TOKEN}; {makes}"
    return Answered(problem.code, detail)


def reach(where: Where, about: About, work: Callable[[Door], Awaitable[T]]) -> T:
    """Return what is done with a host: by itself, or for lack of one in this process.

    Raises:
        AgentrailError: there is no such host, or it refuses.
    """
    if where.url is not None:
        elsewhere = urlsplit(_checked(where.url)).hostname not in _LOOPBACK
        given = os.environ.get(TOKEN)
        return anyio.run(partial(_over_http, where.url, given, work, proxies=elsewhere))
    note, looked = _running(where)
    if note is not None:
        # Who may read the data directory may have a token made, also when theirs is of no use.
        given = None if about == "records" else os.environ.get(TOKEN)
        return anyio.run(partial(_over_http, note.url, given or note.token, work, proxies=False))
    host, kept = _left(where, about, looked)
    if about == "records":  # of these no process keeps a copy
        return anyio.run(_in_database, host, kept, work)
    if host.part(Presence).others():
        raise _in_use(host)
    return anyio.run(_in_place, host, kept, work)


def _running(where: Where) -> tuple[Address | None, Sequence[Path]]:
    """Return what the host that runs here tells of itself, and the data directories looked at.

    Nothing is made of settings for that, and they may be refused.

    Raises:
        ConfigError: they do not tell where the data is, or it is not for everybody.
    """
    settings: SettingsSource | None = None
    with suppress(ConfigError):
        settings = found_settings()
    given = where.data_dir or os.environ.get("AGENTRAIL_DATA_DIR")
    said = Path(given) if given else _said(settings)
    if settings is not None and said is not None and (given or _note(said) is not None):
        return _note(said), [said]
    try:
        base, own = application(where.app, where.data_dir)
    except AgentrailError:  # a host that runs was started with another
        base, own = AppConfig(profiles=()), None
    data = _said(own) or base.data_dir
    looked, note = [said or data, data], _note(data)
    if note is not None and data != looked[0]:
        remark(f"the host that answers has its data in {str(data)!r}, and not in {str(said)!r}")
    return note, list(dict.fromkeys(looked))


def _said(settings: SettingsSource | None) -> Path | None:
    """Return the data directory that settings say, if they do.

    Raises:
        ConfigRefused: it cannot be told; the usual one may be another host's.
    """
    try:
        reading = None if settings is None else settings.places()
    except ConfigRefused:
        remark("it cannot be told where the data is: name it with --data-dir, or a host with --url")
        raise
    if reading is not None and "data_dir" in reading.layered.sources:
        return Path(reading.settings.data_dir)
    return None


def _note(data: Path) -> Address | None:
    """Return what a host tells of itself, rather one that may change what is there.

    Raises:
        ConfigError: the directory cannot be looked into.
    """
    try:
        found = [*filter(None, Presence(data / DATABASE).others().values())]
    except OSError as error:
        message = (
            f"the data directory {str(data)!r} cannot be read ({error.strerror}): "
            "only the user that its host runs as may; be that one, or name the host with --url"
        )
        raise ConfigError(message) from error
    notes = [msgspec.json.decode(each, type=Address) for each in found]
    return min(notes, key=lambda note: note.follows, default=None)


def _left(where: Where, about: About, looked: Sequence[Path]) -> tuple[AgentHost, Kept]:
    """Return what there is of a host that does not run.

    Raises:
        AgentrailError: it cannot be told, or the application keeps nothing of this.
    """
    try:
        if about != "packages":
            host, kept = Kept.found(where)
            if about == "settings" and kept.managed.configuration is None:
                raise SettingsNotFound(_NO_SETTINGS)
            remark(f"no host answers here: this is about what is kept in {_data(host)}")
            return host, kept
        host = load_app(where.app, where.data_dir).host
        return host, Kept.of(host)
    except AgentrailError:
        places = " and ".join(repr(str(each)) for each in looked)
        remark(f"no host answers in {places}: name one with --data-dir or --url")
        raise


def _data(host: AgentHost) -> str:
    return repr(str(host.core.config.data_dir))


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        _ = parts.port, httpx.URL(url).host  # each refuses what the other takes
        known = parts.scheme in {"http", "https"} and parts.hostname
    except (ValueError, httpx.InvalidURL):
        known = False
    if not known:
        raise ConfigError(f"{url!r} is no address of a host: write it as http://127.0.0.1:8642")
    return url


async def _over_http(
    url: str, token: str | None, work: Callable[[Door], Awaitable[T]], *, proxies: bool
) -> T:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    async with httpx.AsyncClient(
        base_url=url, headers=headers, timeout=_TIMEOUT, trust_env=proxies
    ) as client:
        return await work(Door(client))


async def _in_place(host: AgentHost, kept: Kept, work: Callable[[Door], Awaitable[T]]) -> T:
    """Do it in this process, which opens the packages as a host does, and runs none of them."""
    presence, done = host.part(Presence), list[T]()
    failure: AgentrailError | OSError | SystemExit | None = None
    async with AsyncExitStack() as stack, anyio.create_task_group() as group:
        try:
            if not stack.enter_context(alone_in(host.core.config.data_dir)):
                raise _in_use(host)
            await kept.open(stack)
            presence.enter()
            stack.callback(presence.leave)
            await kept.start(group)
            try:
                done.append(await _asked(host, kept, work))
            finally:
                await kept.packages.events.flush()  # before what writes them ends
        except (AgentrailError, OSError, SystemExit) as error:
            # The task group would wrap it; what is printed may be for somebody who is gone.
            failure = error
        group.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return done[0]


async def _in_database(host: AgentHost, kept: Kept, work: Callable[[Door], Awaitable[T]]) -> T:
    async with AsyncExitStack() as stack:
        await kept.open(stack)
        return await _asked(host, kept, work)


async def _asked(host: AgentHost, kept: Kept, work: Callable[[Door], Awaitable[T]]) -> T:
    data, transport = host.core.config.data_dir, httpx.ASGITransport(kept.app(host))
    async with httpx.AsyncClient(transport=transport, base_url=_HERE) as client:
        return await work(Door(client, data))


def _in_use(host: AgentHost) -> StorageError:
    message = (
        f"another process has the packages in {_data(host)} open and does not "
        "tell where it is served: it may be starting; try again, name it with --url, or stop it"
    )
    return StorageError(message)
