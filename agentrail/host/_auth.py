"""Who is asking: authentication, and the rules for hosts that have none."""

import hmac
from collections.abc import Mapping
from typing import Protocol

from starlette.requests import Request

from agentrail.errors import Forbidden, Unauthenticated
from agentrail.requests import Principal

_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]", "::1"})


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
    """

    def __init__(self, tokens: Mapping[str, Principal]) -> None:
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
    return host in _LOOPBACK_NAMES or host.startswith("127.")


def check_local(request: Request) -> None:
    """Let only this machine in, as a host without an authenticator has to.

    The socket must be bound to the loopback; ``Host`` must name it, so that a web page cannot
    reach the host under a name of its own; and ``Origin``, which browsers send, must be local too.

    Raises:
        Forbidden: one of these does not hold.
    """
    server = request.scope.get("server")
    bound = str(server[0]) if server else "127.0.0.1"
    if not is_loopback(bound):
        message = "without an authenticator this host answers on the loopback only"
        raise Forbidden(message)
    name = request.headers.get("host", "")
    if not is_loopback(_without_port(name)):
        raise Forbidden(f"Host {name[:80]!r} is not this machine; set an authenticator to serve it")
    origin = request.headers.get("origin")
    if origin is not None and not is_loopback(_without_port(origin.partition("://")[2])):
        raise Forbidden(f"Origin {origin[:80]!r} may not use this host")


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0] if host.count(":") <= 1 else host
