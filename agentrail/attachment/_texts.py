"""Handlers that read files in the host: their names, their text, their tables."""

import csv
from collections.abc import Iterator, Sequence
from io import BytesIO, StringIO, TextIOWrapper
from typing import Final

from anyio import to_thread
from attrs import frozen

from agentrail.attachment._kinds import BOMS, CSV, TSV
from agentrail.attachment._told import CHARS, said, unread
from agentrail.hook import AttachmentHandler
from agentrail.messages import Attachment
from agentrail.requests import RequestContext

_TABLES: Final = {CSV, TSV}

_TEXTS: Final = {"text/plain", "text/markdown", "application/json"}

_COLUMNS: Final = 50
"""How many columns of a table are shown."""

_CELL: Final = 100
"""How many characters of a cell are shown."""

_ROW: Final = 1_000_000
"""How many characters a row may have: the reader makes all its cells at once."""


@frozen(slots=True)
class Handler:
    """A plugin that tells the model about files."""

    name: str
    attachment_handler: AttachmentHandler


def hints() -> Handler:
    """Return a plugin that tells the model which files came: names, types and sizes."""
    return Handler("attachment-hints", _hints)


def text(*, chars: int = CHARS) -> Handler:
    """Return a plugin that tells the model what texts say: plain ones, Markdown and JSON.

    Args:
        chars: how many characters of all texts of a request are told, each has an equal share.
    """

    def handle(attachments: Sequence[Attachment], _context: RequestContext) -> str:
        texts = [each for each in attachments if each.mime_type in _TEXTS]
        return "\n\n".join(said(each, _beginning(each.data, chars // len(texts))) for each in texts)

    return Handler("attachment-text", handle)


def csv_preview(*, rows: int = 5) -> Handler:
    """Return a plugin that tells the model how large tables are, and how they begin.

    Args:
        rows: how many rows are shown below the first one.
    """

    async def handle(attachments: Sequence[Attachment], _context: RequestContext) -> str:
        previews = [
            await to_thread.run_sync(_preview, each, rows)
            for each in attachments
            if each.mime_type in _TABLES
        ]
        return "\n\n".join(previews)

    return Handler("attachment-csv", handle)


def _hints(attachments: Sequence[Attachment], _context: RequestContext) -> str:
    files = ", ".join(
        f"{each.filename} ({each.mime_type}, {len(each.data)} bytes)" for each in attachments
    )
    return f"Uploaded files: {files}"


def _beginning(data: bytes, chars: int) -> str:
    # No encoding takes more than four bytes a character.
    head = data[: 4 * (chars + 1)]
    decoded = head.decode(_encoding(data), errors="replace").replace("\r\n", "\n")
    if len(decoded) > chars:
        return f"{decoded[:chars]}\n[cut here: the file has {len(data)} bytes]"
    return decoded or "[it is empty]"


def _encoding(data: bytes) -> str:
    return next((name for bom, name in BOMS.items() if data.startswith(bom)), "utf-8")


def _preview(attachment: Attachment, shown: int) -> str:
    data = attachment.data
    lines = TextIOWrapper(BytesIO(data), _encoding(data), errors="replace", newline="")
    try:
        return said(attachment, _table(_rows(lines, attachment.mime_type), shown))
    except csv.Error as error:
        return unread(attachment, f"it is no table ({error})")


def _rows(lines: TextIOWrapper, kind: str) -> Iterator[list[str]]:
    first = lines.readline(10_000)
    lines.seek(0)
    # The one of these that the first line has most of: its cells seldom hold the others.
    delimiter = "\t" if kind == TSV else max(",;\t|", key=first.count)
    length = 0

    def bounded() -> Iterator[str]:
        nonlocal length
        while line := lines.readline(_ROW + 1):
            length += len(line)  # a row may go over several lines
            if length > _ROW:
                raise csv.Error(f"a row is longer than {_ROW} characters")
            yield line

    for row in csv.reader(bounded(), delimiter=delimiter):
        length = 0
        if row:
            yield row


def _table(rows: Iterator[list[str]], shown: int) -> str:
    """Return the beginning of a table, below how large it is."""
    first = next(rows, None)
    if first is None:
        return "[it is empty]"
    beginning = StringIO()
    writer = csv.writer(beginning, lineterminator="\n")
    writer.writerow(_cut(first))
    count = 0
    for count, row in enumerate(rows, 1):
        if count <= shown:
            writer.writerow(_cut(row))
    below = "1 row" if count == 1 else f"{count} rows"
    size = f"a table of {len(first)} columns, with {below} below the first one"
    return f"[{size}; it begins so]\n{beginning.getvalue().rstrip()}"


def _cut(row: Sequence[str]) -> Sequence[str]:
    cells = [cell if len(cell) <= _CELL else f"{cell[:_CELL]}…" for cell in row[:_COLUMNS]]
    return cells if len(row) <= _COLUMNS else [*cells, "…"]
