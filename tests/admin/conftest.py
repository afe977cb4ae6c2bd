"""A host with packages, and clients of its API."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from agentrail.testing import http_client
from tests.admin.site import Site


@pytest.fixture
async def site(tmp_path: Path) -> AsyncGenerator[Site]:
    """Serves the API to this machine, which needs no token."""
    async with _open(tmp_path, guarded=False) as site:
        yield site


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncGenerator[Site]:
    """Serves it to whoever has a token."""
    async with _open(tmp_path, guarded=True) as site:
        yield site


@asynccontextmanager
async def _open(directory: Path, *, guarded: bool) -> AsyncGenerator[Site]:
    site = Site(directory)
    async with anyio.create_task_group() as group:
        await site.start(group)
        with site.logs:
            async with http_client(site.app(site.tokens if guarded else None)) as site.client:
                yield site
        await site.packages.rest()
        await site.packages.close()
        group.cancel_scope.cancel()
    await site.database.stop()
