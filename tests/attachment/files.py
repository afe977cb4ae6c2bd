"""Files of every kind, honest ones and others, made for a test."""

import io
import zipfile
import zlib
from importlib import import_module

import docx
import pypdf

from agentrail import Attachment
from agentrail.attachment import kind_of

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)

LAUGHS = (
    b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY l0 "lol">'
    + b"".join(b'<!ENTITY l%d "%s">' % (n, b"&l%d;" % (n - 1) * 10) for n in range(1, 10))
    + b"]>"
)
"""Entities that make a billion laughs of a few hundred bytes."""


def attachment(filename: str, data: bytes) -> Attachment:
    """Return a file as the host hands it to a handler."""
    return Attachment(filename, kind_of(filename, data), data)


def pdf(stream: bytes = b"", filters: bytes = b"", *, text: str = "") -> bytes:
    """Return a PDF of one page that says ``text``, or whose content is ``stream``."""
    content = stream or b"BT /F1 12 Tf 72 700 Td (%s) Tj ET" % text.encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 99 99] /Contents 4 0 R /Resources 6 0 R >>",
        b"<< /Length %d %s >>\nstream\n%s\nendstream" % (len(content), filters, content),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        b"<< /Font << /F1 5 0 R >> >>",
    ]
    out, places = b"%PDF-1.4\n", list[int]()
    for number, each in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, each)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    return out + (
        b"xref\n0 7\n0000000000 65535 f \n%strailer << /Size 7 /Root 1 0 R >>\n"
        b"startxref\n%d\n%%%%EOF" % (table, len(out))
    )


def pdf_bomb() -> bytes:
    """Return a PDF of a few kilobytes whose one page unpacks, in two steps, to 300 MB."""
    packer = zlib.compressobj(9)
    spaces = b" " * 10_000_000
    once = b"".join([packer.compress(spaces) for _ in range(30)]) + packer.flush()
    return pdf(zlib.compress(once, 9), b"/Filter [/FlateDecode /FlateDecode]")


def protected_pdf(password: str, algorithm: str = "RC4-128") -> bytes:
    """Return a PDF that opens with a password; an empty one lets everybody read it."""
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf(text="secret")))
    writer.encrypt(password, "its owner's", algorithm=algorithm)
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def word(*paragraphs: str) -> bytes:
    """Return a Word document with a table of two cells at its end."""
    document = docx.Document()
    for each in paragraphs:
        document.add_paragraph(each)
    table = document.add_table(1, 2)
    table.cell(0, 0).text, table.cell(0, 1).text = "left", "right"
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def excel(*rows: list[object]) -> bytes:
    """Return an Excel workbook of one sheet."""
    workbook = import_module("openpyxl").Workbook()
    for row in rows:
        workbook.active.append(row)
    out = io.BytesIO()
    workbook.save(out)
    return out.getvalue()


def powerpoint(title: str) -> bytes:
    """Return a presentation of one slide, with a note."""
    show = import_module("pptx").Presentation()
    slide = show.slides.add_slide(show.slide_layouts[0])
    slide.shapes.title.text = title
    slide.notes_slide.notes_text_frame.text = "a note"
    out = io.BytesIO()
    show.save(out)
    return out.getvalue()


def zipped(**entries: bytes) -> bytes:
    """Return a zip that is nothing else."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return out.getvalue()


def replaced(office: bytes, entry: str, content: bytes) -> bytes:
    """Return an Office file one of whose parts is something else."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(office)) as before,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as after,
    ):
        for name in before.namelist():
            after.writestr(name, content if name == entry else before.read(name))
    return out.getvalue()
