"""``agentrail serve``: the host behind a real HTTP server."""

import logging
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Final
from urllib.parse import quote

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agentrail.cli._announce import announce
from agentrail.cli._first_token import guarded, print_first_token
from agentrail.cli._load import Configure, load_app
from agentrail.errors import AgentrailError, ConfigError
from agentrail.extras import pip_install
from agentrail.host import AgentApp, is_loopback
from agentrail.telemetry import configure

_log = logging.getLogger("agentrail.cli")

_access = logging.getLogger("agentrail.access")

PATIENCE: Final = 1.0
"""Seconds that clients have to read the ends of their turns."""

Server = Callable[[ASGIApp, socket.socket, anyio.Event], Awaitable[None]]
"""Serves an application that has started on a listening socket, until the event is set."""


def serve(
    spec: str,
    address: tuple[str, int] | socket.socket,
    data_dir: Path | None,
    backend: str,
    grace: float,
    settle: Configure | None = None,
) -> None:
    """Serve an application until it is told to stop by SIGTERM or SIGINT.

    Then turns under way have ``grace`` seconds to end, are cancelled, and their readers told.  A
    second signal ends the process at once.

    Args:
        spec: the application, as ``module:attribute``.
        address: where to listen, or a socket that does.
        data_dir: where sessions are kept, unless the application says.
        backend: ``asyncio`` or ``trio``.
        grace: in seconds.
        settle: puts settings over the application; by default those that are found here.

    Raises:
        AgentrailError: the application cannot be loaded or started, or may not be served there.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells each call of a model
    shutdown = configure()
    try:
        app = load_app(spec, data_dir, settle)
        host = (address.getsockname() if isinstance(address, socket.socket) else address)[0]
        if app.host.core.config.authenticator is None and not is_loopback(host):
            app = guarded(app, host)
        server: Server = optional("_hypercorn" if backend == "trio" else "_uvicorn").serve
        with address if isinstance(address, socket.socket) else listen(*address) as listener:
            anyio.run(partial(_run, app, listener, server, grace), backend=backend)
    finally:
        shutdown()


def optional(name: str) -> ModuleType:
    """Return a module of the command line that needs the extra ``server``.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return import_module(f"agentrail.cli.{name}")
    except ImportError as error:
        message = f"serving needs {error.name}: {pip_install('server')}"
        raise ConfigError(message) from error


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        ConfigError: the address cannot be taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host.strip("[]"), port), family=family)
    except (OSError, OverflowError) as error:
        why, *_ = str(getattr(error, "strerror", None) or error).split(" (while")  # names it again
        message = f"cannot serve on {host} port {port} ({why}): choose another with --host, --port"
        raise ConfigError(message) from error


async def _run(app: AgentApp, listener: socket.socket, server: Server, grace: float) -> None:
    """Start the host, then serve it; at a signal end the turns, the server and the host."""
    stop, stopped = anyio.Event(), anyio.Event()
    port: int = listener.getsockname()[1]
    failure: AgentrailError | None = None

    async def served(announced: AgentApp) -> None:
        try:
            await server(_logged(announced), listener, stop)
        finally:
            stopped.set()

    async with anyio.create_task_group() as tasks:
        try:
            async with app.host as host:
                await print_first_token(host)
                with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                    tasks.start_soon(served, announce(app, _url(listener)))
                    _log.info(
                        "agents %s at %s; Ctrl-C stops", ", ".join(host.agents()), _url(listener)
                    )
                    async for _ in signals:
                        break
                _log.info("stopping; turns under way have %g s to end", grace)
                # The shield: what takes longer is cancelled with all that runs inside the host.
                with anyio.CancelScope(shield=True):
                    await host.core.drain(grace)
                    stop.set()
                    with anyio.move_on_after(PATIENCE):
                        await stopped.wait()
                    _hang_up(port)
                    await stopped.wait()
        except AgentrailError as error:  # the task group would wrap it
            failure = error
    if failure is not None:
        raise failure


def _logged(app: ASGIApp) -> ASGIApp:
    """Return an application that logs each request when its answer begins.

    The servers' own logs differ.  A query is left out: it may be what a user says.  What comes from
    outside is quoted, so that it stays in its place in the line.
    """

    async def logged(scope: Scope, receive: Receive, send: Send) -> None:
        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                client, *_ = scope["client"] or ("-",)
                request = f"{quote(scope['method'])} {quote(scope['path'])}"
                _access.info('%s "%s" %d', quote(client, safe=":%"), request, message["status"])
            await send(message)

        await app(scope, receive, tell)

    return logged


def _hang_up(port: int) -> None:
    """Cut what connections a port has left, whose clients do not read.

    hypercorn sends under a shield, and neither server hands out its connections.
    """
    for each in list(Path("/dev/fd").iterdir()):
        with suppress(OSError), socket.socket(fileno=os.dup(int(each.name))) as connection:
            name: object = connection.getsockname()
            # What listens may be another process's too, and would do so no more.
            listens = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            if isinstance(name, tuple) and port in name[1:2] and not listens:
                connection.shutdown(socket.SHUT_RDWR)


def _url(listener: socket.socket) -> str:
    name, port, *_ = listener.getsockname()
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"
