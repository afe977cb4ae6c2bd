"""Who may change a host: roles, and bearer tokens that stand for them."""

from agentrail.access._roles import ROLES, May, Role, may
from agentrail.access._tokens import SCHEMA, NewToken, TokenInfo, Tokens

__all__ = [
    "ROLES",
    "SCHEMA",
    "May",
    "NewToken",
    "Role",
    "TokenInfo",
    "Tokens",
    "may",
]
