"""Settings that change while what was changed before is still being put away."""

from pathlib import Path

import anyio
import pytest
from attrs import define, field

from agentrail.errors import ModelError
from tests.host.reloading import site_of
from tests.host.test_reload import Gate

pytestmark = pytest.mark.anyio

OFF = "plugins: {entries: [{name: mine, enabled: false}]}\n"
ON = "plugins: {}\n"
HOUSE = """
providers: {house: {kind: openai, base_url: 'http://127.0.0.1:9/v1', api_key: k}}
profiles: [{id: extra, model: 'house:m'}]
"""


@define(eq=False)
class Lingering:
    """A plugin whose stop takes until it is let go."""

    name: str = "mine"
    lives: list[str] = field(factory=list[str])
    stopping: anyio.Event = field(factory=anyio.Event)
    go: anyio.Event = field(factory=anyio.Event)

    async def start(self) -> None:
        self.lives.append("start")

    async def stop(self) -> None:
        self.stopping.set()
        await self.go.wait()
        self.lives.append("stop")


async def test_a_plugin_that_is_wanted_again_while_it_stops_is_started_once_more(
    tmp_path: Path,
) -> None:
    mine = Lingering()
    site = site_of(tmp_path, ON, plugins=[mine])
    async with site.host:
        await site.use(OFF)
        await mine.stopping.wait()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(site.use, ON)
            while site.host.core.lives._leaving:  # noqa: ASYNC110 - it waits
                await anyio.sleep(0.01)
            mine.go.set()
        assert mine.lives == ["start", "stop", "start"]
    assert mine.lives == ["start", "stop", "start", "stop"]


async def test_a_plugin_that_waits_for_its_turn_to_stop_and_is_wanted_again_goes_on(
    tmp_path: Path,
) -> None:
    first, last = Lingering("first"), Lingering("last")
    first.go.set()
    site = site_of(tmp_path, ON, plugins=[first, last])
    both = "{name: first, enabled: false}, {name: last, enabled: false}"
    async with site.host:
        await site.use(f"plugins: {{entries: [{both}]}}\n")
        await last.stopping.wait()  # the last one is stopped first
        await site.use("plugins: {entries: [{name: last, enabled: false}]}\n")
        last.go.set()
        while last.lives != ["start", "stop"]:  # noqa: ASYNC110 - it is stopped behind
            await anyio.sleep(0.01)
        await anyio.wait_all_tasks_blocked()
        assert (first.lives, last.lives) == (["start"], ["start", "stop"])
    assert first.lives == ["start", "stop"]


async def test_a_provider_that_comes_while_a_plugin_stops_slowly_stays(tmp_path: Path) -> None:
    gate, mine = Gate(), Lingering()
    site = site_of(tmp_path, ON, gate.answer, plugins=[mine])
    async with site.host, anyio.create_task_group() as tasks:
        await site.use(OFF)
        await mine.stopping.wait()
        tasks.start_soon(site.ask)
        await gate.entered.wait()
        await site.use(OFF + HOUSE)
        mine.go.set()
        while mine.lives != ["start", "stop"]:  # noqa: ASYNC110 - it is stopped behind
            await anyio.sleep(0.01)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(ModelError):  # nobody is there, and not: it was taken out
            await site.ask(agent="extra")
        gate.open.set()
