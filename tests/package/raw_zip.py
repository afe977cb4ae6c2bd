"""Writes ZIP archives byte by byte, so that each field can say what it should not."""

import struct
import zlib

from attrs import field, frozen

UNIX = 3
FILE = 0o100644
DIRECTORY = 0o040755
LOCATOR = struct.pack("<4sLQL", b"PK\x06\x07", 0, 0, 1)
TIMES = struct.pack("<HHBL", 0x5455, 5, 1, 1_700_000_000)
"""The extra field in which Info-ZIP and GitHub put a time."""
OWNER = struct.pack("<HHBBLBL", 0x7875, 11, 1, 4, 501, 4, 20)
"""The one in which Info-ZIP and macOS put user and group."""


def deflated(data: bytes) -> bytes:
    """Return the data as a deflate stream without a header."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def deflated_zeros(megabytes: int) -> bytes:
    """Return megabytes of zeros as a deflate stream, in no time."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    one = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return one * megabytes + packer.flush()


@frozen(kw_only=True)
class Entry:
    """One entry; what is None is what an honest archive has there."""

    name: bytes = field(kw_only=False)
    data: bytes = field(default=b"print('hello')\n", kw_only=False)
    method: int = 8
    version: int = 20
    flags: int = 0
    system: int = UNIX
    mode: int = FILE
    dos: int = 0
    extra: bytes = b""
    comment: bytes = b""
    packed: bytes | None = None
    size: int | None = None
    compressed: int | None = None
    crc: int | None = None
    start: int | None = None
    disk: int = 0
    listed: bool = True
    local: bool = True
    local_name: bytes | None = None
    local_flags: int | None = None
    local_method: int | None = None
    local_extra: bytes | None = None
    local_sizes: tuple[int, int, int] | None = None
    descriptor: bytes | None = None
    gap: bytes = b""
    """What stands before the local header."""

    @property
    def content(self) -> bytes:
        if self.packed is not None:
            return self.packed
        return deflated(self.data) if self.method == 8 else self.data

    @property
    def sizes(self) -> tuple[int, int, int]:
        """The checksum and both sizes, as the central directory has them."""
        return (
            zlib.crc32(self.data) if self.crc is None else self.crc,
            len(self.content) if self.compressed is None else self.compressed,
            len(self.data) if self.size is None else self.size,
        )

    def local_part(self) -> bytes:
        name = self.name if self.local_name is None else self.local_name
        extra = self.extra if self.local_extra is None else self.local_extra
        flags = self.flags if self.local_flags is None else self.local_flags
        method = self.method if self.local_method is None else self.local_method
        described = self.flags & 8
        sizes = self.local_sizes or ((0, 0, 0) if described else self.sizes)
        head = struct.pack(
            "<4s5H3L2H",
            *(b"PK\x03\x04", self.version, flags, method, 0, 33, *sizes, len(name), len(extra)),
        )
        tail = self.descriptor
        if tail is None:
            tail = b"PK\x07\x08" + struct.pack("<3L", *self.sizes) if described else b""
        return head + name + extra + self.content + tail

    def central_part(self, start: int) -> bytes:
        start = start if self.start is None else self.start
        attributes = self.mode << 16 | self.dos
        lengths = len(self.name), len(self.extra), len(self.comment)
        head = struct.pack(
            "<4s2B5H3L5H2L",
            *(
                b"PK\x01\x02",
                20,
                self.system,
                self.version,
                self.flags,
                self.method,
                0,
                33,
                *self.sizes,
            ),
            *(*lengths, self.disk, 0, attributes, start),
        )
        return head + self.name + self.extra + self.comment


def directory(name: bytes) -> Entry:
    """Return the entry of a directory."""
    return Entry(name, b"", method=0, mode=DIRECTORY, dos=0x10)


@frozen(kw_only=True)
class Ending:
    """What the end record says; what is None is what an honest archive has there."""

    prefix: bytes = b""
    comment: bytes = b""
    trailing: bytes = b""
    before_directory: bytes = b""
    before_end: bytes = b""
    count: int | None = None
    count_here: int | None = None
    disk: int = 0
    directory_disk: int = 0
    place: int | None = None
    size: int | None = None
    reverse: bool = False
    """List the entries in another order than they are in."""


HONEST = Ending()


def archive(*entries: Entry, end: Ending = HONEST) -> bytes:
    """Return the bytes of an archive."""
    body, parts = bytearray(), list[bytes]()
    for entry in entries:
        body += entry.gap
        if entry.listed:
            parts.append(entry.central_part(len(body)))
        if entry.local:
            body += entry.local_part()
    body += end.before_directory
    if end.reverse:
        parts.reverse()
    central = b"".join(parts)
    count = len(parts) if end.count is None else end.count
    record = struct.pack(
        "<4s4H2LH",
        b"PK\x05\x06",
        *(end.disk, end.directory_disk),
        *(count if end.count_here is None else end.count_here, count),
        len(central) if end.size is None else end.size,
        len(body) if end.place is None else end.place,
        len(end.comment),
    )
    return end.prefix + body + central + end.before_end + record + end.comment + end.trailing
