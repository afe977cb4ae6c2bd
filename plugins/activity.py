"""Counts the requests that are under way, by tenant and user."""

from collections import Counter

from agentrail import RequestContext


class ActivityTracker:
    """Knows who is being answered at the moment."""

    name = "activity"

    def __init__(self) -> None:
        self._active: Counter[tuple[str, str]] = Counter()

    def on_request_start(self, context: RequestContext) -> None:
        """Count the request in."""
        self._active[context.tenant_id, context.user_id] += 1

    def on_request_end(self, context: RequestContext) -> None:
        """Count the request out; this runs whenever ``on_request_start`` ran."""
        who = (context.tenant_id, context.user_id)
        self._active[who] -= 1
        if not self._active[who]:
            del self._active[who]

    def active(self, tenant_id: str) -> dict[str, int]:
        """Return how many requests of each of a tenant's users are under way."""
        return {
            user: count for (tenant, user), count in self._active.items() if tenant == tenant_id
        }
