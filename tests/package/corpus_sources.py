"""Packages whose files must be refused for what they are, and their honest twins.

They come as archives and as single modules; the structure of the archives is sound.
"""

import base64
import hashlib
import struct
from collections.abc import Mapping
from functools import partial
from importlib.util import MAGIC_NUMBER

from tests.package.corpus_archives import Item
from tests.package.raw_zip import Entry, archive

ELF = b"\x7fELF\x02\x01\x01" + bytes(57)
PE = b"MZ" + bytes(58) + struct.pack("<L", 64) + b"PE\0\0" + bytes(20)
MACH_O = bytes.fromhex("cffaedfe") + bytes(28)
FAT = bytes.fromhex("cafebabe") + bytes(28)
NOTHING: Mapping[str, bytes] = {}
HELLO = b"print('hello')\n"


def packed(id_: str, code: str, files: Mapping[str, bytes]) -> Item:
    entries = [Entry(name.encode(), data) for name, data in files.items()]
    # A file at the top, so that no directory is taken for the one around everything.
    return Item(id_, partial(archive, Entry(b"README.txt"), *entries), code)


def one(id_: str, code: str, path: str, data: bytes = HELLO) -> Item:
    return packed(id_, code, {path: data})


def module(id_: str, code: str, data: bytes, name: str = "hello.py") -> Item:
    """Return an item that is a single module."""
    return Item(id_, lambda: data, code, name)


def record(*rows: str) -> bytes:
    return "\n".join(rows).encode()


def row(path: str, data: bytes = HELLO, *, size: int | None = None) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
    return f"{path},sha256={digest},{len(data) if size is None else size}"


def installed(
    id_: str, code: str, text: bytes, base: str = "", more: Mapping[str, bytes] = NOTHING
) -> Item:
    """Return an item with an installed distribution of two modules."""
    files = {"dep/__init__.py": HELLO, "dep/a.py": HELLO, "dep-1.0.dist-info/RECORD": text}
    return packed(id_, code, {base + name: data for name, data in {**files, **more}.items()})


WHOLE = record(row("dep/__init__.py"), row("dep/a.py"), "dep-1.0.dist-info/RECORD,,")

FORBIDDEN = "archive_forbidden_file"
STARTED = [
    one("Z46-pth", FORBIDDEN, "x.pth", b"import os\n"),
    one("Z46-pth-below", FORBIDDEN, "deps/x.pth", b"import os\n"),
    one("Z46-pth-in-capitals", FORBIDDEN, "x.PTH", b"import os\n"),
    one("Z46-egg-link", FORBIDDEN, "deps/x.egg-link", b"/tmp\n"),
    one("Z46-egg", FORBIDDEN, "deps/x.egg", b"PK"),
    one("Z46-editable", FORBIDDEN, "__editable__.x.txt", b""),
    one("Z46-pyvenv", FORBIDDEN, "pyvenv.cfg", b"home = /tmp\n"),
    one("Z46-entry-points", FORBIDDEN, "x-1.dist-info/entry_points.txt", b"[pytest11]\nx = x\n"),
    one("Z46-egg-entry-points", FORBIDDEN, "x.egg-info/entry_points.txt", b"[pytest11]\nx = x\n"),
    one("Z47-sitecustomize", FORBIDDEN, "sitecustomize.py"),
    one("Z47-usercustomize", FORBIDDEN, "usercustomize.py"),
    one("Z47-package", FORBIDDEN, "sitecustomize/__init__.py"),
    one("Z47-below", FORBIDDEN, "deps/sitecustomize.py"),
    module("Z47-module", FORBIDDEN, HELLO, "sitecustomize.py"),
]

SHADOWS = [
    one("Z48-asyncio", "module_shadows_host", "asyncio.py"),
    one("Z48-json", "module_shadows_host", "json/__init__.py"),
    one("Z48-json-below", "module_shadows_host", "json/a/b.py"),
    one("Z48-agentrail", "module_shadows_host", "agentrail/__init__.py"),
    one("Z48-httpx", "module_shadows_host", "httpx.py"),
    one("Z48-anyio", "module_shadows_host", "anyio/_core.py"),
    module("Z48-module", "module_shadows_host", HELLO, "typing.py"),
]

NATIVE = [
    one("Z49-so", "native_not_declared", "fast.so", b"x"),
    one("Z49-so-of-a-version", "native_not_declared", "libfast.so.1.2", b"x"),
    one("Z49-tagged", "native_not_declared", "fast.cpython-311-x86_64-linux-gnu.so", b"x"),
    one("Z49-pyd", "native_not_declared", "fast.pyd", b"x"),
    one("Z49-dll", "native_not_declared", "a/fast.DLL", b"x"),
    one("Z49-elf-as-image", "native_not_declared", "icon.png", ELF),
    one("Z49-pe-as-text", "native_not_declared", "notes.txt", PE),
    one("Z49-mach-o", "native_not_declared", "data.bin", MACH_O),
    one("Z49-fat-mach-o", "native_not_declared", "data.bin", FAT),
    one("Z50-alone", "bytecode_forbidden", "x.pyc", MAGIC_NUMBER + bytes(12)),
    one("Z50-optimized", "bytecode_forbidden", "x.pyo", MAGIC_NUMBER + bytes(12)),
    one("Z50-in-capitals", "bytecode_forbidden", "x.PYC", MAGIC_NUMBER + bytes(12)),
    packed(
        "Z50-cached",
        "bytecode_forbidden",
        {"x.py": HELLO, "__pycache__/x.cpython-311.pyc": MAGIC_NUMBER + bytes(12)},
    ),
    one("Z50-anything-cached", "bytecode_forbidden", "a/__pycache__/x.txt"),
]

RECORDS = [
    installed("Z51-not-there", "record_mismatch", WHOLE + b"\n" + row("dep/b.py").encode()),
    installed("Z51-not-listed", "record_mismatch", WHOLE, more={"dep/evil.py": HELLO}),
    installed(
        "Z51-not-listed-below", "record_mismatch", WHOLE, "deps/", more={"dep/evil.py": HELLO}
    ),
    installed("Z51-other-content", "record_mismatch", WHOLE, more={"dep/a.py": b"evil()\n"}),
    installed(
        "Z51-other-size",
        "record_mismatch",
        record(row("dep/__init__.py"), row("dep/a.py", size=1), "dep-1.0.dist-info/RECORD,,"),
    ),
    installed("Z51-no-hash", "record_mismatch", record("dep/__init__.py,,", "dep/a.py,,")),
    installed("Z51-weak-hash", "record_mismatch", record("dep/a.py,md5=AAAA,15")),
    installed("Z51-outside", "record_mismatch", WHOLE + b"\n../../bin/x,sha256=a,1"),
    installed("Z51-no-rows", "record_mismatch", b"\n\n"),
    installed("Z51-columns", "record_mismatch", b"dep/a.py"),
    installed("Z51-not-text", "record_mismatch", b"\xff\xfe\0"),
    installed("Z51-nul", "record_mismatch", b"dep/a.py\0,,"),
    installed("Z51-long-field", "record_mismatch", b"x" * 200_000),
    installed("Z51-endless", "record_mismatch", WHOLE + b"\ndep-1.0.dist-info/RECORD,," * 20_000),
]

ENCODINGS = [
    module("Z53-too-large", "archive_size", b"#" * (20 << 20)),
    module("Z53-just-too-large", "archive_size", b"#" * ((1 << 20) + 1)),
    module("Z53-nul", "source_encoding", b"x = 1\0\n"),
    module("Z53-utf16", "source_encoding", "x = 1\n".encode("utf-16")),
    module("Z53-utf32", "source_encoding", "x = 1\n".encode("utf-32")),
    module("Z53-latin1", "source_encoding", b"x = '\xe9'\n"),
    module("Z53-surrogate", "source_encoding", b"x = '\xed\xa0\x80'\n"),
    module("Z53-utf7", "source_encoding", b"# coding: utf-7\n"),
    module("Z53-rot13", "source_encoding", b"#!/usr/bin/python\n# -*- coding: rot13 -*-\n"),
    module("Z53-vim", "source_encoding", b"\n# vim: set fileencoding=cp1252 :\n"),
    module("Z53-escape", "source_encoding", b"# coding=unicode_escape\n"),
    module("Z53-declared-behind-returns", "source_encoding", b"#\r# coding: utf-7\rx = 1\n"),
    module("Z53-declared-after-a-return", "source_encoding", b"\r# coding: utf-7\nx = 1\n"),
    module("Z53-declared-in-a-long-line", "source_encoding", b"#\r\r# coding: utf-7\nx = 1\n"),
    module("Z53-declared-after-mark", "source_encoding", b"\xef\xbb\xbf# coding: latin-1\n"),
    module("Z53-looks-like-utf8", "source_encoding", b"# coding: utf-8-evil\n"),
    one("Z53-in-an-archive", "source_encoding", "x.py", b"# coding: utf-7\n"),
    module("Z53-name-up", "archive_path", HELLO, "../hello.py"),
    module("Z53-name-nul", "archive_name", HELLO, "hello\0.py"),
    module("Z53-archive-as-module", "source_encoding", archive(Entry(b"x.py")), "x.py"),
    module("Z53-module-as-archive", "archive_invalid", HELLO, "hello.zip"),
]

HONEST = [
    one("twin-of-Z46", "", "pth/notes.txt", b"x.pth"),
    one("twin-of-Z47", "", "customize.py"),
    one("twin-of-Z48-inside", "", "mine/json.py"),
    one("twin-of-Z48-data", "", "json/data.txt"),
    one("twin-of-Z48-tests", "", "tests/test_x.py"),
    one("twin-of-Z48-hyphen", "", "json-tools/x.py"),
    one("twin-of-Z49-image", "", "icon.png", b"\x89PNG\r\n\x1a\n" + bytes(9)),
    one("twin-of-Z49-text", "", "notes.txt", b"MZ is how it begins, and it is a text" * 3),
    one("twin-of-Z49-name", "", "so.txt", b"so"),
    one("twin-of-Z50", "", "pyc.py"),
    installed("twin-of-Z51", "", WHOLE),
    installed("twin-of-Z51-below", "", WHOLE, "deps/"),
    installed("twin-of-Z51-beside", "", WHOLE, "deps/", more={"other/x.py": HELLO}),
    module("twin-of-Z53", "", "# coding: utf-8\nx = 'é'\n".encode()),
    module("twin-of-Z53-mark", "", b"\xef\xbb\xbfx = 1\n"),
    module("twin-of-Z53-spelt", "", b"# -*- coding: UTF8 -*-\r\n"),
    module("twin-of-Z53-third-line", "", b"\n\n# coding: utf-7\n"),
    module("twin-of-Z53-largest", "", b"#" * (1 << 20)),
    module("Z53-parentheses-are-not-parsed", "", b"(" * 100_000 + b")" * 100_000),
    module("Z53-decorators-are-not-parsed", "", b"@x\n" * 1000 + b"def f(): ...\n"),
    module("X03-code-is-not-run", "", b"raise SystemExit('it was run')\n"),
]


def sources() -> list[Item]:
    """Return every item."""
    return [*STARTED, *SHADOWS, *NATIVE, *RECORDS, *ENCODINGS, *HONEST]
