"""Profiles: who answers."""

from agentrail.profile._profile import Profile, Prompt
from agentrail.profile._resolve import resolve

__all__ = ["Profile", "Prompt", "resolve"]
