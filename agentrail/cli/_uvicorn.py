"""The HTTP server on asyncio."""

import logging
import socket
from collections.abc import Generator
from contextlib import contextmanager

import anyio
import uvicorn

from agentrail.host import AgentApp

LAST_SECONDS = 2
"""Seconds that connections have to close once their turns have ended."""


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave the signals to the command."""
        yield


async def serve(app: AgentApp, listener: socket.socket, stop: anyio.Event) -> None:
    """Serve an application that has started, until ``stop`` is set."""
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    config = uvicorn.Config(
        app, lifespan="off", log_config=None, timeout_graceful_shutdown=LAST_SECONDS
    )
    server = _Server(config)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve, [listener])
        await stop.wait()
        server.should_exit = True
