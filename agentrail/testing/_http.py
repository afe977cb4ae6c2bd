"""An application behind a real HTTP server, in the test's own event loop."""

import socket
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from types import TracebackType
from typing import Any, Final, cast

import anyio
import httpx
from anyio.lowlevel import current_token

from agentrail.errors import ConfigError
from agentrail.extras import pip_install
from agentrail.host import AgentApp, AgentHost, already_started

OpenHost = Callable[[AgentApp], Awaitable[AgentHost]]
"""What the fixture ``open_host`` is: it starts a host, which stops when the test ends."""

OpenClient = Callable[[AgentApp], Awaitable[httpx.AsyncClient]]
"""What the fixture ``open_client`` is: ``http_client`` until the test ends."""

LAST_SECONDS: Final = 5
"""Seconds that connections have to close at the end."""

READ_SECONDS: Final = 30
"""How long the client waits for the next piece of an answer."""

_Serve = Callable[[AgentApp, socket.socket, anyio.Event], Coroutine[object, object, None]]


def http_client(app: AgentApp) -> AbstractAsyncContextManager[httpx.AsyncClient]:
    """Return a client of an application that runs as long as the client is open.

    ``async with http_client(app) as client`` starts the host, and stops it at the end.  Between the
    two it is served on a loopback port of its own by uvicorn on asyncio and by hypercorn on trio,
    so that streams arrive piece by piece, and a client that hangs up is noticed.

    Raises:
        ConfigError: the HTTP servers are not installed.
        AgentrailError: the host does not start.
    """
    return _Client(app)


class _Client:
    """The host, its server and its client, in the order of their starts."""

    def __init__(self, app: AgentApp) -> None:
        self._app = app
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> httpx.AsyncClient:
        serve = _server()
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._app.host)
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            tasks = await stack.enter_async_context(anyio.create_task_group())
            stop = anyio.Event()
            stack.callback(stop.set)
            tasks.start_soon(serve, self._app, listener, stop)
            client = httpx.AsyncClient(base_url=url, timeout=READ_SECONDS, trust_env=False)
            await stack.enter_async_context(client)
            self._stack = stack.pop_all()
        return client

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        # Without the error in hand: a task group would wrap it.
        await self._stack.aclose()


def _server() -> _Serve:
    try:
        on_trio = type(current_token().native_token).__module__.startswith("trio.")
        return _hypercorn() if on_trio else _uvicorn()
    except ImportError as error:
        message = f"http_client needs an HTTP server: {pip_install('server')}"
        raise ConfigError(message) from error


def _uvicorn() -> _Serve:
    import uvicorn  # noqa: PLC0415 (an extra)

    class Server(uvicorn.Server):
        @contextmanager
        def capture_signals(self) -> Generator[None]:
            """Leave the signals to pytest."""
            yield

    async def serve(app: AgentApp, listener: socket.socket, stop: anyio.Event) -> None:
        config = uvicorn.Config(
            app, lifespan="off", log_config=None, timeout_graceful_shutdown=LAST_SECONDS
        )
        server = Server(config)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.serve, [listener])
            await stop.wait()
            server.should_exit = True

    return serve


def _hypercorn() -> _Serve:
    import hypercorn.trio  # noqa: PLC0415 (an extra)
    from hypercorn.config import Config  # noqa: PLC0415 (an extra)

    async def serve(app: AgentApp, listener: socket.socket, stop: anyio.Event) -> None:
        config = Config()
        config.bind = [f"fd://{listener.detach()}"]
        config.errorlog = None
        config.graceful_timeout = LAST_SECONDS
        await cast("Any", hypercorn.trio).serve(
            already_started(app), config, shutdown_trigger=stop.wait
        )

    return serve
