"""The page about the original: each row says what is here, why, and which tests show it."""

import re

import pytest

from tests.docs.pages import tables
from tests.docs.test_pages import CITED

PAGE = "explanation/differences.md"
SAID = re.compile(r"same\b|(different|not there yet): .{40}")
"""What is here, and then the reason, which takes some words."""
ROWS = [row for table in tables(PAGE) for row in table]


def what(row: dict[str, str]) -> str:
    return next(iter(row.values()))


def is_there(row: dict[str, str]) -> bool:
    return not row["here"].startswith("not there yet:")


@pytest.mark.parametrize("row", [row for row in ROWS if is_there(row)], ids=what)
def test_a_row_names_the_tests_that_show_it(row: dict[str, str]) -> None:
    assert (
        ", ".join(f"`{path}::{name}`" for path, name in CITED.findall(row["shown by"]))
        == (row["shown by"])
    )


@pytest.mark.parametrize("row", [row for row in ROWS if "the original" in row], ids=what)
def test_a_row_says_same_or_why_it_is_different(row: dict[str, str]) -> None:
    assert SAID.match(row["here"])


def test_what_is_not_there_yet_is_no_row_of_a_plugin() -> None:
    assert [what(row) for row in ROWS if not is_there(row)] == [
        "a workflow of several agents: orchestration"
    ]
