"""Without an authenticator this machine alone is served, and nobody who is behind a proxy."""

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from agentrail import (
    AgentApp,
    AppConfig,
    BearerTokens,
    MemorySessionStore,
    Principal,
    Profile,
    ScriptedModel,
    create_app,
)
from agentrail.host import Authenticator
from tests.conftest import Serve
from tests.http.wire import problem

pytestmark = pytest.mark.anyio

BY_PROXIES = [
    {"x-forwarded-for": "203.0.113.9"},
    {"X-Forwarded-For": "127.0.0.1"},
    {"x-forwarded-for": ""},
    {"x-forwarded-proto": "https"},
    {"x-forwarded-host": "localhost"},
    {"x-forwarded-client-cert": "By=spiffe://x"},
    {"forwarded": "for=127.0.0.1"},
    {"x-real-ip": "127.0.0.1"},
    {"via": "1.1 proxy"},
]


def application(authenticator: Authenticator | None = None) -> AgentApp:
    return create_app(
        AppConfig(
            profiles=[Profile(id="one", model="scripted:m")],
            providers=[ScriptedModel.repeat("Hello.")],
            store=MemorySessionStore(),
            authenticator=authenticator,
        )
    )


async def test_what_a_proxy_sends_is_refused_with_a_way_out(served: Serve) -> None:
    client = await served(application())

    for headers in BY_PROXIES:
        for path in ("/sessions", "/health"):
            response = await client.get(path, headers=headers)
            assert problem(response) == (403, "forbidden"), headers
    refused = await client.get("/sessions", headers=BY_PROXIES[0])
    assert "'x-forwarded-for'" in refused.json()["detail"]
    assert "bearer tokens" in refused.json()["detail"]


async def test_headers_that_no_proxy_adds_are_taken(served: Serve) -> None:
    client = await served(application())

    for headers in ({"x-request-id": "r"}, {"viable": "x"}, {"x-forward": "x"}):
        assert (await client.get("/sessions", headers=headers)).status_code == 200, headers


async def test_with_an_authenticator_a_proxy_may_stand_before_it(served: Serve) -> None:
    client = await served(application(BearerTokens({"t": Principal()})))

    for headers in BY_PROXIES:
        known = {**headers, "authorization": "Bearer t"}
        assert (await client.get("/sessions", headers=known)).status_code == 200, headers
        assert (await client.get("/health", headers=headers)).status_code == 200, headers


@pytest.mark.parametrize(
    ("client", "status"),
    [
        (("127.0.0.1", 1), 200),
        (("127.9.9.9", 1), 200),
        (("::1", 1), 200),
        (("192.168.0.7", 1), 403),
        (("203.0.113.9", 0), 403),
        (("2001:db8::1", 1), 403),
        (("", 0), 403),
        (None, 200),  # as of a Unix socket
    ],
)
async def test_whoever_connects_is_on_this_machine(
    client: tuple[str, int] | None, status: int
) -> None:
    app = application()

    async def connected(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "client": client}, receive, send)

    transport = httpx.ASGITransport(connected)
    async with app.host, httpx.AsyncClient(transport=transport, base_url="http://localhost") as web:
        assert (await web.get("/sessions")).status_code == status
