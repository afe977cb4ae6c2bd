"""The reference says what the code says: nothing is missing, and nothing is made up."""

import os
import re
import tomllib
from inspect import Parameter, isfunction, signature
from pathlib import Path
from typing import Any, get_args

import attrs
import msgspec
import pytest

from agentrail import (
    AppConfig,
    Limits,
    Profile,
    RequestLimits,
    errors,
    events,
    middleware,
    standard_routes,
)
from agentrail.agent import Prices
from agentrail.clock import SYSTEM_CLOCK
from agentrail.hook import HOOKS
from agentrail.messages import Usage
from agentrail.plugin import Members, PackageSettings
from agentrail.requests import ChatRequest, RequestContext
from tests.cli.command import AGENTRAIL, IMPORTED
from tests.docs.pages import ROOT, rows, tables
from tests.forks import run

COMMANDS = (
    *("new", "serve", "dev", "chat", "explain", "doctor", "local install"),
    *("sessions list", "sessions show"),
    *(f"plugin {verb}" for verb in ("list", "inspect", "install", "approve", "enable", "disable")),
    *(f"plugin {verb}" for verb in ("upgrade", "rollback", "configure", "release", "remove")),
    *("plugin logs", "plugin events"),
    *("plugin new", "plugin check", "plugin pack"),
    *("audit verify", "audit list", "token create", "token list", "token revoke"),
    *("config check", "config show", "config schema"),
    *(f"config {verb}" for verb in ("state", "history", "revision", "diff")),
    *("config reload", "config rollback"),
    *(f"secret {verb}" for verb in ("set", "list", "delete", "rotate")),
)
GROUPS = ("local", "sessions", "plugin", "audit", "token", "config", "secret")


def ticked(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def test_every_hook_is_listed_in_order_with_its_kind_arguments_and_deadline() -> None:
    table = {row["member"].strip("`"): row for row in tables("reference/plugin.md")[0]}
    listed = {
        name: (row["kind"], tuple(ticked(row["arguments"])), row["deadline"])
        for name, row in table.items()
    }

    assert list(listed) == list(HOOKS)
    assert listed == {
        name: (spec.kind.value, spec.parameters, f"{spec.deadline:g} s")
        for name, spec in HOOKS.items()
    }


def test_every_attribute_of_a_plugin_is_listed() -> None:
    listed = rows("reference/plugin.md", "attribute").keys()

    assert listed == {"name", *Members.__annotations__.keys() - HOOKS.keys()}


def test_every_field_of_the_context_is_listed() -> None:
    listed = {name for row in rows("reference/plugin.md", "field") for name in row.split("`, `")}

    assert listed == set(RequestContext.__struct_fields__)


def every_error(kind: type[errors.AgentrailError]) -> list[type[errors.AgentrailError]]:
    below = [leaf for each in kind.__subclasses__() for leaf in every_error(each)]
    return [each for each in [kind, *below] if each.__module__ == errors.__name__]


def test_every_error_code_is_listed_with_its_status() -> None:
    listed = {
        row["code"].strip("`"): (row["class"].strip("`"), row["status"], row["retryable"])
        for table in tables("reference/http.md")
        for row in table
        if "retryable" in row
    }

    assert listed == {
        kind.code: (kind.__name__, str(kind.status), "yes" if kind.retryable else "no")
        for kind in every_error(errors.AgentrailError)
    }


def test_every_standard_route_is_listed() -> None:
    listed = [
        (path, row["methods"].strip("`"), row["public"])
        for path, row in rows("reference/http.md", "path").items()
    ]

    assert listed == [
        (route.path, " ".join(route.methods), "yes" if route.public else "no")
        for route in standard_routes()
    ]


def test_every_field_of_a_request_is_listed_with_its_default() -> None:
    table = next(each for each in tables("reference/http.md") if "default" in each[0])
    listed = {row["field"].strip("`"): row["default"].strip("`") for row in table}
    minimal = msgspec.convert({"message": "hi"}, ChatRequest)
    defaults = {
        field.encode_name: getattr(minimal, field.name)
        for field in msgspec.structs.fields(ChatRequest)
    }

    assert listed == {
        name: "required" if name == "message" else shown(value) for name, value in defaults.items()
    }


def shown(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def wire_names(kind: type[events.Event]) -> list[str]:
    common = events.Event.__struct_fields__
    fields = msgspec.structs.fields(kind)
    return [field.encode_name for field in fields if field.name not in common]


def test_every_event_is_listed_with_its_fields() -> None:
    sent, kept = tables("reference/events.md")
    listed = [
        [
            (row["type"].strip("`"), row["class"].strip("`"), ticked(row["more fields"]))
            for row in table
        ]
        for table in (sent, kept)
    ]
    every: tuple[type[events.Event], ...] = get_args(events.Recorded)
    kept_alone = [kind for kind in every if kind.audience == "log"]
    kinds = [get_args(events.WireEvent), kept_alone]

    for table, group in zip(listed, kinds, strict=True):
        assert sorted(table) == sorted(
            (str(kind.__struct_config__.tag), kind.__name__, wire_names(kind)) for kind in group
        )


def test_what_all_events_have_is_listed() -> None:
    text = (ROOT / "docs/reference/events.md").read_text("utf-8")
    (line,) = re.findall(r"^Every event has (.*)\.$", text, re.MULTILINE)
    common = {field.encode_name for field in msgspec.structs.fields(events.Event)}

    assert set(ticked(line)) == {"type", *common}


def test_the_fields_of_usage_are_listed() -> None:
    text = (ROOT / "docs/reference/events.md").read_text("utf-8")
    (line,) = re.findall(r"^`usage` has (.*)\.$", text, re.MULTILINE)

    assert ticked(line) == [field.encode_name for field in msgspec.structs.fields(Usage)]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_argument_of_a_command_is_listed(command: str) -> None:
    page = (ROOT / "docs/reference/cli.md").read_text("utf-8")
    section = page.partition(f"## `agentrail {command}`\n")[2].partition("\n## ")[0]
    listed = set(re.findall(r"^\| `([\w-]+)` \|", section, re.MULTILINE))
    shown = help_of(*command.split())

    printed = set(re.findall(r"^│ +(?:\* +)?([a-z_]+|--[a-z-]+) ", shown, re.MULTILINE))

    assert printed - {"--help"} == listed


def test_every_command_is_listed() -> None:
    page = (ROOT / "docs/reference/cli.md").read_text("utf-8")
    printed = re.findall(r"^│ ([a-z]+) ", help_of(), re.MULTILINE)
    within = {
        f"{group} {name}"
        for group in GROUPS
        for name in re.findall(r"^│ ([a-z]+) ", help_of(group), re.MULTILINE)
    }

    assert {*printed} - {*GROUPS} | within == set(COMMANDS)
    assert re.findall(r"^## `agentrail (.*)`$", page, re.MULTILINE) == list(COMMANDS)


def help_of(*command: str) -> str:
    variables = os.environ | {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
    done = run([AGENTRAIL, *command, "--help"], ROOT, variables, IMPORTED)
    assert done.status == 0, done.err
    return done.out


FROM_THE_ENVIRONMENT = {"capture_content", "data_dir", "hook_spans"}


@pytest.mark.parametrize(
    "kind", [AppConfig, PackageSettings, Profile, Limits, Prices, RequestLimits]
)
def test_every_setting_is_listed_with_its_default(kind: type[Any]) -> None:
    page = (ROOT / "docs/reference/configuration.md").read_text("utf-8")
    section = page.partition(f"## `{kind.__name__}`\n")[2].partition("\n## ")[0]
    listed = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", section, re.MULTILINE))

    assert list(listed) == [field.name for field in attrs.fields(kind)]
    for field in attrs.fields(kind):
        default: object = field.default
        if default is attrs.NOTHING:
            assert listed[field.name] == "required"
        elif field.name not in FROM_THE_ENVIRONMENT:
            factory: object = getattr(default, "factory", None)
            said = f"{named(factory)}()" if factory else named(default)
            assert listed[field.name] == f"`{said}`"


def named(value: object) -> str:
    return str(getattr(value, "__name__", repr(value)))


MIDDLEWARE = {
    name: value
    for name in middleware.__all__
    if isfunction(value := getattr(middleware, name))
    and signature(value).return_annotation in {middleware.BothSeams, middleware.ToolMiddleware}
}
ON_BOTH = {middleware.BothSeams: "models, tools", middleware.ToolMiddleware: "tools"}
CONSTANTS = {id(SYSTEM_CLOCK): "SYSTEM_CLOCK", id(middleware.SECRETS): "SECRETS"}


def parameters_of(section: str) -> list[tuple[str, str]]:
    """Returns the names and defaults that a section of the page on middleware lists."""
    page = (ROOT / "docs/reference/middleware.md").read_text("utf-8")
    text = page.partition(f"## `{section}`\n")[2].partition("\n## ")[0]
    table = text.partition("| --- | --- | --- |\n")[2].partition("\n\n")[0]
    return re.findall(r"^\| `(\w+)` \| `?(.*?)`? \|", table, re.MULTILINE)


@pytest.mark.parametrize("name", [*MIDDLEWARE, "Pattern"])
def test_every_parameter_of_a_middleware_is_listed_with_its_default(name: str) -> None:
    parameters = signature(getattr(middleware, name)).parameters.values()

    assert parameters_of(name) == [
        (
            each.name,
            "required"
            if each.default is Parameter.empty
            else CONSTANTS.get(id(each.default), named(each.default)),
        )
        for each in parameters
    ]


def test_every_middleware_is_listed_with_what_it_wraps() -> None:
    listed = {
        name: row["wraps"] for name, row in rows("reference/middleware.md", "middleware").items()
    }

    assert listed == {
        name: ON_BOTH[signature(value).return_annotation] for name, value in MIDDLEWARE.items()
    }


def test_every_public_name_of_the_middleware_is_on_its_page() -> None:
    page = (ROOT / "docs/reference/middleware.md").read_text("utf-8")

    assert [name for name in middleware.__all__ if f"`{name}`" not in page] == []


def test_every_environment_variable_is_listed() -> None:
    trees = ("agentrail", "profiles", "plugins", "routes")
    sources = [ROOT / "app.py", *(path for tree in trees for path in ROOT.glob(f"{tree}/**/*.py"))]
    pattern = re.compile(r'"((?:AGENTRAIL|ANTHROPIC|OPENAI|OTEL|XDG)_[A-Z_]+)"')
    read = {name for path in sources for name in pattern.findall(path.read_text("utf-8"))}
    internal = {"AGENTRAIL_LOCAL_KEY"}  # what the host hands to the child that runs its model
    in_docstrings = {"OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"}  # read by the SDK

    assert set(rows("reference/configuration.md", "variable")) == (read - internal) | in_docstrings


def test_the_storeys_are_those_of_the_import_contract() -> None:
    config = tomllib.loads(Path(ROOT / "pyproject.toml").read_text("utf-8"))
    contract = config["tool"]["importlinter"]["contracts"][0]
    page = (ROOT / "docs/explanation/architecture.md").read_text("utf-8")
    drawing = page.partition("## Storeys\n")[2].partition("```text\n")[2].partition("```")[0]

    assert [line[1:].strip() for line in drawing.splitlines()] == contract["layers"]
