"""How a command reaches the packages of a host: as a client of its API, whether it runs or not.

While a host has a data directory open, it is asked over HTTP, so that what it runs changes and is
audited there.  Where none has, the same API answers in this process from the data directory, and
none of the packages' code runs.
"""

import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import anyio
import httpx
import msgspec
from attrs import frozen

from agentrail.cli._announce import Address
from agentrail.cli._kept import Kept
from agentrail.cli._load import application, load_app
from agentrail.cli._options import Where
from agentrail.cli._settings import source, without_secrets
from agentrail.errors import (
    AgentrailError,
    ConfigError,
    ConfigRefused,
    HostNotRunning,
    StorageError,
)
from agentrail.host import AgentApp, AgentHost
from agentrail.messages import Wire
from agentrail.registry import Packages, alone_in
from agentrail.secret import DATABASE
from agentrail.storage import Presence

T = TypeVar("T")

TOKEN: Final = "AGENTRAIL_TOKEN"  # noqa: S105 - the name of a variable

_TIMEOUT: Final = httpx.Timeout(10, read=900)
"""Seconds; a package has its time to start, and the runs that use it have theirs to end."""

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
    running: bool
    """Whether a host answers, or what is kept of one."""

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
        if not response.is_success:
            raise _told(response)
        return response.content


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


def reach(where: Where, work: Callable[[Door], Awaitable[T]]) -> T:
    """Return what is done with a host's packages: by the host, or for lack of one in this process.

    Raises:
        AgentrailError: there is no such host, or it refuses.
    """
    if where.url is not None:
        elsewhere = urlsplit(_checked(where.url)).hostname not in _LOOPBACK
        given = os.environ.get(TOKEN)
        return anyio.run(partial(_over_http, where.url, given, work, proxies=elsewhere))
    try:
        host = load_app(where.app, where.data_dir).host
    except ConfigRefused:
        # A host that runs goes on with the settings that it had.
        data = application(where.app, where.data_dir).data_dir
        note = _note(Presence(data / DATABASE))
        if note is None:
            raise
    else:
        host.part(Packages)
        note = _note(host.part(Presence))
        if note is None and host.part(Presence).others():
            raise _in_use(host)
        if note is None:
            return anyio.run(_in_place, host, work)
    token = os.environ.get(TOKEN) or note.token
    return anyio.run(partial(_over_http, note.url, token, work, proxies=False))


def _note(presence: Presence) -> Address | None:
    note = next(filter(None, presence.others().values()), None)
    return None if note is None else msgspec.json.decode(note, type=Address)


def reach_records(where: Where, work: Callable[[Door], Awaitable[T]]) -> T:
    """Return what is done with the audit log and the tokens, of which no process keeps a copy.

    Raises:
        AgentrailError: there is no such host, or it refuses.
    """
    if where.url is not None:
        return reach(where, work)
    try:
        host = load_app(where.app, where.data_dir).host
    except ConfigRefused:
        return reach(where, work)  # the host that runs knows where its data is
    return anyio.run(_in_database, host, work)


def reach_secrets(where: Where, work: Callable[[Door], Awaitable[T]]) -> T:
    """Return what is done with secrets; settings may name those that nobody has yet.

    Raises:
        AgentrailError: there is no such host, or it refuses.
    """
    try:
        return reach(where, work)
    except ConfigRefused as error:
        if any(fault.code != "config_secret" for fault in error.faults):
            raise
    host = load_app(where.app, where.data_dir, without_secrets(source())).host
    return anyio.run(_in_place, host, work)


def _checked(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigError(f"{url!r} is no address of a host: write it as http://127.0.0.1:8642")
    return url


async def _over_http(
    url: str, token: str | None, work: Callable[[Door], Awaitable[T]], *, proxies: bool
) -> T:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    async with httpx.AsyncClient(
        base_url=url, headers=headers, timeout=_TIMEOUT, trust_env=proxies
    ) as client:
        return await work(Door(client, running=True))


async def _in_place(host: AgentHost, work: Callable[[Door], Awaitable[T]]) -> T:
    """Do it in this process, which opens the packages as a host does, and runs none of them."""
    kept, presence = Kept.of(host), host.part(Presence)
    done: list[T] = []
    failure: AgentrailError | None = None
    async with AsyncExitStack() as stack, anyio.create_task_group() as group:
        try:
            if not stack.enter_context(alone_in(host.core.config.data_dir)):
                raise _in_use(host)
            await kept.open(stack)
            presence.enter()
            stack.callback(presence.leave)
            await kept.start(group)
            try:
                done.append(await _asked(kept.app(host), work))
            finally:
                await kept.packages.events.flush()  # before what writes them ends
        except AgentrailError as error:  # the task group would wrap it
            failure = error
        group.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return done[0]


async def _in_database(host: AgentHost, work: Callable[[Door], Awaitable[T]]) -> T:
    kept = Kept.of(host)
    async with AsyncExitStack() as stack:
        await kept.open(stack)
        return await _asked(kept.app(host), work)


async def _asked(app: AgentApp, work: Callable[[Door], Awaitable[T]]) -> T:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url=_HERE) as client:
        return await work(Door(client, running=False))


def _in_use(host: AgentHost) -> StorageError:
    message = (
        f"another process has the packages in {str(host.core.config.data_dir)!r} open and does not "
        "tell where it is served: it may be starting; try again, name it with --url, or stop it"
    )
    return StorageError(message)
