"""An HTTP client for declared origins, which connects to no address inside a network."""

import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from socket import SOCK_STREAM
from typing import Final, cast

import anyio
import httpx

from agentrail.errors import PackageError

SECONDS: Final = 10.0
"""How long connecting, and each wait for bytes, may take."""

LARGEST: Final = 16 * 1024 * 1024
"""How many bytes of an answer are taken."""

_PORTS: Final = {"http": 80, "https": 443}
_SECRET: Final = re.compile(r"\{\{secret:([A-Za-z_][A-Za-z0-9_]*)\}\}")
_INSIDE: Final = tuple(
    ip_network(network)
    for network in (  # not all of them private to Python, or not to each of its releases
        *("192.0.0.0/24", "192.88.99.0/24", "2002::/16"),
        *("::/96", "::ffff:0:0:0/96", "64:ff9b:1::/48", "3fff::/20", "5f00::/16", "fec0::/10"),
    )
)
_HOST: Final = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]+")
_NAT64: Final = IPv6Network("64:ff9b::/96")
_FORBIDDEN: Final = frozenset(
    {"accept-encoding", "connection", "host", "keep-alive", "proxy-authorization"}
    | {"proxy-connection", "te", "trailer", "upgrade"}
)
_ORIGIN: Final = "agentrail.origin"

Deny = Callable[[str, str], None]


def guarded_client(
    origins: Sequence[str], reveal: Callable[[str], str], deny: Deny
) -> httpx.AsyncClient:
    """Return a client that reaches the given origins alone, by a connection for each request.

    A header may hold ``{{secret:NAME}}``, which ``reveal`` fills in once the origin was checked; a
    redirect to another origin loses such a header.  Answers come as they are, not compressed.
    ``deny`` is told of every other origin, and raises.
    """
    transport = _Guarded(origins, reveal, deny)
    return httpx.AsyncClient(transport=transport, timeout=SECONDS, trust_env=False)


class _Guarded(httpx.AsyncBaseTransport):
    def __init__(self, origins: Sequence[str], reveal: Callable[[str], str], deny: Deny) -> None:
        self._origins = tuple(origins)
        self._reveal = reveal
        self._deny = deny
        # A connection goes to an address: kept, it would serve every other name there as well,
        # whose certificate nobody looked at.
        limits = httpx.Limits(max_keepalive_connections=0)
        self._inner = httpx.AsyncHTTPTransport(trust_env=False, limits=limits)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        host = url.raw_host.decode("ascii")
        port = url.port or _PORTS.get(url.scheme, 0)
        origin = f"{url.scheme}://{host}:{port}"
        allowed = _allowed(self._origins, url.scheme, host, port)
        plain = _HOST.fullmatch(host) and not url.userinfo and request.method != "CONNECT"
        if not (plain and allowed):
            self._deny("network", origin)
        # A redirect takes the extensions of the request that it answers.
        is_first = request.extensions.setdefault(_ORIGIN, origin) == origin
        headers = list(self._headers(request, fill=is_first))
        addresses = await self._addresses(host, port, declared=allowed == origin)
        for left, address in zip(range(len(addresses) - 1, -1, -1), addresses, strict=True):
            # To the address that was checked: asked again, the name might lead elsewhere.
            sent = httpx.Request(
                request.method,
                url.copy_with(host=address),
                headers=headers,
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": host},
            )
            try:
                return await _checked(await self._inner.handle_async_request(sent))
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if not left:  # else nothing was sent yet
                    raise
        raise AssertionError("a name that has an address has a last one")

    async def aclose(self) -> None:
        await self._inner.aclose()

    def _headers(self, request: httpx.Request, *, fill: bool) -> Iterator[tuple[str, str]]:
        yield "host", request.url.netloc.decode("ascii")
        yield "accept-encoding", "identity"
        chunked = "transfer-encoding" in request.headers
        for key, value in request.headers.multi_items():
            if key in _FORBIDDEN or (chunked and key == "content-length"):
                continue
            if fill or not _SECRET.search(value):
                yield key, _SECRET.sub(lambda found: self._filled(found[1]), value)

    def _filled(self, name: str) -> str:
        value = self._reveal(name)
        if not (value.isascii() and value.isprintable()):
            # Said here, for further down the message would show it.
            raise PackageError(f"secret {name!r} has characters in it that no header may have")
        return value

    async def _addresses(self, host: str, port: int, *, declared: bool) -> Sequence[str]:
        """Return the addresses to connect to, in order: all must lie outside.

        ``localhost`` is the one name that may lead inside, where it is ``declared`` as it is.

        Raises:
            PackageError: the name leads nowhere.
        """
        found: Sequence[object] = ()
        failure: object = f"there was no answer in {SECONDS:g} s"
        with anyio.move_on_after(SECONDS):
            try:
                found = await anyio.getaddrinfo(host, port, type=SOCK_STREAM)
            except (OSError, UnicodeError) as error:
                failure = error
        if not found:
            raise PackageError(f"{host!r} has no address: {failure}")
        texts = [str(cast("tuple[tuple[str]]", each)[-1][0]) for each in found]
        for text in texts:
            if not is_outside(ip_address(text.partition("%")[0])) and not (
                declared and host == "localhost"
            ):
                self._deny("network", f"{host} at {text}, which is inside a network")
        return texts


async def _checked(response: httpx.Response) -> httpx.Response:
    encoding = response.headers.get("content-encoding", "identity")
    if encoding != "identity":
        await response.aclose()
        # A few bytes can be made to unfold to more than there is memory for.
        raise PackageError(f"the answer is compressed ({encoding[:40]!r}), which was not asked for")
    response.stream = _Bounded(cast("httpx.AsyncByteStream", response.stream))
    return response


class _Bounded(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = LARGEST
        try:
            async for chunk in self._stream:
                left -= len(chunk)
                if left >= 0:
                    yield chunk
                else:  # what comes is read to its end, which is now
                    await self._stream.aclose()
        except httpx.TransportError:
            if left >= 0:
                raise
        if left < 0:
            raise PackageError(f"the answer has more than {LARGEST} bytes")

    async def aclose(self) -> None:
        await self._stream.aclose()


def _allowed(origins: Sequence[str], scheme: str, host: str, port: int) -> str:
    """Return the declared origin that allows this one, with its port; empty when none does."""
    for declared in origins:
        if declared == "*":
            if scheme == "https":
                return declared
            continue
        kind, _, rest = declared.partition("://")
        name, colon, number = rest.rpartition(":")
        if not colon or rest.endswith("]"):
            name, number = rest, str(_PORTS[kind])
        name = name.strip("[]")
        wild = name.removeprefix("*")
        fits = host == name or (wild != name and host.endswith(wild) and host != wild)
        if fits and (scheme, str(port)) == (kind, number):
            return f"{kind}://{name}:{number}"
    return ""


def is_outside(address: IPv4Address | IPv6Address) -> bool:
    """Tell whether an address is one of the public network, whatever else is written in it."""
    if address.is_multicast or not address.is_global:
        return False
    if any(address in network for network in _INSIDE):
        return False
    if isinstance(address, IPv4Address):
        return True
    hidden = address.ipv4_mapped
    if address in _NAT64:
        hidden = IPv4Address(int(address) & 0xFFFF_FFFF)
    return hidden is None or is_outside(hidden)
