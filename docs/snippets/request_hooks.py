import anyio

from agentrail import (
    AppConfig,
    ChatRequest,
    MemorySessionStore,
    Profile,
    RequestContext,
    ScriptedModel,
    create_app,
)
from agentrail.errors import Overloaded


# region active
class Active:
    name = "active"

    def __init__(self) -> None:
        self.requests: set[str] = set()

    def on_request_start(self, context: RequestContext) -> None:
        self.requests.add(context.request_id)
        context.state["active"] = len(self.requests)

    def on_request_end(self, context: RequestContext) -> None:
        self.requests.remove(context.request_id)


# endregion


async def main() -> None:
    active = Active()
    app = create_app(
        AppConfig(
            profiles=[Profile(id="assistant", model="scripted:any")],
            providers=[ScriptedModel([Overloaded("busy")])],
            plugins=[active],
            store=MemorySessionStore(),
        )
    )
    async with app.host as host, host.stream(ChatRequest("hi")) as events:
        types = [event.type async for event in events]
    assert types[-1] == "turn.error"
    assert active.requests == set()


anyio.run(main)
