import os

import anyio
import httpx

from agentrail import (
    AppConfig,
    BearerTokens,
    MemorySessionStore,
    Principal,
    Profile,
    ScriptedModel,
    create_app,
)

os.environ.setdefault("ADA_TOKEN", "8f2c61")

# region tokens
tokens = BearerTokens(
    {
        os.environ["ADA_TOKEN"]: Principal(
            tenant_id="acme", user_id="ada", roles=frozenset({"admin"})
        ),
    }
)
# endregion


async def main() -> None:
    # region config
    app = create_app(
        AppConfig(
            profiles=[Profile(id="assistant", model="scripted:any")],
            providers=[ScriptedModel(["Hello."])],
            authenticator=tokens,
            store=MemorySessionStore(),
        )
    )
    # endregion
    transport = httpx.ASGITransport(app)
    headers = {"authorization": f"Bearer {os.environ['ADA_TOKEN']}"}
    async with app.host, httpx.AsyncClient(transport=transport, base_url="http://host") as web:
        assert (await web.post("/chat", json={"message": "hi"})).status_code == 401
        assert (await web.get("/health")).status_code == 200
        asked = {"message": "hi", "userId": "grace"}
        session = (await web.post("/chat", json=asked, headers=headers)).json()["sessionId"]
        listed = (await web.get("/sessions", headers=headers)).json()["sessions"]
        assert [each["sessionId"] for each in listed] == [session]


anyio.run(main)
