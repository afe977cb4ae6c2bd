"""The routes of the API."""

import re
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import anyio
from attrs import define, field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.routing import Route as HTTPRoute

from agentrail.access import may
from agentrail.admin._call import (
    ID,
    Call,
    Managed,
    Nothing,
    Operation,
    actor_of,
    body_of,
    check_match,
    check_unforged,
    listed,
    query_of,
)
from agentrail.admin._openapi import DESCRIPTION, openapi
from agentrail.admin._operations import OPERATIONS
from agentrail.errors import Forbidden, InvalidId
from agentrail.requests import Host
from agentrail.route import Route, principal_of

_ID: Final = re.compile(ID)
_HEADERS: Final = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


def api_routes(managed: Callable[[], Managed]) -> Sequence[Route]:
    """Return the routes of the API.

    ``managed`` returns what a running host has, or raises why there is none.  The last route takes
    what is left below ``/api``.
    """
    api = _Api(managed)
    routes = [api.route(operation) for operation in (*OPERATIONS, described())]
    return [*routes, Route(path="/api/{rest:path}", endpoint=_nothing, methods=())]


def described() -> Operation[Nothing, Nothing]:
    """Return the operation that answers with the description of all, itself among them."""
    made: list[Mapping[str, object]] = []

    async def describe(call: Call, _query: Nothing, _body: Nothing) -> Response:
        """Describe this API, in the words of OpenAPI 3.1."""
        if not made:
            made.append(openapi((*OPERATIONS, operation), call.packages.inventory.host))
        return listed(call.request, made[0])

    operation = Operation(
        method="GET",
        path=DESCRIPTION,
        may="read",
        handler=describe,
        query=Nothing,
        body=Nothing,
        answer=dict[str, Any],
    )
    return operation


@define(slots=True, eq=False)
class _Api:
    """What the routes share."""

    managed: Callable[[], Managed]
    _locks: dict[str, anyio.Lock] = field(factory=dict[str, anyio.Lock], init=False)
    """Held by whoever changes a package, from the look at its revision to the end."""

    def route(self, operation: Operation[Any, Any]) -> Route:
        """Return the route of an operation."""

        async def endpoint(request: Request, _host: Host) -> Response:
            response = await self._answer(operation, request)
            for name, value in _HEADERS.items():
                response.headers.setdefault(name, value)
            return response

        return Route(
            path=operation.path,
            endpoint=endpoint,
            methods=[operation.method],
            body_bytes=operation.body_bytes,
        )

    async def _answer(self, operation: Operation[Any, Any], request: Request) -> Response:
        actor, roles = actor_of(principal_of(request))
        managed = self.managed()
        if not may(roles, operation.may, managed.roles()):
            message = f"none of your roles lets you {operation.may} here: {_told(roles)}"
            raise Forbidden(message)
        if operation.changes:
            check_unforged(request)
        name = request.path_params.get("name")
        if name is not None and _ID.fullmatch(name) is None:
            raise InvalidId(f"{name[:80]!r} is not the id of a package")
        call = Call(request, managed, actor)
        query = query_of(request, operation.query)
        body = await body_of(request, operation.body)
        if name is None or not operation.changes:
            return await operation.handler(call, query, body)
        await call.packages.get(name)
        async with self._locks.setdefault(name, anyio.Lock()):
            check_match(request, await call.packages.get(name))
            return await operation.handler(call, query, body)


async def _nothing(request: Request, _host: Host) -> Response:
    """Say what is missing, now that the host knows who asks: what there is tells of the host.

    A route without methods takes all.
    """
    allowed = set[str]()
    for route in request.app.routes:
        if isinstance(route, HTTPRoute) and route.matches(request.scope)[0] is Match.PARTIAL:
            allowed.update(route.methods or ())
    if not allowed:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    raise HTTPException(
        HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": ", ".join(sorted(allowed))}
    )


def _told(roles: frozenset[str]) -> str:
    return ", ".join(sorted(roles)) or "you have none"
