from collections import Counter

import anyio
import httpx

from agentrail import (
    AppConfig,
    ChatRequest,
    ChatResponse,
    MemorySessionStore,
    Profile,
    RequestContext,
    ScriptedModel,
    create_app,
)


# region quota
class Quota:
    name = "quota"
    critical = True
    priority = 100

    def __init__(self, allowed: int) -> None:
        self.allowed = allowed
        self.used: Counter[str] = Counter()

    def intercept_chat_request(
        self, _request: ChatRequest, context: RequestContext
    ) -> ChatResponse | None:
        self.used[context.user_id] += 1
        if self.used[context.user_id] <= self.allowed:
            return None
        return ChatResponse("That is enough for now.", status=429, headers={"retry-after": "60"})


# endregion


async def main() -> None:
    app = create_app(
        AppConfig(
            profiles=[Profile(id="assistant", model="scripted:any")],
            providers=[ScriptedModel(["Hello."])],
            plugins=[Quota(1)],
            store=MemorySessionStore(),
        )
    )
    transport = httpx.ASGITransport(app)
    async with app.host, httpx.AsyncClient(transport=transport, base_url="http://localhost") as web:
        assert (await web.post("/chat", json={"message": "hi"})).status_code == 200
        for path in ("/chat", "/stream"):
            answer = await web.post(path, json={"message": "hi"})
            assert answer.status_code == 429
            assert answer.headers["retry-after"] == "60"


anyio.run(main)
