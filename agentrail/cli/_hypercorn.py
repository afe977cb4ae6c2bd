"""The HTTP server on trio."""

import logging
import socket
from typing import Any, cast

import anyio
import hypercorn.trio
from hypercorn.config import Config
from starlette.types import ASGIApp

from agentrail.host import already_started

LAST_SECONDS = 2
"""Seconds that connections have to close once their turns have ended."""


async def serve(app: ASGIApp, listener: socket.socket, stop: anyio.Event) -> None:
    """Serve an application that has started, until ``stop`` is set."""
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.graceful_timeout = LAST_SECONDS
    config.errorlog = logging.getLogger("hypercorn.error")
    config.errorlog.setLevel(logging.WARNING)
    await cast("Any", hypercorn.trio).serve(
        already_started(app), config, shutdown_trigger=stop.wait
    )
