import anyio
import httpx
from starlette.requests import Request

from agentrail import (
    AppConfig,
    MemorySessionStore,
    Principal,
    Profile,
    ScriptedModel,
    create_app,
)
from agentrail.errors import Forbidden, Unauthenticated


# region authenticator
class Gateway:
    """Believes a gateway that has authenticated the user, and proves itself by a secret."""

    def __init__(self, secret: str) -> None:
        self.secret = secret

    async def authenticate(self, request: Request) -> Principal:
        if request.headers.get("x-gateway-secret") != self.secret:
            raise Unauthenticated("come through the gateway")
        user = request.headers.get("x-user")
        if not user:
            raise Forbidden("the gateway names no user")
        return Principal(tenant_id=request.headers.get("x-tenant", "default"), user_id=user)


# endregion


async def main() -> None:
    app = create_app(
        AppConfig(
            profiles=[Profile(id="assistant", model="scripted:any")],
            providers=[ScriptedModel(["Hello."])],
            authenticator=Gateway("open sesame"),
            store=MemorySessionStore(),
        )
    )
    transport = httpx.ASGITransport(app)
    async with app.host, httpx.AsyncClient(transport=transport, base_url="http://host") as web:
        answer = await web.post("/chat", json={"message": "hi"})
        assert answer.json()["code"] == "unauthenticated"
        headers = {"x-gateway-secret": "open sesame"}
        answer = await web.post("/chat", json={"message": "hi"}, headers=headers)
        assert answer.json()["code"] == "forbidden"
        headers["x-user"] = "ada"
        answer = await web.post("/chat", json={"message": "hi"}, headers=headers)
        assert answer.json()["message"] == "Hello."


anyio.run(main)
