"""Attachments: what a file is by its content, and plugins that tell a model about files."""

from agentrail.attachment._documents import Documents, documents
from agentrail.attachment._kinds import IMAGES, kind_of
from agentrail.attachment._texts import Handler, csv_preview, hints, text

__all__ = ["IMAGES", "Documents", "Handler", "csv_preview", "documents", "hints", "kind_of", "text"]
