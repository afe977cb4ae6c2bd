"""A ZIP archive of which every parser reads the same, or none at all.

The format says most things twice or more, and what one parser ignores another believes.  So every
byte of an archive has to be accounted for: the entries lie one behind another from the first byte
on, the central directory lists each of them once and in their order, and one end record follows.

Source: PKWARE APPNOTE 6.3.10.
"""

import re
import stat
import struct
from collections.abc import Iterator, Sequence
from typing import BinaryIO, Final, NoReturn

from attrs import frozen

from agentrail.config import shown
from agentrail.errors import Fault
from agentrail.package._inflate import DEFLATED, STORED, ArchiveEntry
from agentrail.package._limits import MIB, ArchiveLimits, refused
from agentrail.package._names import PACK_HINT, name_faults

_END: Final = struct.Struct("<4s4H2LH")
_END_SIGNATURE: Final = b"PK\x05\x06"
_ZIP64_SIGNATURE: Final = b"PK\x06\x07"
_ZIP64_SIZE: Final = 20
_CENTRAL: Final = struct.Struct("<4s2B5H3L5H2L")
_CENTRAL_SIGNATURE: Final = b"PK\x01\x02"
_LOCAL: Final = struct.Struct("<4s5H3L2H")
_LOCAL_SIGNATURE: Final = b"PK\x03\x04"
_DESCRIPTOR: Final = struct.Struct("<3L")
_DESCRIPTOR_SIGNATURE: Final = b"PK\x07\x08"

_MASKED: Final = 0xFFFF_FFFF
"""A size or place that is in a ZIP64 field instead."""

_DEFLATE_VERSION: Final = 20
"""Of the format, needed to unpack what is deflated; a higher one is for what is not taken here."""
_ZIP64_VERSION: Final = 45

_ENCRYPTED: Final = 1 << 0 | 1 << 6 | 1 << 13
_DESCRIBED: Final = 1 << 3
"""Sizes and checksum are behind the data; the local header need not have them."""
_KNOWN: Final = 0b110 | _DESCRIBED | 1 << 11
"""Bits that change nothing: how hard the packer tried, and that the name is UTF-8."""

_ZIP64_FIELD: Final = 0x0001
_UNICODE_NAME: Final = 0x7075
_HARMLESS: Final = frozenset({0x000A, 0x5455, 0x5855, 0x7855, 0x7875})
"""Extra fields with times and owners, which nobody here reads."""

_LABEL: Final = 0x08 | 0x40 | 0x400
"""DOS attributes of volume labels, devices and reparse points."""
_DIRECTORY: Final = 0x10
_SPECIAL_MODE: Final = 0o7002
"""Set-user, set-group, sticky, and writable for everybody."""

_EMPTY: Final = 2
"""Bytes to which Python deflates the nothing in a directory."""

_COMMENT: Final = re.compile(rb"([0-9a-f]{40})?")
"""What GitHub writes: the commit that the archive is of."""
_LONGEST_COMMENT: Final = 0xFFFF
_LONGEST_NAME: Final = 4096
"""More characters than any limit on paths, few enough to keep one of each entry."""


@frozen(slots=True)
class _Record:
    """A central record, as it is read."""

    name: str
    flags: int
    method: int
    checksum: int
    compressed: int
    size: int
    attributes: int
    start: int
    """Where its local header begins."""


def read_archive(file: BinaryIO, limits: ArchiveLimits) -> Sequence[ArchiveEntry]:
    """Return the entries of an archive, in their order; nothing is unpacked yet.

    Args:
        file: seekable.
        limits: on the sizes that the archive declares; unpacking holds it to them.

    Raises:
        PackageRefused: it is damaged, too large, or could be read in two ways.
    """
    count, place, end = _end_record(file, limits)
    records = _central_directory(file, count, place, end)
    if faults := list(_record_faults(records, limits)):
        raise refused(*faults)
    if all(record.name.endswith("/") for record in records):
        _refuse("archive_invalid", "there is no file in it")
    return _entries(file, records, place)


def _refuse(code: str, message: str, file: str = "") -> NoReturn:
    raise refused(Fault(code, message, file=shown(file)))


def _end_record(file: BinaryIO, limits: ArchiveLimits) -> tuple[int, int, int]:
    """Return how many entries there are, where the central directory begins, and where it ends."""
    length = file.seek(0, 2)
    if length > limits.archive:
        _refuse("archive_size", f"it has {length} bytes; at most {limits.archive} are taken")
    position = _find_end(file, length)
    file.seek(position)
    _, disk, disk_of_directory, here, count, size, place, comment = _END.unpack(
        file.read(_END.size)
    )
    if not _COMMENT.fullmatch(file.read(comment)):
        _refuse("archive_comment", f"it has a comment that is not a commit's; {PACK_HINT}")
    if count > limits.entries:
        _refuse("archive_entries", f"it has {count} entries; at most {limits.entries} are taken")
    file.seek(max(position - _ZIP64_SIZE, 0))
    if file.read(4) == _ZIP64_SIGNATURE or _MASKED in (size, place):
        _refuse("archive_zip64", f"it uses ZIP64, which its size does not need; {PACK_HINT}")
    if disk or disk_of_directory or here != count:
        _refuse("archive_zip64", "it is one part of an archive in several")
    if size + place > position:
        _refuse("archive_invalid", "its central directory is not where its end record says")
    if size + place < position:
        _refuse("archive_prefix", f"it begins with {position - size - place} bytes of another file")
    return count, place, position


def _find_end(file: BinaryIO, length: int) -> int:
    """Return where the first end record is whose comment ends with the file."""
    start = max(length - _END.size - _LONGEST_COMMENT, 0)
    file.seek(start)
    tail = file.read(length - start)
    ends = dict[int, int]()
    at = tail.find(_END_SIGNATURE)
    while at >= 0 and at + _END.size <= len(tail):
        ends[start + at] = start + at + _END.size + _END.unpack_from(tail, at)[-1]
        at = tail.find(_END_SIGNATURE, at + 1)
    whole = [position for position, end in ends.items() if end == length]
    if not whole and any(end < length for end in ends.values()):
        _refuse("archive_trailing", "bytes follow its end record")
    if not whole:
        _refuse("archive_invalid", "it is no ZIP archive, or its end is missing")
    return whole[0]  # any other is in its comment, which is then refused


def _central_directory(file: BinaryIO, count: int, place: int, end: int) -> list[_Record]:
    """Return the records of the central directory, which has to end where the end record is."""
    file.seek(place)
    records = list[_Record]()
    while (rest := end - file.tell()) > 0:
        head = file.read(min(_CENTRAL.size, rest))
        if len(head) < _CENTRAL.size or not head.startswith(_CENTRAL_SIGNATURE):
            _refuse("archive_invalid", "its central directory is damaged")
        if len(records) == count:
            _refuse("archive_mismatch", f"it lists more entries than the {count} that it counts")
        records.append(_central_record(file, head, end))
    if len(records) < count:
        _refuse("archive_mismatch", f"it lists {len(records)} entries and counts {count}")
    return records


def _central_record(file: BinaryIO, head: bytes, end: int) -> _Record:
    fields = _CENTRAL.unpack(head)
    version, flags, method = fields[3:6]
    checksum, compressed, size, name_size, extra_size, comment_size = fields[8:14]
    disk, _, attributes, start = fields[14:]
    if file.tell() + name_size + extra_size + comment_size > end:
        _refuse("archive_invalid", "its central directory is damaged")
    name = _decoded(file.read(name_size))
    if name_size > _LONGEST_NAME:
        _refuse("archive_name", f"its path has {name_size} characters", name)
    _check_flags(flags, name)
    _check_extra(file.read(extra_size), name)
    if comment_size:
        _refuse("archive_comment", "the entry has a comment", name)
    if _MASKED in (compressed, size, start) or disk or version == _ZIP64_VERSION:
        _refuse("archive_zip64", "the entry uses ZIP64, or lies in another part", name)
    if method not in {STORED, DEFLATED} or version > _DEFLATE_VERSION:
        _refuse("archive_method", f"compression {method} is not taken: use deflate", name)
    return _Record(name, flags, method, checksum, compressed, size, attributes, start)


def _decoded(name: bytes) -> str:
    # What is not ASCII is refused for its name, whatever it was meant to be.
    return name.decode("utf-8", "surrogateescape")


def _check_flags(flags: int, name: str) -> None:
    if flags & _ENCRYPTED:
        _refuse("archive_encrypted", "it is encrypted", name)
    if flags & ~_KNOWN:
        _refuse("archive_method", "it is packed in an unusual way: use plain deflate", name)


def _check_extra(extra: bytes, name: str) -> None:
    at = 0
    while at < len(extra):
        if len(extra) - at < 4:  # noqa: PLR2004 - the head of a field
            _refuse("archive_invalid", "its extra fields are damaged", name)
        kind, size = struct.unpack_from("<2H", extra, at)
        at += 4 + size
        if kind == _ZIP64_FIELD:
            _refuse("archive_zip64", "it uses ZIP64, which its size does not need", name)
        if kind == _UNICODE_NAME:
            _refuse("archive_name", "it has a second name in an extra field", name)
        if kind not in _HARMLESS or at > len(extra):
            _refuse("archive_invalid", f"extra field {kind:#06x} is not taken; {PACK_HINT}", name)


def _record_faults(records: Sequence[_Record], limits: ArchiveLimits) -> Iterator[Fault]:
    yield from name_faults(
        (record.name for record in records if not record.name.endswith("/")),
        (record.name[:-1] for record in records if record.name.endswith("/")),
        limits,
    )
    for record in records:
        for code, message in (*_type_faults(record), *_size_faults(record, limits)):
            yield Fault(code, message, file=shown(record.name))
    total = sum(record.size for record in records)
    if total > limits.total:
        message = f"its files have {total} bytes; at most {limits.total} are taken"
        yield Fault("archive_size", message)


def _type_faults(record: _Record) -> Iterator[tuple[str, str]]:
    is_directory = record.name.endswith("/")
    # Python writes modes for systems that have none, and some tools believe them.
    mode = record.attributes >> 16
    expected = stat.S_IFDIR if is_directory else stat.S_IFREG
    if stat.S_IFMT(mode) not in {0, expected} or record.attributes & _LABEL:
        yield "archive_type", "it is neither a plain file nor a directory, or says that it is both"
    elif record.attributes & _DIRECTORY and not is_directory:
        yield "archive_type", "it is marked as a directory, and its name does not end in a slash"
    if is_directory and (record.size or record.compressed > _EMPTY):
        yield "archive_type", "it is a directory, and has content"
    if mode & _SPECIAL_MODE:
        yield "archive_mode", "it has the set-user, set-group or sticky bit, or all may write to it"


def _size_faults(record: _Record, limits: ArchiveLimits) -> Iterator[tuple[str, str]]:
    if record.size > max(MIB, record.compressed * limits.ratio):
        yield "archive_ratio", f"it grows to more than {limits.ratio} times its size"
    if record.size > limits.entry:
        yield "archive_size", f"it has {record.size} bytes; at most {limits.entry} are taken"


def _entries(file: BinaryIO, records: Sequence[_Record], end: int) -> Sequence[ArchiveEntry]:
    """Return the entries when they cover the file, each its own part, up to the directory."""
    starts = [record.start for record in records]
    if starts != sorted(starts):
        _refuse("archive_mismatch", "its entries are listed in another order than they are in")
    entries = list[ArchiveEntry]()
    expected = 0
    for record, following in zip(records, [*starts[1:], end], strict=True):
        _check_gap(file, expected, record.start)
        entry = _local_entry(file, record, following)
        expected = entry.end
        entries.append(entry)
    _check_gap(file, expected, end)
    return entries


def _check_gap(file: BinaryIO, expected: int, actual: int) -> None:
    if expected == actual:
        return
    file.seek(expected)
    if expected == 0 and file.read(4) != _LOCAL_SIGNATURE:
        _refuse("archive_prefix", f"it begins with {actual} bytes of another file")
    _refuse("archive_orphan", f"bytes {expected} to {actual} belong to no listed entry")


def _local_entry(file: BinaryIO, record: _Record, following: int) -> ArchiveEntry:
    """Return the entry whose local header says the same as its central record."""
    file.seek(record.start)
    head = file.read(_LOCAL.size)
    if len(head) < _LOCAL.size or not head.startswith(_LOCAL_SIGNATURE):
        _refuse("archive_mismatch", "it is not where the central directory says", record.name)
    _, version, flags, method, _, _, *declared, name_size, extra_size = _LOCAL.unpack(head)
    name = _decoded(file.read(name_size))
    _check_flags(flags, record.name)
    _check_extra(file.read(extra_size), record.name)
    same = (name, flags, method) == (record.name, record.flags, record.method)
    if not same or version > _DEFLATE_VERSION:
        _refuse("archive_mismatch", "its local header says something else of it", record.name)
    start = record.start + _LOCAL.size + name_size + extra_size
    end = start + record.compressed
    if end > following:
        _refuse("archive_overlap", "it shares bytes with what is listed after it", record.name)
    if flags & _DESCRIBED:  # what is there already has to hold all the same
        due = record.checksum, record.compressed, record.size
        declared = [said or behind for said, behind in zip(declared, due, strict=True)]
        end += _descriptor(file, record, end, following)
        _check_end(record, end - start - record.compressed)
    _check_declared(declared, record)
    if record.method == STORED and record.compressed != record.size:
        _refuse("archive_mismatch", "it is stored, and has two sizes", record.name)
    return ArchiveEntry(
        record.name, method, record.checksum, record.compressed, record.size, start, end
    )


def _check_end(record: _Record, descriptor: int) -> None:
    """Refuse an entry that has to be searched for its end by whoever reads it from the beginning.

    That of deflated data is in it.  What is stored may quote a descriptor, unless it is empty and
    its own comes at once, with the signature that is searched for.
    """
    found = descriptor > _DESCRIPTOR.size and not record.size
    if record.method == STORED and not found:
        message = f"it is stored, and what tells where it ends is behind it; {PACK_HINT}"
        _refuse("archive_mismatch", message, record.name)


def _descriptor(file: BinaryIO, record: _Record, start: int, following: int) -> int:
    """Return the length of what is behind the data; its signature may be left out."""
    signature = b"" if following - start == _DESCRIPTOR.size else _DESCRIPTOR_SIGNATURE
    length = len(signature) + _DESCRIPTOR.size
    file.seek(start)
    data = file.read(min(length, following - start))
    if len(data) < length or data.startswith(_DESCRIPTOR_SIGNATURE) != bool(signature):
        _refuse("archive_mismatch", "its sizes are not behind its data", record.name)
    _check_declared(_DESCRIPTOR.unpack(data[len(signature) :]), record)
    return length


def _check_declared(declared: Sequence[int], record: _Record) -> None:
    checksum, compressed, size = declared
    if checksum != record.checksum:
        _refuse("archive_crc", "it has two checksums", record.name)
    if (compressed, size) != (record.compressed, record.size):
        _refuse("archive_mismatch", "it has two sizes", record.name)
