"""Who may use the API: nobody without a token, each role what is its own, and no other site."""

import sqlite3
from typing import Any

import httpx
import pytest

from agentrail import BearerTokens, Principal
from agentrail.access import ROLES, May, Role
from agentrail.admin._operations import OPERATIONS
from agentrail.admin._routes import described
from agentrail.testing import http_client
from tests.admin.site import Site, hello, problem

pytestmark = pytest.mark.anyio

ALL = [*OPERATIONS, described()]
PLACES = {"name": "hello_world", "token": "tok_0", "revision": "1", "secret": "KEY"}


async def ask(client: httpx.AsyncClient, operation: Any, **more: Any) -> httpx.Response:  # noqa: ANN401
    return await client.request(operation.method, operation.path.format(**PLACES), **more)


async def test_without_a_token_nothing_answers(guarded: Site) -> None:
    for operation in ALL:
        for headers in ({}, {"authorization": "Bearer agentrail_" + "x" * 43}):
            refused = await ask(guarded.client, operation, headers=headers)
            assert problem(refused) == (401, "unauthenticated"), operation.path


UNROUTED = [
    ("PATCH", "/api/plugins/x", 405, "DELETE, GET, HEAD"),
    ("OPTIONS", "/api/plugins", 405, "GET, HEAD"),
    ("PROPFIND", "/api/tokens", 405, "GET, HEAD, POST"),
    ("GET", "/api/plugins/x/approve", 405, "POST"),
    ("GET", "/api/nothing", 404, None),
    ("POST", "/api/plugins/x/nothing", 404, None),
    ("GET", "/api/plugins/", 404, None),
    ("GET", "/api/", 404, None),
]


@pytest.mark.parametrize(("method", "path", "status", "allow"), UNROUTED)
async def test_what_there_is_is_told_to_those_alone_who_have_a_token(
    guarded: Site, method: str, path: str, status: int, allow: str | None
) -> None:
    refused = await guarded.client.request(method, path)
    assert problem(refused) == (401, "unauthenticated")
    assert "allow" not in refused.headers

    known = await guarded.client.request(method, path, headers=await guarded.headers("viewer"))
    assert problem(known)[0] == status
    assert known.headers.get("allow") == allow
    assert known.json()["detail"].startswith(f"{method} {path}: ")


async def test_a_proxy_makes_nobody_an_administrator(site: Site) -> None:
    body = {"user": "eve", "roles": ["admin"]}

    refused = await site.client.post(
        "/api/tokens", json=body, headers={"x-forwarded-for": "203.0.113.9"}
    )

    assert problem(refused) == (403, "forbidden")
    assert await site.get("/api/tokens") == {"tokens": []}


@pytest.mark.parametrize("role", ROLES)
async def test_each_role_may_do_what_is_its_own_and_no_more(guarded: Site, role: Role) -> None:
    headers = await guarded.headers(role)

    for operation in ALL:
        response = await ask(guarded.client, operation, headers=headers)
        is_refused = response.status_code == 403
        assert is_refused is (operation.may not in ROLES[role]), (operation.path, response.text)
        assert response.status_code < 500


@pytest.mark.parametrize("roles", [(), ("root", "viewer2")])
async def test_who_has_none_of_the_roles_is_refused(site: Site, roles: tuple[str, ...]) -> None:
    """As they may come from an application's own authenticator."""
    who = Principal(user_id="eve", roles=frozenset(roles))

    async with http_client(site.app(BearerTokens({"t": who}))) as client:
        for operation in ALL:
            response = await ask(client, operation, headers={"authorization": "Bearer t"})
            assert problem(response) == (403, "forbidden"), operation.path


def test_what_each_operation_demands_is_agreed() -> None:
    """Whoever changes it has to change it here too."""
    demanded: dict[May, set[str]] = {}
    for operation in ALL:
        demanded.setdefault(operation.may, set()).add(f"{operation.method} {operation.path}")
    one = "/api/plugins/{name}"

    assert demanded == {
        "read": {
            "GET /api/plugins",
            "GET /api/plugins/events",
            "GET /api/plugins/status",
            f"GET {one}",
            f"GET {one}/events",
            "GET /api/tools",
            "GET /api/config",
            "GET /api/config/history",
            "GET /api/config/history/{revision}",
            "GET /api/openapi.json",
        },
        "operate": {
            "PUT /api/plugins/status",
            f"POST {one}/toggle",
            f"POST {one}/upgrade",
            f"POST {one}/rollback",
            f"GET {one}/logs",
            "POST /api/config/reload",
        },
        "publish": {"POST /api/plugins/upload"},
        "administer": {
            f"DELETE {one}",
            f"POST {one}/approve",
            f"POST {one}/release",
            f"POST {one}/config",
            "POST /api/config/rollback",
            "GET /api/secrets",
            "PUT /api/secrets/{secret}",
            "DELETE /api/secrets/{secret}",
            "POST /api/secrets/rotate",
            "GET /api/tokens",
            "POST /api/tokens",
            "DELETE /api/tokens/{token}",
        },
        "audit": {"GET /api/audit", "GET /api/audit/verify"},
    }


async def test_a_token_is_made_used_and_revoked(guarded: Site) -> None:
    """Q05: what it stood for ends with it."""
    admin = await guarded.headers("admin")
    made = await guarded.client.post(
        "/api/tokens", json={"user": "bob", "roles": ["viewer"]}, headers=admin
    )
    assert (made.status_code, made.headers["cache-control"]) == (201, "no-store")
    bob = {"authorization": f"Bearer {made.json()['token']}"}
    assert (await guarded.client.get("/api/plugins", headers=bob)).status_code == 200

    listed = (await guarded.client.get("/api/tokens", headers=admin)).json()["tokens"]
    assert [(token["user"], token["roles"], token["createdBy"]) for token in listed] == [
        ("ada", ["admin"], "test"),
        ("bob", ["viewer"], "ada"),
    ]
    assert made.json()["token"] not in str(listed)
    path = f"/api/tokens/{made.json()['id']}"
    assert (await guarded.client.delete(path, headers=admin)).status_code == 204

    assert problem(await guarded.client.get("/api/plugins", headers=bob))[0] == 401
    again = await guarded.client.delete(path, headers=admin)
    assert problem(again) == (404, "token_not_found")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"user": "bob", "roles": []}, 422),
        ({"user": "bob", "roles": ["root"]}, 422),
        ({"user": "a\nb", "roles": ["viewer"]}, 422),
        ({"roles": ["viewer"]}, 422),
        ({}, 422),
    ],
)
async def test_a_token_for_nobody_or_nothing_is_refused(
    site: Site, body: object, status: int
) -> None:
    response = await site.client.post("/api/tokens", json=body)

    assert response.status_code == status
    assert await site.get("/api/tokens") == {"tokens": []}


FORGED = [
    {"origin": "https://evil.example"},  # Q02
    {"origin": "null"},  # Q04
    {"origin": "http://localhost.evil.example"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"origin": "http://127.0.0.1:1", "sec-fetch-site": "same-site"},
    {"origin": "http://127.0.0.1:1"},
    {"origin": "http://["},
]


@pytest.mark.parametrize("headers", FORGED)
async def test_what_another_site_makes_a_browser_send_changes_nothing(
    site: Site, headers: dict[str, str]
) -> None:
    await site.ready()

    form = {"files": {"file": ("b.zip", hello(name="b"))}}
    ways: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "upload", form),
        ("POST", "hello_world/toggle", {}),
        ("POST", "hello_world/toggle", {"json": {"enabled": True}}),
        ("DELETE", "hello_world", {}),
        ("PUT", "status", {"json": {"hello_world": True}}),
    ]
    for method, path, more in ways:
        response = await site.client.request(
            method, f"/api/plugins/{path}", headers=headers, **more
        )
        assert problem(response) == (403, "forbidden"), (method, path)

    assert await site.get("/api/plugins/status") == {"hello_world": False}


async def test_a_page_of_this_host_and_a_program_may_change_it(site: Site) -> None:
    await site.ready()
    own = str(site.client.base_url).rstrip("/")

    for headers in (
        {"origin": own},
        {"origin": own, "sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
        {},
    ):
        response = await site.client.post("/api/plugins/hello_world/toggle", headers=headers)
        assert response.status_code == 200, headers


async def test_a_token_that_is_sent_is_no_browsers_doing(guarded: Site) -> None:
    headers = await guarded.headers("operator")

    response = await guarded.client.post(
        "/api/plugins/none/toggle", headers={**headers, "origin": "https://admin.example"}
    )

    assert problem(response) == (404, "package_not_found")


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "text/json"]
)
async def test_json_that_is_called_something_else_is_not_read(site: Site, kind: str) -> None:
    """Q03: a page can send these without being asked first whether it may."""
    await site.ready()

    for method, path in (("POST", "hello_world/toggle"), ("PUT", "status")):
        response = await site.client.request(
            method,
            f"/api/plugins/{path}",
            content=b'{"enabled": true}',
            headers={"content-type": kind},
        )
        assert problem(response) == (415, "unsupported_media_type")
    bare = site.client.build_request(
        "POST", "/api/plugins/hello_world/toggle", content=b'{"enabled": true}'
    )
    assert "content-type" not in bare.headers
    assert problem(await site.client.send(bare)) == (415, "unsupported_media_type")
    assert await site.get("/api/plugins/status") == {"hello_world": False}


async def test_changes_are_in_the_audit_log_with_who_asked_and_why(guarded: Site) -> None:
    admin, auditor = await guarded.headers("admin"), await guarded.headers("auditor")
    client = guarded.client
    await guarded.upload(hello(), headers=admin)
    await client.post(
        "/api/plugins/hello_world/approve",
        json={"promote": True, "reason": "looked at it"},
        headers={**admin, "x-request-id": "r-1"},
    )
    await client.post("/api/plugins/hello_world/toggle", headers=admin)

    page = (await client.get("/api/audit?object=package:hello", headers=auditor)).json()

    assert [(e["action"], e["actor"], e["detail"], e["request"]) for e in page["entries"]] == [
        ("package.enable", "ada", "", ""),
        ("package.promote", "ada", "looked at it", "r-1"),
        ("package.upload", "ada", "", ""),
    ]
    assert page["next"] is None
    first = (await client.get("/api/audit?limit=2", headers=auditor)).json()
    assert len(first["entries"]) == 2
    rest = await client.get(f"/api/audit?before={first['next']}", headers=auditor)
    assert [entry["seq"] for entry in rest.json()["entries"]] == [3, 2, 1]


async def test_the_audit_log_is_verified_against_what_was_noted(site: Site) -> None:
    await site.ready()
    whole = await site.get("/api/audit/verify")
    assert (whole["whole"], whole["entries"], whole["faults"]) == (True, 2, [])

    noted = await site.get(f"/api/audit/verify?seq=2&hash={whole['head']}")
    assert noted["whole"] is True
    cut = await site.get(f"/api/audit/verify?seq=3&hash={whole['head']}")
    assert (cut["whole"], [fault["seq"] for fault in cut["faults"]]) == (False, [3])
    half = await site.client.get("/api/audit/verify?seq=2")
    assert problem(half) == (422, "invalid_request")


async def test_an_audit_log_with_values_of_other_types_is_listed_and_not_whole(
    site: Site,
) -> None:
    await site.ready()

    def tamper(connection: sqlite3.Connection) -> None:
        connection.execute("drop trigger audit_is_not_changed")
        connection.execute("update audit set actor = cast(actor as blob) where seq = 2")

    await site.database.write(tamper)

    entries = (await site.get("/api/audit"))["entries"]
    assert [(entry["seq"], entry["actor"]) for entry in entries] == [(2, "b'local'"), (1, "local")]
    found = await site.get("/api/audit/verify")
    assert (found["whole"], [fault["seq"] for fault in found["faults"]]) == (False, [2])


async def test_the_actor_of_another_tenant_is_named_with_it(site: Site) -> None:
    who = Principal(tenant_id="acme", user_id="ada", roles=frozenset({"publisher"}))

    async with http_client(site.app(BearerTokens({"t": who}))) as client:
        await client.post(
            "/api/plugins/upload",
            files={"file": ("a.zip", hello())},
            headers={"authorization": "Bearer t"},
        )

    (entry,) = (await site.get("/api/audit"))["entries"]
    assert entry["actor"] == "acme/ada"


async def test_no_answer_is_kept_or_taken_for_something_else(site: Site) -> None:
    await site.ready()
    for operation in ALL:
        if operation.method == "GET":
            headers = (await ask(site.client, operation)).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["cache-control"] in {"no-store", "private, no-cache"}
