"""Tells the model which files came with a message."""

from collections.abc import Sequence

from agentrail import Attachment, RequestContext, define_plugin


def hint(attachments: Sequence[Attachment], _context: RequestContext) -> str:
    """Return a line about the files: names, types and sizes."""
    files = ", ".join(
        f"{each.filename} ({each.mime_type}, {len(each.data)} bytes)" for each in attachments
    )
    return f"Uploaded files: {files}"


attachment_hints = define_plugin("attachment-hints", attachment_handler=hint)
