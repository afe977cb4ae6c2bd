"""``agentrail serve``: the host behind a real HTTP server."""

import logging
import signal
from pathlib import Path
from typing import Any, cast

import anyio

from agentrail.cli._load import load_app
from agentrail.errors import ConfigError
from agentrail.host import AgentApp, is_loopback
from agentrail.telemetry import configure

GRACE = 10
"""Seconds that open connections have once the server is told to stop."""

_MISSING = "serving needs an HTTP server: pip install 'agentrail-host[server]'"


def serve(spec: str, host: str, port: int, data_dir: Path | None, backend: str) -> None:
    """Serve an application until it is told to stop.

    Raises:
        ConfigError: the application cannot be loaded, or may not be served at that address.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    shutdown = configure()
    try:
        app = load_app(spec, data_dir)
        if app.host.core.config.authenticator is None and not is_loopback(host):
            message = (
                f"without an authenticator a host is served on this machine only, not on {host!r}: "
                "set AppConfig(authenticator=...), or bind to 127.0.0.1"
            )
            raise ConfigError(message)
        (_serve_trio if backend == "trio" else _serve_asyncio)(app, host, port)
    finally:
        shutdown()


def _serve_asyncio(app: AgentApp, host: str, port: int) -> None:
    try:
        import uvicorn  # noqa: PLC0415 - part of an extra
    except ImportError as error:
        raise ConfigError(_MISSING) from error
    uvicorn.run(
        app, host=host, port=port, lifespan="on", log_config=None, timeout_graceful_shutdown=GRACE
    )


def _serve_trio(app: AgentApp, host: str, port: int) -> None:
    try:
        from hypercorn.config import Config  # noqa: PLC0415 - part of an extra
        from hypercorn.trio import serve as hypercorn_serve  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError(_MISSING) from error
    config = Config()
    config.bind = [f"[{host}]:{port}" if ":" in host else f"{host}:{port}"]
    config.graceful_timeout = GRACE

    async def stop() -> None:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for _ in signals:
                return

    async def main() -> None:
        await hypercorn_serve(cast("Any", app), config, shutdown_trigger=stop)

    anyio.run(main, backend="trio")
