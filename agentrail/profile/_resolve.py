"""Which profile answers."""

from collections.abc import Mapping
from typing import TypeVar

from agentrail.errors import AgentNotFound

P = TypeVar("P")


def resolve(profiles: Mapping[str, P], agent_id: str) -> P:
    """Return the profile with that id.

    Raises:
        AgentNotFound: there is none; the message names those that there are.
    """
    profile = profiles.get(agent_id)
    if profile is None:
        message = f"there is no agent {agent_id!r}; this host has {', '.join(profiles)}"
        raise AgentNotFound(message)
    return profile
