"""``agentrail serve``: the host behind a real HTTP server."""

import logging
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Final, cast
from urllib.parse import quote

import anyio
import msgspec
from attrs import evolve
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agentrail.cli._announce import announce
from agentrail.cli._first_token import guard, print_first_token
from agentrail.cli._load import has_settings, load_app
from agentrail.errors import AgentrailError, ConfigError
from agentrail.extras import pip_install
from agentrail.host import AgentApp, SettingsSource, is_loopback
from agentrail.settings import Server as Address
from agentrail.settings import Settings
from agentrail.telemetry import configure

_log = logging.getLogger("agentrail.cli")

_access = logging.getLogger("agentrail.access")

PATIENCE: Final = 1.0
"""Seconds that clients have to read the ends of their turns."""

Server = Callable[[ASGIApp, socket.socket, anyio.Event], Awaitable[None]]
"""Serves an application that has started on a listening socket, until the event is set."""


def serve(
    spec: str,
    data_dir: Path | None,
    flags: Mapping[str, tuple[str, object]],
    config: Path | None = None,
    listener: socket.socket | None = None,
) -> None:
    """Serve an application until it is told to stop by SIGTERM or SIGINT.

    Then turns under way have ``stop_grace`` seconds to end, are cancelled, and their readers told.
    A second signal ends the process at once.

    Args:
        spec: the application, as ``module:attribute``.
        data_dir: where sessions are kept, unless the application says.
        flags: the values of settings by their paths, each behind its option.
        config: a file of settings; by default what is found here.
        listener: listens already; by default ``server.host`` and ``server.port`` are.

    Raises:
        AgentrailError: the application cannot be loaded or started, or may not be served there.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    for chatty in ("httpx", "watchfiles"):  # these tell each call of a model, and each change
        logging.getLogger(chatty).setLevel(logging.WARNING)
    shutdown = configure()
    try:
        app, where = _settled(spec, data_dir, flags, config)
        address = listener.getsockname()[0] if listener is not None else where.host
        if app.host.core.config.authenticator is None and not is_loopback(address):
            guard(app.host, address)
        server: Server = optional("_hypercorn" if where.backend == "trio" else "_uvicorn").serve
        with listener or listen(where.host, where.port) as listening:
            anyio.run(partial(_run, app, listening, server), backend=where.backend)
    finally:
        shutdown()


def _settled(
    spec: str,
    data_dir: Path | None,
    flags: Mapping[str, tuple[str, object]],
    config: Path | None,
) -> tuple[AgentApp, Address]:
    """Return an application with settings, if there are any, and where it is to be served."""
    source: SettingsSource | None = None
    if config is not None or has_settings():
        source = import_module("agentrail.cli._settings").source(config, flags)
    app = load_app(spec, data_dir, source)
    core, settled = app.host.core, app.host.settled
    if settled is not None:
        return app, settled.reading.settings.server
    grace = flags.get("stop_grace", ("", core.config.stop_grace))[1]
    core.config = evolve(core.config, stop_grace=cast("float", grace))
    return app, _address(flags)


def served_at(flags: Mapping[str, tuple[str, object]]) -> tuple[Address, float]:
    """Return where settings and options say that a host is served, and its ``stop_grace``.

    Raises:
        ConfigRefused: the settings cannot be used.
    """
    if has_settings():
        settings: Settings = (
            import_module("agentrail.cli._settings").source(None, flags).read().settings
        )
        return settings.server, settings.stop_grace
    return _address(flags), cast("float", flags.get("stop_grace", ("", 10.0))[1])


def _address(flags: Mapping[str, tuple[str, object]]) -> Address:
    names = {name: f"server.{name}" for name in Address.__struct_fields__}
    given = {name: flags[path][1] for name, path in names.items() if path in flags}
    return msgspec.convert(given, Address)


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


async def _run(app: AgentApp, listener: socket.socket, server: Server) -> None:
    """Start the host, then serve it; at a signal end the turns, the server and the host."""
    stop, stopped = anyio.Event(), anyio.Event()
    port: int = listener.getsockname()[1]
    failure: AgentrailError | None = None

    async def served() -> None:
        try:
            await server(_logged(app), listener, stop)
        finally:
            stopped.set()

    async with anyio.create_task_group() as tasks:
        try:
            async with app.host as host:
                await print_first_token(host)
                with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                    announce(host, _url(listener))
                    tasks.start_soon(served)
                    _log.info(
                        "agents %s at %s; Ctrl-C stops", ", ".join(host.agents()), _url(listener)
                    )
                    async for _ in signals:
                        break
                grace = host.core.config.stop_grace
                _log.info("stopping; turns under way have %g s to end", grace)
                # The shield: what takes longer is cancelled with all that runs inside the host.
                with anyio.CancelScope(shield=True):
                    await host.core.drain()
                    stop.set()
                    with anyio.move_on_after(PATIENCE):
                        await stopped.wait()
                    _hang_up(port)
                    await stopped.wait()
        except AgentrailError as error:  # the task group would wrap it
            failure = error
    if failure is not None:
        failure.detail = app.host.core.hide(failure.detail)
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
