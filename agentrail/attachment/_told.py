"""How a model is told about a file."""

from typing import Final

from agentrail.messages import Attachment

CHARS: Final = 20_000
"""How many characters of all files of a request a handler tells, when it is not told otherwise."""


def said(attachment: Attachment, text: str) -> str:
    """Return a file's text under its name."""
    return f"The file {attachment.filename!r}:\n\n{text}"


def unread(attachment: Attachment, reason: str) -> str:
    """Return why the model is not shown a file."""
    return f"The file {attachment.filename!r} could not be read: {reason}."
