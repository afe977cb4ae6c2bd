"""Secrets: where their values are looked up, and how they are kept sealed."""

from agentrail.secret._hide import HIDDEN, USER, Hider, users_in
from agentrail.secret._keys import (
    KEY_FILE,
    KEY_VARIABLE,
    KeyRing,
    make_keys,
    read_keys,
    write_keys,
)
from agentrail.secret._lookup import DATABASE, Secrets, read_secrets
from agentrail.secret._vault import SCHEMA, SecretInfo, Vault, rotate_keys, sealed_in

__all__ = [
    "DATABASE",
    "HIDDEN",
    "KEY_FILE",
    "KEY_VARIABLE",
    "SCHEMA",
    "USER",
    "Hider",
    "KeyRing",
    "SecretInfo",
    "Secrets",
    "Vault",
    "make_keys",
    "read_keys",
    "read_secrets",
    "rotate_keys",
    "sealed_in",
    "users_in",
    "write_keys",
]
