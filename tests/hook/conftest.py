"""What the tests of hooks have: a funnel at work, and what it reports."""

from collections.abc import AsyncIterator

import anyio
import pytest

from agentrail.clock import SystemClock
from agentrail.hook import Funnel, PluginFailure, Watchdog


@pytest.fixture
def failures() -> list[PluginFailure]:
    """What was reported, in order."""
    return []


@pytest.fixture
async def funnel(failures: list[PluginFailure]) -> AsyncIterator[Funnel]:
    """A funnel whose watchdog runs as long as the test does."""
    watchdog = Watchdog(SystemClock())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watchdog.run)
        yield Funnel(watchdog, failures.append)
        tasks.cancel_scope.cancel()
