"""What the shipped handlers tell of texts and tables."""

from collections.abc import Sequence
from typing import cast

import pytest

from agentrail import Attachment, RequestContext
from agentrail.attachment import Handler, csv_preview, hints, text
from tests.attachment.files import PNG, attachment, pdf

pytestmark = pytest.mark.anyio

NOBODY = cast("RequestContext", None)
"""The shipped handlers do not look at the request."""


async def told(handler: Handler, *files: Attachment) -> str:
    """Return what a handler tells."""
    said = handler.attachment_handler(cast("Sequence[Attachment]", files), NOBODY)
    return said if isinstance(said, str) else await said


async def test_hints_name_every_file_with_its_type_and_size() -> None:
    said = await told(hints(), attachment("a.txt", b"hello"), attachment("b", PNG))

    assert said == "Uploaded files: a.txt (text/plain, 5 bytes), b (image/png, 16 bytes)"


async def test_text_is_told_under_its_name_and_nothing_else_is() -> None:
    notes, table = attachment("notes.md", b"# Hi\r\nyou"), attachment("t.csv", b"a,b\n1,2\n")

    assert await told(text(), table, notes, attachment("a.pdf", pdf(text="no"))) == (
        "The file 'notes.md':\n\n# Hi\nyou"
    )
    assert await told(text(), table) == ""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
async def test_text_is_read_in_the_encoding_that_it_begins_with(encoding: str) -> None:
    assert await told(text(), attachment("a", "¡Olé!".encode(encoding))) == (
        "The file 'a':\n\n¡Olé!"
    )


async def test_long_texts_share_what_there_is_and_say_that_they_are_cut() -> None:
    long, short = attachment("long", b"x" * 1000), attachment("short", b"12345")

    assert await told(text(chars=10), long, short) == (
        "The file 'long':\n\nxxxxx\n[cut here: the file has 1000 bytes]\n\n"
        "The file 'short':\n\n12345"
    )


async def test_an_empty_text_is_told_to_be_empty() -> None:
    assert await told(text(), attachment("a.txt", b"")) == "The file 'a.txt':\n\n[it is empty]"
    assert await told(csv_preview(), attachment("a.csv", b"")) == (
        "The file 'a.csv':\n\n[it is empty]"
    )


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
async def test_a_table_is_told_by_its_size_and_its_first_rows(delimiter: str) -> None:
    rows = [["name", "age"], *([f"n{n}", str(n)] for n in range(100))]
    data = "\r\n".join(delimiter.join(row) for row in rows).encode()

    assert await told(csv_preview(rows=2), attachment("t.csv", data)) == (
        "The file 't.csv':\n\n"
        "[a table of 2 columns, with 100 rows below the first one; it begins so]\n"
        "name,age\nn0,0\nn1,1"
    )


async def test_a_row_may_go_over_several_lines() -> None:
    said = await told(csv_preview(), attachment("t.csv", b'a,b\n"x\ny",2\n'))

    assert "with 1 row below" in said
    assert said.endswith('a,b\n"x\ny",2')


async def test_a_wide_table_is_cut_to_what_can_be_shown() -> None:
    data = b",".join([b"x" * 150] * 5000)

    said = await told(csv_preview(), attachment("t.csv", data))

    assert "5000 columns" in said
    assert len(said) < 6000


async def test_a_cell_that_is_too_long_to_be_one_is_told() -> None:
    said = await told(csv_preview(), attachment("t.csv", b"a,b\n" + b"x" * 200_000))

    assert said.startswith("The file 't.csv' could not be read: it is no table (field larger")


@pytest.mark.parametrize("line", [b"ab,", b'"\n",'])
async def test_a_row_that_is_too_long_to_be_one_is_told_and_read_no_further(line: bytes) -> None:
    data = b"a,b\n1,2\n" + line * 500_000

    said = await told(csv_preview(), attachment_of(data))

    assert said == (
        "The file 't.csv' could not be read: it is no table "
        "(a row is longer than 1000000 characters)."
    )


def attachment_of(data: bytes) -> Attachment:
    """Return a table whatever it looks like."""
    return Attachment("t.csv", "text/csv", data)


async def test_a_table_of_many_rows_may_be_longer_than_one_row() -> None:
    said = await told(csv_preview(), attachment_of(b"a,b\n" * 500_001))

    assert "a table of 2 columns, with 500000 rows below" in said
