"""Which rule holds for a call: patterns, precedence, and that no path gets around them."""

import posixpath
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agentrail.hook import Call
from agentrail.messages import ToolCall, ToolResult, ToolSpec
from agentrail.requests import RequestContext, ToolRequest
from agentrail.tool import Rule, allow, ask, deny, guarded, judge, rule_faults, rule_gaps

STRICT = {"allow": 0, "ask": 1, "deny": 2}


def call(name: str = "read", /, **arguments: object) -> ToolCall:
    return ToolCall(id="c1", name=name, arguments=arguments)


def verdict(rules: Sequence[Rule], name: str = "read", /, **arguments: object) -> str:
    return judge(rules, call(name, **arguments)).verdict


def test_a_call_that_no_rule_speaks_of_is_allowed() -> None:
    assert verdict([]) == "allow"
    assert verdict([deny("write")]) == "allow"
    assert verdict([deny("read", path="secret/*")], path="notes") == "allow"


def test_a_name_comes_before_a_pattern_whatever_their_order() -> None:
    rules = [allow("read_notes"), deny("read_*"), deny()]

    for order in (rules, rules[::-1]):
        assert verdict(order, "read_notes") == "allow"
        assert verdict(order, "read_keys") == "deny"
        assert verdict(order, "write") == "deny"


def test_of_two_patterns_of_a_name_the_longer_one_holds() -> None:
    rules = [deny(), ask("read_*"), allow("read_note*")]

    assert verdict(rules, "read_notes") == "allow"
    assert verdict(rules, "read_keys") == "ask"
    assert verdict(rules, "write") == "deny"


def test_more_arguments_come_before_fewer_and_more_letters_before_less() -> None:
    rules = [
        deny("send"),
        ask("send", to="*@home"),
        allow("send", to="ada@home"),
        deny("send", to="*@*", body="**password**"),
    ]

    assert verdict(rules, "send", to="bob@work") == "deny"
    assert verdict(rules, "send", to="bob@home") == "ask"
    assert verdict(rules, "send", to="ada@home", body="hello") == "allow"
    assert verdict(rules, "send", to="ada@home", body="my password") == "deny"


def test_of_equally_specific_rules_the_strictest_holds() -> None:
    for rules in ([allow(), ask(), deny()], [deny(), ask(), allow()]):
        assert verdict(rules) == "deny"
    for rules in ([allow("read"), ask("read")], [ask("read"), allow("read")]):
        assert verdict(rules) == "ask"


def test_the_rule_that_holds_carries_its_reason() -> None:
    rules = [ask("pay", reason="it is money"), deny("steal", reason="it is not ours")]

    assert judge(rules, call("pay")).reason == "it is money"
    assert judge(rules, call("steal")).reason == "it is not ours"


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("notes", "notes", True),
        ("notes", "notes2", False),
        ("notes", "my notes", False),
        ("*", "", True),
        ("*.md", "a.md", True),
        ("*.md", "a.mdx", False),
        ("*.md", "aXmd", False),
        ("docs/*", "docs/a", True),
        ("docs/*", "docs/a/b", False),
        ("docs/**", "docs/a/b", True),
        ("docs/**", "docs", False),
        ("docs/**.md", "docs/a/b.md", True),
        ("?", "/", False),
        ("a?c", "abc", True),
        ("a?c", "ac", False),
        ("**", "two\nlines", True),
        ("*", "two\nlines", True),
        ("[a-z](b)+$", "[a-z](b)+$", True),
        ("[a-z]", "a", False),
        ("Notes", "notes", False),
    ],
)
def test_a_pattern_matches_the_whole_text_and_one_star_stays_within_a_segment(
    pattern: str, text: str, *, matches: bool
) -> None:
    assert (verdict([deny("read", path=pattern)], path=text) == "deny") is matches
    assert (verdict([allow("read", path=pattern)], path=text) == "allow") is matches


def test_an_allow_with_arguments_closes_the_rest_of_its_tool_and_nothing_else() -> None:
    rules = [allow("read", path="docs/**")]

    assert verdict(rules, path="docs/a") == "allow"
    assert verdict(rules, path="keys") == "deny"
    assert verdict(rules) == "deny"
    assert verdict(rules, "write", path="keys") == "allow"
    assert "covers" in judge(rules, call(path="keys")).reason


def test_a_rule_without_arguments_opens_what_an_allow_with_arguments_left_closed() -> None:
    rules = [allow("read", path="docs/**"), ask("read")]

    assert verdict(rules, path="docs/a") == "allow"
    assert verdict(rules, path="keys") == "ask"


def test_an_argument_that_is_not_there_matches_no_pattern() -> None:
    assert verdict([deny("read", path="**")]) == "allow"
    assert verdict([deny("read", path="**")], path="") == "deny"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3, "3"),
        (True, "true"),
        (None, "null"),
        (0.5, "0.5"),
        (10**30, "1" + "0" * 30),
        (["b", "a"], '["b","a"]'),
        ({"b": 1, "a": [None]}, '{"a":[null],"b":1}'),
    ],
)
def test_an_argument_that_is_no_string_is_matched_as_json(value: object, text: str) -> None:
    assert verdict([deny("set", to=text)], "set", to=value) == "deny"
    assert verdict([allow("set", to=text)], "set", to=value) == "allow"
    assert verdict([allow("set", to=text + " ")], "set", to=value) == "deny"


@pytest.mark.parametrize(
    "path",
    [
        "docs/../keys",
        "docs/a/../../keys",
        "docs/./../keys",
        "docs/..",
        "docs/../../docs/a",
        "./docs/../keys",
        "docs//../../keys",
    ],
)
def test_dots_never_widen_an_allow(path: str) -> None:
    assert verdict([allow("read", path="docs/**")], path=path) == "deny"


def test_dots_that_stay_inside_are_allowed() -> None:
    rules = [allow("read", path="docs/**")]

    assert verdict(rules, path="docs/a/../b") == "allow"
    assert verdict(rules, path="docs/./b") == "allow"
    assert verdict(rules, path="docs//b") == "allow"


def test_a_star_of_an_allow_is_no_way_up() -> None:
    for pattern in ("*", "*/keys", "?" * 2):
        for path in ("..", "../keys", "./.."):
            assert verdict([allow("read", path=pattern)], path=path) == "deny"
    assert verdict([allow("read", path="../*")], path="../keys") == "allow"
    assert verdict([allow("read", path="**")], path="../keys") == "allow"


@pytest.mark.parametrize(
    "path",
    [
        "secret/key",
        "docs/../secret/key",
        "./secret/key",
        "secret/./key",
        "secret/x/../key",
        "docs/x/../../secret/key",
        "secret//key",
        "docs/..//secret/key",
    ],
)
def test_no_way_of_writing_a_path_escapes_a_deny_or_an_ask(path: str) -> None:
    for pattern in ("secret/key", "secret/*", "secret/**"):
        assert verdict([deny("read", path=pattern)], path=path) == "deny"
        assert verdict([ask("read", path=pattern)], path=path) == "ask"


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("/etc/*", "/../etc/passwd"),
        ("/etc/*", "//etc/passwd"),
        ("secret/**", "docs/../secret/"),
        (".", "docs/.."),
        ("https://example.com/private/**", "https://example.com/public/../private/x"),
        ("https://example.com/private/**", "https://example.com/../private/x"),
        ("https://example.com/private/**", "https://example.com//private/x"),
        ("file:///etc/*", "file:///tmp/../etc/passwd"),
    ],
)
def test_roots_and_hosts_are_not_left_by_dots(pattern: str, text: str) -> None:
    assert verdict([deny("read", path=pattern)], path=text) == "deny"


def test_dots_in_a_url_do_not_widen_an_allow() -> None:
    rules = [allow("fetch", url="https://example.com/docs/**")]

    assert verdict(rules, "fetch", url="https://example.com/docs/a") == "allow"
    assert verdict(rules, "fetch", url="https://example.com/docs/a/../b") == "allow"
    assert verdict(rules, "fetch", url="https://example.com/docs/../keys") == "deny"
    assert verdict(rules, "fetch", url="https://example.com.evil/docs/a") == "deny"


segments = st.lists(st.sampled_from(["docs", "secret", "a", "b.md"]), min_size=1, max_size=4)


@given(segments, st.data())
def test_a_path_with_detours_is_judged_as_strictly_as_without(
    parts: list[str], data: st.DataObject
) -> None:
    detoured: list[str] = []
    for part in parts:
        detoured += data.draw(st.sampled_from([[], ["."], ["x", ".."], ["x", "y", "..", ".."]]))
        detoured.append(part)
    plain, written = "/".join(parts), "/".join(detoured)
    for rule in (deny("read", path="secret/**"), ask("read", path="docs/*")):
        without, having = verdict([rule], path=plain), verdict([rule], path=written)
        assert STRICT[having] >= STRICT[without], (plain, written)


@given(st.lists(st.sampled_from(["docs", "..", ".", "", "a", "secret"]), max_size=6))
def test_what_an_allow_lets_through_is_inside(parts: list[str]) -> None:
    written = "/".join(parts)
    if verdict([allow("read", path="docs/**")], path=written) == "allow":
        assert posixpath.normpath(f"/root/{written}").startswith("/root/docs")


globs = st.sampled_from(["**", "*", "a", "a/*", "a/**", "../*", "?"])
names = st.sampled_from(["*", "read", "write", "re*", "w*"])
texts = st.sampled_from(["", "a", "b", "a/b", "a/../b", "..", "../a", "a/b/c"])
arguments = st.dictionaries(st.sampled_from(["path", "mode"]), globs, max_size=2)
rules = st.builds(Rule, st.sampled_from(["allow", "ask", "deny"]), names, arguments)
denials = st.builds(Rule, st.just("deny"), names, arguments)
calls = st.builds(
    ToolCall,
    id=st.just("c1"),
    name=st.sampled_from(["read", "write", "rest"]),
    arguments=st.dictionaries(st.sampled_from(["path", "mode"]), texts, max_size=2),
)


@given(st.lists(rules, max_size=5), denials, calls)
@example([allow("read", path="a")], deny("read", path="a"), call(path="a"))
def test_one_more_deny_never_allows_more(
    given_rules: list[Rule], denial: Rule, asked: ToolCall
) -> None:
    before, after = judge(given_rules, asked), judge([*given_rules, denial], asked)

    assert STRICT[after.verdict] >= STRICT[before.verdict]
    if not given_rules and denial.matches(asked):
        assert after.verdict == "deny"


@given(st.lists(rules, max_size=5), calls, st.randoms(use_true_random=False))
def test_the_order_of_the_rules_does_not_matter(
    given_rules: list[Rule], asked: ToolCall, random: Random
) -> None:
    shuffled = random.sample(given_rules, len(given_rules))

    assert judge(shuffled, asked).verdict == judge(given_rules, asked).verdict


@given(st.lists(rules, max_size=5), calls)
def test_without_an_allow_only_what_matches_is_held_up(
    given_rules: list[Rule], asked: ToolCall
) -> None:
    if not any(rule.verdict == "allow" or rule.matches(asked) for rule in given_rules):
        assert judge(given_rules, asked).verdict == "allow"


def spec(name: str, *arguments: str, **schema: object) -> ToolSpec:
    properties = {argument: {"type": "string"} for argument in arguments}
    return ToolSpec(
        name=name, description="", parameters={"type": "object", "properties": properties} | schema
    )


def test_a_rule_about_no_tool_is_a_fault_that_names_those_there_are() -> None:
    tools = [spec("read"), spec("write")]
    (fault,) = rule_faults([deny("raed"), deny("read"), deny(), ask("re*")], tools)

    assert "deny('raed')" in fault
    assert "read, write" in fault
    assert rule_faults([ask("send_*")], tools) != ()


def test_a_rule_about_a_tool_is_a_fault_where_there_is_none() -> None:
    (fault,) = rule_faults([deny("send"), deny(), ask("**", path="keys")], [])

    assert fault == "deny('send') is about no tool: the profile has none"


def test_an_argument_that_the_tool_does_not_have_is_a_fault_that_names_the_near_one() -> None:
    send = spec("send", "to", "body", additionalProperties=False)

    assert rule_faults([deny("send", to="bob", body="**")], [send]) == ()
    assert rule_faults([deny("send", too="bob"), ask("send", color="red")], [send]) == (
        "deny('send'): 'too' is no argument of send; did you mean 'to'?",
        "ask('send'): 'color' is no argument of send; there are: to, body",
    )
    assert rule_faults([allow("ping", at="noon")], [spec("ping")]) == (
        "allow('ping'): 'at' is no argument of ping; there are: none",
    )


def test_of_several_tools_that_a_pattern_names_one_must_have_the_argument() -> None:
    tools = [spec("send_mail", "to"), spec("send_fax", "number")]

    assert rule_faults([deny("send_*", to="bob"), deny(number="1")], tools) == ()
    (fault,) = rule_faults([deny("send_*", too="bob")], tools)
    assert "no argument of send_mail, send_fax; did you mean 'to'?" in fault


@pytest.mark.parametrize(
    "schema",
    [
        {"additionalProperties": True},
        {"additionalProperties": {"type": "string"}},
        {"patternProperties": {"^x": True}},
        {"allOf": [{"properties": {"too": True}}]},
    ],
)
def test_a_tool_that_takes_more_than_it_names_may_have_any_argument(
    schema: dict[str, object],
) -> None:
    assert rule_faults([deny("send", too="bob")], [spec("send", "to", **schema)]) == ()


def test_a_tool_without_a_schema_takes_no_arguments_and_one_of_any_object_takes_all() -> None:
    without = ToolSpec(name="send", description="")
    any_object = ToolSpec(name="send", description="", parameters={"type": "object"})

    assert rule_faults([deny("send", too="bob")], [without]) != ()
    assert rule_faults([deny("send", too="bob")], [any_object]) == ()


def test_where_packages_may_come_a_rule_may_be_about_their_tools() -> None:
    tools = [spec("read", "path"), spec("own__tool", "path")]
    later = [ask("p__tell", x="1"), ask("p__*"), deny("*__*"), deny("re*", x="1"), ask("?_tell")]
    never = [deny("raed"), ask("p_tell"), ask("?tell"), deny("p__.*")]
    slips = [deny("read", paht="x"), deny("own__tool", paht="x")]

    assert rule_faults([*later, deny("read"), deny(x="1")], tools, packages=True) == ()
    assert rule_faults([ask("p__tell"), ask("p__*")], [], packages=True) == ()
    assert len(rule_faults(never, tools, packages=True)) == len(never)
    assert len(rule_faults(slips, tools, packages=True)) == len(slips)
    assert rule_faults(never[:1], tools, packages=True) == (
        "deny('raed') is about no tool of read, own__tool; did you mean 'read'?",
    )


def test_a_gap_is_an_argument_that_a_packages_tool_does_not_have_or_none_of_all() -> None:
    tools = [spec("read", "path"), spec("own"), spec("p__read", "path"), spec("p__tell", "text")]
    packaged = {"p__read", "p__tell"}

    assert (
        list(rule_gaps([deny("*"), deny("r*", path="x"), ask("p__r*", path="x")], tools, ())) == []
    )
    assert list(rule_gaps([ask("*", path="x")], tools, ())) == []
    assert list(rule_gaps([ask("*", path="x"), deny("q__*", z="x")], tools, packaged)) == [
        "ask('*'): 'path' is no argument of p__tell; there are: text"
    ]
    assert list(rule_gaps([allow("o*", path="x")], tools, packaged)) == [
        "allow('o*'): 'path' is no argument of own; there are: none"
    ]
    assert list(rule_gaps([deny("p__*", path="x", texd="y")], tools, packaged)) == [
        "deny('p__*'): 'texd' is no argument of p__read, p__tell; did you mean 'text'?"
    ]


@pytest.mark.anyio
async def test_what_a_middleware_made_of_a_call_is_judged_again_before_the_tool(
    context: RequestContext,
) -> None:
    made: list[ToolCall] = []

    async def tool(request: ToolRequest) -> ToolResult:
        made.append(request.call)
        return ToolResult(call_id="c1", name="read", content="read")

    wary = [allow("read", path="docs/*"), ask("read", path="drafts/*", reason="not yet done")]
    judged: Call[ToolRequest, ToolResult] = guarded(wary, tool)

    async def outcome(asked: ToolCall, permitted: ToolCall | None) -> str:
        request = ToolRequest(call=asked, context=context, permitted=permitted)
        return (await judged(request)).outcome

    draft = call(path="drafts/a")
    assert await outcome(draft, draft) == "ok"
    assert await outcome(draft, None) == "denied"
    assert await outcome(call(path="keys"), draft) == "denied"
    assert await outcome(call(path="docs/a"), draft) == "ok"
    assert made == [draft, call(path="docs/a")]
    assert guarded((), tool) is tool
