"""Settings that change while what was changed before is still being put away."""

from pathlib import Path

import anyio
import pytest
from anyio.abc import TaskGroup
from attrs import define, field

from agentrail.errors import ModelError
from agentrail.host._swap import Swapper
from tests.host.reloading import Tooled, site_of
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


@define(eq=False)
class Breaking:
    """A plugin whose task breaks down when it is told to, and that starts while it is let."""

    name: str = "breaks"
    lives: list[str] = field(factory=list[str])
    starts: bool = True
    broke: anyio.Event = field(factory=anyio.Event)
    tasks: TaskGroup = field(init=False)

    async def start(self) -> None:
        if not self.starts:
            raise RuntimeError("the line is dead")
        self.lives.append("start")
        self.broke = anyio.Event()
        self.tasks = anyio.create_task_group()
        await self.tasks.__aenter__()
        self.tasks.start_soon(self._work)

    async def _work(self) -> None:
        await self.broke.wait()
        raise RuntimeError("the line is dead")

    async def stop(self) -> None:
        self.tasks.cancel_scope.cancel()
        try:
            await self.tasks.__aexit__(None, None, None)
        finally:
            self.lives.append("stop")

    async def break_down(self) -> None:
        """Return once it is over."""
        self.broke.set()
        while self.lives[-1] != "stop":  # noqa: ASYNC110 - the host stops it
            await anyio.sleep(0.01)
        await anyio.wait_all_tasks_blocked()


BREAKING = Breaking()
"""What settings make."""


def breaking() -> Breaking:
    """Return a plugin that is made once."""
    return BREAKING


MADE = "plugins: {entries: [{name: breaks, object: 'tests.host.test_reload_races:breaking'}]}\n"


@pytest.mark.parametrize("by", ["settings", "code"])
async def test_a_plugin_that_broke_down_is_started_again_by_a_reload_and_refuses_none(
    tmp_path: Path, by: str, caplog: pytest.LogCaptureFixture
) -> None:
    BREAKING.lives, BREAKING.starts = [], True
    own, text = ([], MADE) if by == "settings" else ([BREAKING], ON)
    site = site_of(tmp_path, text, plugins=own)
    async with site.host:
        await BREAKING.break_down()
        BREAKING.starts = False
        for number, more in (
            (2, "stop_grace: 3\n"),
            (3, "stop_grace: 4\n"),
            (3, "stop_grace: 4\n"),
        ):
            caplog.clear()
            assert await site.use(text + more) == number
            assert "'breaks' did not start: the line is dead" in caplog.text
            assert BREAKING.lives == ["start", "stop"]

        BREAKING.starts = True
        assert await site.use(f"{text}stop_grace: 4\n") == 3
        assert BREAKING.lives == ["start", "stop", "start"]
        await site.use(f"{text}stop_grace: 3\n")
        assert BREAKING.lives == ["start", "stop", "start"]
        await site.use(f"{text}stop_grace: 4\n")
        await site.ask()
        assert BREAKING.lives == ["start", "stop", "start"]
    assert BREAKING.lives == ["start", "stop"] * 2


async def test_a_plugin_that_broke_down_is_left_alone_while_others_are_exchanged(
    tmp_path: Path,
) -> None:
    BREAKING.lives, BREAKING.starts = [], True
    site = site_of(tmp_path, ON, plugins=[BREAKING])
    async with site.host:
        swap = Swapper(site.host.core, 1)
        await BREAKING.break_down()
        await swap([Tooled("another")])
        assert BREAKING.lives == ["start", "stop"]
        BREAKING.starts = False
        await swap.revive()
        assert BREAKING.lives == ["start", "stop"]
        BREAKING.starts = True
        await swap.revive()
        assert BREAKING.lives == ["start", "stop", "start"]
    assert BREAKING.lives == ["start", "stop"] * 2
