"""Tells the model what the files say that came with a message.  ``app.py`` lists its plugins."""

import logging

from agentrail import Plugin
from agentrail.attachment import csv_preview, documents, text
from agentrail.errors import ConfigError

_log = logging.getLogger(__name__)


def attachment_readers(chars: int) -> list[Plugin]:
    """Return plugins that read texts, tables and, with their extra, PDF and Office files.

    Args:
        chars: how many characters of the texts, and of the documents, of a message are told.
    """
    readers: list[Plugin] = [text(chars=chars), csv_preview()]
    try:
        readers.append(documents(chars=chars))
    except ConfigError as error:
        _log.info("PDF and Office files are not read: %s", error)
    return readers
