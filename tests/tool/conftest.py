"""What tool tests share."""

import pytest

from agentrail.clock import SystemClock
from agentrail.hook import Watchdog
from agentrail.requests import RequestContext
from tests.contexts import context_of


@pytest.fixture
def context() -> RequestContext:
    """Without services: nothing here uses them."""
    return context_of("local", "default")


@pytest.fixture
async def watchdog() -> Watchdog:
    """Keeps no deadline until a test runs it."""
    return Watchdog(SystemClock())
