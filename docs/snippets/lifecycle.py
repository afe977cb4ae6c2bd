import anyio
from anyio.abc import TaskGroup

from agentrail import AppConfig, MemorySessionStore, Profile, ScriptedModel, create_app


# region lifecycle
class Poller:
    name = "poller"

    def __init__(self) -> None:
        self.polled = anyio.Event()

    async def start(self) -> None:
        self.tasks: TaskGroup = await anyio.create_task_group().__aenter__()
        self.tasks.start_soon(self.poll)

    async def stop(self) -> None:
        self.tasks.cancel_scope.cancel()
        await self.tasks.__aexit__(None, None, None)

    async def poll(self) -> None:
        while True:
            self.polled.set()
            await anyio.sleep(60)


# endregion


async def main() -> None:
    poller = Poller()
    app = create_app(
        AppConfig(
            profiles=[Profile(id="assistant", model="scripted:any")],
            providers=[ScriptedModel(["Hello."])],
            plugins=[poller],
            store=MemorySessionStore(),
        )
    )
    async with app.host:
        await poller.polled.wait()
    assert poller.tasks.cancel_scope.cancel_called


anyio.run(main)
