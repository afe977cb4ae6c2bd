import anyio

from agentrail import (
    AppConfig,
    ChatRequest,
    Delta,
    Event,
    MemorySessionStore,
    Message,
    ModelReply,
    ModelRequest,
    Principal,
    Profile,
    ScriptedModel,
    create_app,
)


async def say(request: ModelRequest) -> ModelReply:
    for piece in ("Once upon", " a time"):
        await request.emit(Delta(text=piece))
        await anyio.sleep(0.05)
    return ModelReply(message=Message.assistant("Once upon a time"))


app = create_app(
    AppConfig(
        profiles=[Profile(id="assistant", model="scripted:any")],
        providers=[ScriptedModel.repeat(say)],
        store=MemorySessionStore(),
    )
)


async def main() -> None:
    async with app.host as host:
        # region python
        request = ChatRequest("Tell me a story.", user_id="grace", on_disconnect="continue")
        async with host.stream(request) as events:
            last = await anext(events)  # and then something comes between

        grace = Principal(user_id="grace")
        async with host.events(grace, last.turn_id, after=last.id) as events:
            rest = [event async for event in events]
        # endregion
        assert (last.type, rest[-1].type) == ("turn.start", "turn.end")
        async with host.events(grace, last.turn_id) as events:
            whole: list[Event] = [event async for event in events]
        assert whole == [last, *rest]

        # region key
        request = ChatRequest("Tell me a story.", idempotency_key="3f1d")
        first = await host.chat(request)
        assert await host.chat(request) == first
        # endregion


anyio.run(main)
