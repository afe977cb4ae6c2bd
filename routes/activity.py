"""``GET /activity``: who is being answered at the moment."""

from collections.abc import Callable, Mapping

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from agentrail import Host, Route
from agentrail.route import owner_of


def activity_route(active: Callable[[str], Mapping[str, int]]) -> Route:
    """Return the route that shows what ``active`` tells of the caller's tenant."""

    async def endpoint(request: Request, host: Host) -> Response:
        users = dict(active(owner_of(request).tenant_id))
        return JSONResponse({"agents": dict(host.agents()), "active": users})

    return Route(path="/activity", endpoint=endpoint)
