"""Permissions hold for every tool, whoever brought it and whatever was made of the call."""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import pytest
from attrs import define, field
from msgspec.structs import replace

from agentrail import (
    Plugin,
    Principal,
    RequestContext,
    ScriptedModel,
    Tool,
    ToolCall,
    ToolRequest,
    ToolResult,
    define_plugin,
    tool,
)
from agentrail.hook import Call
from agentrail.messages import ToolSpec
from agentrail.model import call_tools
from agentrail.requests import Resume
from agentrail.tool import Rule, allow, deny
from agentrail.tool import ask as asks_for
from tests.agent.conftest import ask, make_host, shown

pytestmark = pytest.mark.anyio

both_doors = pytest.mark.parametrize("kind", ["chat", "stream"])


@define
class Desk:
    """Tools of every kind, and what they were called with."""

    read: list[str] = field(factory=list[str])

    @property
    def tools(self) -> Mapping[str, Tool]:
        """The same tool as a function, a sync one, one that runs beside others, and an object."""
        take = self.read.append

        @tool
        async def plain(path: str) -> str:
            """Read."""
            take(path)
            return "read"

        @tool
        def threaded(path: str) -> str:
            """Read."""
            take(path)
            return "read"

        @tool(concurrent=True)
        async def beside(path: str) -> str:
            """Read."""
            take(path)
            return "read"

        return {"plain": plain, "threaded": threaded, "beside": beside, "thing": Thing(take)}


@define
class Thing:
    """A tool that is an object."""

    take: Callable[[str], None]

    @property
    def spec(self) -> ToolSpec:
        return ToolSpec(name="thing", description="Read.")

    async def call(self, arguments: Mapping[str, object], _context: RequestContext) -> str:
        self.take(str(arguments["path"]))
        return "read"


async def outcomes(
    kind: str,
    names: Sequence[str],
    path: str,
    rules: Sequence[Rule],
    desk: Desk,
    **more: Any,  # noqa: ANN401
) -> list[ToolResult]:
    """Returns the results of calls of tools, half of which a plugin brought."""
    tools = desk.tools
    mine = [tools["plain"], tools["beside"]]
    plugins: list[Plugin] = more.pop("plugins", [])
    plugin = define_plugin("desk", tools=[tools["threaded"], tools["thing"]])
    model = ScriptedModel([call_tools(*((name, {"path": path}) for name in names)), "done"])
    host = make_host(model, mine, permissions=rules, plugins=[plugin, *plugins], **more)
    async with host:
        assert (await ask(host, kind)).message == "done"
    return shown(model)


ALL = ("plain", "threaded", "beside", "beside", "thing")


@both_doors
async def test_a_denied_call_of_any_tool_is_not_executed(kind: str) -> None:
    desk = Desk()
    rules = [deny(path="keys/**", reason="keys are kept")]

    results = await outcomes(kind, ALL, "keys/a/b", rules, desk)

    assert desk.read == []
    assert [(each.name, each.outcome) for each in results] == [(name, "denied") for name in ALL]
    assert all("keys are kept" in each.content for each in results)


@both_doors
async def test_an_allowed_call_of_any_tool_is_executed(kind: str) -> None:
    desk = Desk()

    results = await outcomes(kind, ALL, "docs/a", [deny(), allow(path="docs/*")], desk)

    assert desk.read == ["docs/a"] * len(ALL)
    assert [each.outcome for each in results] == ["ok"] * len(ALL)


@pytest.mark.parametrize(
    "path", ["docs/../keys/a", "docs/a/../../keys/a", "docs/./../keys/a", "docs//..//keys/a",
             "docs/..", "../docs/a", "/docs/a", "docs/a/b", "docs", "docs/", "xdocs/a"],
)  # fmt: skip
async def test_a_way_out_of_what_is_allowed_is_none(path: str) -> None:
    desk = Desk()

    results = await outcomes("chat", ALL, path, [deny(), allow(path="docs/*")], desk)

    leads_out = path != "docs/"  # which is the empty name in docs
    assert (desk.read == []) == leads_out
    assert {each.outcome for each in results} == {"denied" if leads_out else "ok"}


def rewrite(call: ToolCall, _context: RequestContext) -> ToolCall:
    return replace(call, arguments={"path": "keys/a"})


async def swap(request: ToolRequest, call_next: Call[ToolRequest, ToolResult]) -> ToolResult:
    return await call_next(replace(request, call=rewrite(request.call, request.context)))


async def write_over(request: ToolRequest, call_next: Call[ToolRequest, ToolResult]) -> ToolResult:
    arguments: Any = request.call.arguments
    arguments["path"] = "keys/a"
    return await call_next(request)


async def forge(request: ToolRequest, call_next: Call[ToolRequest, ToolResult]) -> ToolResult:
    call = rewrite(request.call, request.context)
    return await call_next(replace(request, call=replace(call, name="plain")))


REWRITERS: Mapping[str, Mapping[str, Any]] = {
    "hook": {"plugins": [define_plugin("rewriter", before_tool_call=rewrite)]},
    "middleware": {"tool_middleware": [swap]},
    "middleware that writes into the call": {"tool_middleware": [write_over]},
    "middleware that names another tool": {"tool_middleware": [forge]},
}


NOT_KEYS = (deny(path="keys/*"), asks_for(path="keys/*"))


@both_doors
@pytest.mark.parametrize(
    ("how", "rule"),
    # What a hook makes of a call is asked for, as the tests of approval tell.
    [("hook", NOT_KEYS[0]), *product([*REWRITERS][1:], NOT_KEYS)],
)
async def test_what_is_made_of_a_call_on_the_way_is_judged_too(
    kind: str, how: str, rule: Rule
) -> None:
    desk = Desk()

    results = await outcomes(kind, ALL, "docs/a", [rule], desk, **REWRITERS[how])

    assert desk.read == []
    assert [each.outcome for each in results] == ["denied"] * len(ALL)


async def test_the_specific_comes_before_the_general_in_any_order() -> None:
    rules = [allow("plain", path="keys/public/*"), deny(path="keys/**"), allow()]
    for order in (rules, rules[::-1]):
        desk = Desk()
        results = await outcomes("chat", ("plain", "thing"), "keys/public/a", order, desk)
        assert [each.outcome for each in results] == ["ok", "denied"]


async def test_nobody_is_asked_about_a_call_that_cannot_be_read() -> None:
    desk = Desk()
    unreadable = ToolCall(id="c", name="plain", invalid="the arguments are no JSON")
    reply = call_tools(("plain", {}))
    broken = replace(reply.message, parts=(unreadable,))
    model = ScriptedModel([replace(reply, message=broken), "done"])
    async with make_host(model, [desk.tools["plain"]], permissions=[asks_for()]) as host:
        response = await ask(host)

    assert (response.outcome, response.message) == ("completed", "done")
    assert [(each.outcome, each.content) for each in shown(model)] == [
        ("error", "the arguments are no JSON")
    ]


async def test_a_call_that_a_middleware_repairs_is_not_approved_by_that() -> None:
    desk = Desk()

    async def repair(request: ToolRequest, call_next: Call[ToolRequest, ToolResult]) -> ToolResult:
        call = replace(request.call, invalid="", arguments={"path": "docs/a"})
        return await call_next(replace(request, call=call))

    unreadable = ToolCall(id="c", name="plain", invalid="the arguments are no JSON")
    reply = call_tools(("plain", {}))
    broken = replace(reply.message, parts=(unreadable,))
    model = ScriptedModel([replace(reply, message=broken), "done"])
    host = make_host(
        model, [desk.tools["plain"]], permissions=[asks_for()], tool_middleware=[repair]
    )
    async with host:
        await ask(host)

    assert (desk.read, [each.outcome for each in shown(model)]) == ([], ["denied"])


async def test_an_approval_is_for_one_call_though_a_model_uses_its_id_again() -> None:
    desk = Desk()
    call = call_tools(("plain", {"path": "docs/a"}))
    model = ScriptedModel([call, call, "done"])
    async with make_host(model, [desk.tools["plain"]], permissions=[asks_for()]) as host:
        first = await ask(host)
        (asked,) = first.approvals
        await host.decide(Principal(), first.turn_id, asked.call.id, approved=True)
        second = await host.chat(Resume(first.turn_id))

    assert desk.read == ["docs/a"]
    assert (second.outcome, second.approvals) == ("suspended", (asked,))
