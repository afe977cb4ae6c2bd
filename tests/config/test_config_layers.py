"""What of several layers counts, where each value came from, and what variables say."""

from collections.abc import Mapping, Sequence
from typing import Annotated, cast

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from agentrail.config import (
    Layer,
    Layered,
    Source,
    coerced,
    environment_layer,
    file_layer,
    filled_in,
    layered,
    read_document,
)
from agentrail.errors import Fault

CANARY = "c4n4ry"


class Server(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 8642
    tls: bool = False
    timeout: float | None = None
    origins: list[str] = []


class Settings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    server: Server = Server()
    data_dir: str = "data"
    plugins: dict[str, Server | bool] = {}


SCHEMA = msgspec.json.schema(Settings)
NAMES = st.sampled_from(["a", "b", "c", "d"])
LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.lists(st.integers())


def tables(leaves: st.SearchStrategy[object]) -> st.SearchStrategy[dict[str, object]]:
    inner = st.recursive(leaves, lambda each: st.dictionaries(NAMES, each, max_size=3))
    return st.dictionaries(NAMES, inner, max_size=4)


TABLES = tables(LEAVES)


def leaves(data: Mapping[str, object], path: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in data.items():
        at = f"{path}.{key}" if path else key
        found |= (
            leaves(cast("dict[str, object]", value), at) if isinstance(value, dict) else {at: value}
        )
    return found


def mappings(data: Mapping[str, object], path: str = "") -> set[str]:
    found: set[str] = set()
    for key, value in data.items():
        at = f"{path}.{key}" if path else key
        if isinstance(value, dict):
            found |= {at} | mappings(cast("dict[str, object]", value), at)
    return found


def named(data: Mapping[str, object], name: str) -> Layer:
    def source(path: str) -> Source:
        return Source("file", name)

    return Layer(data, source)


def again(settings: Layered) -> Layer:
    return Layer(settings.data, settings.source)


def meant(path: str, layers: Sequence[Mapping[str, object]]) -> tuple[int, object] | None:
    """Return the last layer that says a path, if no later one says something above it."""
    for at in reversed(range(len(layers))):
        found = leaves(layers[at])
        if path in found:
            return at, found[path]
        if any(path.startswith(f"{each}.") for each in found) or path in mappings(layers[at]):
            return None
    return None


@given(st.lists(TABLES, max_size=4))
def test_the_last_layer_that_says_a_value_wins_and_is_its_source(
    layers: list[dict[str, object]],
) -> None:
    found = layered([named(data, str(at)) for at, data in enumerate(layers)])
    paths = {path for data in layers for path in leaves(data)}
    wanted = {path: each for path in paths if (each := meant(path, layers)) is not None}
    values = leaves(found.data)
    assert values == {path: value for path, (_, value) in wanted.items()}
    assert {path: found.source(path).name for path in values} == {
        path: str(at) for path, (at, _) in wanted.items()
    }
    assert all(path in found.sources for path in [*values, *mappings(found.data)])
    known = {*values, *mappings(found.data)}
    assert all(path in known or path.rpartition(".")[0] in values for path in found.sources)


@given(st.lists(TABLES, max_size=4), st.integers(0, 4))
def test_layers_may_be_merged_one_after_the_other(
    tables: list[dict[str, object]], first: int
) -> None:
    layers = [named(data, str(at)) for at, data in enumerate(tables)]
    once = layered(layers)
    twice = layered([again(layered(layers[:first])), *layers[first:]])
    assert (once.data, once.sources) == (twice.data, twice.sources)


@given(TABLES, TABLES, TABLES)
def test_layers_that_agree_on_what_is_a_mapping_may_be_merged_in_any_grouping(
    a: dict[str, object], b: dict[str, object], c: dict[str, object]
) -> None:
    every = [a, b, c]
    said = {path for each in every for path in leaves(each)}
    assume(not said & {path for each in every for path in mappings(each)})
    x, y, z = (named(each, name) for each, name in zip(every, "xyz", strict=True))
    left = layered([again(layered([x, y])), z])
    right = layered([x, again(layered([y, z]))])
    assert left.data == right.data
    values = leaves(left.data)
    assert {p: left.source(p) for p in values} == {p: right.source(p) for p in values}


@given(TABLES, TABLES)
def test_merging_changes_no_layer(a: dict[str, object], b: dict[str, object]) -> None:
    before = repr((a, b))
    layered([named(a, "a"), named(b, "b"), named(a, "c")])
    assert repr((a, b)) == before


def test_a_value_knows_its_file_and_line_its_variable_or_that_it_is_the_default() -> None:
    document = read_document("agentrail.yaml", b"server:\n  port: 1\n  origins:\n  - a\n", 100)
    variables = {"AGENTRAIL_SERVER__HOST": "h"}
    environment, faults = environment_layer(variables, SCHEMA, {})
    flags = Layer({"data_dir": "d"}, lambda path: Source("flag", "--data-dir"))
    found = layered([file_layer(document), environment, flags])
    assert not faults
    places = {
        "server.port": "agentrail.yaml:2",
        "server.origins.0": "agentrail.yaml:4",
        "server.host": "AGENTRAIL_SERVER__HOST",
        "data_dir": "--data-dir",
    }
    assert {path: str(found.source(path)) for path in places} == places
    assert found.source("plugins.x") == Source("default")
    assert found.source("server.port").kind == "file"
    fault = Fault("c", "m", "agentrail.yaml", 2, "server.port.x")
    assert found.fault("c", "m", "server.port.x") == fault


def test_what_was_in_a_list_that_is_replaced_has_no_place_any_more() -> None:
    below = named({"a": [{"b": 1}, 2]}, "below")
    found = layered([below, named({"a": [3]}, "above")])
    assert set(found.sources) == {"a", "a.0"}
    assert found.source("a.1").name == "above"


# --- what variables say -------------------------------------------------------------------------


def of_variables(
    variables: Mapping[str, str], aliases: Mapping[str, str] | None = None
) -> tuple[Layer, list[str]]:
    layer, faults = environment_layer(variables, SCHEMA, aliases or {})
    assert not any(CANARY in str(fault) for fault in faults)
    return layer, [str(fault) for fault in faults]


@pytest.mark.parametrize(
    ("variables", "data"),
    [
        ({"AGENTRAIL_DATA_DIR": "12"}, {"data_dir": "12"}),
        ({"AGENTRAIL_SERVER__PORT": " 12 "}, {"server": {"port": 12}}),
        ({"AGENTRAIL_SERVER": '{"port": 1}', "AGENTRAIL_SERVER__HOST": "h"},
         {"server": {"port": 1, "host": "h"}}),
        ({"AGENTRAIL_PLUGINS__X": "off"}, {"plugins": {"x": False}}),
        ({"AGENTRAIL_PLUGINS__X__TLS": "Yes"}, {"plugins": {"x": {"tls": True}}}),
        ({"AGENTRAIL_SERVER__ORIGINS": '["a"]'}, {"server": {"origins": ["a"]}}),
        ({"PORT": "1"}, {"server": {"port": 1}}),
        ({"AGENTRAIL_ELSEWHERE": "1", "HOME": "/", "agentrail_data_dir": "x"}, {}),
        ({}, {}),
    ],
)  # fmt: skip
def test_variables_say_settings(variables: Mapping[str, str], data: Mapping[str, object]) -> None:
    layer, faults = of_variables(variables, {"PORT": "server.port"})
    assert (layer.data, faults) == (data, [])
    for path in leaves(layer.data):
        assert layer.source(path).name in variables


UNKNOWN = "there is no such setting; did you mean"


@pytest.mark.parametrize(
    ("variables", "fault"),
    [
        ({"AGENTRAIL_SERVER": "1", "AGENTRAIL_SERVER__PORT": CANARY},
         "AGENTRAIL_SERVER__PORT: server.port: AGENTRAIL_SERVER says it too: set one of them"),
        ({"AGENTRAIL_SERVER": '{"port": 1}', "AGENTRAIL_SERVER__PORT": "2"},
         "AGENTRAIL_SERVER__PORT: server.port: AGENTRAIL_SERVER says it too: set one of them"),
        ({"PORT": CANARY, "AGENTRAIL_SERVER__PORT": "1"},
         "PORT: server.port: AGENTRAIL_SERVER__PORT says it too: set one of them"),
        ({"SERVE": CANARY, "AGENTRAIL_SERVER__PORT": "1"},
         "SERVE: server: AGENTRAIL_SERVER__PORT says it too: set one of them"),
        ({"AGENTRAIL_SERVER__PRT": CANARY},
         f"AGENTRAIL_SERVER__PRT: server.prt: {UNKNOWN} AGENTRAIL_SERVER__PORT?"),
        ({"AGENTRAIL_SERVR__PORT": CANARY},
         f"AGENTRAIL_SERVR__PORT: servr.port: {UNKNOWN} AGENTRAIL_SERVER__PORT?"),
        ({"AGENTRAIL_PLUGINS__X__HOTS": CANARY},
         f"AGENTRAIL_PLUGINS__X__HOTS: plugins.x.hots: {UNKNOWN} AGENTRAIL_PLUGINS__X__HOST?"),
        ({"AGENTRAIL_SERVER__PORT__X": "1"},
         "AGENTRAIL_SERVER__PORT__X: server.port.x: there is no such setting"),
        ({"AGENTRAIL___": "1"}, "AGENTRAIL___: .: there is no such setting"),
        ({"AGENTRAIL_DATA_DIR": f"{CANARY}\udcff"},
         "AGENTRAIL_DATA_DIR: data_dir: it is not UTF-8"),
        ({"AGENTRAIL_PLUGINS__\udcff": "1"},
         "AGENTRAIL_PLUGINS__\\udcff: plugins.\\udcff: it is not UTF-8"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_variable_is_told_with_its_name_and_the_nearest_one(
    variables: Mapping[str, str], fault: str
) -> None:
    aliases = {"PORT": "server.port", "SERVE": "server"}
    assert of_variables(variables, aliases)[1] == [fault]


def test_all_faults_of_variables_are_told_at_once() -> None:
    _, faults = of_variables(
        {"AGENTRAIL_SERVER__A": "1", "AGENTRAIL_SERVER__B": "1", "AGENTRAIL_X__Y": "1"}
    )
    assert len(faults) == 3


KEYS = st.sampled_from(["SERVER", "PORT", "PLUGINS", "X", "HOST", "", "_", "DATA_DIR", "Ä"])
VARIABLES = st.dictionaries(
    st.lists(KEYS, max_size=4).map(lambda parts: "AGENTRAIL_" + "__".join(parts)),
    st.sampled_from(["", "1", "yes", "{}", '{"port": 1}', "[" * 5000, "NaN"]) | st.text(),
    max_size=6,
)


@given(VARIABLES)
def test_any_variables_are_taken_or_told(variables: dict[str, str]) -> None:
    layer, faults = environment_layer(variables, SCHEMA, {})
    places = {layer.source(path).name for path in leaves(layer.data)}
    assert places <= set(variables)
    assert {fault.file for fault in faults} <= set(variables)


@pytest.mark.parametrize(
    ("path", "text", "value"),
    [
        ("data_dir", "true", "true"),
        ("data_dir", "", ""),
        ("data_dir", "${x}", "${x}"),
        ("server.port", "1", 1),
        ("server.port", "one", "one"),
        ("server.port", "", ""),
        ("server.port", "1.5", 1.5),
        ("server.port", "9" * 5000, "9" * 5000),
        ("server.port", "9" * 50, "9" * 50),
        ("server.timeout", "1e3", 1000.0),
        ("server.timeout", "null", None),
        ("server.timeout", "1e999", "1e999"),
        ("server.timeout", "NaN", "NaN"),
        ("server.timeout", "-Infinity", "-Infinity"),
        ("server.tls", "ON", True),
        ("server.tls", "0", False),
        ("server.tls", "maybe", "maybe"),
        ("server.origins", '["a", 1]', ["a", 1]),
        ("server.origins", "[" * 200_000, "[" * 200_000),
        ("server.origins", '["\\ud800"]', '["\\ud800"]'),
        ("server", '{"port": 1}', {"port": 1}),
        ("plugins.x", "yes", True),
        ("nowhere", "1", "1"),
    ],
    ids=lambda each: f"{str(each)[:20]}{len(str(each))}",
)
def test_a_text_becomes_what_the_setting_takes(path: str, text: str, value: object) -> None:
    found = coerced(text, SCHEMA, path.split("."))
    assert (found, type(found)) == (value, type(value))


# --- variables in settings ----------------------------------------------------------------------


def filled(text: str, variables: Mapping[str, str], path: str = "data_dir") -> object:
    layer = Layer({path: text}, lambda at: Source("file", "f", 1))
    found, faults = filled_in(layer, variables, {"properties": {path: {"type": "string"}}})
    assert not faults
    return found.data[path]


TEXTS = st.text() | st.lists(st.sampled_from(["$", "{", "}", "A", ":", "$$", "${"])).map("".join)


@given(TEXTS.filter(lambda text: "${" not in text))
def test_a_text_that_names_no_variable_is_left_as_it_is(text: str) -> None:
    assert filled(text, {"A": "no"}) == text


@given(TEXTS)
def test_a_text_with_each_reference_escaped_is_that_text(text: str) -> None:
    # Of `$${` the second half would be escaped, and stand for three.
    assume("$${" not in text)
    assert filled(text.replace("${", "$${"), {"A": "no"}) == text


@given(TEXTS, TEXTS.filter(lambda text: "${" not in text and not text.endswith("$")))
def test_what_a_variable_says_is_taken_as_it_is(value: str, before: str) -> None:
    assume(value.isprintable())
    assert filled(f"{before}${{A}}|${{A:no}}", {"A": value}) == f"{before}{value}|{value}"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("$${A}", "${A}"),
        ("$${A}${A}", "${A}va"),
        ("$${", "${"),
        ("${B:}", ""),
        ("${B:x:y}", "x:y"),
        ("${B:p$s}", "p$s"),
        ("${B:$$}", "$$"),
        ("<${A}|${A}>", "<va|va>"),
        ("$A {A} $", "$A {A} $"),
    ],
)
def test_references_and_their_defaults(text: str, found: str) -> None:
    assert filled(text, {"A": "va"}) == found


def filled_settings(data: Mapping[str, object], variables: Mapping[str, str]) -> object:
    layer = Layer(data, lambda at: Source("file", "f", 1))
    found, faults = filled_in(layer, variables, SCHEMA)
    assert not faults
    return found.data


@pytest.mark.parametrize(
    ("data", "found"),
    [
        ({"server": {"port": "${N}"}}, {"server": {"port": 5}}),
        ({"server": {"port": "${X:7}"}}, {"server": {"port": 7}}),
        ({"server": {"port": "1${N}"}}, {"server": {"port": "15"}}),
        ({"server": {"port": "5"}}, {"server": {"port": "5"}}),
        ({"server": {"port": "$${N}"}}, {"server": {"port": "${N}"}}),
        ({"server": {"tls": "${X:no}"}}, {"server": {"tls": False}}),
        ({"server": {"origins": ["${N}", 1]}}, {"server": {"origins": ["5", 1]}}),
        ({"data_dir": "${N}"}, {"data_dir": "5"}),
        ({"${N}": None}, {"${N}": None}),
    ],
)
def test_a_value_that_is_a_variable_becomes_what_the_setting_takes(
    data: Mapping[str, object], found: Mapping[str, object]
) -> None:
    assert filled_settings(data, {"N": "5"}) == found


SYNTAX = "write ${NAME} or ${NAME:default}, and $${ for what is no variable"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${B}", "the variable B is not set: set it, or write ${B:…}"),
        ("${}", SYNTAX),
        (f"${{{CANARY} {CANARY}}}", SYNTAX),
        (f"${{not-a-name:{CANARY}}}", SYNTAX),
        (f"${{{CANARY}", SYNTAX),
        (f"${{A:{{{CANARY}}}}}", SYNTAX),
        ("${HALF}", "the variable HALF is not UTF-8"),
    ],
)
def test_what_is_wrong_with_a_reference_is_told_at_its_place(text: str, message: str) -> None:
    raw = b'{"data_dir": "",\n "server": {"origins": ["",\n"?"]}}'
    document = read_document("a.json", raw.replace(b"?", text.encode()), 1000)
    _, faults = filled_in(file_layer(document), {"A": CANARY, "HALF": "\udcff"}, SCHEMA)
    assert list(faults) == [Fault("config_variable", message, "a.json", 3, "server.origins.1")]


def test_all_references_that_are_wrong_are_told_at_once() -> None:
    data = {"data_dir": "${B}${C}", "server": {"host": "${D}"}}
    _, faults = filled_in(Layer(data, lambda at: Source("file", "f")), {}, SCHEMA)
    assert [fault.key for fault in faults] == ["data_dir", "data_dir", "server.host"]


@given(TABLES, st.dictionaries(st.sampled_from(["A", "B"]), TEXTS))
def test_settings_without_references_are_left_as_they_are(
    data: dict[str, object], variables: dict[str, str]
) -> None:
    assert filled_settings(data, variables) == data
