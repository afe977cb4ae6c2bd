"""Secrets: where their values are looked up, and how they are kept sealed."""

from agentrail.secret._hide import HIDDEN, MOST_HIDDEN, Hider
from agentrail.secret._keys import (
    KEY_FILE,
    KEY_VARIABLE,
    KeyRing,
    make_keys,
    read_keys,
    sealed_with,
    write_keys,
)
from agentrail.secret._lookup import DATABASE, Secrets, read_secrets
from agentrail.secret._names import NAME, PREFIX, check_name
from agentrail.secret._telling import (
    credentials_in,
    is_ordinary,
    tells_secret,
    without_credentials,
)
from agentrail.secret._vault import SCHEMA, SecretInfo, Vault, rotate_keys, sealed_in

__all__ = [
    "DATABASE",
    "HIDDEN",
    "KEY_FILE",
    "KEY_VARIABLE",
    "MOST_HIDDEN",
    "NAME",
    "PREFIX",
    "SCHEMA",
    "Hider",
    "KeyRing",
    "SecretInfo",
    "Secrets",
    "Vault",
    "check_name",
    "credentials_in",
    "is_ordinary",
    "make_keys",
    "read_keys",
    "read_secrets",
    "rotate_keys",
    "sealed_in",
    "sealed_with",
    "tells_secret",
    "without_credentials",
    "write_keys",
]
