"""Which profile answers."""

from collections.abc import Mapping

from agentrail.errors import AgentNotFound
from agentrail.profile._profile import Profile


def resolve(profiles: Mapping[str, Profile], agent_id: str) -> Profile:
    """Return the profile with that id.

    Raises:
        AgentNotFound: there is none; the message names those that there are.
    """
    profile = profiles.get(agent_id)
    if profile is None:
        message = f"there is no agent {agent_id!r}; this host has {', '.join(profiles)}"
        raise AgentNotFound(message)
    return profile
