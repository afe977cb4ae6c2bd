"""Routes: how a host is reached over HTTP."""

from collections.abc import Awaitable, Callable, Sequence

from attrs import frozen
from starlette.requests import Request
from starlette.responses import Response

from agentrail.requests import Host, Principal

Endpoint = Callable[[Request, Host], Awaitable[Response]]
"""Answers an HTTP request with the host in hand."""


@frozen(kw_only=True)
class Route:
    """An HTTP endpoint of the application."""

    path: str
    """As ``/sessions/{session_id}``; the parts in braces are in ``request.path_params``."""
    endpoint: Endpoint
    methods: Sequence[str] = ("GET",)
    public: bool = False
    """Whether it is served to everybody; otherwise the authenticator, if any, is asked first."""
    body_bytes: int | None = None
    """The largest body that it takes, instead of ``RequestLimits.body_bytes``."""


def principal_of(request: Request) -> Principal | None:
    """Return who asks, or None when the host has no authenticator."""
    principal = getattr(request.state, "principal", None)
    return principal if isinstance(principal, Principal) else None


def owner_of(request: Request) -> Principal:
    """Return who asks; without an authenticator, whoever the query says.

    ``tenantId`` and ``userId`` default to ``default`` and ``local``.
    """
    query = request.query_params
    return principal_of(request) or Principal(
        tenant_id=query.get("tenantId", "default"), user_id=query.get("userId", "local")
    )
