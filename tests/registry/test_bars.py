"""Many switches under many streams lose nothing, and many switches leave nothing behind."""

import gc
import logging
import os
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import pytest

from agentrail import ChatRequest
from agentrail.host import AgentHost
from agentrail.registry import Packages
from agentrail.requests import Delta, ModelRequest
from tests.registry.shop import ADA, host_of, upload

pytestmark = pytest.mark.anyio

STREAMS = 100
CHANGES = 50
CYCLES = 500

MARKS = """
import logging
from agentrail import define_plugin, tool

_log = logging.getLogger(__name__)
VERSION = {version!r}
LOADING = __name__

def plugin(context):
    def mark(*arguments):
        SEEN.setdefault(arguments[-1].turn_id, set()).add(LOADING)

    @tool
    def tell() -> str:
        "Tell."
        return VERSION

    return define_plugin("p", tools=[tell], on_request_start=mark, on_chunk=mark,
                         on_turn_persisted=mark, on_request_end=mark)
"""
"""A plugin that notes in each run which loading of it was called."""

SEEN: dict[str, set[str]] = {}


def marks(version: str) -> dict[str, Any]:
    shared = f"import sys\nSEEN = sys.modules[{__name__!r}].SEEN\n"
    return {"more": 'entry_point = ":plugin"\n', "source": shared + MARKS.format(version=version)}


async def test_fifty_changes_under_a_hundred_streams_fail_nothing_and_mix_nothing(
    tmp_path: Path,
) -> None:
    outcomes: Counter[str] = Counter()
    during: set[int] = set()
    over = False
    SEEN.clear()

    async def answer(request: ModelRequest) -> str:
        for piece in "abc":
            await request.emit(Delta(text=piece))
            await anyio.sleep(0.2)  # or a slow machine does nothing but streams
        return "abc"

    async def ask(host: AgentHost) -> None:
        while not over:
            async with host.stream(ChatRequest(message="go")) as events:
                async for event in events:
                    if event.type in ("turn.end", "turn.error"):
                        outcomes[f"{event.type} {getattr(event, 'outcome', '')}"] += 1

    host = host_of(tmp_path, *[answer] * 50_000)
    async with host:
        packages = host.part(Packages)
        await upload(packages, "p", **marks("1.0.0"))
        await packages.switch("p", ADA, on=True)
        await upload(packages, "p", "2.0.0", **marks("2.0.0"))
        async with anyio.create_task_group() as tasks:
            for _ in range(STREAMS):
                tasks.start_soon(ask, host)
            for number in range(CHANGES):
                await change(packages, number)
                during.add(len(host.core.generations))
            over = True

    assert set(outcomes) == {"turn.end completed"}
    assert outcomes.total() >= STREAMS
    assert max(during) > 1, "no run went on over a change"
    mixed = [found for found in SEEN.values() if len(found) > 1]
    assert mixed == []
    assert len(loadings()) > CHANGES / 4


async def change(packages: Packages, number: int) -> None:
    """Switch off, on, or to the other version, and wait until a run began with what is new."""
    before = loadings()
    if number % 3 == 2:
        other = "2.0.0" if (await packages.get("p")).version == "1.0.0" else "1.0.0"
        await packages.upgrade("p", ADA, version=other)
    else:
        await packages.switch("p", ADA, on=bool(number % 3))
    while number % 3 and loadings() == before:  # noqa: ASYNC110 - the plugin is of another world
        await anyio.sleep(0.01)


def loadings() -> set[str]:
    """Return the loadings of the plugin that runs have begun with."""
    return {loading for found in SEEN.values() for loading in found}


def held(data: Path) -> dict[str, int]:
    """Return what a process holds that switching packages must not pile up."""
    for _ in range(3):
        gc.collect()
    return {
        "descriptors": min(_descriptors() for _ in range(3)),
        "threads": sum(not _is_worker(thread) for thread in threading.enumerate()),
        "modules": len(sys.modules),
        "finders": len(sys.meta_path),
        "loggers": len(logging.Logger.manager.loggerDict),
        "tasks": len(anyio.get_running_tasks()),
        "loadings": sum(type(each).__name__ == "_Finder" for each in gc.get_objects()),
        "files": sum(len(files) for _, _, files in os.walk(data)),
    }


def _descriptors() -> int:
    """Return how many are open; a thread may have a source file open while it tells of a frame."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def _is_worker(thread: threading.Thread) -> bool:
    """Tell whether a thread is of a pool, which grows and shrinks as it likes."""
    return thread.name.startswith(("AnyIO worker", "Trio thread"))


async def cycles(host: AgentHost, number: int) -> None:
    packages = host.part(Packages)
    for _ in range(number):
        await packages.switch("p", ADA, on=True)
        await host.chat(ChatRequest(message="hi", session_id="one"))
        await packages.switch("p", ADA, on=False)
        entry = packages.inventory.entries["p"]
        await entry.versions["1.0.0"].drained.wait()


async def test_five_hundred_switches_leave_nothing_behind(tmp_path: Path) -> None:
    SEEN.clear()
    async with host_of(tmp_path) as host:
        await upload(host.part(Packages), "p", **marks("1.0.0"))
        await cycles(host, 20)
        before = held(tmp_path)
        await cycles(host, CYCLES)
        after = held(tmp_path)
        assert {name: count for name, count in after.items() if count > before[name]} == {}
        assert not [name for name in sys.modules if name.startswith("_package_p")]
        assert len(host.core.generations) == 1


async def test_a_leak_would_be_seen(tmp_path: Path) -> None:
    leak = "import logging\nfrom agentrail import define_plugin\n"
    leak += "logging.getLogger(f'leaked.{__name__}')\n"
    leak += "def plugin(context):\n    return define_plugin('p', start=lambda: None)\n"
    async with host_of(tmp_path) as host:
        await upload(host.part(Packages), "p", more='entry_point = ":plugin"\n', source=leak)
        await cycles(host, 2)
        before = held(tmp_path)
        await cycles(host, 3)
        assert held(tmp_path)["loggers"] == before["loggers"] + 3
