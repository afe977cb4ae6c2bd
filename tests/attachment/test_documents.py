"""Documents are read in processes of their own, whatever is in them, and the host goes on."""

import os
import sys
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

import anyio
import pytest

from agentrail import Attachment, RequestContext
from agentrail.attachment import documents
from agentrail.attachment._documents import AT_ONCE
from agentrail.errors import ConfigError
from tests.attachment import files
from tests.attachment.files import attachment

pytestmark = pytest.mark.anyio

NOBODY = cast("RequestContext", None)


async def told(*attached: Attachment, chars: int = 20_000, seconds: float = 50) -> str:
    """Return what is told of documents."""
    handler = documents(chars=chars, seconds=seconds)
    return await handler.attachment_handler(attached, NOBODY)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (files.pdf(text="Hello PDF"), "Hello PDF"),
        (files.word("Hello", "Word"), "Hello\nWord\nleft | right"),
        (files.excel(["a", None, 1], [None, 2.5]), "Sheet Sheet:\na |  | 1\n | 2.5"),
        (files.powerpoint("Hello"), "Slide 1:\nHello\nNotes: a note"),
        (files.pdf(b" "), "[it has no text]"),
        (files.protected_pdf(""), "secret"),
        (files.protected_pdf("", "AES-256"), "secret"),
    ],
)
async def test_the_text_of_a_document_is_told(data: bytes, text: str) -> None:
    assert await told(attachment("x.bin", data)) == f"The file 'x.bin':\n\n{text}"


async def test_several_are_told_in_their_order_and_share_what_there_is() -> None:
    long = attachment("a.docx", files.word("x" * 500))
    short = attachment("b.pdf", files.pdf(text="short"))

    assert await told(long, attachment("c.txt", b"no document"), short, chars=200) == (
        f"The file 'a.docx':\n\n{'x' * 100}\n[cut here: the document goes on]\n\n"
        "The file 'b.pdf':\n\nshort"
    )


PROTECTED = "it is protected by a password"
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
WORDS = b"http://schemas.openxmlformats.org/wordprocessingml/2006/main"
CELLS = b"http://schemas.openxmlformats.org/spreadsheetml/2006/main"
UNREADABLE: Mapping[str, tuple[str, Callable[[], bytes], str]] = {
    "a PDF bomb": ("x.pdf", files.pdf_bomb, "it unpacks to more than"),
    "a PDF of a million brackets": ("x.pdf", lambda: files.pdf(b"[" * 1_000_000), ""),
    "a PDF that is cut off": ("x.pdf", lambda: files.pdf(text="x")[:200], "it is damaged"),
    "a PDF behind a password": ("x.pdf", lambda: files.protected_pdf("x"), PROTECTED),
    "a zip named pdf": (
        "x.pdf",
        files.zipped,
        "it is a PDF document, by its content application/z",
    ),
    "a text named docx": ("x.docx", lambda: b"hello", "by its name it is a Word document, by its"),
    "a zip bomb": (
        "x.docx",
        lambda: files.replaced(files.word("x"), "word/document.xml", bytes(200_000_000)),
        "it unpacks to more than 128 MB",
    ),
    "laughs in Word": (
        "x.docx",
        lambda: files.replaced(
            files.word("x"),
            "word/document.xml",
            files.LAUGHS + b'<w:document xmlns:w="%s"><w:body><w:p><w:r><w:t>&l9;</w:t></w:r></w:p>'
            b"</w:body></w:document>" % WORDS,
        ),
        "it is damaged",
    ),
    "laughs in Excel": (
        "x.xlsx",
        lambda: files.replaced(
            files.excel(["x"]),
            "xl/worksheets/sheet1.xml",
            files.LAUGHS + b'<worksheet xmlns="%s"><sheetData><row r="1"><c r="A1" t="inlineStr">'
            b"<is><t>&l9;</t></is></c></row></sheetData></worksheet>" % CELLS,
        ),
        "it is damaged",
    ),
    "Office behind a password": (
        "x.docx",
        lambda: OLE + "EncryptedPackage".encode("utf-16-le"),
        PROTECTED,
    ),
    "an old Word document": ("x.doc", lambda: OLE, "Office before 2007"),
}


@pytest.mark.parametrize(("name", "make", "reason"), UNREADABLE.values(), ids=UNREADABLE)
async def test_what_cannot_be_read_is_told_in_a_sentence(
    name: str, make: Callable[[], bytes], reason: str
) -> None:
    said = await told(attachment(name, make()))

    assert reason in said
    assert "\n" not in said if reason else "no text" in said
    assert len(said) < 200


async def test_reading_takes_no_more_memory_than_it_may() -> None:
    large = files.replaced(files.word("x"), "word/document.xml", b" " * 100_000_000)
    handler = documents(megabytes=120, seconds=50)

    said = await handler.attachment_handler([attachment("x.docx", large)], NOBODY)

    assert said == "The file 'x.docx' could not be read: it takes more than 120 MB of memory."


async def test_reading_takes_no_longer_than_it_may_and_leaves_no_process() -> None:
    data = files.pdf(
        zlib.compress(b"BT /F1 9 Tf " + b"(A) Tj " * 5_000_000), b"/Filter/FlateDecode"
    )
    slow = [attachment(f"{number}.pdf", data) for number in range(AT_ONCE + 1)]

    said = await told(*slow, seconds=0.5)

    assert said == "\n\n".join(
        f"The file '{number}.pdf' could not be read: it takes longer than 0.5 seconds."
        for number in range(AT_ONCE + 1)
    )
    assert children() == []


def children() -> list[str]:
    """Return the commands of this process's children that read documents."""
    me, found = str(os.getpid()), list[str]()
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = status.read_text().rpartition(")")[2].split()[1]
            command = status.with_name("cmdline").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if parent == me and "_extract.py" in command:
            found.append(command)
    return found


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Returns a function that lets a shell script be what the host runs as Python."""

    def be(script: str) -> None:
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(path))

    return be


async def test_a_request_that_is_cancelled_leaves_no_process(
    program: Callable[[str], None], tmp_path: Path
) -> None:
    began = tmp_path / "began"
    os.mkfifo(began)
    program(f"echo $$ > {began}; exec sleep 1000")
    large = attachment("x.pdf", files.pdf(b" " * 1_000_000))  # more than a pipe holds
    process = 0

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(told, large)
        process = int(await anyio.Path(began).read_text())
        tasks.cancel_scope.cancel()

    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


async def test_one_that_writes_without_end_is_stopped(program: Callable[[str], None]) -> None:
    program("exec yes")

    said = await told(attachment("x.pdf", files.pdf(text="x")))

    assert said == "The file 'x.pdf' could not be read: the program that reads it broke down."


@pytest.mark.parametrize("size", [10, 10_000_000])  # less and more than a pipe holds
async def test_one_that_breaks_down_is_told(program: Callable[[str], None], size: int) -> None:
    program("kill -SEGV $$")

    said = await told(attachment("x.pdf", files.pdf(b" " * size)))

    assert said == "The file 'x.pdf' could not be read: the program that reads it broke down."


async def test_the_process_gets_no_secrets(
    program: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    program("cat > /dev/null; env")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")

    said = await told(attachment("x.pdf", files.pdf(text="x")))

    assert "PATH=" in said
    assert "sk-secret" not in said


def test_it_says_what_to_install_where_the_libraries_are_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pypdf", None)

    with pytest.raises(ConfigError, match=r"pip install 'agentrail-host\[attachments\]'"):
        documents()
