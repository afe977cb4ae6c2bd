"""What every test has: both backends, and no silent skip in CI."""

import os
import signal
from collections.abc import Generator
from typing import TypeVar

import pytest
from hypothesis import settings

from agentrail.testing import OpenClient

R = TypeVar("R", pytest.TestReport, pytest.CollectReport)

pytest_plugins = ["agentrail.testing.fixtures"]

Serve = OpenClient
"""Serves an application and returns a client of it."""

# A deadline per example measures the machine, not the code; pytest-timeout ends what hangs.
settings.register_profile("agentrail", deadline=None)
settings.load_profile("agentrail")

# What runs in the background may be deaf to interrupts, and so would be all that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def served(open_client: OpenClient) -> Serve:
    """Serves applications in the test's own event loop: uvicorn on asyncio, hypercorn on trio."""
    return open_client


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
