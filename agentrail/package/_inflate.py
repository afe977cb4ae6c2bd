"""Unpack one entry of an archive, never further than it may go."""

import zlib
from collections.abc import Iterator
from typing import BinaryIO, Final, NoReturn

from attrs import frozen

from agentrail.config import shown
from agentrail.errors import Fault
from agentrail.package._limits import refused

STORED: Final = 0
DEFLATED: Final = 8

_BLOCK: Final = 1 << 16


@frozen(slots=True)
class ArchiveEntry:
    """One entry of an archive whose structure is sound.

    Attributes:
        name: its path; that of a directory ends with a slash.
        method: ``STORED`` or ``DEFLATED``.
        checksum: the CRC-32 of its content.
        compressed: how many bytes it takes in the archive.
        size: how many bytes it declares to unpack to.
        start: where its data begins in the archive.
        end: where the next entry begins.
    """

    name: str
    method: int
    checksum: int
    compressed: int
    size: int
    start: int
    end: int


def inflate(file: BinaryIO, entry: ArchiveEntry) -> Iterator[bytes]:
    """Yield the content of an entry in pieces of at most 64 KiB.

    Raises:
        PackageRefused: the content is not what the entry declares; pieces may have come before.
    """
    checksum = 0
    due = entry.size
    for piece in _pieces(file, entry):
        due -= len(piece)
        if due < 0:
            _refuse("archive_size", f"it unpacks to more than its {entry.size} bytes", entry)
        checksum = zlib.crc32(piece, checksum)
        yield piece
    if due:
        _refuse("archive_size", f"it unpacks to {due} bytes less than its {entry.size}", entry)
    if checksum != entry.checksum:
        _refuse("archive_crc", "its checksum is that of other content", entry)


def _refuse(code: str, message: str, entry: ArchiveEntry) -> NoReturn:
    raise refused(Fault(code, message, file=shown(entry.name)))


def _pieces(file: BinaryIO, entry: ArchiveEntry) -> Iterator[bytes]:
    if entry.method == STORED:
        yield from _blocks(file, entry)
        return
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        for block in _blocks(file, entry):
            if inflater.eof:
                _refuse("archive_trailing", "bytes follow its compressed data", entry)
            rest = block
            while rest:
                yield inflater.decompress(rest, _BLOCK)
                rest = inflater.unconsumed_tail
        # What the last block unpacks to may be more than one piece.
        while not inflater.eof and (piece := inflater.decompress(b"", _BLOCK)):
            yield piece
    except zlib.error:
        _refuse("archive_invalid", "its compressed data is damaged", entry)
    if not inflater.eof:
        _refuse("archive_invalid", "its compressed data ends too early", entry)
    if inflater.unused_data:
        _refuse("archive_trailing", "bytes follow its compressed data", entry)


def _blocks(file: BinaryIO, entry: ArchiveEntry) -> Iterator[bytes]:
    file.seek(entry.start)
    rest = entry.compressed
    while rest:
        block = file.read(min(rest, _BLOCK))
        if not block:
            _refuse("archive_invalid", "the archive ends inside it", entry)
        rest -= len(block)
        yield block
