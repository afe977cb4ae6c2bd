"""What plugins are told when a session is deleted."""

from agentrail.host._core import Core
from agentrail.host._services import RunServices
from agentrail.ids import new_id
from agentrail.requests import Principal, RequestContext
from agentrail.session import Owner


async def tell_deleted(core: Core, session_id: str, owner: Owner, principal: Principal) -> None:
    """Run ``on_session_deleted`` for a session that is gone."""
    context = RequestContext(
        kind="chat",
        transport="python",
        tenant_id=owner.tenant_id,
        user_id=owner.user_id,
        session_id=session_id,
        turn_id="",
        agent_id=owner.agent_id,
        request_id=new_id("req"),
        roles=principal.roles,
        services=RunServices(core, core.composition, session_id, owner, "", existed=True),
    )
    await core.funnel.observe(core.composition.hooks["on_session_deleted"], context)
