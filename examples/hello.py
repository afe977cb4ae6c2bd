"""An agent on this machine's small model, and a plugin that prints every persisted turn."""

import anyio
import httpx

# region app
from agentrail import AppConfig, Profile, RequestContext, create_app, define_plugin

assistant = Profile(
    id="assistant",
    model="local:smollm2-135m",
    context_window=2048,
    prompt="You are a helpful assistant.",
)


async def transcribe(context: RequestContext) -> None:
    for message in await context.services.session.turn():
        if message.text:
            print(f"{context.session_id} {message.role}: {message.text}")


app = create_app(
    AppConfig(
        profiles=[assistant],
        plugins=[define_plugin("transcript", on_turn_persisted=transcribe)],
    )
)
# endregion


async def main() -> None:
    web = httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://localhost", timeout=120
    )
    async with app.host, web:
        answer = (await web.post("/chat", json={"message": "Say hello."})).json()
    assert answer["message"]
    assert answer["outcome"] == "completed"
    assert answer["usage"]["outputTokens"] > 0


if __name__ == "__main__":
    anyio.run(main)
