"""The context of a request, for what is tested without a host."""

from typing import cast

from agentrail.requests import Kind, RequestContext, Services


def context_of(
    user: str = "ann",
    tenant: str = "acme",
    *,
    agent: str = "assistant",
    roles: tuple[str, ...] = (),
    kind: Kind = "chat",
) -> RequestContext:
    """Returns a context without services: nothing that has it uses them."""
    return RequestContext(
        kind=kind,
        transport="python",
        tenant_id=tenant,
        user_id=user,
        session_id="s1",
        turn_id="t1",
        agent_id=agent,
        request_id="r1",
        services=cast("Services", None),
        roles=frozenset(roles),
    )
