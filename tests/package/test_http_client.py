"""What a package's HTTP client reaches, what it says there, and what it takes back."""

import gzip
import ssl
import subprocess
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address
from pathlib import Path

import anyio
import httpx
import pytest
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSListener
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st

from agentrail.errors import PackageError, PermissionDenied
from agentrail.package import Permissions, PluginContext
from agentrail.package._http import LARGEST, is_outside
from tests.package.packages import Behind, make

pytestmark = pytest.mark.anyio

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@define
class Server:
    """A server on the loopback, and what it was told."""

    port: int
    requests: list[bytes] = field(factory=list[bytes])
    connections: int = 0
    sent: int = 0

    @property
    def origin(self) -> str:
        return f"http://localhost:{self.port}"

    @property
    def headers(self) -> list[str]:
        return self.requests[-1].partition(b"\r\n\r\n")[0].decode("latin-1").lower().split("\r\n")


@asynccontextmanager
async def serving(
    answer: bytes | Callable[[Server], bytes] = OK,
    context: ssl.SSLContext | None = None,
    requests: int = 1,
    endless: bytes = b"",
) -> AsyncGenerator[Server]:
    """Answers so many requests of each connection, and closes; what is endless comes after."""
    plain = await anyio.create_tcp_listener(local_host="127.0.0.1")
    server = Server(plain.extra(SocketAttribute.local_port))  # noqa: S610
    listener = plain if context is None else TLSListener(plain, context, standard_compatible=False)

    async def handle(stream: ByteStream) -> None:
        server.connections += 1
        async with stream:
            with anyio.move_on_after(5), _hung_up():
                for _ in range(requests):
                    said = b""
                    while not _is_whole(said):
                        said += await stream.receive()
                    server.requests.append(said)
                    await stream.send(answer if isinstance(answer, bytes) else answer(server))
                while endless:
                    await stream.send(endless)
                    server.sent += len(endless)

    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, handle)
        yield server
        group.cancel_scope.cancel()


def _is_whole(said: bytes) -> bool:
    head, end, body = said.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" in head.lower():
        return body.endswith(b"0\r\n\r\n")
    length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
    return bool(end) and len(body) >= int(length or 0)


class _hung_up:  # noqa: N801 - reads as what it lets pass
    def __enter__(self) -> None: ...
    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> bool:
        return kind in {anyio.BrokenResourceError, anyio.EndOfStream}


@pytest.fixture
def behind(tmp_path: Path) -> Behind:
    return Behind(tmp_path / "own", secrets={"KEY": "s3cr3t", "OTHER": "0ther"})


@pytest.fixture
async def reach(tmp_path: Path, behind: Behind) -> AsyncIterator[Callable[..., PluginContext]]:
    """Returns a function that makes contexts which may reach the given origins."""
    package = make(tmp_path / "package", {"__init__.py": ""})
    contexts: list[PluginContext] = []

    def context(*origins: str) -> PluginContext:
        granted = Permissions(network=origins, secrets=("KEY",))
        contexts.append(behind.context(package, granted=granted))
        return contexts[-1]

    yield context
    for each in contexts:
        await each.aclose()


Reach = Callable[..., PluginContext]


async def test_a_granted_origin_is_reached(reach: Reach) -> None:
    async with serving() as server:
        answer = await reach(server.origin).http.get(f"{server.origin}/a?b=c#d")

    assert (answer.status_code, answer.text) == (200, "ok")
    assert server.headers[0] == "get /a?b=c http/1.1"
    assert f"host: localhost:{server.port}" in server.headers


async def test_nothing_is_reached_without_a_grant(reach: Reach, behind: Behind) -> None:
    async with serving() as server:
        with pytest.raises(PermissionDenied, match="was not granted network"):
            await reach().http.get(server.origin)

    assert server.requests == []
    assert behind.denied == [("network", server.origin)]


DENIED = [
    "http://127.0.0.1:{port}",
    "http://localhost.:{port}",
    "http://LOCALHOST.:{port}",
    "https://localhost:{port}",
    "http://localhost",
    "http://localhost:1",
    "http://0.0.0.0:{port}",
    "http://[::1]:{port}",
    "http://[::ffff:127.0.0.1]:{port}",
    "http://2130706433:{port}",
    "http://0x7f.1:{port}",
    "http://017700000001:{port}",
    "http://127.1:{port}",
    "http://169.254.169.254",
    "http://user:pass@localhost:{port}",
    "http://localhost:{port}@127.0.0.1:{port}",
    "http://localhost@127.0.0.1:{port}",
    "http://%6cocalhost:{port}",
    "http://localhost%00.example.com:{port}",
    "http://localhost%2eexample.com:{port}",
    "http://localhost\\example.com:{port}",
    "http://localhost;x:{port}",
    "http://localhost%20:{port}",
    "http://l\u043ecalhost:{port}",
    "ws://localhost:{port}",
    "ftp://localhost:{port}",
    "file:///etc/passwd",
    "/etc/passwd",
    "//localhost:{port}/",
]


@pytest.mark.parametrize("url", DENIED)
async def test_what_only_looks_like_a_granted_origin_is_denied(
    url: str, reach: Reach, behind: Behind
) -> None:
    async with serving() as server:
        with pytest.raises(PermissionDenied):
            await reach(server.origin).http.get(url.format(port=server.port))

    assert server.requests == []
    assert [permission for permission, _ in behind.denied] == ["network"]


@pytest.mark.parametrize(
    "url", ["http://local\rhost/", "http://local\nhost/", "http://local\0host/", "http://[::1/"]
)
async def test_what_is_no_address_is_not_taken_for_one(url: str, reach: Reach) -> None:
    with pytest.raises(httpx.InvalidURL):
        await reach("*").http.get(url)


INSIDE = [
    "127.0.0.1",
    "localhost",
    "0.0.0.0",  # noqa: S104 - nothing is bound
    "[::]",
    "[::1]",
    "[::127.0.0.1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:10.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[fe80::1]",
    "[fec0::1]",
    "[fd00::1]",
    "[ff02::1]",
    "2130706433",
    "0x7f.1",
    "0x7f000001",
    "017700000001",
    "127.1",
    "0",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.0.1",
    "100.64.0.1",
    "169.254.169.254",
    "192.0.0.9",
    "192.88.99.1",
    "[::ffff:0:5db8:d822]",
    "[3fff::1]",
    "[5f00::1]",
    "224.0.0.1",
    "255.255.255.255",
]


@pytest.mark.parametrize("host", INSIDE)
async def test_any_public_host_is_none_inside(host: str, reach: Reach, behind: Behind) -> None:
    with pytest.raises(PermissionDenied, match="inside a network"):
        await reach("*").http.get(f"https://{host}:8443/")

    assert [permission for permission, _ in behind.denied] == ["network"]


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "127.1", "127.0.0.1"])
async def test_a_granted_name_that_leads_inside_is_not_followed(host: str, reach: Reach) -> None:
    async with serving() as server:
        origin = f"http://{host}:{server.port}"
        with pytest.raises(PermissionDenied, match=r"127\.0\.0\.1, which is inside a network"):
            await reach(origin).http.get(origin)

    assert server.requests == []


async def test_any_public_host_means_https(reach: Reach) -> None:
    with pytest.raises(PermissionDenied):
        await reach("*").http.get("http://example.com")


async def test_a_name_that_leads_nowhere_is_an_error(reach: Reach) -> None:
    with pytest.raises(PackageError, match="has no address"):
        await reach("*").http.get("https://nowhere.invalid/")


@pytest.mark.parametrize(
    "host",
    [
        "example.invalid",
        "evilexample.invalid",
        ".example.invalid",
        "evil.example.invalid.x",
        "evil.invalid%00.example.invalid",
        "evil.invalid\\.example.invalid",
        "evil.invalid;.example.invalid",
        "evil invalid.example.invalid",
    ],
)
async def test_a_wildcard_stands_for_names_below(host: str, reach: Reach) -> None:
    with pytest.raises(PermissionDenied):
        await reach("https://*.example.invalid").http.get(f"https://{host}/")


@pytest.mark.parametrize("host", ["a.example.invalid", "a.b.example.invalid", "A.EXAMPLE.invalid"])
async def test_names_below_a_wildcard_are_looked_up(host: str, reach: Reach) -> None:
    with pytest.raises(PackageError, match="has no address"):
        await reach("https://*.example.invalid").http.get(f"https://{host}/")


async def test_a_name_of_another_script_is_granted_as_it_is_sent(reach: Reach) -> None:
    with pytest.raises(PackageError, match=r"'xn--r8jz45g\.invalid' has no address"):
        await reach("https://xn--r8jz45g.invalid").http.get("https://例え.invalid")
    with pytest.raises(PermissionDenied):
        await reach("https://xn--r8jz45g.invalid").http.get("https://例.invalid")


@pytest.mark.parametrize("target", ["http://127.0.0.1:{port}/", "http://localhost:1/"])
async def test_a_redirect_is_checked_as_any_request(
    target: str, reach: Reach, behind: Behind
) -> None:
    def answer(server: Server) -> bytes:
        to = target.format(port=server.port)
        return f"HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n".encode()

    async with serving(answer) as server:
        context = reach(server.origin)
        plain = await context.http.get(server.origin)
        assert plain.status_code == 302
        with pytest.raises(PermissionDenied):
            await context.http.get(server.origin, follow_redirects=True)

    assert len(server.requests) == 2
    assert len(behind.denied) == 1


async def test_a_circle_of_redirects_ends(reach: Reach) -> None:
    moved = b"HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n"
    async with serving(moved) as server:
        with pytest.raises(httpx.TooManyRedirects):
            await reach(server.origin).http.get(server.origin, follow_redirects=True)

    assert len(server.requests) == 21


async def test_a_secret_is_filled_in_where_it_was_granted_to_go(
    reach: Reach, behind: Behind
) -> None:
    async with serving() as server:
        context = reach(server.origin)
        secret = context.secret("KEY")
        answer = await context.http.get(
            server.origin,
            headers={"authorization": f"Bearer {secret}", "x-two": f"{secret}-{secret}"},
        )
        with pytest.raises(PermissionDenied):
            await context.http.get(server.origin, headers={"x-key": "{{secret:OTHER}}"})
        with pytest.raises(PermissionDenied):
            await context.http.get("http://localhost:1", headers={"x-key": str(secret)})

    assert "authorization: bearer s3cr3t" in server.headers
    assert "x-two: s3cr3t-s3cr3t" in server.headers
    assert len(server.requests) == 1
    assert "s3cr3t" not in f"{answer.request.headers}{secret}{secret!r}{behind.denied}"
    assert behind.denied == [("secrets", "OTHER"), ("network", "http://localhost:1")]


async def test_a_secret_does_not_follow_a_redirect_to_another_origin(reach: Reach) -> None:
    async with serving() as there:

        def answer(server: Server) -> bytes:
            to = f"{there.origin}/x" if len(server.requests) > 1 else "/again"
            return f"HTTP/1.1 307 Go\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n".encode()

        async with serving(answer) as here:
            context = reach(here.origin, there.origin)
            headers = {"x-key": str(context.secret("KEY")), "x-plain": "kept"}
            await context.http.get(here.origin, headers=headers, follow_redirects=True)

    assert all(b"s3cr3t" in request for request in here.requests)
    assert len(here.requests) == 2
    assert "x-plain: kept" in there.headers
    assert not [line for line in there.headers if line.startswith("x-key")]


@pytest.mark.parametrize("value", ["s3cr3t\n", "s3cr3t\r\nx-more: 1", "s3cr3t\u20ac"])
async def test_a_secret_that_no_header_may_have_is_not_shown(
    value: str, reach: Reach, behind: Behind
) -> None:
    behind.secrets["KEY"] = value
    async with serving() as server:
        context = reach(server.origin)
        with pytest.raises(PackageError) as caught:
            await context.http.get(server.origin, headers={"x-key": "{{secret:KEY}}"})

    assert "s3cr3t" not in str(caught.value)
    assert server.requests == []


async def test_headers_that_are_the_connections_own_are_not_the_packages(reach: Reach) -> None:
    headers = {
        "Host": "evil.example",
        "Connection": "upgrade",
        "Upgrade": "websocket",
        "Proxy-Authorization": "x",
        "TE": "trailers",
        "Accept-Encoding": "gzip",
    }
    async with serving() as server:
        await reach(server.origin).http.get(server.origin, headers=headers)

    names = [line.partition(":")[0] for line in server.headers[1:]]
    assert names.count("host") == 1
    assert f"host: localhost:{server.port}" in server.headers
    assert "accept-encoding: identity" in server.headers
    assert not {"connection", "upgrade", "proxy-authorization", "te"} & set(names)


async def test_a_header_may_stand_there_twice_and_hold_no_other(reach: Reach) -> None:
    async with serving() as server:
        client = reach(server.origin).http
        await client.get(server.origin, headers=[("x-a", "1"), ("x-a", "2")])
        with pytest.raises(httpx.LocalProtocolError):
            await client.get(server.origin, headers={"x-a": "1\r\nx-b: 2"})

    assert [line for line in server.headers if line.startswith("x-")] == ["x-a: 1", "x-a: 2"]
    assert len(server.requests) == 1


async def test_connect_is_no_way_out(reach: Reach) -> None:
    async with serving() as server:
        with pytest.raises(PermissionDenied):
            await reach(server.origin).http.request("CONNECT", server.origin)

    assert server.requests == []


async def test_bodies_are_sent_whole_and_in_pieces(reach: Reach) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    async with serving() as server:
        client = reach(server.origin).http
        await client.post(server.origin, json={"a": 1})
        await client.post(server.origin, content=pieces())

    assert server.requests[0].endswith(b'\r\n\r\n{"a":1}')
    assert server.requests[1].endswith(b"\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")


async def test_an_answer_that_is_too_long_is_broken_off(reach: Reach) -> None:
    async with serving(b"HTTP/1.1 200 OK\r\n\r\n", endless=b"x" * 65_536) as server:
        with pytest.raises(PackageError, match=f"more than {LARGEST} bytes"):
            await reach(server.origin).http.get(server.origin)

    assert server.sent < 3 * LARGEST


async def test_an_answer_that_would_unfold_is_not_taken(reach: Reach) -> None:
    body = gzip.compress(b"\0" * 10_000_000)
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(body)
    async with serving(head + body) as server:
        with pytest.raises(PackageError, match="compressed"):
            await reach(server.origin).http.get(server.origin)


async def test_each_request_has_a_connection_of_its_own(reach: Reach) -> None:
    """Else one made for a name would serve another name at the same address."""
    async with serving(requests=5) as server:
        client = reach(server.origin).http
        for _ in range(3):
            assert (await client.get(server.origin)).text == "ok"

    assert (server.connections, len(server.requests)) == (3, 3)


async def test_a_certificate_that_nobody_vouches_for_is_refused(
    tmp_path: Path, reach: Reach
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    new = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    try:
        await anyio.run_process(
            [*new.split(), "-keyout", str(key), "-out", str(certificate)],
            stderr=subprocess.DEVNULL,
        )
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    names: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: names.append(name)

    async with serving(context=context) as server:
        origin = f"https://localhost:{server.port}"
        with pytest.raises(httpx.ConnectError):
            await reach(origin).http.get(origin)

    assert (server.requests, names) == ([], ["localhost"])


async def test_an_unloaded_package_sends_nothing_more(reach: Reach) -> None:
    async with serving() as server:
        context = reach(server.origin)
        client = context.http
        await client.get(server.origin)
        await context.aclose()

        with pytest.raises(PackageError, match="was unloaded"):
            _ = context.http
        with pytest.raises(RuntimeError, match="closed"):
            await client.get(server.origin)


NETWORKS = [
    "10.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "0.0.0.0/8",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "192.0.0.0/24",
    "192.88.99.0/24",
]


def written(address: IPv4Address) -> list[IPv4Address | IPv6Address]:
    """Returns an address in each form that holds one, as mapped, translated, NAT64 and 6to4."""
    number = int(address)
    numbers = [0xFFFF << 32, 0xFFFF << 48, 0, 0x64FF9B << 96, (0x64FF9B << 16 | 1) << 80]
    forms = [*(each | number for each in numbers), 0x2002 << 112 | number << 80]
    return [address, *map(IPv6Address, forms)]


@given(st.sampled_from(NETWORKS).map(IPv4Network).flatmap(lambda n: st.ip_addresses(network=n)))
def test_no_form_of_an_inner_address_is_outside(address: IPv4Address) -> None:
    assert not any(is_outside(each) for each in written(address))


PUBLIC = [
    "93.184.216.34",
    "192.0.1.1",
    "192.88.98.255",
    "192.88.100.1",
    "2606:2800:220:1::1",
    "64:ff9b::5db8:d822",
    "2001:4860:4860::8888",
]


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_are_outside(text: str) -> None:
    assert is_outside(ip_address(text))
