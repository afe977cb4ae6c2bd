"""Documents, read in child processes: what hostile ones do, they do there."""

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from math import ceil
from pathlib import Path
from subprocess import DEVNULL
from typing import Final

import anyio
from anyio.abc import ByteSendStream, Process
from attrs import define, field

from agentrail.attachment._kinds import (
    DOCX,
    OLE,
    PDF,
    PPTX,
    UNKNOWN,
    XLSX,
    ZIP,
    is_encrypted_office,
)
from agentrail.attachment._told import CHARS, said, unread
from agentrail.errors import ConfigError
from agentrail.extras import pip_install
from agentrail.messages import Attachment
from agentrail.requests import RequestContext

AT_ONCE: Final = 2
"""How many documents are read at the same time, over all requests."""

_PROGRAM: Final = Path(__file__).with_name("_extract.py")
_UNREADABLE: Final = 3
"""The status with which the program says why a document cannot be read."""

_READERS: Final = {PDF: "pdf", DOCX: "docx", XLSX: "xlsx", PPTX: "pptx"}
_LIBRARIES: Final = ("pypdf", "docx", "openpyxl", "pptx")

_NAMED: Final = {
    ".pdf": "a PDF document",
    ".docx": "a Word document",
    ".xlsx": "an Excel workbook",
    ".pptx": "a PowerPoint presentation",
    ".doc": "an old Word document",
    ".xls": "an old Excel workbook",
    ".ppt": "an old PowerPoint presentation",
}
"""What a name says that a file is; where its content is something else, that is told."""

_PASSED_ON: Final = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")
"""What Python needs of the environment; the rest may hold secrets."""


@define(slots=True, eq=False)
class Documents:
    """The plugin that ``documents`` makes."""

    chars: int
    seconds: float
    megabytes: int
    name: str = "attachment-documents"
    _limiter: anyio.CapacityLimiter = field(init=False)

    def __attrs_post_init__(self) -> None:
        """Prepare to count the processes."""
        self._limiter = anyio.CapacityLimiter(AT_ONCE)

    @property
    def deadlines(self) -> Mapping[str, float]:
        """The hook's own deadline comes after that of the documents."""
        return {"attachment_handler": self.seconds + 10}

    async def attachment_handler(
        self, attachments: Sequence[Attachment], _context: RequestContext
    ) -> str:
        """Return the text of the documents, each cut to its share."""
        texts = [""] * len(attachments)
        readable = [each for each in attachments if each.mime_type in _READERS]
        deadline = anyio.current_time() + self.seconds

        async def read(place: int, attachment: Attachment, chars: int) -> None:
            texts[place] = await self._read(attachment, chars, deadline)

        async with anyio.create_task_group() as tasks:
            for place, attachment in enumerate(attachments):
                if attachment.mime_type in _READERS:
                    chars = self.chars // len(readable)
                    tasks.start_soon(read, place, attachment, chars)
                elif reason := _why_not(attachment):
                    texts[place] = unread(attachment, reason)
        return "\n\n".join(text for text in texts if text)

    async def _read(self, attachment: Attachment, chars: int, deadline: float) -> str:
        with anyio.CancelScope(deadline=deadline):
            async with self._limiter:
                kind = _READERS[attachment.mime_type]
                seconds = ceil(deadline - anyio.current_time()) + 1
                limits = (chars, self.megabytes << 20, seconds)
                command = [sys.executable, "-I", str(_PROGRAM), kind, *map(str, limits)]
                status, text = await _run(command, attachment.data, 8 * chars + 1000)
            if status == 0:
                return said(attachment, text.strip() or "[it has no text]")
            broken = "the program that reads it broke down"
            return unread(attachment, text if status == _UNREADABLE else broken)
        return unread(attachment, f"it takes longer than {self.seconds:g} seconds")


def documents(*, chars: int = CHARS, seconds: float = 20.0, megabytes: int = 512) -> Documents:
    """Return a plugin that tells the model the text of PDF, Word, Excel and PowerPoint files.

    Each document is read in a process of its own; what cannot be read is told in a sentence.

    Args:
        chars: how many characters of all documents of a request are told, each has an equal share.
        seconds: how long all documents of a request may take.
        megabytes: how much memory the reading of one may take.

    Raises:
        ConfigError: the libraries that read documents are not installed.
    """
    missing = [name for name in _LIBRARIES if find_spec(name) is None]
    if missing:
        message = f"documents() needs {', '.join(missing)}: {pip_install('attachments')}"
        raise ConfigError(message)
    return Documents(chars, seconds, megabytes)


async def _run(command: Sequence[str], data: bytes, limit: int) -> tuple[int, str]:
    """Return a program's status and what it wrote, of which no more than ``limit`` bytes are read.

    However this ends, the program has ended then too.
    """
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    opened: list[Process] = []
    with anyio.CancelScope(shield=True):  # asyncio, cancelled here, does not wait for its end
        opened.append(await anyio.open_process(command, stderr=DEVNULL, env=environment))
    (process,) = opened
    try:
        written = await _talk(process, data, limit)
        status = await process.wait()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        with anyio.CancelScope(shield=True):
            await process.aclose()
    return status, written.decode(errors="replace")


async def _talk(process: Process, data: bytes, limit: int) -> bytes:
    """Write ``data`` to a process and return what it writes."""
    written = bytearray()
    if process.stdin is None or process.stdout is None:
        return b""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_feed, process.stdin, data)
        async for chunk in process.stdout:
            written += chunk
            if len(written) > limit:
                process.kill()
                break
        tasks.cancel_scope.cancel()
    return bytes(written)


async def _feed(stdin: ByteSendStream, data: bytes) -> None:
    # It may have ended before it has read all.
    with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
        await stdin.send(data)
        await stdin.aclose()


def _why_not(attachment: Attachment) -> str:
    """Return why a file is not read whose name says that it is a document; empty for others."""
    name = attachment.filename.lower()
    named = next((what for ending, what in _NAMED.items() if name.endswith(ending)), "")
    if attachment.mime_type == OLE and is_encrypted_office(attachment.data):
        return "it is protected by a password"
    if not named:
        return ""
    if attachment.mime_type == OLE:
        return "it is in the format of Office before 2007; save it in the present one"
    if attachment.mime_type in {ZIP, UNKNOWN} or attachment.mime_type.startswith("text/"):
        return f"by its name it is {named}, by its content {attachment.mime_type}"
    return ""
