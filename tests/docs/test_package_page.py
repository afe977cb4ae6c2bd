"""The page on packages says what the manifest's reader, the context and the states are."""

import json
import re
from collections.abc import Iterator, Mapping
from inspect import Parameter, signature
from typing import Any, Final, get_args

import attrs
import pytest

from agentrail.config import Document
from agentrail.errors import Fault, PackageRefused
from agentrail.package import ExecutionContext, Permissions, PluginContext
from agentrail.package._manifest import PackageType, parse_manifest
from agentrail.registry import State
from tests.docs.pages import ROOT, rows, tables

PAGE = "reference/package.md"
MINIMAL: Final = {"id": "sample", "version": "1.0.0"}
SOURCES = sorted((ROOT / "agentrail/package").glob("*.py"))

KEYS = rows(PAGE, "key")
TABLES = [key for key, row in KEYS.items() if row["type"].startswith("table")]
LISTS = ("contributes.tools",)
FREE = ("activation", "config", "config_schema", "contributes.tools.parameters")
"""Tables of which every key is taken."""

BAD: Mapping[str, object] = {
    "manifest_version": 2,
    "id": "No Id",
    "name": "n" * 101,
    "version": "1.0",
    "description": "d" * 2_001,
    "author": "a" * 201,
    "license": "l" * 201,
    "tags": ["No Tag"],
    "type": "sandwich",
    "entry_point": "no entry",
    "enabled": "yes",
    "requires_host": "about 2",
    "permissions.network": ["http://example.com"],
    "permissions.config": ["no key"],
    "permissions.secrets": ["no-name"],
    "permissions.database": ["no table"],
    "permissions.filesystem.read": ["/etc"],
    "permissions.filesystem.write": ["/etc"],
    "permissions.channels.publish": ["all.*"],
    "permissions.channels.subscribe": ["No Topic"],
    "permissions.exec": ["/bin/sh"],
    "permissions.native": "yes",
    "resources.seconds": 601,
    "resources.memory_mb": 513,
    "resources.cpu": 5,
    "dependencies.python": ["x @ https://example.com/x.zip"],
    "dependencies.plugins": ["geo is nice"],
    "config_schema": {"type": "sandwich"},
    "activation.events": ["onWednesday"],
    "contributes.tools.name": "no name",
    "contributes.tools.description": "d" * 4_001,
    "contributes.tools.parameters": {"$ref": "https://example.com/schema"},
    "author.name": "n" * 201,
    "author.email": "e" * 201,
}
"""For each key that may have a bad value of its own type, one."""


def ticked(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def manifest(key: str, value: object) -> dict[str, Any]:
    """Returns a manifest in which a key has a value."""
    made: dict[str, Any] = dict(MINIMAL)
    *above, last = key.split(".")
    here, path = made, ""
    for part in above:
        path = f"{path}.{part}".lstrip(".")
        inner: dict[str, Any] = {"name": "t"} if path in LISTS else {}
        here[part] = [inner] if path in LISTS else inner
        here = inner
    here[last] = value
    return made


def faults(data: Mapping[str, object], file: str = "plugin.toml") -> tuple[Fault, ...]:
    """Returns what is wrong with a manifest."""
    try:
        parse_manifest(Document(file, data))
    except PackageRefused as error:
        return error.faults
    return ()


def unknown(key: str) -> bool:
    """Tells whether the reader knows no such key."""
    found = faults(manifest(key, None))
    return any(each.key == key and "there is no key" in each.message for each in found)


def candidates() -> set[str]:
    """Returns every word of the sources that may be a key."""
    text = "".join(path.read_text("utf-8") for path in SOURCES)
    return set(re.findall(r'"([a-z_]+)"', text))


def test_every_key_is_listed_and_no_other() -> None:
    above = ["", *TABLES, *LISTS, "author"]
    taken = {
        f"{table}.{word}".lstrip(".")
        for table in above
        if table not in FREE
        for word in candidates()
        if not unknown(f"{table}.{word}".lstrip("."))
    }

    assert taken - {"tier"} == KEYS.keys() - {"activation.events"}


def test_what_is_not_listed_is_refused() -> None:
    (fault,) = faults(manifest("permissions.nettwork", []))

    assert (fault.code, fault.key) == ("manifest_schema", "permissions.nettwork")
    assert faults(manifest("x-mine", [])) == ()
    assert [each.code for each in faults(manifest("tier", "container"))] == ["tier_not_allowed"]


@pytest.mark.parametrize("key", BAD)
def test_a_bad_value_has_the_code_that_is_listed(key: str) -> None:
    found = [(each.key, each.code) for each in faults(manifest(key, BAD[key]))]

    assert (key, KEYS[key]["code"].strip("`")) in found


def test_every_other_key_is_a_table_or_says_nothing() -> None:
    others = KEYS.keys() - BAD.keys()

    assert others == {*TABLES, *LISTS, "author.url"} - {
        "config_schema",
        "contributes.tools.parameters",
    }
    for key in others - {"author.url"}:
        assert [(each.key, each.code) for each in faults(manifest(key, "text"))] == [
            (key, KEYS[key]["code"].strip("`"))
        ]


READ_AS: Final = {
    "permissions.filesystem.read": "permissions.read",
    "permissions.filesystem.write": "permissions.write",
    "permissions.channels.publish": "permissions.publish",
    "permissions.channels.subscribe": "permissions.subscribe",
    "dependencies.python": "requirements",
    "dependencies.plugins": "plugins",
    "activation.events": "events",
    "contributes.tools": "tools",
}
"""Where the reader puts what is written elsewhere."""


def defaults() -> Iterator[tuple[str, object]]:
    """Yields the keys with a place of their own, and what is there without them."""
    made = parse_manifest(Document("plugin.toml", MINIMAL))
    for key in KEYS:
        value: object = made
        for part in READ_AS.get(key, key).split("."):
            value = getattr(value, part, NotImplemented)
        if value is not NotImplemented and not attrs.has(type(value)):
            yield key, value


def written(value: object) -> str:
    """Returns a value as a manifest has it."""
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else json.dumps(value)


def test_every_default_is_the_one_that_is_listed() -> None:
    said_by_minimal = {"id", "name", "version"}
    found = {key: value for key, value in defaults() if key not in said_by_minimal}

    assert len(found) > 20
    assert {key: KEYS[key]["default"].strip("`") for key in found} == {
        key: written(value) for key, value in found.items()
    }


def codes() -> set[str]:
    """Returns every code that a package may be refused with."""
    text = "".join(path.read_text("utf-8") for path in SOURCES)
    kinds = "manifest|dependency|resource|host|tier|permission"
    found = set(re.findall(rf'"((?:{kinds})_[a-z]+(?:_[a-z]+)*)"', text))
    permissions = {f"permission_{each.name}" for each in attrs.fields(Permissions)}
    made_of_others = {
        *("permission_read", "permission_write", "permission_publish", "permission_subscribe"),
        *("permission_secrets", "permission_native"),
    }
    return (found - {"host_modules"}) | (permissions - made_of_others)


def test_every_code_of_a_manifest_is_listed() -> None:
    listed = {
        row["code"].strip("`")
        for table in tables(PAGE)
        for row in table
        if row.keys() == {"code", "meaning"}
    }

    assert listed == codes()


def test_every_code_of_files_is_listed() -> None:
    text = "".join(path.read_text("utf-8") for path in SOURCES)
    kinds = "archive|module|native|bytecode|record|source|identity"
    raised = set(re.findall(rf'"((?:{kinds})_[a-z0-9_]+)"', text)) - {"module_names"}
    page = "reference/package-files.md"
    listed = {row["code"].strip("`") for table in tables(page) for row in table if "code" in row}

    assert listed == raised


def test_every_type_and_state_is_listed() -> None:
    for kind in get_args(PackageType):
        assert f"`{kind}`" in KEYS["type"]["meaning"]

    assert list(rows(PAGE, "state")) != []
    assert set(rows(PAGE, "state")) == {str(state) for state in State}


def test_every_member_of_a_context_is_listed_with_its_arguments() -> None:
    listed = {name.partition("(")[0]: name for name in rows(PAGE, "member")}
    members = {name for name in dir(PluginContext) if not name.startswith("_")}

    assert listed.keys() == members - {"aclose", "backing"}
    for name, text in listed.items():
        found: object = getattr(PluginContext, name, None)
        if callable(found):
            _, *parameters = signature(found).parameters.values()
            assert text == f"{name}({', '.join(map(listed_as, parameters))})"


def listed_as(parameter: Parameter) -> str:
    """Return a parameter as the page has it; there is at most one that only a keyword names."""
    if parameter.kind is Parameter.KEYWORD_ONLY:
        return f"*, {parameter.name}={parameter.default}"
    return f"{'**' if parameter.kind is Parameter.VAR_KEYWORD else ''}{parameter.name}"


def test_every_permission_is_one_of_a_member_or_said_to_be_unused() -> None:
    needed = {name for row in rows(PAGE, "member").values() for name in ticked(row["permission"])}
    top = {key.split(".")[1] for key in KEYS if key.startswith("permissions.")}

    assert top - needed == {"channels", "exec", "native"}


def test_every_field_of_an_execution_context_is_listed() -> None:
    section = (ROOT / "docs" / PAGE).read_text("utf-8").partition("## `ExecutionContext`\n")[2]
    listed = re.findall(r"^\| `(\w+)` \|", section.partition("\n## ")[0], re.MULTILINE)

    assert listed == [each.name for each in attrs.fields(ExecutionContext)]
