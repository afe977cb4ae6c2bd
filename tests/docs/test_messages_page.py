"""The page on messages lists every part with its fields, and its JSON is what the code writes."""

import re
from typing import get_args

import msgspec

from agentrail import Message, Part
from tests.docs.pages import ROOT, blocks, tables

PAGE = ROOT / "docs/reference/messages.md"


def fields_of(kind: type[msgspec.Struct]) -> list[tuple[str, str]]:
    """Returns the names and defaults of a type's fields."""
    found: list[tuple[str, str]] = []
    for field in msgspec.structs.fields(kind):
        default: object = field.default
        if field.default_factory is not msgspec.NODEFAULT:
            default = {}
        is_required = default is msgspec.NODEFAULT
        found.append((field.name, "required" if is_required else f"`{default!r}`"))
    return found


def test_every_field_of_a_message_is_listed_with_its_default() -> None:
    listed = [
        (row["field"].strip("`"), row["default"]) for row in tables("reference/messages.md")[0]
    ]

    assert listed == fields_of(Message)


def test_every_part_is_listed_with_its_fields_and_their_defaults() -> None:
    listed: dict[str, list[tuple[str, str]]] = {}
    name = ""
    for row in tables("reference/messages.md")[1]:
        name = row["part"].strip("`") or name
        listed.setdefault(name, []).append((row["field"].strip("`"), row["default"]))

    assert listed == {kind.__name__: fields_of(kind) for kind in get_args(Part)}


def test_the_json_is_that_of_messages() -> None:
    (shown,) = blocks(PAGE, "json")
    shown_kinds: set[str] = set()

    for line in shown.text.splitlines():
        message = msgspec.json.decode(line, type=Message)
        assert msgspec.json.decode(msgspec.json.encode(message)) == msgspec.json.decode(line)
        shown_kinds.update(type(part).__name__ for part in message.parts)
    assert shown_kinds == {"Text", "Reasoning", "ToolCall", "ToolResult"}


def test_every_public_member_of_a_message_is_told_of() -> None:
    page = PAGE.read_text("utf-8")
    members = {name for name in vars(Message) if re.match(r"[a-z]", name)}

    told_of = set(re.findall(r"`[Mm]essage\.(\w+)", page))
    assert told_of == members - set(Message.__struct_fields__)
