"""The settings and the secrets of a host, over HTTP: who may, what is refused, and what is told."""

import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agentrail.access import ROLES
from tests.admin.site import Site, problem
from tests.canaries import leaks
from tests.cli.command import Serving, serving
from tests.echo import Echo, echoing

VALUES = {"first": "canary/one+two==", "second": 'a second "canäry" of it'}

PACKAGE = """
# /// plugin
# id = "pack"
# version = "1.0.0"
# entry_point = "pack.py:Pack"
# permissions = {secrets = ["PACKED"]}
# ///
class Pack:
    def __init__(self, context):
        self.context = context

    def get_tools(self):
        return [{"name": "tell", "description": "Tells.", "parameters": {"type": "object"}}]

    def handle_tell(self):
        return str(len(self.context.secret("PACKED").reveal()))
"""

APP = """
from agentrail import AppConfig, Profile, ScriptedModel, create_app
from agentrail.model.scripted import call_tools
from agentrail.plugin import PackageSettings


def answer(request):
    if request.messages[-1].role == "tool":
        return request.messages[-1].parts[0].content
    return call_tools(("pack__tell", {}))


app = create_app(
    AppConfig(
        profiles=[Profile(id="own", model="scripted:m")],
        providers=[ScriptedModel.repeat(answer)],
        packages=PackageSettings(directories=["packages"]),
    )
)
"""


def settings(echo: Echo, **more: object) -> str:
    house = {"kind": "openai", "base_url": echo.url, "api_key": "secret:HOUSE"}
    every = {
        "providers": {"house": house},
        "profiles": [{"id": "alone", "model": "house:m"}],
        "reload": {"watch": False},
        **more,
    }
    return json.dumps(every, indent=1)


@contextmanager
def configured(here: Path, echo: Echo) -> Generator[Serving]:
    """Serve settings whose provider has a sealed key."""
    (here / "app.py").write_text(APP)
    (here / "packages").mkdir()
    (here / "packages" / "pack.py").write_text(PACKAGE)
    (here / "agentrail.yaml").write_text(settings(echo))
    with serving(here, variables={"AGENTRAIL_SECRET_HOUSE": "at first"}) as host:
        yield host


def ask(host: Serving, method: str, path: str, status: int = 200, **more: Any) -> Any:  # noqa: ANN401
    """Return what the API answers, in which there is no secret, and which nobody keeps."""
    answer = host.client.request(method, f"/api/{path}", **more)
    assert answer.status_code == status, answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert leaks(VALUES, {"answer": answer.text, "headers": str(answer.headers)}) == []
    return answer.json() if answer.content else None


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[Serving, Path, Echo]]:
    """A host that the tests below leave in order."""
    here = tmp_path_factory.mktemp("configured")
    with echoing() as echo, configured(here, echo) as serving_host:
        yield serving_host, here, echo


Hosted = tuple[Serving, Path, Echo]


def test_settings_are_shown_with_where_they_are_from(host: Hosted) -> None:
    state = ask(host[0], "GET", "config")

    assert (state["state"], state["faults"], state["pinned"]) == ("ok", [], False)
    shown = {each["path"]: each for each in state["revision"]["settings"]}
    assert shown["profiles.0.id"]["source"] == "agentrail.yaml:11"
    key = shown["providers.house.api_key"]["value"]
    assert (key["secret"], key["set"], len(key["fingerprint"])) == ("HOUSE", True, 12)
    assert "at first" not in str(state)


def test_a_reload_that_changes_nothing_makes_no_revision(host: Hosted) -> None:
    number = ask(host[0], "GET", "config")["revision"]["number"]

    assert ask(host[0], "POST", "config/reload")["revision"]["number"] == number


def test_a_revision_is_made_listed_shown_and_gone_back_from(host: Hosted) -> None:
    client, here, _ = host
    file = here / "agentrail.yaml"
    before, first = file.read_text(), ask(client, "GET", "config")["revision"]["number"]
    file.write_text(before.replace('"reload"', '"stop_grace": 3.5,\n "reload"'))
    made = ask(client, "POST", "config/reload", headers={"x-request-id": "r-7"})["revision"]

    assert (made["number"], made["action"], made["actor"]) == (first + 1, "reload", "local")
    changed = {"path": "stop_grace", "before": 10.0, "after": 3.5}
    assert made["changes"] == [changed]
    listed = ask(client, "GET", "config/history?limit=1")["revisions"]
    assert [(each["number"], each["changes"]) for each in listed] == [(first + 1, [changed])]
    assert "settings" not in listed[0]
    older = ask(client, "GET", f"config/history?before={first + 1}&limit=1")["revisions"]
    assert [each["number"] for each in older] == [first]
    assert ask(client, "GET", f"config/history/{first + 1}") == made

    back = ask(client, "POST", "config/rollback", json={"revision": first})
    assert (back["revision"]["number"], back["revision"]["action"]) == (first + 2, "rollback")
    assert back["pinned"] is True
    file.write_text(before)
    assert ask(client, "POST", "config/reload")["pinned"] is False
    (entry,) = ask(client, "GET", f"audit?object=config:{first + 1}&limit=1")["entries"]
    assert (entry["action"], entry["request"]) == ("config.reload", "r-7")


def test_settings_that_are_refused_are_told_and_the_host_goes_on(host: Hosted) -> None:
    client, here, _ = host
    file = here / "agentrail.yaml"
    before, first = file.read_text(), ask(client, "GET", "config")["revision"]["number"]
    file.write_text(before[:-1] + ', "sever": 1, "stop_grace": "canary/one+two=="}')

    refused = ask(client, "POST", "config/reload", 422)

    assert refused["code"] == "config_refused"
    assert {each["key"] for each in refused["faults"]} == {"sever", "stop_grace"}
    assert {each["file"] for each in refused["faults"]} == {"agentrail.yaml"}
    state = ask(client, "GET", "config")
    assert (state["state"], state["faults"]) == ("degraded", refused["faults"])
    assert state["revision"]["number"] == first
    (entry,) = ask(client, "GET", "audit?limit=1")["entries"]
    assert (entry["action"], entry["outcome"]) == ("config.reload", "failed")
    file.write_text(before)
    assert ask(client, "POST", "config/reload")["state"] == "ok"


def test_who_looked_at_another_revision_changes_nothing(host: Hosted) -> None:
    client = host[0]
    answer = client.client.get("/api/config")
    number = answer.json()["revision"]["number"]
    assert answer.headers["etag"] == f'"{number}"'

    for path, body in (("reload", None), ("rollback", {"revision": number})):
        for match in (f'"{number + 1}"', '"0"', "7", ""):
            more = {"headers": {"if-match": match}, "json": body}
            refused = ask(client, "POST", f"config/{path}", 412, **more)
            assert refused["code"] == "precondition_failed"
        for match in (f'"{number}"', "*", f'"99", "{number}"'):
            ask(client, "POST", f"config/{path}", headers={"if-match": match}, json=body)
        number = ask(client, "GET", "config")["revision"]["number"]


HALF = b'{"value": "\\ud800"}'
WRONG: list[tuple[str, str, int, dict[str, Any]]] = [
    ("GET", "config/history/99", 404, {}),
    ("GET", f"config/history/{10**18 - 1}", 404, {}),
    ("GET", f"config/history/{1 << 63}", 422, {}),
    ("GET", "config/history/0", 404, {}),
    ("GET", "config/history/one", 422, {}),
    ("GET", "config/history/-1", 422, {}),
    ("GET", "config/history/%D9%A1", 422, {}),
    ("GET", f"config/history/{'9' * 300}", 422, {}),
    ("GET", "config/history?limit=0", 422, {}),
    ("GET", "config/history?limit=1001", 422, {}),
    ("GET", "config/history?before=x", 422, {}),
    ("GET", "config/history?after=1", 422, {}),
    ("POST", "config/rollback", 404, {"json": {"revision": 99}}),
    ("POST", "config/rollback", 422, {"json": {"revision": 0}}),
    ("POST", "config/rollback", 422, {"json": {"revision": 1 << 63}}),
    ("POST", "config/rollback", 422, {"json": {"revision": "1"}}),
    ("POST", "config/rollback", 422, {"json": {"revision": 1, "more": 1}}),
    ("POST", "config/rollback", 422, {"json": [1]}),
    ("POST", "config/rollback", 422, {}),
    ("POST", "config/rollback", 415, {"content": '{"revision": 1}'}),
    ("PUT", "secrets/A", 422, {}),
    ("PUT", "secrets/A", 422, {"json": {}}),
    ("PUT", "secrets/A", 422, {"json": {"value": ""}}),
    ("PUT", "secrets/A", 422, {"json": {"value": None}}),
    ("PUT", "secrets/A", 422, {"json": {"value": "a\0b"}}),
    ("PUT", "secrets/A", 400, {"content": HALF, "headers": {"content-type": "application/json"}}),
    ("PUT", "secrets/A", 422, {"json": {"value": "x" * 65_537}}),
    ("PUT", "secrets/A", 413, {"json": {"value": "x" * 600_000}}),
    ("PUT", "secrets/A", 422, {"json": {"value": {VALUES["first"]: VALUES["first"]}}}),
    ("PUT", "secrets/A", 422, {"json": {"value": VALUES["first"], "more": "y"}}),
    ("PUT", "secrets/A", 415, {"content": '{"value": "x"}'}),
    ("PUT", "secrets/A%2FB", 404, {"json": {"value": "x"}}),
    ("PUT", "secrets/canary-one", 422, {"json": {"value": "x"}}),
    ("PUT", "secrets/1A", 422, {"json": {"value": "x"}}),
    ("PUT", f"secrets/{'A' * 129}", 422, {"json": {"value": "x"}}),
    ("DELETE", "secrets/NONE", 404, {}),
    ("DELETE", "secrets/%F0%9F%98%80", 404, {}),
    ("GET", "secrets/A", 405, {}),
    ("PUT", "config", 405, {"json": {}}),
]


@pytest.mark.parametrize(("method", "path", "status", "more"), WRONG)
def test_what_is_wrong_is_refused(
    host: Hosted, method: str, path: str, status: int, more: dict[str, Any]
) -> None:
    before = ask(host[0], "GET", "config")["revision"]["number"]

    answer = host[0].client.request(method, f"/api/{path}", **more)

    assert problem(answer)[0] == status, answer.text
    assert leaks(VALUES, {"answer": answer.text}) == []
    assert ask(host[0], "GET", "config")["revision"]["number"] == before
    assert ask(host[0], "GET", "secrets") == {"secrets": []}


FORGED = [{"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}]
CHANGES: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "config/reload", {}),
    ("POST", "config/rollback", {"json": {"revision": 1}}),
    ("PUT", "secrets/A", {"json": {"value": "from elsewhere"}}),
    ("DELETE", "secrets/A", {}),
    ("POST", "secrets/rotate", {}),
]


@pytest.mark.parametrize("headers", FORGED)
@pytest.mark.parametrize(("method", "path", "more"), CHANGES)
def test_another_site_changes_nothing(
    host: Hosted, method: str, path: str, more: dict[str, Any], headers: dict[str, str]
) -> None:
    assert ask(host[0], method, path, 403, headers=headers, **more)["code"] == "forbidden"


def test_a_secret_is_used_at_once_deleted_and_missed(tmp_path: Path) -> None:
    with echoing() as echo:
        (tmp_path / "agentrail.yaml").write_text(settings(echo, secrets={"directory": "mounted"}))
        (tmp_path / "mounted").mkdir()
        mounted = tmp_path / "mounted" / "HOUSE"
        mounted.write_text("from a file")
        with serving(tmp_path) as host:
            host.client.post("/chat", json={"message": "hi"})
            assert ask(host, "PUT", "secrets/HOUSE", 204, json={"value": VALUES["first"]}) is None
            mounted.unlink()
            state = ask(host, "POST", "config/reload")
            host.client.post("/chat", json={"message": "hi"})
            ask(host, "DELETE", "secrets/HOUSE", 204)
            missed = ask(host, "GET", "config")
            refused = ask(host, "POST", "config/reload", 422)
            host.client.post("/chat", json={"message": "hi"})
            ask(host, "PUT", "secrets/HOUSE", 204, json={"value": "a third one"})
            mended = ask(host, "GET", "config")
            host.client.post("/chat", json={"message": "hi"})
            kept = ask(host, "GET", "secrets")["secrets"]

    (change,) = state["revision"]["changes"]
    assert change["path"] == "providers.house.api_key"
    assert change["before"]["fingerprint"] != change["after"]["fingerprint"]
    assert missed["state"] == "degraded"
    assert "nobody has the secret 'HOUSE'" in refused["faults"][0]["message"]
    assert missed["faults"] == refused["faults"]
    assert mended["state"] == "ok"
    first, third = f"Bearer {VALUES['first']}", "Bearer a third one"
    assert echo.authorizations == ["Bearer from a file", first, first, third]
    assert [(each["name"], each["changedBy"]) for each in kept] == [("HOUSE", "local")]


def test_a_package_is_told_a_secret_that_it_was_granted(tmp_path: Path) -> None:
    with echoing() as echo, configured(tmp_path, echo) as host:

        def told() -> str:
            answer = host.client.post("/chat", json={"message": "hi", "agentId": "own"})
            return str(answer.json()["message"])

        before = told()
        for value in ("x" * 7, "y" * 9):
            ask(host, "PUT", "secrets/PACKED", 204, json={"value": value})
            assert told() == str(len(value))
        ask(host, "DELETE", "secrets/PACKED", 204)
        assert told() == before


def test_all_is_sealed_anew_with_a_new_key(tmp_path: Path) -> None:
    with echoing() as echo, configured(tmp_path, echo) as host:
        for name, value in (("A", VALUES["first"]), ("B", VALUES["second"])):
            ask(host, "PUT", f"secrets/{name}", 204, json={"value": value})
        before = {each["key"] for each in ask(host, "GET", "secrets")["secrets"]}

        assert ask(host, "POST", "secrets/rotate") == {"secrets": 2}

        after = {each["key"] for each in ask(host, "GET", "secrets")["secrets"]}
        assert (len(before), len(after), before & after) == (1, 1, set())
        ask(host, "POST", "config/rollback", json={"revision": 1})
        actions = [each["action"] for each in ask(host, "GET", "audit?object=secret:")["entries"]]
    assert actions == ["secret.rotate", "secret.set", "secret.set"]


@pytest.mark.anyio
async def test_a_host_without_settings_says_so(site: Site) -> None:
    for method, path in (
        ("GET", "config"),
        ("POST", "config/reload"),
        ("GET", "config/history"),
        ("GET", "config/history/1"),
        ("POST", "config/rollback"),
    ):
        body = {"revision": 1} if path == "config/rollback" else None
        answer = await site.client.request(method, f"/api/{path}", json=body)
        assert problem(answer) == (404, "settings_not_found"), path
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.anyio
async def test_secrets_are_kept_without_settings_too(site: Site) -> None:
    body = {"value": VALUES["first"]}
    assert (await site.client.put("/api/secrets/A", json=body)).status_code == 204

    (kept,) = (await site.get("/api/secrets"))["secrets"]
    assert (kept["name"], kept["changedBy"]) == ("A", "local")
    assert (await site.client.post("/api/secrets/rotate")).json() == {"secrets": 1}
    assert (await site.client.delete("/api/secrets/A")).status_code == 204
    assert await site.get("/api/secrets") == {"secrets": []}


def test_nobody_but_an_administrator_deals_with_secrets() -> None:
    assert [role for role, may in ROLES.items() if "administer" in may] == ["admin"]
