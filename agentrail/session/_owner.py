"""Who may open a session, and who no longer may write to it."""

from agentrail.errors import AgentMismatch, LeaseLost, SessionNotFound, TurnExists
from agentrail.session._store import Lease, Owner


def check_owner(session_id: str, owner: Owner, wanted: Owner) -> None:
    """Return when ``wanted`` is the session's owner.

    Raises:
        SessionNotFound: tenant or user differ; that the session exists is not given away.
        AgentMismatch: only the agent differs.
    """
    if (owner.tenant_id, owner.user_id) != (wanted.tenant_id, wanted.user_id):
        raise not_found(session_id)
    if owner.agent_id != wanted.agent_id:
        message = (
            f"session {session_id!r} belongs to agent {owner.agent_id!r}, not to "
            f"{wanted.agent_id!r}: leave the agent out, or begin another session"
        )
        raise AgentMismatch(message)


def not_found(session_id: str) -> SessionNotFound:
    """Return the error for a session that is not there, or not for who asks."""
    return SessionNotFound(f"there is no session {session_id!r}")


def turn_exists(turn_id: str) -> TurnExists:
    """Return the error for a turn that is begun a second time."""
    return TurnExists(f"turn {turn_id!r} was begun before; nothing was written")


def lease_lost(lease: Lease) -> LeaseLost:
    """Return the error of a writer whose lease is over."""
    message = (
        f"the lease on session {lease.session_id!r} is over: it was released, the session was "
        "deleted, or another writer took it over; nothing was written"
    )
    return LeaseLost(message)
