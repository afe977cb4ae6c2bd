"""What secrets are called."""

import re
from typing import Final

from agentrail.errors import InvalidId

NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
"""What the name of a secret looks like: it is one of a variable and of a file too."""

PREFIX: Final = "AGENTRAIL_SECRET_"
"""How the environment variables begin that have secrets."""


def check_name(name: str) -> None:
    """Return when a name is one of a secret.

    Raises:
        InvalidId: it is none; it may be a value, by mistake, and is not told.
    """
    if not NAME.fullmatch(name):
        raise InvalidId(
            "the name of a secret has 1 to 128 ASCII letters, digits and _, and no digit first"
        )
