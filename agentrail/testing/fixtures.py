"""Fixtures for the tests of an application, on both backends.

A project's top ``conftest.py`` takes them in::

    pytest_plugins = ["agentrail.testing.fixtures"]
"""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack

import httpx
import pytest

from agentrail.host import AgentApp, AgentHost
from agentrail.testing._http import OpenClient, OpenHost, http_client


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Run each async test once on asyncio and once on trio, each time in an event loop of its own.

    For one backend alone, override it with a fixture that returns its name.
    """
    backend: str = request.param
    return backend


@pytest.fixture
async def open_host() -> AsyncGenerator[OpenHost]:
    """Yield a function that starts hosts; they stop in reverse order when the test ends."""
    async with AsyncExitStack() as hosts:

        async def _open(app: AgentApp) -> AgentHost:
            return await hosts.enter_async_context(app.host)

        yield _open


@pytest.fixture
async def open_client() -> AsyncGenerator[OpenClient]:
    """Yield a function that serves applications; they stop in reverse order at the test's end."""
    async with AsyncExitStack() as clients:

        async def _open(app: AgentApp) -> httpx.AsyncClient:
            return await clients.enter_async_context(http_client(app))

        yield _open
