"""The page about settings says what their schema says, and its examples are real."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from agentrail.settings import read_settings, settings_schema
from agentrail.settings._model import ALIASES
from agentrail.settings._read import LARGEST, NAMES
from tests.cli.command import agentrail
from tests.docs.pages import ROOT, Block, blocks, tables

PAGE: Final = "reference/settings.md"

SECTIONS: Final = {
    "Settings": "Settings",
    "Server": "`server`",
    "Provider": "A provider",
    "DeclaredProfile": "A profile",
    "TurnLimits": "The limits of a profile",
    "TokenPrices": "The prices of a profile",
    "Permission": "A permission",
    "Plugins": "`plugins`",
    "PluginEntry": "An entry of `plugins`",
    "RequestSizes": "`limits`",
    "Retention": "`retention`",
    "Telemetry": "`telemetry`",
    "SecretPlaces": "`secrets`",
    "Reload": "`reload`",
}
"""The heading above each mapping's table."""

DEFINITIONS: Final[Mapping[str, Any]] = settings_schema()["$defs"]

STEPS: Final = [name for name in DEFINITIONS if name.endswith("Step")]

DASH: Final = "\N{EN DASH}"

KINDS: Final = {
    "string": "text",
    "boolean": "switch",
    "integer": "whole number",
    "number": "number",
    "null": "`null`",
    "object": "mapping",
}


def type_of(part: Mapping[str, Any]) -> str:
    """Returns a type as the page names it."""
    if "$ref" in part:
        heading = SECTIONS[part["$ref"].rpartition("/")[2]]
        anchor = heading.lower().replace("`", "").replace(" ", "-")
        return f"[{heading[0].lower() + heading[1:]}](#{anchor})"
    if "enum" in part:
        return ", ".join(f"`{name}`" for name in part["enum"])
    if "discriminator" in json.dumps(part.get("items", {})):
        return "list of [middleware](#middlewares)"
    if "anyOf" in part:
        return " or ".join(type_of(each) for each in part["anyOf"])
    if inner := part.get("items") or part.get("additionalProperties"):
        return f"{'list of' if part['type'] == 'array' else 'mapping to'} {type_of(inner)}"
    return "`module:name`" if "pattern" in part else f"{KINDS[part['type']]}{range_of(part)}"


def range_of(part: Mapping[str, Any]) -> str:
    """Returns which numbers may be written, as the page names them."""
    bounds = [
        f"{word} {part[name]:g}"
        for name, word in (
            ("minimum", "from"),
            ("exclusiveMinimum", "above"),
            ("maximum", "to"),
            ("exclusiveMaximum", "below"),
        )
        if name in part
    ]
    return "".join(f" {bound}" for bound in bounds)


def default_of(mapping: Mapping[str, Any], key: str) -> str:
    """Returns a default as the page writes it."""
    part = mapping["properties"][key]
    if "$ref" in part:
        return DASH
    return "required" if key in mapping["required"] else f"`{json.dumps(part['default'])}`"


def section(heading: str) -> str:
    page = (ROOT / "docs" / PAGE).read_text("utf-8")
    (text,) = re.findall(
        rf"^##+ {re.escape(heading)}\n(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL
    )
    return str(text)


def test_there_is_a_table_for_each_mapping() -> None:
    assert {*SECTIONS, *STEPS} == {*DEFINITIONS}
    assert len([table for table in tables(PAGE) if "key" in table[0]]) == len(SECTIONS)


@pytest.mark.parametrize("name", SECTIONS)
def test_every_setting_is_listed_with_its_type_and_default(name: str) -> None:
    listed = re.findall(
        r"^\| `(\w+)` \| (.*?) \| (.*?) \| .+ \|$", section(SECTIONS[name]), re.MULTILINE
    )
    mapping = DEFINITIONS[name]

    assert listed == [
        (key, type_of(part), default_of(mapping, key))
        for key, part in mapping["properties"].items()
    ]


def test_every_middleware_is_listed_with_its_options() -> None:
    (table,) = [table for table in tables(PAGE) if "option" in table[0]]
    listed = [(row["name"], row["option"], row["type"], row["default"]) for row in table]
    wanted = list[tuple[str, str, str, str]]()
    for mapping in (DEFINITIONS[step] for step in STEPS):
        properties = mapping["properties"]
        assert next(iter(properties)) == "name"
        (name,) = properties["name"]["enum"]
        assert default_of(mapping, "enabled") == "`true`"
        options = [key for key in properties if key not in {"name", "enabled"}]
        wanted += [
            (f"`{name}`", f"`{key}`", type_of(properties[key]), default_of(mapping, key))
            for key in options
        ] or [(f"`{name}`", DASH, DASH, DASH)]

    assert listed == wanted


def test_those_that_may_not_be_written_by_name_alone_are_named() -> None:
    (alone,) = [
        each["enum"]
        for each in DEFINITIONS["Settings"]["properties"]["middlewares"]["items"]["anyOf"]
        if "enum" in each
    ]
    every = {DEFINITIONS[step]["properties"]["name"]["enum"][0] for step in STEPS}

    assert every - {*alone} == {"authorize", "object"}
    assert "\n`authorize` and `object` have options that must be said" in section("`middlewares`")


def test_the_names_of_files_variables_and_limits_are_those_of_the_code() -> None:
    page = (ROOT / "docs" / PAGE).read_text("utf-8")

    assert [name for name in (*NAMES, *ALIASES) if f"`{name}`" not in page] == []
    assert LARGEST == 1024 * 1024
    assert "It has at most 1 MiB" in page


def examples() -> dict[str, list[Block]]:
    page = ROOT / "docs" / PAGE
    return {language: list(blocks(page, language)) for language in ("yaml", "toml", "json", "text")}


def test_the_examples_in_three_formats_say_the_same(tmp_path: Path) -> None:
    read: list[object] = []
    for language in ("yaml", "toml", "json"):
        path = tmp_path / f"example.{language}"
        path.write_text(examples()[language][0].text, encoding="utf-8")
        variables = {"HOUSE_KEY": "k"}
        read.append(read_settings(path, variables).settings)

    assert read[0] == read[1] == read[2]


def test_the_faults_are_those_that_the_command_prints(tmp_path: Path) -> None:
    wrong = examples()["yaml"][1]
    (told,) = [block.text for block in examples()["text"] if "are refused" in block.text]
    (tmp_path / "agentrail.yaml").write_text(wrong.text, encoding="utf-8")
    command, _, printed = told.partition("\n")

    done = agentrail(tmp_path, *command.removeprefix("$ agentrail ").split())

    assert (done.status, done.err) == (2, printed)
