"""``GET /metrics``: what is measured, as Prometheus reads it."""

from anyio import to_thread
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from agentrail.errors import Forbidden
from agentrail.requests import Host
from agentrail.route._route import Route, principal_of
from agentrail.telemetry import prometheus_text


def metrics_route(*, role: str = "metrics", public: bool = False) -> Route:
    """Return the route ``GET /metrics``.

    Its figures are about all tenants.  So with an authenticator only those may read them who have
    the role; without one, this machine alone.

    Args:
        role: whoever has it may read.
        public: everybody may, with an authenticator too.
    """

    async def metrics(request: Request, _host: Host) -> Response:
        """Answer with the process's metrics."""
        who = principal_of(request)
        if who is not None and role not in who.roles:
            raise Forbidden(f"the metrics are for those who have the role {role!r}")
        told = await to_thread.run_sync(prometheus_text, request.headers.get("accept", ""))
        if told is None:
            raise HTTPException(404, "no metrics here: set OTEL_METRICS_EXPORTER=prometheus")
        text, media_type = told
        return Response(text, headers={"content-type": media_type})

    return Route(path="/metrics", endpoint=metrics, public=public)
