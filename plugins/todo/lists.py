"""A to-do list for each user, as a class that is given what the host grants it."""

import json

import anyio

from agentrail import RequestContext, ToolError, tool
from agentrail.package import PluginContext


class TodoList:
    """Three tools over one value for each user, which outlives restarts and new versions."""

    def __init__(self, context: PluginContext) -> None:
        self.state = context.state
        self.most = int(str(context.get_config("most")))
        self.changing = anyio.Lock()
        self.tools = [tool(self.add), tool(self.remove), tool(self.show)]

    async def add(self, task: str, context: RequestContext) -> str:
        """Put a task on the user's to-do list."""
        async with self.changing:
            tasks = await self.tasks(context)
            if len(tasks) >= self.most:
                raise ToolError(f"there are {self.most} tasks on the list: remove one first")
            return await self.keep(context, [*tasks, task])

    async def remove(self, number: int, context: RequestContext) -> str:
        """Take a task off the user's to-do list, by its number there."""
        async with self.changing:
            tasks = await self.tasks(context)
            if not 0 < number <= len(tasks):
                raise ToolError(f"there is no task {number} on the list")
            return await self.keep(context, tasks[: number - 1] + tasks[number:])

    async def show(self, context: RequestContext) -> str:
        """Show the user's to-do list."""
        return listed(await self.tasks(context))

    async def tasks(self, context: RequestContext) -> list[str]:
        """Return a user's tasks."""
        kept = await self.state.get(key(context))
        return json.loads(kept) if kept else []

    async def keep(self, context: RequestContext, tasks: list[str]) -> str:
        """Keep a user's tasks, and return them as text."""
        await self.state.put(key(context), json.dumps(tasks).encode())
        return listed(tasks)


def key(context: RequestContext) -> str:
    """Return under which key a user's tasks are kept."""
    return f"{context.tenant_id}/{context.user_id}"


def listed(tasks: list[str]) -> str:
    """Return tasks as text."""
    return "\n".join(f"{place}. {task}" for place, task in enumerate(tasks, 1)) or "nothing to do"
