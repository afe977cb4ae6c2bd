"""The page on testing says what `agentrail.testing` has."""

import re
from inspect import Parameter, signature
from typing import Any

import attrs
import pytest

from agentrail import ScriptedModel, testing
from agentrail.testing import (
    FakeClock,
    HookCall,
    HookRecorder,
    ModelProviderContract,
    PluginContract,
    RecordedModel,
    SessionStoreContract,
    fixtures,
)
from tests.docs.pages import ROOT, rows

PAGE = "reference/testing.md"


def section(name: str) -> str:
    page = (ROOT / "docs" / PAGE).read_text("utf-8")
    return page.partition(f"## `{name}`\n")[2].partition("\n## ")[0]


def test_every_public_name_is_listed() -> None:
    assert list(rows(PAGE, "name")) == testing.__all__


@pytest.mark.parametrize("kind", [ScriptedModel, RecordedModel, HookRecorder, FakeClock])
def test_every_parameter_is_listed_with_its_default(kind: type[Any]) -> None:
    table = section(kind.__name__).partition("| --- | --- | --- |\n")[2].partition("\n\n")[0]
    listed = re.findall(r"^\| `(\w+)` \| `?(.*?)`? \|", table, re.MULTILINE)

    assert listed == [
        (each.name, shown(each.default)) for each in signature(kind).parameters.values()
    ]


def shown(default: object) -> str:
    if default is Parameter.empty:
        return "required"
    return "all" if isinstance(default, tuple) else str(default)


@pytest.mark.parametrize(
    ("kind", "data"), [(HookRecorder, {"log"}), (FakeClock, {"time", "slept"})]
)
def test_every_member_is_listed(kind: type[Any], data: set[str]) -> None:
    table = section(kind.__name__).partition("| member | meaning |\n")[2]
    cells = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    listed = {name for cell in cells for name in re.findall(r"`(\w+)[`(]", cell)}
    members = {name for name in vars(kind) if not name.startswith("_")}

    assert listed == members - {"autojump"} | data


def test_every_field_of_a_call_is_listed() -> None:
    listed = re.findall(r"^\| `(\w+)` \|", section("HookCall"), re.MULTILINE)

    assert listed == [*(field.name for field in attrs.fields(HookCall)), "context"]


def test_every_fixture_is_listed() -> None:
    kind = type(fixtures.open_host)

    assert list(rows(PAGE, "fixture")) == [
        name for name, value in vars(fixtures).items() if isinstance(value, kind)
    ]


def test_what_contracts_have_overridden_is_listed() -> None:
    page = (ROOT / "docs" / PAGE).read_text("utf-8")
    listed = re.findall(r"^\| `(\w+Contract)` \| `(\w+)` \|", page, re.MULTILINE)
    kind = type(fixtures.open_host)
    asked = {"SessionStoreContract": {"store", "revive"}}

    for suite in (PluginContract, SessionStoreContract, ModelProviderContract):
        overridden = {name for each, name in listed if each == suite.__name__}
        has = {name for name in dir(suite) if isinstance(getattr(suite, name), kind)}
        assert has - asked.get(suite.__name__, set()) <= overridden
    assert callable(SessionStoreContract.crash)
    assert "`SessionStoreContract.crash(store)`" in page
