"""Who may open a session, and who no longer may write to it."""

from agentrail.errors import AgentMismatch, LeaseLost, SessionNotFound
from agentrail.session._store import Lease, Owner


def check_owner(session_id: str, owner: Owner, wanted: Owner) -> None:
    """Return when ``wanted`` is the session's owner.

    Raises:
        SessionNotFound: tenant or user differ; that the session exists is not given away.
        AgentMismatch: only the agent differs.
    """
    if (owner.tenant_id, owner.user_id) != (wanted.tenant_id, wanted.user_id):
        message = f"there is no session {session_id!r}"
        raise SessionNotFound(message)
    if owner.agent_id != wanted.agent_id:
        message = (
            f"session {session_id!r} belongs to agent {owner.agent_id!r}, not to "
            f"{wanted.agent_id!r}: leave the agent out, or begin another session"
        )
        raise AgentMismatch(message)


def lease_lost(lease: Lease) -> LeaseLost:
    """Return the error of a writer whose lease is over."""
    message = (
        f"the lease on session {lease.session_id!r} is over: it was released, the session was "
        "deleted, or another writer took it over; nothing was written"
    )
    return LeaseLost(message)
