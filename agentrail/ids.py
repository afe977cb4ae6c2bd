"""Identifiers: how they are made, and what a supplied one may look like."""

import os
import re
from typing import Final

from agentrail.errors import InvalidId

MAX_ID_LENGTH: Final = 128
"""The longest identifier that is accepted, in characters."""

_ID = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._:@+-]{{0,{MAX_ID_LENGTH - 1}}}")


def new_id(prefix: str) -> str:
    """Return a fresh identifier: ``prefix``, an underscore, and 96 random bits in hex."""
    return f"{prefix}_{os.urandom(12).hex()}"


def check_id(value: str, what: str) -> str:
    """Return ``value`` when it is an acceptable identifier.

    Identifiers start with an ASCII letter or digit, go on with those or ``. _ : @ + -``, and have
    at most ``MAX_ID_LENGTH`` characters, so they are safe in paths, logs, URLs and headers.

    Raises:
        InvalidId: it is not; ``what`` says in the message which identifier it was.
    """
    if _ID.fullmatch(value):
        return value
    shown = value if len(value) <= MAX_ID_LENGTH else value[:MAX_ID_LENGTH] + "…"
    message = (
        f"{what} {shown!r} is not an identifier: use 1 to {MAX_ID_LENGTH} ASCII letters, digits "
        "and . _ : @ + -, starting with a letter or digit"
    )
    raise InvalidId(message)
