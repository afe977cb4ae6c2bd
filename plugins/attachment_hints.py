"""Tells the model which files came with a message."""

from agentrail.attachment import hints

attachment_hints = hints()
