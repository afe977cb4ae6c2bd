"""Many changes of settings leave nothing behind."""

import gc
import json
import logging
import sys
import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
import trio  # noqa: TID251 - what it has itself is left out

from agentrail.errors import ConfigRefused
from agentrail.settings import SettingsSource
from tests.host.reloading import LIVES, SEEN, UNWATCHED, Site, balanced, site_of

pytestmark = pytest.mark.anyio

CHANGES = 1000
WARM = 60
"""Changes before anything is counted: fifty revisions are kept."""

REFUSED = 200


def variables(number: int) -> dict[str, str]:
    """Return settings of which one of four is another with each number."""
    plugin, provider, step, profile = ((number + 3 - at) // 4 for at in range(4))
    return {
        "AGENTRAIL_PLUGINS__ENTRIES": json.dumps(
            [
                {
                    "name": "m",
                    "object": "tests.host.reloading:marks",
                    "config": {"label": str(plugin)},
                },
                {
                    "name": "kept",
                    "object": "tests.host.reloading:marks",
                    "config": {"name": "kept"},
                },
            ]
        ),
        "AGENTRAIL_PROVIDERS": json.dumps(
            {
                name: {"kind": "openai", "base_url": "http://127.0.0.1:9/v1", "api_key": key}
                for name, key in {"house": f"key {provider}", "kept": "k"}.items()
            }
        ),
        "AGENTRAIL_MIDDLEWARES": json.dumps([{"name": "cache", "ttl": step + 1}, "metrics"]),
        "AGENTRAIL_PROFILES": json.dumps(
            [
                {"id": "one", "model": "house:m", "prompt": f"Prompt {profile}."},
                {"id": "two", "model": "kept:m"},
            ]
        ),
    }


def held(site: Site) -> dict[str, int]:
    """Return what a process holds that changes of settings must not pile up."""
    for _ in range(3):
        gc.collect()
    core = site.host.core
    return {
        "descriptors": min(_descriptors() for _ in range(3)),
        "threads": sum(not _is_worker(thread) for thread in threading.enumerate()),
        "modules": len(sys.modules),
        "loggers": len(logging.Logger.manager.loggerDict),
        "tasks": len(anyio.get_running_tasks()),
        "generations": len(core.generations),
        "plugins": len(core.lives._lives),
        "providers that run": len(core.models._line.running),
        "providers that are known": len(core.models._line.known),
    }


def objects() -> Counter[str]:
    """Return how many objects there are, in all and of each class that is not Python's own.

    trio has scopes with a deadline until that comes, or until there are a thousand of them.
    """
    gc.collect()
    found: Counter[str] = Counter()
    for kind, count in Counter(map(type, gc.get_objects())).items():
        if kind is not trio.CancelScope:
            found["all"] += count
            found[f"{kind.__module__}.{kind.__qualname__}"] += count
    return Counter({name: count for name, count in found.items() if "builtins" not in name})


def too_many(grown: Mapping[str, int], changes: int) -> Mapping[str, int]:
    """Return what has grown with the number of changes."""
    most = {name: changes if name == "all" else changes / 5 for name in grown}
    return {name: count for name, count in grown.items() if count > most[name]}


def _descriptors() -> int:
    """Return how many are open; a thread may have a source file open while it tells of a frame."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def _is_worker(thread: threading.Thread) -> bool:
    """Tell whether a thread is of a pool, which grows and shrinks as it likes."""
    return thread.name.startswith(("AnyIO worker", "Trio thread"))


async def quiet(site: Site) -> None:
    """Return once what was replaced is put away."""
    core = site.host.core
    while len(core.generations) > 1 or len(core.lives._lives) > 2:
        await anyio.lowlevel.checkpoint()
    await anyio.wait_all_tasks_blocked()


@pytest.mark.timeout(300)
async def test_a_thousand_changes_leave_nothing_behind(tmp_path: Path) -> None:
    said = UNWATCHED | variables(0)
    site = site_of(tmp_path, "", source=lambda _: SettingsSource(None, said))
    async with site.host:
        for number in range(1, WARM + 1):
            said |= variables(number)
            await site.configuration.reload("ada")
        await quiet(site)
        before, of_each, first = held(site), objects(), site.configuration.revision.number
        for number in range(WARM + 1, WARM + CHANGES + 1):
            said |= variables(number)
            await site.configuration.reload("ada")
            if number % 100 == 0:
                await site.ask()
        await quiet(site)

        assert site.configuration.revision.number == first + CHANGES
        after = held(site)
        assert {name: count for name, count in after.items() if count > before[name]} == {}
        grown = {name: count - of_each[name] for name, count in objects().items()}
        assert too_many(grown, CHANGES) == {}
        assert len(LIVES) == 2 + 2 * ((WARM + CHANGES) // 4)
    assert balanced() == {}
    SEEN.clear()


@pytest.mark.timeout(300)
async def test_settings_that_are_refused_leave_nothing_behind(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "agentrail")  # what is logged is kept
    said = UNWATCHED | variables(0)
    site = site_of(tmp_path, "", source=lambda _: SettingsSource(None, said))

    async def refused(numbers: range) -> None:
        for number in numbers:
            said.update(variables(number))
            entries = json.loads(said["AGENTRAIL_PLUGINS__ENTRIES"])
            entries[0]["config"]["fails"] = ("start", "make", "")[number % 3]
            said["AGENTRAIL_PLUGINS__ENTRIES"] = json.dumps(entries)
            if number % 3 == 2:
                said["AGENTRAIL_PROFILES"] = said["AGENTRAIL_PROFILES"].replace("house:", "nobody:")
            with pytest.raises(ConfigRefused):
                await site.configuration.reload("ada")

    async with site.host:
        await refused(range(1, 30))
        await quiet(site)
        left: Mapping[str, int] = {}
        for start in (30, 30 + REFUSED):  # what is cached once does not grow again
            before, of_each = held(site), objects()
            await refused(range(start, start + REFUSED))
            await quiet(site)
            after = held(site)
            assert {name: count for name, count in after.items() if count > before[name]} == {}
            left = too_many({n: count - of_each[n] for n, count in objects().items()}, REFUSED)
            if not left:
                break
        assert left == {}
    assert balanced() == {}


async def test_what_is_left_behind_would_be_seen(tmp_path: Path) -> None:
    said = UNWATCHED | variables(0)
    site = site_of(tmp_path, "", source=lambda _: SettingsSource(None, said))
    left: list[object] = []
    async with site.host:
        before = objects()
        for number in range(1, 13):
            said |= variables(number)
            await site.configuration.reload("ada")
            left.append(site.host.core.present)
        await quiet(site)
        grown = {name: count - before[name] for name, count in objects().items()}
        assert grown["agentrail.host._generation.Generation"] == 11
        assert grown["tests.host.reloading.Marks"] == 2  # three, and the first one is gone
        left.clear()
        gc.collect()
        kind = "agentrail.host._generation.Generation"
        assert objects()[kind] == before[kind]
