"""What each role may do."""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Final, Literal

May = Literal["read", "operate", "publish", "administer", "audit"]
"""What somebody may do to the packages of a host.

``read``: see which there are; ``operate``: switch them, change between versions that were promoted,
and read what they log; ``publish``: upload; ``administer``: approve, promote, release, delete, and
deal with tokens; ``audit``: read the audit log.
"""

Role = Literal["viewer", "operator", "publisher", "admin", "auditor"]
"""A role that a principal may have; others are the application's own."""

ROLES: Final[Mapping[str, frozenset[May]]] = {
    "viewer": frozenset({"read"}),
    "operator": frozenset({"read", "operate"}),
    "publisher": frozenset({"read", "operate", "publish"}),
    "admin": frozenset({"read", "operate", "publish", "administer", "audit"}),
    "auditor": frozenset({"read", "audit"}),
}
"""What each role may do; who has several may do what any of them may."""


def may(
    roles: Collection[str], what: May, own: Mapping[str, Collection[May]] = MappingProxyType({})
) -> bool:
    """Tell whether somebody with these roles may do something; ``own`` are the application's."""
    return any(what in {*ROLES.get(role, ()), *own.get(role, ())} for role in roles)
