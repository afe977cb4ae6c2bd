"""Who is asking: authentication, and the rules for hosts that have none."""

import hmac
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Final, Protocol
from urllib.parse import urlsplit

from starlette.requests import Request

from agentrail.errors import ConfigError, Forbidden, Unauthenticated
from agentrail.requests import Principal

_BY_PROXIES: Final = frozenset({"forwarded", "via", "x-real-ip"})
"""Headers that proxies add, besides ``X-Forwarded-``."""


class Authenticator(Protocol):
    """Turns a request into a principal."""

    async def authenticate(self, request: Request) -> Principal:
        """Return who is asking.

        Raises:
            Unauthenticated: the request carries no valid credentials.
        """
        ...


class BearerTokens:
    """Accepts fixed bearer tokens.

    ``tokens`` maps each token to the principal that it stands for; keep them out of the code.

    Raises:
        ConfigError: a token is empty, as one is that comes from a variable which nobody has set.
    """

    def __init__(self, tokens: Mapping[str, Principal]) -> None:
        if not all(token.strip() for token in tokens):
            raise ConfigError("a bearer token is empty: it would let everybody in")
        self._tokens = tuple((token.encode(), who) for token, who in tokens.items())

    async def authenticate(self, request: Request) -> Principal:
        """Return the principal of the ``Authorization: Bearer`` header's token."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        found: Principal | None = None
        if scheme.lower() == "bearer":
            given = token.strip().encode()
            # All are compared, so that the time taken tells nothing about which one is near.
            for known, principal in self._tokens:
                if hmac.compare_digest(known, given):
                    found = principal
        if found is None:
            message = "send a valid token as 'Authorization: Bearer TOKEN'"
            raise Unauthenticated(message)
        return found


def is_loopback(host: str) -> bool:
    """Tell whether an address or name, without its port, is this machine alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:  # a name; that it begins like an address says nothing about where it leads
        return False


def check_local(request: Request) -> None:
    """Let only this machine in, as a host without an authenticator has to.

    The socket must be bound to the loopback, and whoever connects be there too, and no proxy, for
    which everybody is here; ``Host`` must name the loopback, so that a web page cannot reach the
    host under a name of its own; and ``Origin``, which browsers send, must be local too.

    Raises:
        Forbidden: one of these does not hold.
    """
    for header in request.headers:
        if header in _BY_PROXIES or header.startswith("x-forwarded-"):
            message = (
                f"a proxy sent this ({header[:80]!r}), and behind one anybody may be asking: "
                "set an authenticator to serve there, as with bearer tokens"
            )
            raise Forbidden(message)
    for end in ("server", "client"):  # neither is known of a socket that has no address
        address = request.scope.get(end)
        if address is not None and not is_loopback(str(address[0])):
            message = "without an authenticator this host answers on the loopback only: set one"
            raise Forbidden(message)
    name = request.headers.get("host", "")
    if not _is_local(f"//{name}"):
        raise Forbidden(f"Host {name[:80]!r} is not this machine; set an authenticator to serve it")
    origin = request.headers.get("origin")
    if origin is not None and not _is_local(origin):
        raise Forbidden(f"Origin {origin[:80]!r} may not use this host")


def _is_local(url: str) -> bool:
    """Tell whether a URL leads to this machine; one that names no host does not."""
    try:
        return is_loopback(urlsplit(url).hostname or "")
    except ValueError:
        return False
