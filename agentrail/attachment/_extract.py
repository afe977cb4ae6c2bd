"""Reads the text of a document: a program of its own, with limits on what it may use.

    python -I _extract.py KIND CHARACTERS BYTES SECONDS < document > text

It is run by path, so that nothing of agentrail is imported, and imports one library: the one that
reads the kind.  What is wrong with the document goes to stdout too, with the status ``UNREADABLE``.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from importlib import import_module
from io import BytesIO
from typing import Final
from zipfile import BadZipFile, ZipFile

UNREADABLE: Final = 3
"""The status of a document that cannot be read; its output says why."""

UNPACKED: Final = 128 * 1024 * 1024
"""How many bytes an Office file may unpack to."""

ENTRIES: Final = 10_000
"""How many files may be in one."""


class UnreadableError(Exception):
    """Why the document cannot be read, in words that follow "it could not be read:"."""


def _pdf(data: bytes) -> Iterator[str]:
    from pypdf import PasswordType, PdfReader  # noqa: PLC0415 - the one library of this kind
    from pypdf.errors import LimitReachedError  # noqa: PLC0415

    try:
        reader = PdfReader(BytesIO(data))
        if reader.is_encrypted and reader.decrypt("") is PasswordType.NOT_DECRYPTED:
            raise UnreadableError("it is protected by a password")
        for page in reader.pages:
            yield page.extract_text() + "\n\n"
    except LimitReachedError as error:
        raise UnreadableError("it unpacks to more than is read of a document") from error


def _docx(data: bytes) -> Iterator[str]:
    from docx import Document  # noqa: PLC0415 - as above
    from docx.table import Table  # noqa: PLC0415

    for block in Document(_package(data)).iter_inner_content():
        if isinstance(block, Table):
            for row in block.rows:
                yield _line(cell.text for cell in row.cells)
        else:
            yield block.text + "\n"


def _xlsx(data: bytes) -> Iterator[str]:
    # openpyxl knows numpy's numbers where there is numpy, which no file has and takes long to load.
    sys.modules["numpy"] = None  # type: ignore[assignment]
    openpyxl = import_module("openpyxl")  # which has no types
    workbook = openpyxl.load_workbook(_package(data), read_only=True, data_only=True)
    for sheet in workbook.worksheets:
        yield f"Sheet {sheet.title}:\n"
        sheet.reset_dimensions()  # it may say of itself that it has a billion cells
        for row in sheet.iter_rows(values_only=True):
            cells = ["" if value is None else str(value) for value in row]
            if any(cells):
                yield _line(cells)
        yield "\n"


def _pptx(data: bytes) -> Iterator[str]:
    pptx = import_module("pptx")  # whose types are partly unknown
    for number, slide in enumerate(pptx.Presentation(_package(data)).slides, 1):
        yield f"Slide {number}:\n"
        for element in slide.element.iter("{*}p"):
            text = "".join(run.text or "" for run in element.iter("{*}t"))
            if text:
                yield text + "\n"
        if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
            yield f"Notes: {slide.notes_slide.notes_text_frame.text}\n"
        yield "\n"


READERS: Final[Mapping[str, Callable[[bytes], Iterator[str]]]] = {
    "pdf": _pdf,
    "docx": _docx,
    "xlsx": _xlsx,
    "pptx": _pptx,
}


def _line(cells: Iterable[str]) -> str:
    """Return a row of a table as a line."""
    return " | ".join(" ".join(cell.split()) for cell in cells).rstrip(" |") + "\n"


def _package(data: bytes) -> BytesIO:
    """Return an Office file that is known to unpack to what a process can hold."""
    try:
        with ZipFile(BytesIO(data)) as archive:
            entries = archive.infolist()
    except BadZipFile as error:
        raise UnreadableError("it is damaged") from error
    # No entry is read further than it says that it goes.
    if len(entries) > ENTRIES or sum(entry.file_size for entry in entries) > UNPACKED:
        raise UnreadableError(f"it unpacks to more than {UNPACKED >> 20} MB")
    return BytesIO(data)


def _confine(memory: int, seconds: int) -> None:
    """Give the rest of this process so much memory and time, and no files to write."""
    if sys.platform == "win32":
        return
    import resource  # noqa: PLC0415 - not on every system

    os.nice(10)  # the host comes first
    limits = {
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
    }
    for name, limit in limits.items():
        with suppress(ValueError, OSError):  # not every system has every limit
            resource.setrlimit(name, (limit, limit))


def main() -> int:
    """Write the document's text to stdout, and return the process's status."""
    kind, characters, memory, seconds = sys.argv[1:]
    _confine(int(memory), int(seconds))
    left, pieces, status = int(characters), list[str](), 0
    try:
        for piece in READERS[kind](sys.stdin.buffer.read()):
            pieces.append(piece[:left])
            left -= len(piece)
            if left < 0:
                break
    except UnreadableError as error:
        pieces, status = [str(error)], UNREADABLE
    except MemoryError:
        pieces, status = [f"it takes more than {int(memory) >> 20} MB of memory"], UNREADABLE
    except Exception as error:  # noqa: BLE001 - boundary: plugin - a library, and any document
        pieces, status = [f"it is damaged ({type(error).__name__})"], UNREADABLE
    if left < 0 and not status:
        pieces.append("\n[cut here: the document goes on]")
    sys.stdout.buffer.write("".join(pieces).encode(errors="replace"))
    return status


if __name__ == "__main__":
    sys.exit(main())
