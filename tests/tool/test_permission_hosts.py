"""A host is the same however it is spelled, and no argument leaves a rule without a verdict."""

import http.client
import socket
import threading
from collections.abc import Generator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.request import Request, urlopen

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agentrail.messages import ToolCall
from agentrail.tool import Rule, allow, ask, deny, judge
from agentrail.tool._match import fits


def verdict(rule: Rule, value: object) -> str:
    return judge([rule], ToolCall(id="c1", name="use", arguments={"it": value})).verdict


def denied(glob: str, url: str) -> bool:
    """Tell whether a deny holds for a URL and an ask for a list with it."""
    return (verdict(deny("use", it=glob), url), verdict(ask("use", it=glob), [url])) == (
        "deny",
        "ask",
    )


@pytest.mark.parametrize(
    "host",
    [
        "INTERNAL.Example",
        "internal.example.",
        "\uff49nternal.example",  # a letter of double width
        "\u24d8nternal.example",  # one in a circle
        "internal\u3002example",
        "internal\uff0eexample",
        "internal\uff61example",
        "internal.example\u3002",
        "in\u00adternal.example",  # a hyphen that is not seen
        "in\u200bternal\ufeff.example\ufe0f",
        "%69nternal.example",
        "internal%2eexample",
        "internal%E3%80%82example",
        "internal%EF%BC%8Eexample",
        "%ef%bd%89nternal.example:80",
        "user@internal\u3002example:080",
        "internal.example\uff0fx",
        "internal.example\uff1a80",
        "[internal.example]",
        "\u00ad" * 2_000 + "internal.example",
    ],
)
def test_no_spelling_of_a_name_escapes_a_deny_or_an_ask(host: str) -> None:
    for glob in (
        "http://internal.example/**",
        "http://Internal.Example.:80/**",
        "http://\uff49nternal\u3002example/**",
        "http://%69nternal.example/**",
        "http://*.example/**",
        "http://int?rnal.EXAMPLE/**",
    ):
        assert denied(glob, f"http://{host}/x"), glob


@pytest.mark.parametrize(
    "host",
    [
        "m\u00fcller.example",
        "M\u00dcLLER.example",
        "mu\u0308ller.example",
        "m%C3%BCller.example",
        "xn--mller-kva.example",
        "XN--MLLER-KVA.example.",
    ],
)
def test_a_name_is_the_same_in_its_own_letters_and_in_those_of_the_network(host: str) -> None:
    for glob in ("http://m\u00fcller.example/**", "http://xn--mller-kva.example/**"):
        assert denied(glob, f"http://{host}/x"), glob
    assert denied("http://M\u00dc*.example/**", f"http://{host}/x")


def test_a_name_that_two_standards_read_in_two_ways_is_either() -> None:
    for host in ("fa\u00df.example", "fass.example", "xn--fa-hia.example", "fa\u1e9e.example"):
        assert denied("http://fa\u00df.example/**", f"http://{host}/x")
        assert denied("http://fass.example/**", f"http://{host}/x")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "127.0.1",
        "0x7f.1",
        "0X7F.0x0.0.01",
        "0x7f.0x.0.1",
        "0177.1",
        "00000000177.1",
        "2130706433",
        "0x7f000001",
        "0x000000007f000001",
        "017700000001",
        "\uff11\uff12\uff17.1",
        "127\u30021",
        "127%2e1",
        "%30x7f.1",
        "[::ffff:127.0.0.1]",
        "[::FFFF:7f00:1]",
        "[0:0:0:0:0:ffff:7f00:0001]",
        "%5b::ffff:127.0.0.1%5D:80",
        "[127.0.0.1]",
    ],
)
def test_no_spelling_of_an_address_escapes_a_deny_or_an_ask(host: str) -> None:
    for glob in (
        "http://127.0.0.1/**",
        "http://127.1:80/**",
        "http://2130706433/**",
        "http://[::ffff:127.0.0.1]/**",
        "http://127.*/**",
        "*://127.0.0.1/**",
    ):
        assert denied(glob, f"http://{host}/x"), glob


@pytest.mark.parametrize(
    "host", ["[fe80::1]", "[FE80:0:0:0:0:0:0:1]", "[fe80::0001%25eth0]", "[fe80::0.0.0.1%lo]"]
)
def test_an_address_of_version_six_is_the_same_however_long_it_is(host: str) -> None:
    for glob in ("http://[fe80::1]:8080/**", "http://[FE80:0::0:1]:*/**", "http://[fe80:*/**"):
        assert denied(glob, f"http://{host}:8080/x"), glob


@pytest.mark.parametrize(
    ("glob", "url"),
    [
        ("http://127.0.0.1/**", "http://127.0.0.2/x"),
        ("http://127.0.0.1/**", "http://127.0.0.1.example/x"),
        ("http://127.0.0.1/**", "http://127.0.0.1:8080/x"),
        ("http://127.0.0.1/**", "http://0x7f.example/x"),
        ("http://127.0.0.1/**", "http://256.127.0.1/x"),
        ("http://[fe80::1]/**", "http://[fe80::2]/x"),
        ("http://[fe80::1]/**", "http://[fe80::1::]/x"),
        ("http://internal.example/**", "http://internal-example/x"),
        ("http://m\u00fcller.example/**", "http://muller.example/x"),
        ("http://a\uff0ab.example/**", "http://axb.example/x"),
        ("http://a%2ab.example/**", "http://axb.example/x"),
        ("http://xn--ab-sc9a.example/**", "http://axb.example/x"),
        ("http://x.example/**", "http://xn--0.example/x"),
    ],
)
def test_another_host_is_not_denied(glob: str, url: str) -> None:
    assert verdict(deny("use", it=glob), url) == "allow"


@pytest.mark.parametrize(
    "host",
    [
        "evil.example\uff0f.ok.example",
        "evil.example%ef%bc%8f.ok.example",
        "evil.example%5c.ok.example",
        "evil.example\uff1f.ok.example",
        "evil.example\uff03.ok.example",
        "evil.example\uff1a80.ok.example",
        "evil.example\u2100.ok.example",
        "evil.example%00.ok.example",
        "evil.example%2f%40.ok.example",
    ],
)
def test_a_star_for_a_host_stands_for_no_look_alike_of_its_end(host: str) -> None:
    assert verdict(allow("use", it="https://*.ok.example/**"), f"https://{host}/x") == "deny"


@pytest.mark.parametrize(
    ("glob", "url"),
    [
        ("http://m\u00fcller.example/**", "http://m\u00fcller.example/a"),
        ("http://M\u00dc*.example/**", "http://M\u00dcller.example/a"),
        ("http://xn--mller-kva.example/**", "http://xn--mller-kva.example/a"),
        ("http://*.example/**", "http://xn--mller-kva.example/a"),
        ("http://fa\u00df.example/**", "http://fa\u00df.example/a"),
        ("http://127.1/**", "http://127.1/a"),
        ("http://10.*/**", "http://10.1/a"),
        ("http://[FE80::0:1]:*/**", "http://[FE80::0:1]:8080/a"),
        ("http://*:8080/**", "http://[fe80::1]:8080/a"),
        ("http://*:8080/**", "http://127.1:8080/a"),
        ("http://\ud800.example/*", "http://\ud800.example/\ud800"),
    ],
)
def test_an_allow_in_any_spelling_holds_for_its_own(glob: str, url: str) -> None:
    assert verdict(allow("use", it=glob), url) == "allow"


@pytest.mark.parametrize(
    "host",
    ["internal\u3002example", "\uff49nternal.example", "[internal.example]", "Internal.Example"],
)
def test_an_allow_holds_for_no_other_spelling(host: str) -> None:
    assert verdict(allow("use", it="http://internal.example/**"), f"http://{host}/x") == "deny"


class Page(BaseHTTPRequestHandler):
    """Serves one page."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"a page")

    def log_request(self, code: object = "-", size: object = "-") -> None:
        """Be quiet."""


@pytest.fixture(scope="module")
def port() -> Generator[int]:
    """The port of this machine at which a page is served."""
    with HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def opened(url: str) -> bytes:
    with urlopen(url, timeout=30) as response:  # noqa: S310 - that is what is tested
        content: bytes = response.read()
    return content


@pytest.mark.parametrize(
    "spelling",
    [
        "\u3000{host}:{port}/x",
        "{host}:{port}/x\u2003",
        "\x85 \x1c{host}:{port}/x\u2028 \xa0",
        "URL:{host}:{port}/x",
        "<{host}:{port}/x>",
        "\u3000< URL:\xa0{host}:{port}/x > ",
        "<URL:{host}:{port}/x#top>",
        "{host}:+{port}/x",
        "{host}:%2B{port}/x",
        "{host}%3a+{port}/x",
        "{host}:0{port}/x",
        "{host}:0_{port}/x",
        "{host}:%20{port}%20/x",
        "{host}:{wrapped}/x",
        "<URL:{host}:+0_{wrapped}/x>",
    ],
)
def test_what_a_client_opens_however_it_is_spelled_a_deny_holds_for(
    port: int, spelling: str
) -> None:
    url = spelling.format(host="http://127.0.0.1", port=port, wrapped=port + 65536)

    assert opened(url) == b"a page"
    for glob in (f"http://127.0.0.1:{port}/**", f"http://*:{port}/x", "http://127.0.0.1:**"):
        assert denied(glob, url), glob


@pytest.mark.parametrize(
    "spelling",
    [
        "file://{path}",
        "file:{path}",
        "FILE:{path}",
        "file:%2F{rest}",
        "file:////{path}",
        "file://localhost{path}",
        "file://LOCALHOST{path}#top",
        "file://%6cocalhost{path}",
        "file://127.0.0.1{path}",
        "file://127.1{path}",
        "<URL:file:{path}>",
        "\u3000file:{path}\x85",
    ],
)
def test_a_file_is_the_same_however_its_url_is_spelled(tmp_path: Path, spelling: str) -> None:
    path = tmp_path / "page"
    path.write_bytes(b"a page")
    url = spelling.format(path=path, rest=str(path)[1:])

    assert opened(url) == b"a page"
    for glob in (
        f"file://{tmp_path}/**",
        f"file:{tmp_path}/**",
        f"file://localhost{tmp_path}/*",
        "file:///**",
        "file://**",
        "file:/**",
        "file:**",
        "*://**/page",
    ):
        assert denied(glob, url), glob


@pytest.mark.parametrize(
    ("glob", "url"),
    [
        ("http://127.0.0.1:8080/**", "http://127.0.0.1 :8080/"),
        ("http://127.0.0.1:8080/**", "http://127.0.0.1\u200e:8080/"),
        ("http://127.0.0.1:8080/**", "http://127.0.0.1:\u0668\u0660\u0668\u0660/"),
        ("http://127.0.0.1:8080/**", "http://127.0.0.1:8_080/"),
        ("http://127.0.0.1/**", "http://127.0.0.1:8_0/"),
        ("http://127.0.0.1/**", "http://127.0.0.1:+80/"),
        ("http://[fe80::1]:8080/**", "http://[fe80::1]:+8080/"),
        ("https://127.0.0.1/**", "https://127.0.0.1:4_43/"),
        ("url://a/**", "URL://A/b"),
        ("file:///etc/**", "file:etc/passwd"),
        ("file:///etc/**", "file:\\etc\\passwd"),
        ("file:///etc/**", "file:/tmp/../etc/passwd"),
        ("file:///etc/**", "file://a.machine.example/etc/passwd"),
    ],
)
def test_other_spellings_that_a_client_may_read_do_not_escape(glob: str, url: str) -> None:
    assert denied(glob, url)


@pytest.mark.parametrize(
    ("glob", "text"),
    [
        ("http://127.0.0.1:8080/**", "http://127.0.0.1:+8081/"),
        ("http://127.0.0.1:8080/**", "http://127.0.0.1:+8_080x/"),
        ("http://127.0.0.1:8080/**", "<http://127.0.0.2:8080/>"),
        ("file:///etc/**", "file:/tmp/etc/passwd"),
        ("file:///etc/**", "profile:/etc/passwd"),
        ("file://server.example/**", "file:///etc/passwd"),
        ("a**", "<a>"),
        ("a**", "URL:a"),
        ("//a**", "URL://a"),
    ],
)
def test_another_port_or_file_or_text_is_not_denied(glob: str, text: str) -> None:
    assert verdict(deny("use", it=glob), text) == "allow"


@pytest.mark.parametrize(
    ("glob", "text"),
    [
        ("http://127.0.0.1:*/**", "http://127.0.0.1:8080/a"),
        ("file:///srv/**", "file:///srv/a"),
        ("file:/srv/**", "file:/srv/a"),
        ("file:**", "file:/srv/a"),
        ("file:**", "file://server.example/a"),
        ("file://localhost/srv/*", "file://localhost/srv/a"),
        ("file://server.example/**", "file://server.example/a"),
        ("<**>", "<a b>"),
        ("URL:*", "URL:a"),
    ],
)
def test_an_allow_holds_for_a_port_a_file_or_a_text_as_it_says(glob: str, text: str) -> None:
    assert verdict(allow("use", it=glob), text) == "allow"


def taken_for(url: str) -> set[str]:
    """Return the names and addresses that Python's clients would ask the network for."""
    hosts: set[str] = set()
    with suppress(httpx.InvalidURL):
        hosts.add(httpx.URL(url).raw_host.decode())
    with suppress(http.client.InvalidURL, ValueError):
        name = http.client.HTTPConnection(Request(url).host).host  # noqa: S310 - it is not opened
        hosts.add(name.encode("idna").decode())
    for host in list(hosts):
        with suppress(OSError):
            hosts.add(socket.inet_ntoa(socket.inet_aton(host)))
    return {host.lower().rstrip(".") for host in hosts}


named = "m\u00fcller xn--mller-kva MU\u0308LLER m \u00fc %C3%BC \uff4dull er example \uff25xample"
signs = ". \u3002 \uff0e %2e \u00ad \u200d [ ] : 80 @"
numbers = "127 0x7f 0177 .0 .1 0.1 2130706433 \uff11"
names = st.lists(st.sampled_from(f"{named} {signs} {numbers}".split(" ")), min_size=1, max_size=5)


@given(names)
@example(["m\u00fcller", "\u3002", "\uff25xample"])
@example(["0177", ".1"])
def test_what_a_client_takes_for_a_host_a_deny_takes_for_it_too(parts: list[str]) -> None:
    url = f"http://{''.join(parts)}/x"
    hosts = taken_for(url)
    if "xn--mller-kva.example" in hosts:
        assert denied("http://m\u00fcller.example**", url)
    if "127.0.0.1" in hosts:
        assert denied("http://127.0.0.1**", url)


@pytest.mark.parametrize(
    "host",
    [
        "a" + "\u0301\u0316" * 200_000,
        "\u00ad" * 400_000,
        "\ufdfa" * 400_000,
        "xn--abcd-abc." * 20_000,
        "xn--" + "a9" * 200_000,
        "0x" + "0" * 400_000 + "7f.1",
        "1." * 200_000,
        "[" * 400_000,
        "[" + "1:" * 200_000 + "]",
        "%ef%bc%8e" * 40_000,
        "a:" + "0" * 400_000,
        "a:" + "_0" * 200_000,
        "a:" + "\u3000" * 400_000 + "1",
        " " * 400_000 + "a",
        "a/\u3000 \x85" + "\u3000 \x00" * 100_000 + "b",
    ],
)
def test_a_long_host_does_not_hold_up_the_loop(host: str) -> None:
    url = f"http://{host}/x"
    for value in (url, [url], f"<URL:{url}#>"):
        assert verdict(deny("use", it="http://*internal.example/**x**y"), value) == "allow"
        assert verdict(allow("use", it="http://*internal.example/**x**y"), value) == "deny"


@pytest.mark.parametrize("half", ["\ud800", "\udc00\ud800", "a\ud83d", "\ud83d.\ude00"])
def test_half_a_surrogate_pair_in_a_list_or_an_object_leaves_a_verdict(half: str) -> None:
    for value in ([half], {"a": half}, {half: "a"}, [["/etc/passwd", {half: half}]], half):
        assert verdict(deny("use", it="b*"), value) == "allow"
        assert verdict(allow("use", it="b*"), value) == "deny"
        assert verdict(deny("use", it="**"), value) == "deny"


def test_half_a_surrogate_pair_hides_nothing_that_stands_beside_it() -> None:
    for value in (
        ["\ud800", "/etc/passwd"],
        dict(zip("\ud800\udfff", ("/var/../etc/passwd", "notes"), strict=True)),
        {"p": "/etc/passwd\udfff"},
        ["\ud800", "http://internal\u3002example/"],
    ):
        rules = [deny("use", it="/etc/**"), deny("use", it="http://internal.example/**")]
        assert "deny" in {verdict(rule, value) for rule in rules}
    assert verdict(deny("use", it="a\U0001f600"), ["a\ud83d\ude00"]) == "deny"
    assert verdict(deny("use", it="a?"), ["a\ud83d"]) == "deny"


def test_what_cannot_be_written_down_is_denied_and_never_allowed() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    for value in (deep, {"a": 10**5_000}, ["\ud800", 10**5_000], {1: 2}, object()):
        assert verdict(deny("use", it="a"), value) == "deny"
        assert verdict(ask("use", it="a"), value) == "ask"
        assert verdict(allow("use", it="**"), value) == "deny"


urls = r"http:// https: // / \ .. . @ : [ ] ? # % %2e %25 %ed%a0%80 xn-- xn--x xn--0sd - 0x 127"
odds = '\u3002 \uff0f \u00ad \u0301 \udfff \x00 \n " { , 1e999 * ** \U000e0100 a'
odd = st.lists(st.sampled_from(f"{urls} {odds}".split(" ")), max_size=7).map("".join)
anything = st.text(st.characters(exclude_categories=()), max_size=6) | odd
values = st.recursive(
    anything | st.none() | st.booleans() | st.integers() | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(anything, inner, max_size=3),
    max_leaves=6,
)


@given(anything | odd.map("{}**".format), values)
@example("http://*/**", "http://xn--0sd.example/")
@example("{**}", {"u": "http://xn--\uff0d0sd/", "\ud800": 1})
def test_every_argument_finds_a_verdict(glob: str, value: object) -> None:
    if fits(glob, value, strict=True):
        assert fits(glob, value, strict=False)
