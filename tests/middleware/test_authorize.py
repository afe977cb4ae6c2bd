"""Who may call which tools."""

from typing import Literal

import pytest

from agentrail import ChatRequest, ModelRequest, Principal, ToolResult, middleware
from agentrail.errors import ConfigError
from agentrail.model.scripted import call_tools
from tests.contexts import context_of
from tests.middleware.calls import ToolBox, calling
from tests.middleware.conftest import Opens

pytestmark = pytest.mark.anyio

RULES = {"admin_*": {"admin", "root"}, "admin_delete": {"deleter"}, "nobody": ()}


async def outcome(name: str, *roles: str, otherwise: Literal["allow", "deny"] = "allow") -> str:
    box = ToolBox(["5"])
    allowed = middleware.authorize(RULES, otherwise=otherwise)
    result = await allowed(calling(name, context=context_of(roles=roles)), box)
    assert (result.outcome == "ok") is bool(box.requests)
    return result.outcome


async def test_one_of_the_roles_is_enough() -> None:
    assert await outcome("admin_list", "root", "guest") == "ok"
    assert await outcome("admin_list", "admin") == "ok"


async def test_without_any_of_the_roles_the_call_is_denied() -> None:
    assert await outcome("admin_list") == "denied"
    assert await outcome("admin_list", "guest") == "denied"


async def test_every_pattern_that_names_the_tool_wants_a_role() -> None:
    assert await outcome("admin_delete", "admin") == "denied"
    assert await outcome("admin_delete", "deleter") == "denied"
    assert await outcome("admin_delete", "admin", "deleter") == "ok"


async def test_what_no_role_may_call_nobody_may() -> None:
    assert await outcome("nobody", "admin", "root") == "denied"


@pytest.mark.parametrize(("otherwise", "expected"), [("allow", "ok"), ("deny", "denied")])
async def test_what_no_pattern_names_is_as_chosen(
    otherwise: Literal["allow", "deny"], expected: str
) -> None:
    assert await outcome("other", "admin", otherwise=otherwise) == expected


async def test_a_pattern_names_whole_names_and_minds_the_case() -> None:
    assert await outcome("my_admin_list", otherwise="allow") == "ok"
    assert await outcome("ADMIN_list", otherwise="allow") == "ok"
    assert await outcome("admin_\nx") == "denied"


async def test_a_denial_does_not_tell_what_would_be_needed() -> None:
    denied = middleware.authorize(RULES, otherwise="deny")

    assert await denied(calling("admin_list"), ToolBox(["5"])) == ToolResult(
        call_id="c1",
        name="admin_list",
        content="denied: this tool may not be called here",
        outcome="denied",
    )


def test_roles_that_are_a_text_are_refused() -> None:
    with pytest.raises(ConfigError, match="admin"):
        middleware.authorize({"x": "admin"}, otherwise="deny")


async def test_the_roles_are_those_of_the_principal(open_host: Opens) -> None:
    told: list[str] = []

    def see(request: ModelRequest) -> str:
        told.append(getattr(request.messages[-1].parts[0], "content", ""))
        return "done"

    add = call_tools(("add", {"a": 2, "b": 3}))
    rules = middleware.authorize({"add": {"clerk"}}, otherwise="deny")
    host = await open_host([add, see, add, see], tools=[rules])

    await host.chat(ChatRequest("add"), principal=Principal(roles=frozenset({"clerk"})))
    await host.chat(ChatRequest("add"), principal=Principal(user_id="bob"))

    assert told == ["5", "denied: this tool may not be called here"]
