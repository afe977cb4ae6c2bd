"""The HTTP server on asyncio."""

import logging
import socket
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module

import anyio
import uvicorn
from starlette.types import ASGIApp

# Else a server imports them when it starts, and the event loop stands still.
for _late in ("lifespan.off", "protocols.http.auto", "protocols.websockets.auto"):
    import_module(f"uvicorn.{_late}")

LAST_SECONDS = 2
"""Seconds that connections have to close once their turns have ended."""


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave the signals to the command."""
        yield


async def serve(app: ASGIApp, listener: socket.socket, stop: anyio.Event) -> None:
    """Serve an application that has started, until ``stop`` is set."""
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    config = uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # anybody can send them
        timeout_graceful_shutdown=LAST_SECONDS,
    )
    server = _Server(config)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve, [listener])
        await stop.wait()
        server.should_exit = True
