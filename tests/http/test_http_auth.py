"""Who may ask: bearer tokens, and what protects a host that has none."""

import httpx
import pytest

from agentrail import (
    AgentApp,
    AppConfig,
    BearerTokens,
    MemorySessionStore,
    Principal,
    Profile,
    RequestContext,
    ScriptedModel,
    create_app,
    define_plugin,
)
from agentrail.errors import ConfigError
from agentrail.host import is_loopback
from tests.conftest import Serve
from tests.http.wire import ask, problem

pytestmark = pytest.mark.anyio

Headers = dict[str, str] | dict[bytes, bytes]

ADA = {"authorization": "Bearer token-of-ada"}
BOB = {"authorization": "Bearer token-of-bob"}
EVE = {"authorization": "Bearer token-of-eve"}
TOKENS = {
    "token-of-ada": Principal(tenant_id="acme", user_id="ada", roles=frozenset({"admin"})),
    "token-of-bob": Principal(tenant_id="acme", user_id="bob"),
    "token-of-eve": Principal(tenant_id="evil", user_id="ada"),
}


def guarded(seen: list[RequestContext]) -> AgentApp:
    """An application of two agents with bearer tokens; it notes the contexts of its requests."""
    model = ScriptedModel.repeat("Hello.")
    return create_app(
        AppConfig(
            profiles=[Profile(id=name, model="scripted:m") for name in ("one", "two")],
            providers=[model],
            plugins=[define_plugin("notes", on_request_start=seen.append)],
            store=MemorySessionStore(),
            authenticator=BearerTokens(TOKENS),
        )
    )


@pytest.fixture
def seen() -> list[RequestContext]:
    return []


@pytest.fixture
async def client(served: Serve, seen: list[RequestContext]) -> httpx.AsyncClient:
    return await served(guarded(seen))


REFUSED: list[Headers] = [
    {},
    {"authorization": "Bearer wrong"},
    {"authorization": "Bearer"},
    {"authorization": "Basic token-of-ada"},
    {"authorization": "token-of-ada"},
    {"authorization": "Bearer token-of-ad"},
    {"authorization": "Bearer token-of-ada token-of-bob"},
    {b"authorization": b"Bearer \xff\xfe"},
]

GUARDED = [
    ("POST", "/chat"),
    ("POST", "/stream"),
    ("GET", "/sessions"),
    ("GET", "/sessions/s/messages"),
    ("DELETE", "/sessions/s"),
]


async def test_without_a_valid_token_nothing_is_served(
    client: httpx.AsyncClient, seen: list[RequestContext]
) -> None:
    for method, path in GUARDED:
        for headers in REFUSED:
            response = await client.request(method, path, headers=headers, json={"message": "hi"})
            assert problem(response) == (401, "unauthenticated"), headers
            assert response.headers["www-authenticate"] == "Bearer"
    assert seen == []


async def test_a_refused_request_is_not_read(client: httpx.AsyncClient) -> None:
    """Who is asking is decided before the body is looked at."""
    assert problem(await client.post("/chat", content=b"{no json")) == (401, "unauthenticated")


async def test_a_valid_token_is_served(
    client: httpx.AsyncClient, seen: list[RequestContext]
) -> None:
    for authorization in ("Bearer token-of-ada", "bearer token-of-ada", "BEARER  token-of-ada"):
        response = await client.post(
            "/chat", json={"message": "hi"}, headers={"authorization": authorization}
        )
        assert response.status_code == 200
    assert {(each.tenant_id, each.user_id, each.roles) for each in seen} == {
        ("acme", "ada", frozenset({"admin"}))
    }


async def test_the_principal_decides_whatever_the_body_and_the_query_say(
    client: httpx.AsyncClient, seen: list[RequestContext]
) -> None:
    body = {"message": "hi", "sessionId": "s", "tenantId": "acme", "userId": "ada"}

    assert (await client.post("/chat", json=body, headers=BOB)).status_code == 200

    assert (seen[0].tenant_id, seen[0].user_id) == ("acme", "bob")
    listed = await client.get("/sessions?tenantId=acme&userId=ada", headers=BOB)
    assert [row["sessionId"] for row in listed.json()["sessions"]] == ["s"]
    hers = await client.get("/sessions?tenantId=acme&userId=bob", headers=ADA)
    assert hers.json()["sessions"] == []


@pytest.mark.parametrize("stranger", [BOB, EVE], ids=["another user", "another tenant"])
async def test_a_session_of_another_looks_like_none(
    client: httpx.AsyncClient, stranger: dict[str, str]
) -> None:
    mine = {"message": "hi", "sessionId": "s"}
    await client.post("/chat", json=mine, headers=ADA)

    for method, path in GUARDED[:2] + GUARDED[3:]:
        theirs = await client.request(method, path, headers=stranger, json=mine)
        assert problem(theirs) == (404, "session_not_found"), path
        other = {**mine, "agentId": "two"}
        theirs = await client.request(method, path, headers=stranger, json=other)
        assert problem(theirs) == (404, "session_not_found"), path

    kept = await client.get("/sessions/s/messages", headers=ADA)
    assert len(kept.json()["messages"]) == 2


async def test_what_is_said_of_a_strangers_session_is_what_is_said_of_none(
    client: httpx.AsyncClient,
) -> None:
    await client.post("/chat", json={"message": "hi", "sessionId": "s"}, headers=ADA)

    theirs = await client.get("/sessions/s/messages", headers=BOB)
    nobodys = await client.get("/sessions/q/messages", headers=BOB)

    assert theirs.text.replace("'s'", "'q'") == nobodys.text


async def test_a_session_of_another_agent_is_a_conflict(client: httpx.AsyncClient) -> None:
    await client.post(
        "/chat", json={"message": "hi", "sessionId": "s", "agentId": "two"}, headers=ADA
    )

    for path in ("/chat", "/stream"):
        other = {"message": "hi", "sessionId": "s", "agentId": "one"}
        assert problem(await client.post(path, json=other, headers=ADA)) == (409, "agent_mismatch")
    own = await client.post("/chat", json={"message": "hi", "sessionId": "s"}, headers=ADA)
    assert own.json()["agentId"] == "two"


async def test_public_routes_stay_open(client: httpx.AsyncClient) -> None:
    for path in ("/health", "/ready"):
        assert (await client.get(path)).status_code == 200
        assert (await client.get(path, headers={"host": "example.org"})).status_code == 200


async def test_with_an_authenticator_any_name_is_served(client: httpx.AsyncClient) -> None:
    headers = {**ADA, "host": "agents.example.org", "origin": "https://example.org"}

    assert (await client.get("/sessions", headers=headers)).status_code == 200


def test_an_empty_token_is_refused() -> None:
    """Else a variable that nobody has set would open the host to everybody."""
    with pytest.raises(ConfigError, match="empty"):
        BearerTokens({"": Principal()})


FOREIGN_HOSTS = [
    "evil.example",
    "evil.example:80",
    "127.evil.example",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "192.168.0.1",
    "[2001:db8::1]",
    "127.0.0.1:80@evil.example",
    "0.0.0.0",  # noqa: S104
]
LOCAL_HOSTS = ["localhost", "LocalHost:8642", "127.0.0.1", "127.8.9.1:80", "[::1]", "[::1]:8642"]
FOREIGN_ORIGINS = [
    "https://evil.example",
    "http://127.evil.example",
    "http://localhost.evil.example",
    "null",
    "",
    "http://",
    "file://",
]
LOCAL_ORIGINS = ["http://localhost:3000", "http://127.0.0.1", "https://[::1]:8642"]


async def test_without_an_authenticator_only_this_machines_names_are_served(served: Serve) -> None:
    client = await served(unguarded())

    for host in FOREIGN_HOSTS:
        for path in ("/sessions", "/health"):
            response = await client.get(path, headers={"host": host})
            assert problem(response) == (403, "forbidden"), host
    for host in LOCAL_HOSTS:
        assert (await client.get("/sessions", headers={"host": host})).status_code == 200, host


async def test_without_an_authenticator_other_sites_pages_are_refused(served: Serve) -> None:
    client = await served(unguarded())

    for origin in FOREIGN_ORIGINS:
        response = await client.post("/chat", json={"message": "hi"}, headers={"origin": origin})
        assert problem(response) == (403, "forbidden"), origin
    for origin in LOCAL_ORIGINS:
        response = await client.post("/chat", json={"message": "hi"}, headers={"origin": origin})
        assert response.status_code == 200, origin


async def test_without_an_authenticator_the_request_says_who_asks(served: Serve) -> None:
    client = await served(unguarded())
    await ask(client, sessionId="s", tenantId="acme", userId="ada")

    foreign = await client.post("/chat", json={"message": "hi", "sessionId": "s"})
    own = await client.get("/sessions/s/messages?tenantId=acme&userId=ada")

    assert problem(foreign) == (404, "session_not_found")
    assert len(own.json()["messages"]) == 2


def unguarded() -> AgentApp:
    model = ScriptedModel.repeat("Hello.")
    profile = Profile(id="one", model="scripted:m")
    return create_app(AppConfig(profiles=[profile], providers=[model], store=MemorySessionStore()))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "::1", "[::1]"])
def test_these_are_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "10.0.0.1", "127.evil.example", "127.", "x"])  # noqa: S104
def test_these_may_be_others(host: str) -> None:
    assert not is_loopback(host)
