"""What tool tests share."""

from typing import cast

import pytest

from agentrail.clock import SystemClock
from agentrail.hook import Watchdog
from agentrail.requests import RequestContext, Services


@pytest.fixture
def context() -> RequestContext:
    """Without services: nothing here uses them."""
    return RequestContext(
        kind="chat",
        transport="python",
        tenant_id="default",
        user_id="local",
        session_id="s1",
        turn_id="t1",
        agent_id="assistant",
        request_id="r1",
        services=cast("Services", None),
    )


@pytest.fixture
async def watchdog() -> Watchdog:
    """Keeps no deadline until a test runs it."""
    return Watchdog(SystemClock())
