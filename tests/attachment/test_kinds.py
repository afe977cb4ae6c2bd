"""A file is what its content says, whatever it is called."""

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agentrail.attachment import kind_of
from tests.attachment import files

OFFICE = "application/vnd.openxmlformats-officedocument."


@pytest.mark.parametrize("name", ["a.txt", "a.pdf", "a.png", "a.docx", "a.csv", "", "."])
@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (files.pdf(text="hi"), "application/pdf"),
        (files.PNG, "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a...", "image/gif"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "image/webp"),
        (b"RIFF\x10\0\0\0WAVEfmt ", "application/octet-stream"),
        (files.word("hi"), OFFICE + "wordprocessingml.document"),
        (files.excel(["hi"]), OFFICE + "spreadsheetml.sheet"),
        (files.powerpoint("hi"), OFFICE + "presentationml.presentation"),
        (files.zipped(a=b"hi"), "application/zip"),
        (files.zipped(), "application/zip"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-ole-storage"),
        (b"\x1f\x8b\x08", "application/gzip"),
        (b"a\0b", "application/octet-stream"),
        (b"\xff\xfe\x00", "application/octet-stream"),
        (b"caf\xe9", "application/octet-stream"),
    ],
)
def test_the_content_decides_and_not_the_name(name: str, data: bytes, kind: str) -> None:
    assert kind_of(name, data) == kind


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.csv", "text/csv"),
        ("A.CSV", "text/csv"),
        ("a.tsv", "text/tab-separated-values"),
        ("README.md", "text/markdown"),
        ("a.json", "application/json"),
        ("a.txt", "text/plain"),
        ("a.pdf", "text/plain"),
        ("a.html", "text/plain"),
        ("csv", "text/plain"),
        ("", "text/plain"),
    ],
)
@pytest.mark.parametrize(
    "data",
    [b"", b"a,b\n", "é".encode(), "a\nb".encode("utf-16"), b"\xef\xbb\xbfa", "ü".encode() * 70_000],
)
def test_among_texts_the_name_decides(name: str, kind: str, data: bytes) -> None:
    assert kind_of(name, data) == kind


def test_a_character_that_is_cut_where_the_looking_ends_is_still_text() -> None:
    assert kind_of("a", b"x" + "é".encode() * 40_000) == "text/plain"


def test_a_directory_that_lies_about_places_is_no_office_file() -> None:
    data = bytearray(files.word("hi"))
    end = data.rfind(b"PK\5\6")
    for at in (0, 0xFFFF_FFFF, len(data) - 5):
        struct.pack_into("<I", data, end + 16, at)
        assert kind_of("a.docx", bytes(data)) == "application/zip"


WORD = files.word("hi")


@given(st.integers(0, len(WORD) - 1), st.binary(max_size=40))
@example(WORD.rfind(b"PK\5\6") + 10, b"\xff" * 12)
def test_no_damage_to_a_zip_makes_it_fail(place: int, damage: bytes) -> None:
    data = WORD[:place] + damage + WORD[place + len(damage) :]

    assert isinstance(kind_of("a.docx", data), str)
    assert isinstance(kind_of("a.docx", data[:place]), str)
