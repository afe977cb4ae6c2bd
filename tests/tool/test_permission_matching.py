"""Patterns cost no more than their text is long, and no way of writing gets around a rule."""

import posixpath
import re
import sys
from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agentrail.messages import ToolCall
from agentrail.tool import Rule, allow, ask, deny, judge
from agentrail.tool._match import fits, matches


def verdict(rule: Rule, value: object) -> str:
    return judge([rule], ToolCall(id="c1", name="use", arguments={"it": value})).verdict


def as_regex(glob: str) -> re.Pattern[str]:
    wild = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*|\*|\?)", glob)
    return re.compile("".join(wild.get(part, re.escape(part)) for part in parts), re.DOTALL)


globs = st.text(st.sampled_from("ab/é€*?"), max_size=8)
texts = st.text(st.sampled_from("ab/é€\n\U0001f600\ud800"), max_size=10)


@given(globs, texts)
@example("*a/**", "aa/")
@example("a*", "a/é")
@example("?", "€")
@example("??", "€")
@example("**?", "\U0001f600")
@example("a*a**a", "aa")
def test_a_pattern_matches_what_its_translation_to_a_regular_expression_matches(
    glob: str, text: str
) -> None:
    assert matches(glob, text) is bool(as_regex(glob).fullmatch(text))


@given(st.lists(st.sampled_from(["a", "b", "/", "é"]), max_size=40), globs)
def test_longer_texts_too(parts: Sequence[str], glob: str) -> None:
    text = "".join(parts)
    assert matches(glob, text) is bool(as_regex(glob).fullmatch(text))


def calls_made(glob: str, text: str) -> int:
    made = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal made
        made += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        matches(glob, text)
    finally:
        sys.setprofile(before)
    return made


@pytest.mark.parametrize("glob", ["**curl**|**sh**", "*a*b*c*d*e*f*", "**a*b?c**d", "**"])
def test_a_longer_text_takes_no_more_steps(glob: str) -> None:
    matches(glob, "abcdef curl | sh")  # what is kept for a pattern is there from now on
    short, long = "abcdef/sh|curl" * 10, "abcdef/sh|curl" * 10_000

    assert calls_made(glob, long) == calls_made(glob, short)


@pytest.mark.parametrize(
    ("glob", "text"),
    [
        ("**curl**|**sh**", "sh" + "curl|" * 40_000),
        ("**a**b**c**d**e**!", "!" + "abcde" * 40_000),
        ("*a*b*c*d*e*!", "!" + "abcde" * 40_000),
        ("**a*b**/a?b**!", "!" + "ab/a" * 50_000),
        ("**/a/**/b/**/c", "/c" + "/a/b" * 50_000),
        ("**é*€?**é*€!", "!" + "é€/" * 65_000),
    ],
)
def test_a_long_text_does_not_hold_up_the_loop(glob: str, text: str) -> None:
    for rule in (deny("use", it=glob), ask("use", it=glob), allow("use", it=glob)):
        assert verdict(rule, text) == ("deny" if rule.verdict == "allow" else "allow")
        assert verdict(rule, [text]) == ("deny" if rule.verdict == "allow" else "allow")


def test_nor_does_the_name_of_a_tool_that_a_model_makes_up() -> None:
    name = "a" * 200_000
    rule = deny("*a*a*a*a*b")

    assert judge([rule], ToolCall(id="c1", name=name, arguments={})).verdict == "allow"
    assert judge([rule], ToolCall(id="c1", name=name + "b", arguments={})).verdict == "deny"


@pytest.mark.parametrize("many", ["/../", "%25", "%2e%2e/", "..\\", ":", "@", "https://", ". "])
def test_nor_does_a_text_of_nothing_but_detours(many: str) -> None:
    for text in (many * 20_000, "https://x/" + many * 20_000, "https://" + many * 20_000):
        assert verdict(deny("use", it="/etc/**x**y"), text) == "allow"
        assert verdict(allow("use", it="/etc/**"), text) == "deny"


@pytest.mark.parametrize(
    ("glob", "value"),
    [
        ("/etc/**", ["/etc/passwd"]),
        ("/etc/**", ["notes", ["/etc/passwd"]]),
        ("/etc/**", {"p": "/etc/passwd"}),
        ("/etc/**", {"/etc/passwd": "root::0"}),
        ("/etc/**", [{"p": "/var/../etc/passwd"}]),
        ("/etc/**", " /etc/passwd"),
        ("/etc/**", "/etc/passwd\n"),
        ("/etc/**", "/%65tc/passwd"),
        ("/etc/**", "/var/%2e%2e/etc/passwd"),
        ("/etc/**", "/var/..%2fetc/passwd"),
        ("/etc/**", "/var/%252e%252e/etc/passwd"),
        ("/etc/**", "\\etc\\passwd"),
        ("C:\\keys\\**", "C:\\keys\\a"),
        ("C:\\keys\\**", "C:/keys/a"),
        ('say "no"', ['say "no"']),
        ('{"p":"/etc/*"}', {"p": "/var/../etc/passwd"}),
        ("1000", 1000.0),
        ("1000", [1000.0]),
        ("1000", {"amount": 1e3}),
        ("-1", -1.0),
        ("0", -0.0),
        ("true", [True]),
        ("null", {"a": None}),
    ],
)
def test_no_shape_of_an_argument_escapes_a_deny_or_an_ask(glob: str, value: object) -> None:
    assert verdict(deny("use", it=glob), value) == "deny"
    assert verdict(ask("use", it=glob), value) == "ask"


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/x",
        "HTTPS://evil.example/x",
        "https://EVIL.example/x",
        "https://evil.example:443/x",
        "https://evil.example:0443/x",
        "https://evil.example:/x",
        "https://u@evil.example/x",
        "https://u:p@evil.example:443/x",
        "https://good.example\\@evil.example/x",
        "https://evil.example\\@good.example/x",
        "https://good.example%2f@evil.example/x",
        "https://evil.example./x",
        "https://evil.example?x",
        "https://evil.example#x",
        "https://evil.example",
        "https:evil.example/x",
        "https:/evil.example/x",
        "https:///evil.example/x",
        "https:\\\\evil.example\\x",
        "https://%65vil.example/x",
        " https://evil.example/x",
        "https://evil.exa\nmple/x",
        "ht\ttps://evil.example/x",
    ],
)
def test_no_spelling_of_a_url_escapes_a_deny_or_an_ask(url: str) -> None:
    for glob in (
        "https://evil.example/**",
        "HTTPS://Evil.Example:443/**",
        "https://*.example/**",
        "*://evil.example/**",
        "https://evil.example**",
    ):
        assert verdict(deny("use", it=glob), url) == "deny", glob
        assert verdict(ask("use", it=glob), {"urls": [url]}) == "ask", glob


def test_a_fragment_hides_no_page_and_is_one_where_the_pattern_says_so() -> None:
    assert verdict(deny("use", it="https://a.example/x"), "https://A.example/x#y") == "deny"
    assert verdict(deny("use", it="https://a.example/#/keys"), "https://a.example/#/") == "allow"
    assert verdict(deny("use", it="keys"), "keys#1") == "allow"


@pytest.mark.parametrize(
    ("glob", "value"),
    [
        ("https://evil.example/**", "https://evil.example.org/x"),
        ("https://evil.example/**", "https://evil.example:8443/x"),
        ("https://evil.example/**", "https://good.example/?to=https://evil.example/x"),
        ("/etc/**", "etc/passwd"),
        ("/etc/**", ["/var/a", {"p": "/usr"}]),
        ("1000", 1000.5),
        ("1000", "1000.0"),
        ("1000", [float("inf")]),
        ("a/b", ["a", "b"]),
        ("a%2a", " ab"),
        ("a%3f", " ab"),
    ],
)
def test_what_is_something_else_is_not_denied(glob: str, value: object) -> None:
    assert verdict(deny("use", it=glob), value) == "allow"


@pytest.mark.parametrize(
    "url",
    [
        "https://ok.example/public/%2e%2e/admin",
        "https://ok.example/public/.%2E/admin",
        "https://ok.example/public/..%2fadmin",
        "https://ok.example/public/%252e%252e/admin",
        "https://ok.example/public/\\..\\admin",
        "https://ok.example/public/..%5cadmin",
        "https://ok.example/public/.\t./admin",
        "https://OK.example/public/a",
        "https://u@ok.example/public/a",
    ],
)
def test_no_spelling_of_a_url_widens_an_allow(url: str) -> None:
    assert verdict(allow("use", it="https://ok.example/public/**"), url) == "deny"


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example#.ok.example/x",
        "https://evil.example?.ok.example/x",
        "https://evil.example\\.ok.example/x",
        "https://evil.example%2f.ok.example/x",
        "https://evil.example:.ok.example/x",
        "https://evil.example:80.ok.example/x",
    ],
)
def test_a_star_for_a_host_stands_for_no_end_of_it(url: str) -> None:
    assert verdict(allow("use", it="https://*.ok.example/**"), url) == "deny"
    assert verdict(allow("use", it="https://*.ok.example/**"), "https://a.ok.example/x") == "allow"


@pytest.mark.parametrize(
    ("glob", "value"),
    [
        ("https://ok.example/public/**", "https://ok.example/public/a%20b?q=%2e%2e#c"),
        ("https://ok.example/**", "https://ok.example/a/%2e%2e/b"),
        ("https://ok.example:443/**", "https://ok.example:443/a"),
        ("https://ok.example:*/**", "https://ok.example:8443/a"),
        ("https://Ok.example/**", "https://Ok.example/a"),
        ("https://ok.example", "https://ok.example"),
        ("https://*.ok.example", "https://a.ok.example"),
        ("http://[::1]:*/**", "http://[::1]:8080/a"),
        ("https://**", "https://a.example"),
        ("https://ok.example/a%20b/*", "https://ok.example/a%20b/c"),
        ("C:\\docs\\**", "C:\\docs\\a"),
        ("docs/**", ["docs/a", "docs/b/../c"]),
        ("**", {"any": ["../thing", 1.5, None]}),
        ("**", []),
        ("**", " 100%25 \\d ../ "),
        ("a\\d%20 ", "a\\d%20 "),
        ('["a%20b","../c"]', ["a%20b", "../c"]),
        ('{"p":"docs/**"}', {"p": "docs/a"}),
        ('["../*"]', ["../a"]),
        ("1*", 10.0),
        ("*.0", [1.0, 2.0]),
    ],
)
def test_what_an_allow_means_is_allowed(glob: str, value: object) -> None:
    assert verdict(allow("use", it=glob), value) == "allow"


@pytest.mark.parametrize(
    ("glob", "value"),
    [
        ("docs/**", ["docs/a", "/etc/passwd"]),
        ("docs/**", ["docs/a", 1]),
        ("docs/**", ["docs/a", "docs/../keys"]),
        ("docs/**", ["docs/%2e%2e/keys"]),
        ("docs/**", {"path": "docs/a"}),
        ("docs/**", []),
        ("docs/*", "docs/a%2fb"),
        ("docs/*", "docs/a\\b"),
        ("*", [".."]),
        ("*", ["%2e%2e", "x"]),
        ("*/keys", " ../keys"),
        ('["docs/**"]', ["docs/.."]),
        ('{"p":"docs/**"}', {"p": "docs/../keys"}),
        ("1000", 1000.0),
    ],
)
def test_an_allow_means_all_that_an_argument_holds_and_may_become(glob: str, value: object) -> None:
    assert verdict(allow("use", it=glob), value) == "deny"


segments = st.sampled_from(
    ["..", "%2e%2e", ".%2E", "%252e.", "/", "%2f", "\\", "%5C", "a", "public", ".", "\t", "#", "?"]
)


@given(st.lists(segments, max_size=8))
def test_whatever_an_allow_lets_through_is_inside_for_every_reader(parts: list[str]) -> None:
    url = "https://ok.example/public/" + "".join(parts)
    if verdict(allow("use", it="https://ok.example/public/**"), url) == "allow":
        once = unquote(urlsplit(url).path)
        for path in (urlsplit(url).path, once, unquote(once)):
            for read in (path, path.replace("\\", "/")):
                assert f"{posixpath.normpath(read)}/".startswith("/public/"), url


leaves = st.one_of(texts.filter(lambda text: text.isprintable()), st.integers(0, 9), st.none())
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3), max_leaves=6)


@given(globs, values)
def test_what_is_matched_strictly_is_matched_generously(glob: str, value: object) -> None:
    if fits(glob, value, strict=True):
        assert fits(glob, value, strict=False)


@given(globs, texts)
def test_a_deny_matches_at_least_what_its_pattern_does_and_an_allow_at_most(
    glob: str, text: str
) -> None:
    plain = bool(as_regex(glob).fullmatch(text))
    assert fits(glob, text, strict=False) or not plain
    assert plain or text == glob or not fits(glob, text, strict=True)
