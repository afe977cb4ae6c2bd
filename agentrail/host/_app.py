"""The host as an ASGI application."""

from collections.abc import Mapping
from functools import partial
from http.client import responses
from typing import cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route as HTTPRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agentrail.errors import AgentrailError, PayloadTooLarge
from agentrail.host._auth import check_local
from agentrail.host._config import AppConfig
from agentrail.host._host import AgentHost
from agentrail.host._problems import problem
from agentrail.route import Route, reply
from agentrail.settings import SettingsSource
from agentrail.telemetry import Answering, incoming

_CLIENT_CLOSED = 499
"""The status of a request whose client hung up; nobody receives it."""


class AgentApp:
    """An ASGI application that serves a host's routes; its lifespan is the host's.

    Attributes:
        host: the host, for use without HTTP as ``async with app.host as host``.
    """

    def __init__(self, host: AgentHost) -> None:
        self.host = host
        self._http = Starlette(
            routes=[_http_route(host, route) for route in host.routes],
            lifespan=lambda _: _Lifespan(host),
            exception_handlers={
                AgentrailError: partial(_agentrail_error, host),
                HTTPException: _http_error,
                ClientDisconnect: _hung_up,
                Exception: _internal_error,
            },
        )
        # It would send the client to whatever its Host header names, before anybody has checked it.
        self._http.router.redirect_slashes = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, in the trace of whoever asks."""
        if scope["type"] != "http":
            await self._http(scope, receive, send)
            return
        with incoming(scope["headers"]) as answering:
            traced = self.host.core.tracer is not None
            await self._http(scope, receive, _telling(send, answering) if traced else send)


def already_started(app: ASGIApp) -> ASGIApp:
    """Return the application for a server that insists on a lifespan, which does nothing."""

    async def started(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await app(scope, receive, send)
            return
        for moment in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{moment}.complete"})

    return started


def create_app(config: AppConfig, settings: SettingsSource | None = None) -> AgentApp:
    """Return the ASGI application of a host; nothing is started or opened before its lifespan.

    ``settings`` are put over the application, and read anew while it runs.

    Raises:
        CompositionError: profiles, plugins, tools or routes do not fit together.
        ConfigRefused: something is wrong with the settings.
    """
    host = AgentHost.of(config, settings)
    if settings is not None:  # else they may be put over it later
        host.composition.check_profiles()
    return AgentApp(host)


def _telling(send: Send, answering: Answering) -> Send:
    """Return a ``send`` that tells the client of the run's span.

    Source: https://w3c.github.io/trace-context/#traceresponse-header, an editor's draft.
    """

    async def telling(event: Message) -> None:
        if event["type"] == "http.response.start" and answering.traceparent:
            header = (b"traceresponse", answering.traceparent.encode())
            event = {**event, "headers": [*event.get("headers", ()), header]}
        await send(event)

    return telling


class _Lifespan:
    """The host's life as Starlette wants it: a context that yields no state."""

    def __init__(self, host: AgentHost) -> None:
        self._host = host

    async def __aenter__(self) -> None:
        await self._host.__aenter__()

    async def __aexit__(self, *_: object) -> None:
        await self._host.__aexit__(None, None, None)


def _http_route(host: AgentHost, route: Route) -> HTTPRoute:
    async def endpoint(request: Request) -> Response:
        config = host.core.config
        if config.authenticator is None:
            check_local(request)
        elif not route.public:
            request.state.principal = await config.authenticator.authenticate(request)
        request.state.limits = config.limits
        limit = config.limits.body_bytes if route.body_bytes is None else route.body_bytes
        bounded = _bounded(request.receive, request, limit)
        return await route.endpoint(Request(request.scope, bounded), host)

    return HTTPRoute(route.path, endpoint, methods=list(route.methods))


def _bounded(receive: Receive, request: Request, limit: int) -> Receive:
    """Return a ``receive`` that takes no more than ``limit`` bytes of body.

    Raises:
        PayloadTooLarge: now, if the request says that it has more; else when more arrives.
    """
    message = f"the body has more than {limit} bytes"
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > limit:
        raise PayloadTooLarge(message)
    seen = 0

    async def bounded() -> Message:
        nonlocal seen
        event = await receive()
        seen += len(event.get("body", b""))
        if seen > limit:
            raise PayloadTooLarge(message)
        return event

    return bounded


async def _agentrail_error(host: AgentHost, _request: Request, error: Exception) -> Response:
    return problem(cast("AgentrailError", error), host.core.hide)


async def _hung_up(_request: Request, _error: Exception) -> Response:
    return Response(status_code=_CLIENT_CLOSED)


async def _http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers: Mapping[str, str] = (isinstance(error, HTTPException) and error.headers) or {}
    codes = {404: "not_found", 405: "method_not_allowed"}
    told = getattr(error, "detail", error)
    if "Allow" in headers:
        told = f"this path takes {', '.join(sorted(headers['Allow'].split(', ')))}"
    body = {
        "type": "about:blank",
        "title": responses.get(status, "Error").capitalize(),
        "status": status,
        "code": codes.get(status, "http_error"),
        "detail": f"{request.method} {request.url.path}: {told}",
        "retryable": False,
    }
    response = reply(body, status=status, headers=headers)
    response.headers["content-type"] = "application/problem+json"
    return response


async def _internal_error(_request: Request, error: Exception) -> Response:
    # The text of an unforeseen error stays in the log: it may hold what a client must not see.
    return problem(AgentrailError(f"the host failed: {type(error).__name__}; see its log"))
