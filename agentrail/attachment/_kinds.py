"""What a file is, by its content.  No I/O, and bounded work, whatever the content."""

import codecs
import struct
import zlib
from typing import Final

PDF: Final = "application/pdf"
ZIP: Final = "application/zip"
OLE: Final = "application/x-ole-storage"
"""Office files of before 2007, and newer ones that are protected by a password."""
DOCX: Final = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
XLSX: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
PPTX: Final = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
CSV: Final = "text/csv"
TSV: Final = "text/tab-separated-values"
TEXT: Final = "text/plain"
UNKNOWN: Final = "application/octet-stream"

IMAGES: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""The kinds of image that models take."""

BOMS: Final = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""What a text may begin with that says its encoding."""

_BEGINNINGS: Final = {
    b"%PDF-": PDF,
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": OLE,
    b"\x1f\x8b": "application/gzip",
    b"PK\x05\x06": ZIP,  # an empty one
}

_OFFICE: Final = {
    b"wordprocessingml.document.main+xml": DOCX,
    b"spreadsheetml.sheet.main+xml": XLSX,
    b"presentationml.presentation.main+xml": PPTX,
    b"ms-word.document.macroEnabled.main+xml": DOCX,
    b"ms-excel.sheet.macroEnabled.main+xml": XLSX,
    b"ms-powerpoint.presentation.macroEnabled.main+xml": PPTX,
}
"""What a package's list of content types says of its main part.

Source: ECMA-376, part 1, §11.3.10, §12.3.23 and §13.3.6; macros are the same documents to us.
"""

_TEXTS: Final = {
    ".csv": CSV,
    ".tsv": TSV,
    ".md": "text/markdown",
    ".markdown": "text/markdown",
    ".json": "application/json",
}
"""What a text is by its name: nothing in it tells."""

_LOOKED_AT: Final = 65_536
"""How many bytes of a text, or of a list of content types, are looked at."""

_ENTRIES: Final = 10_000
"""How many entries of a zip are looked at."""


def kind_of(filename: str, data: bytes) -> str:
    """Return the MIME type of a file, by its content; only among texts its name decides.

    An empty file is an empty text.
    """
    for beginning, kind in _BEGINNINGS.items():
        if data.startswith(beginning):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data.startswith(b"PK\x03\x04"):
        listing = _content_types(data)
        return next((kind for part, kind in _OFFICE.items() if part in listing), ZIP)
    if _is_text(data):
        extension = filename[max(0, filename.rfind(".")) :].lower()
        return _TEXTS.get(extension, TEXT)
    return UNKNOWN


def is_encrypted_office(data: bytes) -> bool:
    """Tell whether a file of the kind ``OLE`` is a newer Office file behind a password."""
    return "EncryptedPackage".encode("utf-16-le") in data


def _is_text(data: bytes) -> bool:
    head = data[:_LOOKED_AT]
    encoding = next((name for bom, name in BOMS.items() if head.startswith(bom)), "utf-8")
    try:
        # A character may be cut in two where the looking ends.
        text = codecs.getincrementaldecoder(encoding)().decode(head, len(head) == len(data))
    except UnicodeDecodeError:
        return False
    return "\0" not in text


def _content_types(data: bytes) -> bytes:
    """Return the beginning of a zip's ``[Content_Types].xml``; empty when it has none.

    The zip's directory is at its end; what it says of places and sizes is believed nowhere.
    """
    end = data.rfind(b"PK\x05\x06")
    try:
        entries, _, at = struct.unpack_from("<HII", data, end + 10)
        for _ in range(min(entries, _ENTRIES)):
            method, *_, name, extra, comment, place = struct.unpack_from(
                "<10xH4x4x4x4xHHH8xI", data, at
            )
            at += 46
            if data[at : at + name] == b"[Content_Types].xml":
                return _unpacked(data, place, method)
            at += name + extra + comment
    except (struct.error, zlib.error):
        pass
    return b""


def _unpacked(data: bytes, place: int, method: int) -> bytes:
    """Return the beginning of the entry whose own header is at ``place``."""
    name, extra = struct.unpack_from("<26xHH", data, place)
    begin = place + 30 + name + extra
    packed = data[begin : begin + _LOOKED_AT]
    if method == zlib.DEFLATED:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, _LOOKED_AT)
    return packed
