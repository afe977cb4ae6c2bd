"""The page on commands says what the code says."""

from inspect import signature

import attrs
import msgspec
import pytest

from agentrail.command import ArgumentInfo, Command, CommandInfo, Texts, command
from agentrail.command._parse import MAX_CHARS, MAX_WORDS
from agentrail.command._run import MOST_CHARS
from tests.docs.pages import ROOT, rows, tables

PAGE = "reference/commands.md"


def test_every_option_of_a_command_is_listed_with_its_default() -> None:
    listed = {name: row["default"].strip("`") for name, row in rows(PAGE, "parameter").items()}

    assert listed == {
        each.name: "" if each.name == "function" else repr(each.default)
        for each in signature(command).parameters.values()
    }


def test_every_attribute_of_a_command_is_named() -> None:
    page = (ROOT / "docs" / PAGE).read_text("utf-8").partition("## `Command`\n")[2]

    assert [each.name for each in attrs.fields(Command) if f"`{each.name}`" not in page] == []


@pytest.mark.parametrize("kind", [CommandInfo, ArgumentInfo])
def test_every_field_of_the_list_is_named(kind: type[CommandInfo | ArgumentInfo]) -> None:
    found = [table for table in tables(PAGE) if "field" in table[0] and "meaning" in table[0]]
    table = found[0] if kind is CommandInfo else found[1]
    listed = [name.strip("` ") for row in table for name in row["field"].split(",")]

    assert listed == [field.encode_name for field in msgspec.structs.fields(kind)]


def test_every_sentence_is_listed_in_order() -> None:
    listed = {name: row["English"] for name, row in rows(PAGE, "field").items() if "English" in row}

    described = listed.pop("descriptions")
    sentences = [each for each in attrs.fields(Texts) if each.name in listed]
    assert listed == {field.name: field.default for field in sentences}
    assert len(sentences) == len(attrs.fields(Texts)) - 1
    assert described == "what functions say of themselves"


def test_the_limits_are_told() -> None:
    page = (ROOT / "docs" / PAGE).read_text("utf-8")

    assert f"up to {MAX_CHARS:,} characters, and up to {MAX_WORDS:,} words" in page
    assert f"up to {MOST_CHARS:,} characters" in page
