"""What a plugin's code may raise that would end more than itself."""

import asyncio  # noqa: TID251 - its own cancellation is tested
import sys
from collections.abc import Awaitable, Callable

import anyio

Stray = Callable[[], Awaitable[None]]


async def by_task() -> None:
    """Fails by a task: on asyncio it is cancelled and awaited, on trio it leaves the process."""
    if anyio.get_cancelled_exc_class() is asyncio.CancelledError:
        task = asyncio.ensure_future(asyncio.Event().wait())
        task.cancel()
        await task
    else:
        async with anyio.create_task_group() as group:
            group.start_soon(_leave)


async def by_group() -> None:
    """Fails as a task group does one of whose tasks leaves the process."""
    raise BaseExceptionGroup("of a group", [SystemExit(1)])


async def _leave() -> None:
    sys.exit(1)


STRAYS = (by_task, by_group)
