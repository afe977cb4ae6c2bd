"""``GET /commands``: all that a user interface needs, over a real socket."""

from typing import Any

import pytest

from agentrail import (
    BearerTokens,
    Commands,
    Principal,
    RequestContext,
    command,
    create_app,
    standard_routes,
)
from agentrail.command import ENGLISH, Texts
from agentrail.route import commands_route
from tests.command.conftest import config_of
from tests.command.test_command_parsing import add, pick, remind
from tests.conftest import Serve

pytestmark = pytest.mark.anyio


@command(scope="admin", keep=True, background=True)
async def purge(_context: RequestContext, *, really: bool) -> None:
    """Forget everything."""


PLUGIN = Commands([remind, pick, add, purge])
ROUTES = [*standard_routes(), commands_route(PLUGIN)]
TOKENS = BearerTokens(
    {
        "ada": Principal(user_id="ada", roles=frozenset({"admin", "staff"})),
        "eve": Principal(user_id="eve", roles=frozenset({"staff"})),
    }
)


def named(body: Any, name: str) -> dict[str, Any]:  # noqa: ANN401
    (found,) = [each for each in body["commands"] if each["name"] == name]
    return dict(found)


def arguments(body: Any, name: str, *keys: str) -> list[tuple[object, ...]]:  # noqa: ANN401
    return [tuple(each[key] for key in keys) for each in named(body, name)["arguments"]]


async def test_the_commands_are_listed_with_what_completes_them(served: Serve) -> None:
    client = await served(create_app(config_of(PLUGIN, routes=ROUTES)))

    body = (await client.get("/commands")).json()

    assert [each["name"] for each in body["commands"]] == [
        "/help", "/remind", "/pick", "/add", "/purge",
    ]  # fmt: skip
    assert named(body, "/pick") == {
        "name": "/pick",
        "description": "Pick something.",
        "usage": "/pick [--level <very-low|high>] [--size <1|2|XL>] <low|high>",
        "scope": "session",
        "keep": False,
        "background": False,
        "available": True,
        "unavailableReason": "",
        "arguments": [
            {
                "name": "priority",
                "type": "choice",
                "description": "",
                "expected": "one of low, high",
                "required": True,
                "default": None,
                "choices": ["low", "high"],
                "option": False,
                "many": False,
                "rest": False,
            },
            {
                "name": "--level",
                "type": "choice",
                "description": "",
                "expected": "one of very-low, high",
                "required": False,
                "default": "high",
                "choices": ["very-low", "high"],
                "option": True,
                "many": False,
                "rest": False,
            },
            {
                "name": "--size",
                "type": "choice",
                "description": "",
                "expected": "one of 1, 2, XL",
                "required": False,
                "default": "1",
                "choices": ["1", "2", "XL"],
                "option": True,
                "many": False,
                "rest": False,
            },
        ],
    }
    assert arguments(body, "/remind", "name", "type", "default", "required", "many", "rest") == [
        ("text", "string", None, True, False, True),
        ("--days", "integer", 1, False, False, False),
        ("--urgent", "boolean", False, False, False, False),
        ("--tag", "string", [], False, True, False),
        ("--on-date", "date", None, False, False, False),
    ]
    assert arguments(body, "/purge", "name", "choices") == [("--really", ["true", "false"])]


async def test_the_callers_roles_decide_what_is_available(served: Serve) -> None:
    client = await served(create_app(config_of(PLUGIN, routes=ROUTES, authenticator=TOKENS)))

    async def purge_for(who: str) -> tuple[bool, str]:
        headers = {"authorization": f"Bearer {who}"}
        body = (await client.get("/commands?userId=ada", headers=headers)).json()
        found = named(body, "/purge")
        return found["available"], found["unavailableReason"]

    assert await purge_for("ada") == (True, "")
    assert await purge_for("eve") == (False, "/purge is for administrators.")
    assert (await client.get("/commands")).status_code == 401


async def test_nobody_is_an_administrator_without_authentication(served: Serve) -> None:
    client = await served(create_app(config_of(PLUGIN, routes=ROUTES)))

    body = (await client.get("/commands", params={"roles": "admin"})).json()
    answer = await client.post("/chat", json={"message": "/purge --really", "roles": ["admin"]})

    assert not named(body, "/purge")["available"]
    assert answer.status_code == 403


async def test_the_header_accept_language_decides_where_the_request_says_nothing(
    served: Serve,
) -> None:
    german = Texts(unknown="Den Befehl /{name} gibt es nicht.", descriptions={"add": "Addiert."})
    plugin = Commands([add], texts={"en": ENGLISH, "de": german})
    client = await served(
        create_app(config_of(plugin, routes=[*standard_routes(), commands_route(plugin)]))
    )
    headers = {"accept-language": "de-AT,de;q=0.9,en;q=0.5", "idempotency-key": "k"}

    listed = (await client.get("/commands", headers=headers)).json()
    assert named(listed, "/add")["description"] == "Addiert."
    assert named((await client.get("/commands")).json(), "/add")["description"] == "Add numbers."
    for metadata, told in (({}, "Den Befehl /x"), ({"locale": "en"}, "There is no command /x")):
        body = {"message": "/x", "metadata": metadata}
        for door in ("/chat", "/stream"):
            assert told in (await client.post(door, json=body, headers=headers)).text


async def test_a_command_is_answered_over_http_on_both_doors(served: Serve) -> None:
    client = await served(create_app(config_of(PLUGIN, routes=ROUTES, authenticator=TOKENS)))
    headers = {"authorization": "Bearer eve"}

    for message, status, told in (
        ("/help add", 200, "/add <to> <items>…"),
        ("/ad", 404, "There is no command /ad. Did you mean /add?"),
        ("/pick x", 422, "priority must be one of low, high, not x."),
        ("/purge --really", 403, "/purge is for administrators."),
        ("/add " + "x " * 10_000, 413, "/add takes up to 1000 words."),
    ):
        answer = await client.post("/chat", json={"message": message}, headers=headers)
        streamed = await client.post("/stream", json={"message": message}, headers=headers)
        assert answer.status_code == streamed.status_code == status
        assert answer.json()["message"].startswith(told)
        assert told in streamed.text
        assert "event: turn.end" in streamed.text
