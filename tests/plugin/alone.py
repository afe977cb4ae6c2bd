"""The lives of the plugins of one composition."""

from collections.abc import Awaitable, Callable

from anyio.abc import TaskGroup
from attrs import frozen

from agentrail.hook import HookTable
from agentrail.plugin import Lives


@frozen
class Alone:
    """Plugins that are started and stopped together."""

    table: HookTable
    lives: Lives

    async def start(self, group: TaskGroup) -> None:
        await self.lives.start(self.table, group)

    async def stop(self) -> None:
        await self.lives.stop()

    def background(self, name: str, task: Callable[[], Awaitable[object]], label: str = "") -> None:
        self.lives.background(self.table.plugin(name), task, label)
