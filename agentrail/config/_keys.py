"""How a key of a document is told, which may be a secret by mistake."""

import re
from typing import Final

_NAME: Final = re.compile(r"[A-Za-z_.-]{1,40}")


def is_name(key: str) -> bool:
    """Return whether a key looks like the name of a setting, which has no digits."""
    return _NAME.fullmatch(key) is not None


def called(key: str) -> str:
    """Return what a key is called in a message."""
    return f"the key {key!r}" if is_name(key) else "a key"
