"""Archives that must be refused, each with its code, and their honest twins.

``Z01`` and the like name the kinds of attack; several items try one kind in several ways.
"""

import io
import stat
import struct
import zipfile
from collections.abc import Callable, Sequence
from functools import partial

from attrs import frozen

from tests.package.raw_zip import (
    LOCATOR,
    OWNER,
    TIMES,
    Ending,
    Entry,
    archive,
    deflated,
    deflated_zeros,
    directory,
)

MIB = 1 << 20
COMMIT = b"0123456789abcdef0123456789abcdef01234567"
ZIP64_FIELD = struct.pack("<HHQQ", 1, 16, 5, 5)
UNICODE_NAME = struct.pack("<HHBL", 0x7075, 10, 1, 0) + b"other"
GOOD = Entry(b"good.py")
SIGNATURE = int.from_bytes(b"PK\x07\x08", "little")


@frozen
class Item:
    """An upload and what has to come of it; no code for one that is accepted."""

    id: str
    build: Callable[[], bytes]
    code: str = ""
    name: str = "upload.zip"


def item(id_: str, code: str, *entries: Entry, end: Ending | None = None) -> Item:
    """Return an item whose archive has these entries."""
    return Item(id_, partial(archive, *entries, end=end or Ending()), code)


def named(id_: str, code: str, *names: bytes) -> Item:
    """Return an item whose entries have these names."""
    return item(id_, code, *(Entry(name) for name in names))


def zeros(megabytes: int, size: int | None = None) -> Entry:
    data, packed = bytes(megabytes * MIB), deflated_zeros(megabytes)
    return Entry(b"zeros.bin", data, packed=packed, size=size)


def with_mode(id_: str, code: str, mode: int, *, system: int = 3, name: bytes = b"x.py") -> Item:
    return item(id_, code, Entry(name, b"/etc/passwd", mode=mode, system=system))


def by_zipfile(*names: str, method: int = zipfile.ZIP_DEFLATED, unseekable: bool = False) -> bytes:
    """Return what Python's own module makes of files and directories of these names."""
    out: io.BytesIO = Pipe() if unseekable else io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as made:
        for name in names:
            made.writestr(name, "" if name.endswith("/") else "print('hello')\n" * 9)
    return out.getvalue()


class Pipe(io.BytesIO):
    """Where one cannot go back: archives get descriptors behind the data."""

    def seekable(self) -> bool:
        return False

    def seek(self, *args: object) -> int:
        raise io.UnsupportedOperation

    def tell(self) -> int:
        raise io.UnsupportedOperation


def stored_zeros(megabytes: int) -> Entry:
    return Entry(b"zeros.bin", bytes(megabytes * MIB), method=0)


def other_method(method: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as made:
        made.writestr("zeros.bin", bytes(2 * MIB))
    return out.getvalue()


def needless_zip64() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made, made.open("x.py", "w", force_zip64=True) as file:
        file.write(b"x = 1\n")
    return out.getvalue()


def quoted_descriptor() -> bytes:
    """Return a file that is stored, and in which another seems to follow its first line."""
    seen, hidden = b"print('hello')\n", b"print('goodbye')\n"
    inner = Entry(b"", seen, method=0, flags=8).local_part()[30:]
    inner += Entry(b"b.py", hidden, method=0, flags=8).local_part()
    return archive(Entry(b"a.py", inner, method=0, flags=8))


def nested(depth: int = 6) -> bytes:
    """Return an archive in an archive in an archive."""
    data = archive(GOOD)
    for _ in range(depth):
        data = archive(Entry(b"inner.zip", data), Entry(b"stored.zip", data, method=0))
    return data


def quoted_overlap() -> bytes:
    """Return two entries of which the first quotes the second's local header and data."""
    second = Entry(b"b.bin", bytes(3000))
    inner = second.local_part()
    # A stored block of deflate that holds the other entry, and then the last block.
    quoting = struct.pack("<BHH", 0, len(inner), len(inner) ^ 0xFFFF) + inner + deflated(b"")
    first = Entry(b"a.bin", inner, packed=quoting)
    place = len(first.local_part()) - len(inner) - len(deflated(b""))
    return archive(first, Entry(b"b.bin", bytes(3000), local=False, start=place))


def seventy_thousand() -> bytes:
    """Return more entries than an end record can count."""
    entries = (Entry(b"f%d" % number, b"", method=0) for number in range(70_000))
    return archive(*entries, end=Ending(count=0xFFFF))


def many(count: int) -> bytes:
    return by_zipfile(*(f"f{number}.txt" for number in range(count)))


PATHS = [
    named("Z01-up", "archive_path", b"../../evil.txt"),
    named("Z01-up-once", "archive_path", b"../evil.py", b"good.py"),
    named("Z01-up-inside", "archive_path", b"a/b/../../../evil.py"),
    named("Z01-all-up", "archive_path", b".."),
    named("Z02-absolute", "archive_path", b"/abs/evil.py"),
    named("Z03-backslashes", "archive_path", b"..\\..\\evil.txt"),
    named("Z03-one-backslash", "archive_path", b"a\\evil.py"),
    named("Z03-share", "archive_path", b"\\\\host\\share\\x"),
    named("Z04-drive", "archive_path", b"C:\\evil.py"),
    named("Z04-drive-relative", "archive_path", b"C:evil.py"),
    named("Z04-drive-slash", "archive_path", b"z:/evil.py"),
    named("Z05-up-and-down", "archive_path", b"a/../../b.py"),
    named("Z05-dot", "archive_path", b"a/./b.py"),
    named("Z05-empty-segment", "archive_path", b"a//b.py"),
    named("Z06-dot", "archive_path", b"."),
    item("Z06-dot-directory", "archive_path", directory(b"./"), GOOD),
    named("Z06-no-name", "archive_path", b""),
    item("Z06-root", "archive_path", directory(b"/"), GOOD),
    named("Z07-share", "archive_name", b"//host/share/x"),
    named("Z07-con", "archive_name", b"CON.py"),
    named("Z07-nul", "archive_name", b"nul"),
    named("Z07-aux", "archive_name", b"aux/x.py"),
    named("Z07-com1", "archive_name", b"a/com1.tar.gz"),
    named("Z08-long-segment", "archive_name", b"x" * 300),
    named("Z08-one-too-long", "archive_name", b"x" * 101),
    named("Z08-long-path", "archive_name", b"/".join([b"x" * 99] * 3)),
    named("Z08-longest-name", "archive_name", b"x" * 65_535),
    named("Z08-deep", "archive_depth", b"d/" * 2000 + b"x.py"),
    named("Z08-one-too-deep", "archive_depth", b"d/" * 16 + b"x.py"),
    item("Z08-deep-directory", "archive_depth", directory(b"d/" * 17), GOOD),
]

TYPES = [
    with_mode("Z09-link", "archive_type", stat.S_IFLNK | 0o777),
    with_mode("Z09-link-by-dos", "archive_type", stat.S_IFLNK | 0o644, system=0),
    with_mode("Z09-link-by-macos", "archive_type", stat.S_IFLNK | 0o644, system=19),
    item(
        "Z10-link-and-below",
        "archive_type",
        Entry(b"d", b"/etc", mode=stat.S_IFLNK | 0o755),
        Entry(b"other.py"),
    ),
    with_mode("Z10-link-to-directory", "archive_type", stat.S_IFLNK | 0o755, name=b"d/"),
    with_mode("Z11-pipe", "archive_type", stat.S_IFIFO | 0o644),
    with_mode("Z11-socket", "archive_type", stat.S_IFSOCK | 0o644),
    with_mode("Z11-character-device", "archive_type", stat.S_IFCHR | 0o600),
    with_mode("Z11-block-device", "archive_type", stat.S_IFBLK | 0o600),
    with_mode("Z12-set-user", "archive_mode", stat.S_IFREG | 0o4755),
    with_mode("Z12-set-group", "archive_mode", stat.S_IFREG | 0o2755),
    with_mode("Z12-sticky", "archive_mode", stat.S_IFREG | 0o1755),
    with_mode("Z12-writable", "archive_mode", stat.S_IFREG | 0o666),
    item("Z13-directory-with-data", "archive_type", Entry(b"d/", b"data", mode=0o040755), GOOD),
    item("Z13-file-called-directory", "archive_type", Entry(b"d/", b"", method=0), GOOD),
    item("Z13-directory-called-file", "archive_type", Entry(b"d", b"", mode=0o040755), GOOD),
    item("Z13-dos-directory", "archive_type", Entry(b"d", b"", dos=0x10), GOOD),
    item("Z14-volume-label", "archive_type", Entry(b"LABEL", b"", system=0, mode=0, dos=0x08)),
    item("Z14-device", "archive_type", Entry(b"x.py", system=0, mode=0, dos=0x40)),
    item("Z14-reparse-point", "archive_type", Entry(b"x.py", system=10, mode=0, dos=0x400)),
]

SIZES = [
    Item("Z15-zeros", lambda: archive(zeros(50)), "archive_ratio"),
    Item("Z15-zeros-beside", lambda: archive(GOOD, zeros(2)), "archive_ratio"),
    Item("Z16-bzip2", lambda: other_method(zipfile.ZIP_BZIP2), "archive_method"),
    Item("Z16-lzma", lambda: other_method(zipfile.ZIP_LZMA), "archive_method"),
    Item("Z17-says-ten", lambda: archive(zeros(50, size=10)), "archive_size"),
    item("Z17-says-less", "archive_size", Entry(b"x.py", b"x" * 99, size=98)),
    item("Z17-says-more", "archive_size", Entry(b"x.py", b"x" * 99, size=100)),
    item("Z17-stored-says-less", "archive_mismatch", Entry(b"x.py", b"xy", method=0, size=1)),
    item(
        "Z17-says-ten-in-directory",
        "archive_mismatch",
        Entry(b"zeros.bin", bytes(99), size=10, local_sizes=Entry(b"", bytes(99)).sizes),
    ),
    Item("Z17-too-large", lambda: archive(stored_zeros(21)), "archive_size"),
    Item("Z18-entries", seventy_thousand, "archive_entries"),
    Item("Z18-one-too-many", lambda: many(2_001), "archive_entries"),
    item(
        "Z18-all-together",
        "archive_size",
        *(Entry(b"f%d" % n, size=19 * MIB, packed=bytes(200_000)) for n in range(6)),
    ),
    Item("Z18-archive", lambda: archive(GOOD) + bytes(50 * MIB), "archive_size"),
]

STRUCTURE = [
    item(
        "Z20-two-records", "archive_overlap", Entry(b"a.py"), Entry(b"b.py", local=False, start=0)
    ),
    item("Z20-whole-twice", "archive_overlap", Entry(b"a.py"), Entry(b"c.py", start=0)),
    Item("Z21-quoted", quoted_overlap, "archive_overlap"),
    item("Z21-into-next", "archive_overlap", Entry(b"a.py", compressed=40), Entry(b"b.py")),
    item("Z21-into-directory", "archive_overlap", Entry(b"a.py", compressed=40)),
    item(
        "Z21-described",
        "archive_overlap",
        Entry(b"a.py", flags=8, compressed=40),
        Entry(b"b.py"),
    ),
    item("Z23-byte", "archive_prefix", GOOD, end=Ending(prefix=b"x")),
    item("Z23-program", "archive_prefix", GOOD, end=Ending(prefix=b"#!/bin/sh\nexit\n")),
    item("Z23-counted-in", "archive_prefix", Entry(b"good.py", gap=b"MZ" + bytes(64))),
    item("Z24-bytes", "archive_trailing", GOOD, end=Ending(trailing=bytes(80))),
    item("Z24-newline", "archive_trailing", GOOD, end=Ending(trailing=b"\n")),
    item(
        "Z24-many",
        "archive_invalid",
        GOOD,
        end=Ending(trailing=bytes(70_000)),
    ),
    Item("Z25-two-archives", lambda: archive(GOOD) + archive(GOOD), "archive_prefix"),
    item("Z26-archive-in-comment", "archive_comment", GOOD, end=Ending(comment=archive(GOOD))),
    item("Z26-signature", "archive_comment", GOOD, end=Ending(comment=b"PK\x03\x04")),
    item("Z26-end-record", "archive_comment", GOOD, end=Ending(comment=b"PK\x05\x06" + bytes(18))),
    item("Z26-text", "archive_comment", GOOD, end=Ending(comment=b"made by me")),
    item("Z26-not-quite-a-commit", "archive_comment", GOOD, end=Ending(comment=COMMIT + b"0")),
    item("Z26-of-an-entry", "archive_comment", Entry(b"x.py", comment=b"PK")),
    item("Z27-names", "archive_mismatch", Entry(b"good.py", local_name=b"evil.py")),
    item("Z27-name-lengths", "archive_mismatch", Entry(b"good.py", local_name=b"good.py.txt")),
    item("Z27-methods", "archive_mismatch", Entry(b"x.py", local_method=0)),
    item("Z27-flags", "archive_mismatch", Entry(b"x.py", local_flags=8)),
    item("Z27-no-local-header", "archive_mismatch", Entry(b"x.py", local=False), GOOD),
    item("Z27-order", "archive_mismatch", Entry(b"a.py"), Entry(b"b.py"), end=Ending(reverse=True)),
    item(
        "Z27-described-otherwise",
        "archive_mismatch",
        Entry(b"x.py", flags=8, local_sizes=(0, 5, 0)),
    ),
    item(
        "Z27-descriptor",
        "archive_mismatch",
        Entry(
            b"x.py",
            flags=8,
            descriptor=b"PK\x07\x08" + struct.pack("<3L", Entry(b"").sizes[0], 9, 9),
        ),
    ),
    Item("Z27-quoted-descriptor", quoted_descriptor, "archive_mismatch"),
    item("Z27-stored-and-described", "archive_mismatch", Entry(b"x.py", method=0, flags=8)),
    item(
        "Z27-stored-and-described-twice",
        "archive_mismatch",
        Entry(b"x.py", method=0, flags=8, local_sizes=Entry(b"", method=0).sizes),
    ),
    item(
        "Z27-empty-with-a-bare-descriptor",
        "archive_mismatch",
        Entry(b"x.py", b"", method=0, flags=8, descriptor=bytes(12)),
        GOOD,
    ),
    item(
        "Z27-bare-descriptor-like-a-signature",
        "archive_mismatch",
        Entry(
            b"x.py",
            flags=8,
            crc=SIGNATURE,
            descriptor=struct.pack("<3L", SIGNATURE, *Entry(b"").sizes[1:]),
        ),
    ),
    Item(
        "Z27-python-zipfile-stored-to-a-pipe",
        lambda: by_zipfile("x.py", method=zipfile.ZIP_STORED, unseekable=True),
        "archive_mismatch",
    ),
    item("Z27-no-descriptor", "archive_mismatch", Entry(b"x.py", flags=8, descriptor=b"")),
    item("Z27-counts-more", "archive_mismatch", GOOD, end=Ending(count=2)),
    item(
        "Z27-counts-fewer", "archive_mismatch", Entry(b"a.py"), Entry(b"b.py"), end=Ending(count=1)
    ),
    item("Z28-orphan", "archive_orphan", GOOD, Entry(b"evil.py", listed=False)),
    item("Z28-orphan-between", "archive_orphan", GOOD, Entry(b"e", listed=False), Entry(b"b.py")),
    item("Z28-orphan-first", "archive_orphan", Entry(b"evil.py", listed=False), GOOD),
    item("Z28-gap", "archive_orphan", GOOD, Entry(b"b.py", gap=b"hidden")),
    item("Z28-gap-at-end", "archive_orphan", GOOD, end=Ending(before_directory=b"hidden")),
    item("Z28-bytes-after-directory", "archive_prefix", GOOD, end=Ending(before_end=b"hidden")),
    item(
        "Z28-behind-the-stream",
        "archive_trailing",
        Entry(b"x.py", packed=deflated(b"print('hello')\n") + b"hidden"),
    ),
    item("Z29-twice", "archive_duplicate", Entry(b"a.py", b"1"), Entry(b"a.py", b"2")),
    item("Z29-directory-twice", "archive_duplicate", directory(b"d/"), directory(b"d/"), GOOD),
    item("Z30-encrypted", "archive_encrypted", Entry(b"x.py", flags=1)),
    item("Z30-strongly", "archive_encrypted", Entry(b"x.py", flags=1 << 6)),
    item("Z30-masked", "archive_encrypted", Entry(b"x.py", flags=1 << 13)),
    item("Z30-in-local-header", "archive_encrypted", Entry(b"x.py", local_flags=1)),
    item("Z31-method-99", "archive_method", Entry(b"x.py", method=99)),
    item("Z31-method-12", "archive_method", Entry(b"x.py", method=12, packed=deflated(b"x"))),
    item("Z31-deflate64", "archive_method", Entry(b"x.py", method=9)),
    item("Z31-patch", "archive_method", Entry(b"x.py", flags=1 << 5)),
    item("Z31-version", "archive_method", Entry(b"x.py", version=63)),
    item("Z31-not-deflate", "archive_invalid", Entry(b"x.py", b"x" * 9, packed=b"\xff" * 9)),
    item(
        "Z31-cut", "archive_invalid", Entry(b"x.py", b"xyz" * 9, packed=deflated(b"xyz" * 9)[:-2])
    ),
    item("Z32-crc", "archive_crc", Entry(b"x.py", crc=1)),
    item("Z32-stored-crc", "archive_crc", Entry(b"x.py", method=0, crc=1)),
    item("Z32-directory-crc", "archive_crc", Entry(b"d/", b"", method=0, mode=0, crc=1), GOOD),
    item("Z32-local-crc", "archive_crc", Entry(b"x.py", local_sizes=(1, 17, 15))),
    item(
        "Z32-descriptor-crc",
        "archive_crc",
        Entry(b"x.py", flags=8, descriptor=b"PK\x07\x08" + struct.pack("<3L", 1, 17, 15)),
    ),
    Item("Z33-by-python", needless_zip64, "archive_zip64"),
    item("Z33-locator", "archive_zip64", GOOD, end=Ending(before_end=LOCATOR)),
    item("Z33-sizes", "archive_zip64", Entry(b"x.py", size=0xFFFFFFFF, extra=ZIP64_FIELD)),
    item("Z33-field", "archive_zip64", Entry(b"x.py", extra=ZIP64_FIELD)),
    item("Z33-local-field", "archive_zip64", Entry(b"x.py", local_extra=ZIP64_FIELD)),
    item("Z33-start", "archive_zip64", Entry(b"x.py", start=0xFFFFFFFF)),
    item("Z33-disk", "archive_zip64", GOOD, end=Ending(disk=1)),
    item("Z33-directory-disk", "archive_zip64", GOOD, end=Ending(directory_disk=1)),
    item("Z33-entry-disk", "archive_zip64", Entry(b"x.py", disk=1)),
    item("Z33-counts", "archive_zip64", GOOD, end=Ending(count_here=0)),
    item("Z33-directory-size", "archive_zip64", GOOD, end=Ending(size=0xFFFFFFFF)),
    item("Z33-directory-place", "archive_invalid", GOOD, end=Ending(place=4000)),
    item("extra-unknown", "archive_invalid", Entry(b"x.py", extra=struct.pack("<HH", 0x9901, 0))),
    item("extra-cut", "archive_invalid", Entry(b"x.py", extra=b"UT\x05")),
    item("extra-too-long", "archive_invalid", Entry(b"x.py", extra=struct.pack("<HH", 0x5455, 9))),
    Item("empty-archive", archive, "archive_invalid"),
    item("directories-alone", "archive_invalid", directory(b"d/")),
    Item("empty-file", bytes, "archive_invalid"),
    Item("no-archive", lambda: b"hello\n" * 99, "archive_invalid"),
    Item(
        "tar", lambda: b"good.py".ljust(257, b"\0") + b"ustar".ljust(1000, b"\0"), "archive_invalid"
    ),
]

NAMES = [
    named("Z34-case", "archive_collision", b"A.py", b"a.py"),
    named("Z35-nfc-nfd", "archive_name", "café.py".encode(), "cafe\u0301.py".encode()),
    named("Z36-ligature", "archive_name", "\ufb01le.py".encode(), b"file.py"),
    named("Z37-file-and-directory", "archive_collision", b"a", b"a/b"),
    named("Z37-the-other-way", "archive_collision", b"a/b", b"a"),
    item("Z37-entries", "archive_collision", Entry(b"a"), directory(b"a/")),
    named("Z38-nul", "archive_name", b"ok.py\0.txt"),
    named("Z39-newline", "archive_name", b"a\nb.py"),
    named("Z39-newline-at-end", "archive_name", b"a.py\n"),
    named("Z39-escape", "archive_name", b"\x1b[31mred.py"),
    named("Z39-delete", "archive_name", b"a\x7f.py"),
    named("Z40-right-to-left", "archive_name", "a\u202eyp.exe".encode()),
    named("Z41-dot-at-end", "archive_name", b"plugin.toml."),
    named("Z41-space-at-end", "archive_name", b"plugin.toml "),
    named("Z41-dot-of-a-directory", "archive_name", b"a./b.py"),
    named("Z42-cp437", "archive_name", b"caf\x82.py"),
    item("Z42-utf8", "archive_name", Entry("é.py".encode(), flags=1 << 11)),
    item("Z42-second-name", "archive_name", Entry(b"x.py", extra=UNICODE_NAME)),
    item("Z42-second-local-name", "archive_name", Entry(b"x.py", local_extra=UNICODE_NAME)),
    named("Z43-joiner", "archive_name", "plu\u200dgin.py".encode()),
    named("Z44-directories", "archive_collision", b"Lib/a.py", b"lib/b.py"),
    item("Z44-named", "archive_collision", directory(b"Lib/"), Entry(b"lib/b.py")),
    named("Z44-below", "archive_collision", b"a/Lib/a.py", b"a/lib/b.py"),
    named("Z45-env", "archive_name", b".env"),
    named("Z45-git", "archive_name", b".git/config"),
    named("Z45-ssh", "archive_name", b"a/.ssh/id"),
    named("Z45-star", "archive_name", b"a*.py"),
    named("Z45-colon", "archive_name", b"a.py:stream"),
    named("finder-folder", "archive_forbidden_file", b"good.py", b"__MACOSX/._good.py"),
    named("finder-file", "archive_forbidden_file", b"p/good.py", b"p/.DS_Store"),
]

HONEST = [
    named("twin-of-Z01", "", b"evil.txt"),
    named("twin-of-Z05-dots-in-names", "", b"a/b..py", b"a/..b".replace(b"..", b"_.")),
    named("twin-of-Z07", "", b"console.py", b"auxiliary/x.py", b"com10.txt"),
    named("twin-of-Z08-deepest", "", b"d/" * 15 + b"x.py"),
    named("twin-of-Z08-longest", "", b"x" * 100 + b"/" + b"y" * 100 + b"/" + b"z" * 38),
    with_mode("twin-of-Z09", "", stat.S_IFREG | 0o644),
    with_mode("twin-of-Z12", "", stat.S_IFREG | 0o755),
    with_mode("twin-of-Z12-private", "", stat.S_IFREG | 0o600),
    item("twin-of-Z13", "", directory(b"d/"), Entry(b"d/x.py")),
    item("twin-of-Z14", "", Entry(b"x.py", system=0, mode=0, dos=0x20)),
    Item("twin-of-Z15-small", lambda: archive(zeros(1))),
    Item("twin-of-Z15-stored", lambda: archive(stored_zeros(2))),
    item("twin-of-Z16", "", Entry(b"stored.py", method=0), Entry(b"packed.py")),
    Item("twin-of-Z18", lambda: many(2_000)),
    Item("Z19-archive-in-archive", nested),
    item("twin-of-Z26-github", "", Entry(b"repo-1/x.py", extra=TIMES), end=Ending(comment=COMMIT)),
    item("twin-of-Z27-descriptors", "", Entry(b"a.py", flags=8), Entry(b"b.py", flags=8)),
    item(
        "twin-of-Z27-bare-descriptors",
        "",
        Entry(b"a.py", flags=8, descriptor=struct.pack("<3L", *Entry(b"").sizes)),
        Entry(b"b.py"),
    ),
    item(  # by Info-ZIP into a pipe
        "twin-of-Z27-empty-and-described",
        "",
        directory(b"p/"),
        Entry(b"p/__init__.py", b"", method=0, flags=8),
        Entry(b"p/x.py", flags=8),
        Entry(b"p/y.py", b"", method=0, flags=8),
    ),
    item("twin-of-Z27-size-known", "", Entry(b"a.py", flags=8, local_sizes=(0, 0, 15))),
    item("twin-of-Z30-effort", "", Entry(b"x.py", flags=0b110)),
    item("twin-of-Z32-empty", "", Entry(b"__init__.py", b""), Entry(b"e", b"", method=0)),
    named("twin-of-Z34", "", b"a.py", b"b.py", b"A_.py"),
    named("twin-of-Z37", "", b"a.py", b"a/b.py"),
    item("twin-of-Z42", "", Entry(b"ascii.py", flags=1 << 11)),
    named("twin-of-Z45", "", b"env", b"git/config", b"x-1_2.3.py"),
    Item("python-zipfile", lambda: by_zipfile("p/", "p/plugin.toml", "p/x.py")),
    Item("python-zipfile-stored", lambda: by_zipfile("x.py", "y.txt", method=zipfile.ZIP_STORED)),
    Item("python-zipfile-to-a-pipe", lambda: by_zipfile("x.py", "y/z.py", unseekable=True)),
    item(
        "info-zip",
        "",
        directory(b"p/"),
        Entry(b"p/x.py", extra=TIMES + OWNER, local_extra=TIMES + b"" + OWNER, dos=0),
    ),
    item("finder", "", directory(b"p/"), Entry(b"p/x.py", flags=8, system=3, extra=OWNER)),
]


def archives() -> Sequence[Item]:
    """Return every item."""
    return [*PATHS, *TYPES, *SIZES, *STRUCTURE, *NAMES, *HONEST]


def small() -> Sequence[bytes]:
    """Return honest archives to damage."""
    return [
        archive(directory(b"p/"), Entry(b"p/x.py", extra=TIMES), Entry(b"p/y.py", method=0)),
        archive(Entry(b"a.py", flags=8), Entry(b"b.py", b"x" * 999), end=Ending(comment=COMMIT)),
        by_zipfile("plugin.toml", "p/x.py", "p/y.py"),
    ]
