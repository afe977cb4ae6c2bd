"""Slash commands with arguments, answered on both doors of the host; the model is never asked."""

from collections.abc import AsyncIterator

import anyio

from agentrail import (
    AppConfig,
    ChatRequest,
    Commands,
    MemorySessionStore,
    Profile,
    ScriptedModel,
    command,
    create_app,
)


@command
async def shout(text: str, *, times: int = 1) -> str:
    """Say it loud."""
    return " ".join([text.upper()] * times)


@command
async def count(to: int) -> AsyncIterator[str]:
    """Count, piece by piece."""
    for number in range(1, to + 1):
        yield f"{number} "


async def main() -> None:
    model = ScriptedModel([])
    app = create_app(
        AppConfig(
            profiles=[Profile(id="assistant", model="scripted:any")],
            providers=[model],
            plugins=[Commands([shout, count])],
            store=MemorySessionStore(),
        )
    )
    async with app.host as host:
        answer = await host.chat(ChatRequest("/shout --times 2 don't panic"))
        print(answer.message)
        assert answer.message == "DON'T PANIC DON'T PANIC"
        assert answer.outcome == "intercepted"

        async with host.stream(ChatRequest("/count 3")) as events:
            seen = [event async for event in events]
        print(" ".join(event.type for event in seen))
        assert getattr(seen[-1], "message", "") == "1 2 3 "

        for wrong, status in (("/shuot hi", 404), ("/count far", 422)):
            answer = await host.chat(ChatRequest(wrong))
            print(answer.message)
            assert answer.status == status

        print((await host.chat(ChatRequest("/help"))).message)
    assert model.requests == []


if __name__ == "__main__":
    anyio.run(main)
