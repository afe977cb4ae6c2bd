"""What every test has: both backends, and no silent skip in CI."""

import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import AsyncExitStack, contextmanager
from typing import Any, TypeVar, cast

import anyio
import httpx
import hypercorn.trio
import pytest
import uvicorn
from hypercorn.config import Config
from hypothesis import settings

from agentrail import AgentApp

R = TypeVar("R", pytest.TestReport, pytest.CollectReport)

Serve = Callable[[AgentApp], Awaitable[httpx.AsyncClient]]
"""Serves an application and returns a client of it."""

# A deadline per example measures the machine, not the code; pytest-timeout ends what hangs.
settings.register_profile("agentrail", deadline=None)
settings.load_profile("agentrail")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Runs each async test once on asyncio, its own event loop, and once on trio."""
    backend: str = request.param
    return backend


@pytest.fixture
async def served(anyio_backend: str) -> AsyncIterator[Serve]:
    """Serves applications in the test's own event loop: uvicorn on asyncio, hypercorn on trio.

    The sockets are real, and listen before the application has started: a request waits for it.
    """
    stop = anyio.Event()
    async with anyio.create_task_group() as servers, AsyncExitStack() as clients:

        async def serve(app: AgentApp) -> httpx.AsyncClient:
            listener = socket.create_server(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            run = _hypercorn if anyio_backend == "trio" else _uvicorn
            servers.start_soon(run, app, listener, stop)
            client = httpx.AsyncClient(base_url=url, timeout=30, trust_env=False)
            return await clients.enter_async_context(client)

        yield serve
        await clients.aclose()
        stop.set()


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave the signals to pytest."""
        yield


async def _uvicorn(app: AgentApp, listener: socket.socket, stop: anyio.Event) -> None:
    config = uvicorn.Config(app, lifespan="on", log_config=None, timeout_graceful_shutdown=5)
    server = _Server(config)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve, [listener])
        await stop.wait()
        server.should_exit = True


async def _hypercorn(app: AgentApp, listener: socket.socket, stop: anyio.Event) -> None:
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.errorlog = None
    config.graceful_timeout = 5
    await cast("Any", hypercorn.trio).serve(app, config, shutdown_trigger=stop.wait)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Sees `pytest.skip` in a test or fixture, and the skip marks."""
    return _skips_fail_in_ci((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Sees skips of a whole module, `importorskip` among them."""
    return _skips_fail_in_ci((yield))


def _skips_fail_in_ci(report: R) -> R:
    # An expected failure is reported as a skip too, with `wasxfail`: that one may stand.
    if os.environ.get("CI") == "true" and report.skipped and not hasattr(report, "wasxfail"):
        skip = report.longrepr
        reason = skip[2] if isinstance(skip, tuple) else str(skip)
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid}: CI skips nothing. {reason}"
    return report
