"""The gate: what hooks, permissions, approvals and middleware make of a call together."""

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import pytest
from attrs import define, field
from msgspec.structs import replace

from agentrail.errors import HookTypeError, RequestRefused
from agentrail.hook import (
    AfterToolCall,
    BeforeToolCall,
    Call,
    Funnel,
    Middleware,
    PluginFailure,
    Policy,
    Watchdog,
    chain,
    compile_hooks,
    fallback,
)
from agentrail.messages import ToolCall, ToolResult
from agentrail.requests import Asked, RequestContext, ToolRequest
from agentrail.tool import Gate, Rule, Toolset, allow, ask, deny, guarded, tool, tool_endpoint

pytestmark = pytest.mark.anyio


@define
class Guest:
    """A plugin with the hooks it is given."""

    name: str
    before_tool_call: BeforeToolCall | None = None
    after_tool_call: AfterToolCall | None = None
    on_failure: Mapping[str, Policy] = field(factory=dict[str, Policy])
    critical: bool = False


@define
class Bench:
    """One tool, `read`, behind permissions, the hooks of plugins, and middleware."""

    context: RequestContext
    watchdog: Watchdog
    rules: Sequence[Rule] = ()
    plugins: Sequence[Guest] = ()
    middleware: Sequence[Middleware[ToolRequest, ToolResult]] = ()
    executed: list[str] = field(factory=list[str])
    failures: list[PluginFailure] = field(factory=list[PluginFailure])

    def gate(self) -> Gate:
        @tool
        async def read(path: str) -> str:
            """Read a file."""
            self.executed.append(path)
            return f"the text of {path}"

        toolset, faults = Toolset.of([("files", read)])
        assert faults == ()
        hooks, faults = compile_hooks(self.plugins)
        assert faults == ()
        execute = guarded(self.rules, tool_endpoint(toolset, self.watchdog, 5.0))
        funnel = Funnel(self.watchdog, self.failures.append)
        return Gate(chain(self.middleware, execute), self.rules, hooks, funnel)

    async def decide(
        self, path: str = "docs/a", approved: ToolCall | None = None
    ) -> ToolRequest | ToolResult | Asked:
        request = ToolRequest(call=reading(path), context=self.context)
        return await self.gate().decide(request, approved)

    async def run(self, path: str = "docs/a", approved: ToolCall | None = None) -> ToolResult:
        decided = await self.decide(path, approved)
        assert not isinstance(decided, Asked)
        if isinstance(decided, ToolResult):
            request = ToolRequest(call=reading(path), context=self.context)
            return await self.gate().finish(request, decided)
        return await self.gate().run(decided)


@pytest.fixture
def bench(context: RequestContext, watchdog: Watchdog) -> Bench:
    return Bench(context, watchdog)


def reading(path: str) -> ToolCall:
    return ToolCall(id="c1", name="read", arguments={"path": path})


def answer(text: str) -> ToolResult:
    return ToolResult(call_id="", name="", content=text)


def fail(*_: object) -> None:
    message = "a secret of the plugin"
    raise ValueError(message)


def made(name: str, hook: str, call: Callable[..., object], policy: Policy | None = None) -> Guest:
    guest = Guest(name, on_failure={} if policy is None else {hook: policy})
    setattr(guest, hook, call)
    return guest


def redirect(path: str) -> BeforeToolCall:
    return lambda call, _context: replace(call, arguments={"path": path})


# Permissions.


async def test_a_permitted_call_runs_and_a_denied_one_does_not(bench: Bench) -> None:
    bench.rules = [deny("read", path="keys/*", reason="they are secret")]

    assert (await bench.run("docs/a")).content == "the text of docs/a"
    denied = await bench.run("keys/a")
    assert denied == ToolResult(
        call_id="c1",
        name="read",
        content="denied: this call is not permitted: they are secret",
        outcome="denied",
    )
    assert bench.executed == ["docs/a"]


async def test_permissions_judge_what_the_hooks_made_of_a_call(bench: Bench) -> None:
    bench.rules = [allow("read", path="docs/*")]

    bench.plugins = [Guest("inside", before_tool_call=redirect("docs/b"))]
    assert (await bench.run("keys/a")).content == "the text of docs/b"
    bench.plugins = [Guest("outside", before_tool_call=redirect("keys/b"))]
    assert (await bench.run("docs/a")).outcome == "denied"
    assert bench.executed == ["docs/b"]


async def test_an_answer_of_a_hook_needs_no_permission_for_nothing_is_executed(
    bench: Bench,
) -> None:
    bench.rules = [deny()]
    bench.plugins = [Guest("cache", before_tool_call=lambda _call, _context: answer("cached"))]

    assert (await bench.run()).content == "cached"
    assert bench.executed == []


async def test_after_hooks_see_what_permissions_denied(bench: Bench) -> None:
    seen: list[str] = []
    bench.rules = [deny()]
    bench.plugins = [
        Guest("audit", after_tool_call=lambda _call, result, _context: seen.append(result.outcome))
    ]

    await bench.run()

    assert seen == ["denied"]


async def test_without_plugins_permissions_hold_all_the_same(bench: Bench) -> None:
    gate = replace_funnel(bench, [deny("read", path="keys/*")])

    for path, kind in (("docs/a", ToolRequest), ("keys/a", ToolResult)):
        decided = await gate.decide(ToolRequest(call=reading(path), context=bench.context))
        assert isinstance(decided, kind)


def replace_funnel(bench: Bench, rules: Sequence[Rule]) -> Gate:
    return Gate(bench.gate().execute, rules)


# Approval.


async def test_a_call_that_needs_approval_is_asked_for_as_the_hooks_left_it(bench: Bench) -> None:
    bench.rules = [ask("read", reason="it is a draft")]
    bench.plugins = [Guest("inside", before_tool_call=redirect("docs/b"))]

    assert await bench.decide("docs/a") == Asked(call=reading("docs/b"), reason="it is a draft")
    assert bench.executed == []


async def test_an_approved_call_runs_and_a_changed_one_asks_again(bench: Bench) -> None:
    bench.rules = [ask("read")]

    assert (await bench.run("a", reading("a"))).outcome == "ok"
    assert await bench.decide("a", reading("b")) == Asked(call=reading("a"))
    bench.plugins = [Guest("other", before_tool_call=redirect("b"))]
    assert await bench.decide("a", reading("a")) == Asked(call=reading("b"))
    assert bench.executed == ["a"]


async def test_approval_opens_nothing_that_is_denied(bench: Bench) -> None:
    bench.rules = [deny("read")]

    assert (await bench.run("a", reading("a"))).outcome == "denied"


# Middleware.


def swap(path: str) -> Middleware[ToolRequest, ToolResult]:
    async def middleware(
        request: ToolRequest, call_next: Call[ToolRequest, ToolResult]
    ) -> ToolResult:
        return await call_next(replace(request, call=reading(path)))

    return middleware


async def overwrite(request: ToolRequest, call_next: Call[ToolRequest, ToolResult]) -> ToolResult:
    cast("dict[str, object]", request.call.arguments)["path"] = "keys/a"
    return await call_next(request)


async def forge(request: ToolRequest, call_next: Call[ToolRequest, ToolResult]) -> ToolResult:
    return await call_next(ToolRequest(call=reading("keys/a"), context=request.context))


@pytest.mark.parametrize("middleware", [swap("keys/a"), overwrite, forge])
async def test_what_a_middleware_makes_of_a_permitted_call_is_judged_again(
    bench: Bench, middleware: Middleware[ToolRequest, ToolResult]
) -> None:
    bench.rules = [allow("read", path="docs/*")]
    bench.middleware = [middleware]

    assert (await bench.run("docs/a")).outcome == "denied"
    assert bench.executed == []


async def test_a_middleware_may_change_a_call_into_another_permitted_one(bench: Bench) -> None:
    bench.rules = [allow("read", path="docs/*")]
    bench.middleware = [swap("docs/b")]

    assert (await bench.run("docs/a")).content == "the text of docs/b"


@pytest.mark.parametrize("middleware", [swap("keys/a"), overwrite, forge])
async def test_approval_is_for_the_call_as_it_was_shown(
    bench: Bench, middleware: Middleware[ToolRequest, ToolResult]
) -> None:
    bench.rules = [ask("read", reason="it is a draft")]
    bench.middleware = [middleware]

    result = await bench.run("docs/a", reading("docs/a"))

    assert (result.outcome, bench.executed) == ("denied", [])
    assert "it is a draft" in result.content


async def test_a_middleware_that_leaves_a_call_alone_keeps_its_approval(bench: Bench) -> None:
    bench.rules = [ask("read")]
    bench.middleware = [swap("docs/a")]

    assert (await bench.run("docs/a", reading("docs/a"))).outcome == "ok"


# Policies.


@pytest.mark.parametrize("critical", [True, False])
async def test_a_before_hook_that_fails_denies_unless_its_plugin_says_otherwise(
    bench: Bench, *, critical: bool
) -> None:
    bench.plugins = [Guest("guard", before_tool_call=fail, critical=critical)]

    denied = await bench.run()

    assert (denied.outcome, bench.executed) == ("denied", [])
    assert "'guard'" in denied.content
    assert "secret" not in denied.content


async def test_a_before_hook_that_may_be_skipped_leaves_the_call_as_it_was(bench: Bench) -> None:
    def spoil(call: ToolCall, _context: RequestContext) -> None:
        cast("dict[str, object]", call.arguments)["path"] = "keys/a"
        fail()

    policy: Mapping[str, Policy] = {"before_tool_call": "skip"}
    bench.plugins = [
        Guest("inside", before_tool_call=redirect("docs/b")),
        Guest("lax", before_tool_call=spoil, on_failure=policy),
    ]

    assert (await bench.run()).content == "the text of docs/b"
    assert [(each.plugin, each.hook) for each in bench.failures] == [("lax", "before_tool_call")]


@pytest.mark.parametrize("hook", ["before_tool_call", "after_tool_call"])
async def test_a_hook_around_a_call_that_must_not_fail_refuses_the_request(
    bench: Bench, hook: str
) -> None:
    guest = Guest("strict", on_failure={hook: "abort"})
    setattr(guest, hook, fail)
    bench.plugins = [guest]

    with pytest.raises(RequestRefused, match=rf"'strict' failed in {hook}"):
        await bench.run()
    assert len(bench.failures) == 1


@pytest.mark.parametrize("critical", [True, False])
async def test_an_after_hook_that_fails_keeps_the_result_or_refuses_when_critical(
    bench: Bench, *, critical: bool
) -> None:
    bench.plugins = [Guest("shorten", after_tool_call=fail, critical=critical)]

    if critical:
        with pytest.raises(RequestRefused):
            await bench.run()
    else:
        assert (await bench.run()).content == "the text of docs/a"


async def test_a_value_stands_in_for_a_before_hook_that_fails(bench: Bench) -> None:
    policy: Mapping[str, Policy] = {"before_tool_call": fallback(answer("ask again later"))}
    bench.plugins = [Guest("guard", before_tool_call=fail, on_failure=policy)]

    assert await bench.run() == ToolResult(call_id="c1", name="read", content="ask again later")
    assert bench.executed == []


async def test_a_value_stands_in_for_an_after_hook_that_fails(bench: Bench) -> None:
    policy: Mapping[str, Policy] = {"after_tool_call": fallback(answer("(withheld)"))}
    bench.plugins = [Guest("redact", after_tool_call=fail, on_failure=policy)]

    assert await bench.run() == ToolResult(call_id="c1", name="read", content="(withheld)")
    assert bench.executed == ["docs/a"]


async def test_another_plugins_hook_stands_in_and_has_its_own_turn_too(bench: Bench) -> None:
    asked: list[str] = []

    def cautious(call: ToolCall, _context: RequestContext) -> ToolCall:
        path = str(call.arguments["path"])
        asked.append(path)
        return replace(call, arguments={"path": f"{path}.txt"})

    policy: Mapping[str, Policy] = {"before_tool_call": fallback("local")}
    bench.plugins = [
        Guest("remote", before_tool_call=fail, on_failure=policy),
        Guest("local", before_tool_call=cautious),
    ]

    assert (await bench.run("a")).content == "the text of a.txt.txt"
    assert asked == ["a", "a.txt"]


async def test_a_guard_whose_stand_in_fails_too_denies(bench: Bench) -> None:
    policy: Mapping[str, Policy] = {"before_tool_call": fallback("local")}
    bench.plugins = [
        Guest("remote", before_tool_call=fail, on_failure=policy),
        Guest("local", before_tool_call=fail, on_failure={"before_tool_call": "skip"}),
    ]

    assert ((await bench.run()).outcome, bench.executed) == ("denied", [])


async def test_another_plugins_after_hook_stands_in_too(bench: Bench) -> None:
    def loud(_call: ToolCall, result: ToolResult, _context: RequestContext) -> ToolResult:
        return replace(result, content=f"{result.content}!")

    policy: Mapping[str, Policy] = {"after_tool_call": fallback("loud")}
    bench.plugins = [
        Guest("loud", after_tool_call=loud),
        Guest("louder", after_tool_call=fail, on_failure=policy),
    ]

    assert (await bench.run()).content == "the text of docs/a!!"


@pytest.mark.parametrize(("policy", "outcome"), [(None, "denied"), ("skip", "ok")])
async def test_a_call_that_a_hook_gave_another_name_is_denied_unless_it_may_be_skipped(
    bench: Bench, policy: Policy | None, outcome: str
) -> None:
    bench.rules = [deny("read", path="keys/*")]
    bench.plugins = [
        Guest(
            "wild",
            before_tool_call=lambda call, _context: replace(call, name="write"),
            on_failure={} if policy is None else {"before_tool_call": policy},
        )
    ]

    assert (await bench.run()).outcome == outcome
    assert len(bench.failures) == 1


# What has the right type and is wrong within is a failure like any other.


def rename(call: ToolCall, *_: object) -> ToolCall:
    return replace(call, name="write")


def numbers(call: ToolCall, *_: object) -> ToolCall:
    return replace(call, arguments={"path": object()})


def no_text(*_: object) -> ToolResult:
    return ToolResult(call_id="c1", name="read", content=cast("str", 5))


each_wrong = pytest.mark.parametrize(
    ("hook", "wrong"),
    [
        ("before_tool_call", rename),
        ("before_tool_call", numbers),
        ("before_tool_call", no_text),
        ("after_tool_call", no_text),
    ],
)


@each_wrong
async def test_what_is_wrong_within_aborts_where_a_failure_does(
    bench: Bench, hook: str, wrong: Callable[..., object]
) -> None:
    bench.plugins = [made("strict", hook, wrong, "abort")]

    with pytest.raises(RequestRefused, match=rf"'strict' failed in {hook}"):
        await bench.run()
    assert [type(each.error) for each in bench.failures] == [HookTypeError]


@each_wrong
async def test_a_value_stands_in_for_what_is_wrong_within(
    bench: Bench, hook: str, wrong: Callable[..., object]
) -> None:
    bench.plugins = [made("broken", hook, wrong, fallback(answer("stood in")))]

    assert await bench.run() == ToolResult(call_id="c1", name="read", content="stood in")
    assert len(bench.failures) == 1


@each_wrong
async def test_another_plugin_stands_in_for_what_is_wrong_within(
    bench: Bench, hook: str, wrong: Callable[..., object]
) -> None:
    asked: list[object] = []
    bench.plugins = [
        made("broken", hook, wrong, fallback("good")),
        made("good", hook, lambda *arguments: asked.append(arguments[0])),
    ]

    assert (await bench.run()).content == "the text of docs/a"
    assert asked == [reading("docs/a")] * 2


@pytest.mark.parametrize(
    ("hook", "outcome"), [("before_tool_call", "denied"), ("after_tool_call", "ok")]
)
async def test_a_value_that_is_wrong_within_does_not_stand_in(
    bench: Bench, hook: str, outcome: str
) -> None:
    bench.plugins = [made("broken", hook, fail, fallback(no_text()))]

    assert (await bench.run()).outcome == outcome
    assert [type(each.error) for each in bench.failures] == [ValueError, HookTypeError]


@each_wrong
async def test_a_hook_that_keeps_being_wrong_within_is_left_alone(
    bench: Bench, hook: str, wrong: Callable[..., object]
) -> None:
    asked: list[object] = []

    def counted(*arguments: object) -> object:
        asked.append(arguments)
        return wrong(*arguments)

    bench.plugins = [made("broken", hook, counted, "skip")]
    gate = bench.gate()
    for _ in range(50):
        request = ToolRequest(call=reading("docs/a"), context=bench.context)
        decided = await gate.decide(request)
        assert isinstance(decided, ToolRequest)
        await gate.run(decided)

    assert len(asked) < 50
