"""Every fault of settings at once, each with its place, the nearest name, and no value."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentrail.config import (
    Layer,
    Layered,
    Source,
    environment_layer,
    faults_of,
    file_layer,
    layered,
    read_document,
)
from agentrail.errors import ConfigRefused, Fault

CANARY = "c4n4ry"
MOST = 100


class Memory(
    msgspec.Struct, forbid_unknown_fields=True, frozen=True, tag_field="kind", tag="memory"
):
    size: int = 1


class Files(msgspec.Struct, forbid_unknown_fields=True, frozen=True, tag_field="kind", tag="files"):
    directory: str
    sync: bool = True


class Server(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    host: Annotated[str, msgspec.Meta(min_length=1, max_length=8, pattern="^[a-z0-9.]*$")] = "h"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 8642
    tls: bool = False
    timeout: float | None = None
    quiet: Annotated[float, msgspec.Meta(gt=0, lt=9.5)] = 1.0
    origins: list[str] = []
    level: Literal["debug", "info"] = "info"
    pair: tuple[int, str] = (1, "a")


class Settings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    server: Server = Server()
    store: Memory | Files | str | None = None
    plugins: dict[str, Server | bool] = {}
    kinds: set[Literal["one", "two"]] = set()


SCHEMA = msgspec.json.schema(Settings)


def of_file(text: str, suffix: str = "yaml") -> Layered:
    return layered([file_layer(read_document(f"agentrail.{suffix}", text.encode(), 1 << 20))])


def told(settings: Layered) -> list[str]:
    return [str(fault) for fault in faults_of(settings, SCHEMA)]


EVERYTHING = f"""\
server:
  prot: {CANARY}
  port: {CANARY}
  tls: {CANARY}
  host: [{CANARY}]
  origins:
    - ok
    - 1
store:
  kind: files
Plugins:
  a: {CANARY}
kinds: [one, {CANARY}]
"""
FAULTS = {
    "agentrail.yaml:2: server.prot: there is no setting 'prot' here; did you mean 'port'?",
    "agentrail.yaml:3: server.port: it must be a whole number",
    "agentrail.yaml:4: server.tls: it must be true or false",
    "agentrail.yaml:5: server.host: it must be a text",
    "agentrail.yaml:8: server.origins.1: it must be a text",
    "agentrail.yaml:9: store: 'directory' is missing",
    "agentrail.yaml:11: Plugins: there is no setting 'Plugins' here; did you mean 'plugins'?",
    "agentrail.yaml:13: kinds.1: it must be one of one, two",
}


def test_all_faults_are_told_at_once_with_file_line_path_and_the_nearest_name() -> None:
    found = told(of_file(EVERYTHING))
    assert len(found) == len(FAULTS)
    assert set(found) == FAULTS


def test_the_format_of_the_file_makes_no_difference_to_its_faults() -> None:
    in_toml = """\
kinds = ["one", "?"]
store = {kind = "files"}
[server]
prot = "?"
port = "?"
tls = "?"
host = ["?"]
origins = ["ok", 1]
[Plugins]
a = "?"
"""
    data = dict(read_document("a.toml", in_toml.encode(), 1000).data)
    assert data == read_document("a.yaml", EVERYTHING.replace(CANARY, "'?'").encode(), 1000).data
    in_json = json.dumps(data, indent=1)

    def without_place(settings: Layered) -> set[tuple[str, str, str]]:
        return {(each.code, each.message, each.key) for each in faults_of(settings, SCHEMA)}

    expected = without_place(of_file(EVERYTHING))
    assert without_place(of_file(in_toml, "toml")) == expected
    assert without_place(of_file(in_json, "json")) == expected


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "1e999"])
def test_a_number_of_toml_that_is_not_finite_is_no_number_of_a_setting(number: str) -> None:
    settings = of_file(f"[server]\ntimeout = {number}\nport = {number}\n", "toml")
    assert set(told(settings)) == {
        "agentrail.toml:2: server.timeout: it must be null or a number",
        "agentrail.toml:3: server.port: it must be a whole number",
    }


def test_settings_without_a_fault_have_none() -> None:
    text = "server: {port: 1, timeout: null, pair: [1, a]}\nstore: {kind: memory}\n"
    assert told(of_file(text)) == []
    assert told(of_file("{}")) == []
    assert msgspec.convert(of_file(text).data, Settings).store == Memory()


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("server: 1", ["server: it must be a mapping"]),
        ("server: {port: 70000}", ["server.port: it must be at most 65535"]),
        ("server: {port: -1}", ["server.port: it must be at least 0"]),
        ("server: {quiet: 0}", ["server.quiet: it must be more than 0"]),
        ("server: {quiet: 9.5}", ["server.quiet: it must be less than 9.5"]),
        ("server: {host: ''}", ["server.host: it is shorter than 1 character"]),
        ("server: {port: 1.5}", ["server.port: it must be a whole number"]),
        ("server: {port: null}", ["server.port: it must be a whole number"]),
        ("server: {timeout: []}", ["server.timeout: it must be null or a number"]),
        ("server: {level: inof}",
         ["server.level: it must be one of debug, info; did you mean 'info'?"]),
        ("server: {level: 1}", ["server.level: it must be one of debug, info"]),
        ("server: {pair: [1]}", ["server.pair: it has less than 2 items"]),
        ("server: {pair: [x, y]}", ["server.pair.0: it must be a whole number"]),
        ("kinds: [one, one]", ["kinds: it has non-unique elements"]),
        ("Server: {}\nserver: {}",
         ["Server: there is no setting 'Server' here; did you mean 'server'?"]),
        ("nowhere: 1", ["nowhere: there is no setting 'nowhere' here"]),
        ("server.port: 1",
         ["server.port: there is no setting 'server.port' here; did you mean 'server'?"]),
        ("__proto__: {}", ["__proto__: there is no setting '__proto__' here"]),
        # What is no name may be a secret, and stands beside its place.
        ("sk-live-51Hx: 1", ["there is a key here that is no setting"]),
        ("server: {port2: 1}",
         ["server: there is a key here that is no setting; did you mean 'port'?"]),
        ("plugins: {x: {sk-live-51Hx: {y: 1}}}",
         ["plugins.x: there is a key here that is no setting"]),
        # The form that is meant: of the same kind, or of the same name.
        ("plugins: {x: {prot: 1}}",
         ["plugins.x.prot: there is no setting 'prot' here; did you mean 'port'?"]),
        ("plugins: {x: 1}", ["plugins.x: it must be true or false or a mapping"]),
        ("store: {kind: files, directory: 1, sync: 1, size: 1}",
         ["store.directory: it must be a text",
          "store.size: there is no setting 'size' here",
          "store.sync: it must be true or false"]),
        ("store: {kind: memory, siez: 1, sync: 1, directory: 1}",
         ["store.directory: there is no setting 'directory' here",
          "store.siez: there is no setting 'siez' here; did you mean 'size'?",
          "store.sync: there is no setting 'sync' here"]),
        ("store: {kind: memoru}",
         ["store.kind: it must be one of memory, files; did you mean 'memory'?"]),
        ("store: {size: x}", ["store.size: it must be a whole number", "store: 'kind' is missing"]),
        ("store: 1", ["store: it must be null or a mapping or a text"]),
    ],
)  # fmt: skip
def test_a_fault_is_put_into_words(text: str, faults: Sequence[str]) -> None:
    found = faults_of(of_file(text), SCHEMA)
    told = sorted(str(each).removeprefix(f"agentrail.yaml:{each.line}: ") for each in found)
    assert told == list(faults)


def test_a_key_that_may_be_a_secret_is_told_by_its_line() -> None:
    (fault,) = faults_of(of_file(f"server:\n  port: 1\n  {CANARY}1: 2\n"), SCHEMA)
    assert (fault.line, fault.key) == (3, "server")
    for text, suffix in (
        (f"server:\n  {CANARY}1: 2\n  {CANARY}1: 2\n", "yaml"),
        (f'{{"server": {{"{CANARY}1": 2,\n "x": 1,\n "{CANARY}1": 2}}}}', "json"),
    ):
        with pytest.raises(ConfigRefused) as caught:
            of_file(text, suffix)
        (fault,) = caught.value.faults
        assert (fault.line, fault.message) == (3, "a key stands there twice")
    with pytest.raises(ConfigRefused) as caught:
        of_file(f'[server."{CANARY}\'s"]\n[server."{CANARY}\'s"]\n', "toml")
    (fault,) = caught.value.faults
    assert (fault.line, fault.message) == (2, "Cannot declare ('server', '…') twice")


def test_a_fault_can_be_written_whatever_it_tells() -> None:
    fault = Fault("config_object", "no file \udcff: é", "a\udcff", 1, "b\udcff")
    assert str(fault) == r"a\udcff:1: b\udcff: no file \udcff: é"
    assert msgspec.json.encode(fault)


def test_a_fault_has_the_place_of_the_layer_that_the_value_is_from() -> None:
    document = read_document("agentrail.toml", b'[server]\nport = "x"\ntls = 1\n', 100)
    variables = {"AGENTRAIL_SERVER__TLS": "perhaps", "AGENTRAIL_SERVER__HOST": "-"}
    environment, none = environment_layer(variables, SCHEMA, {})
    flags = Layer({"server": {"host": 1}}, lambda path: Source("flag", "--host"))
    found = faults_of(layered([file_layer(document), environment, flags]), SCHEMA)
    assert not none
    assert sorted(map(str, found)) == [
        "--host: server.host: it must be a text",
        "AGENTRAIL_SERVER__TLS: server.tls: it must be true or false",
        "agentrail.toml:2: server.port: it must be a whole number",
    ]


def test_what_is_missing_has_the_place_of_what_it_is_missing_in() -> None:
    (fault,) = faults_of(of_file("server: {}\nstore:\n  kind: files\n"), SCHEMA)
    assert fault == Fault("config_missing", "'directory' is missing", "agentrail.yaml", 2, "store")


VALUES: Sequence[object] = [
    CANARY, [CANARY], {CANARY: CANARY}, {"kind": CANARY}, {"kind": "files", "directory": [CANARY]},
    f"{CANARY}\n\x1b[31m", CANARY * 1000, [[CANARY]], {"port": CANARY}, [CANARY, CANARY],
]  # fmt: skip
PATHS = [
    "server", "server.host", "server.port", "server.tls", "server.timeout", "server.origins",
    "server.origins.x", "server.level", "server.pair", "store", "plugins", "plugins.x",
    "plugins.x.port", "kinds", "nowhere", "server.nowhere",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_no_value_is_in_a_fault(path: str, value: object) -> None:
    *above, last = path.split(".")
    data: dict[str, object] = {last: value}
    for key in reversed(above):
        data = {key: data}
    found = faults_of(layered([Layer(data, lambda path: Source("flag", "--f"))]), SCHEMA)
    assert found or path in {"store", "server.host", "server.origins"}
    for fault in found:
        assert CANARY not in fault.message
        assert len(str(fault)) < 1000
        assert str(fault).isprintable()


def test_of_very_many_faults_the_first_are_told() -> None:
    many = {f"k{at}": {f"x{at}": 1} for at in range(60)}
    settings = of_file(json.dumps({"plugins": many, **many}), "json")
    assert len(faults_of(settings, SCHEMA)) == MOST
    few = of_file(json.dumps({"plugins": many}), "json")
    assert len(faults_of(few, SCHEMA)) == 60


KEYS = st.sampled_from(["server", "port", "host", "store", "kind", "plugins", "kinds", "x"])
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["files", "memory", "x"]),
    lambda each: st.lists(each, max_size=2) | st.dictionaries(KEYS, each, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(KEYS, VALUE, max_size=4))
def test_settings_have_a_fault_exactly_if_they_cannot_be_used(data: dict[str, object]) -> None:
    text = json.dumps(data, indent=0)
    settings = of_file(text, "json")
    try:
        msgspec.convert(data, Settings)
        usable = True
    except msgspec.ValidationError:
        usable = False
    found = faults_of(settings, SCHEMA)
    assert usable == (not found) or repeats(data)
    for fault in found:
        assert fault.file == "agentrail.json"
        assert fault.line is not None
        assert 1 <= fault.line <= text.count("\n") + 1
        assert fault.key.partition(".")[0] in data


def repeats(data: Mapping[str, object]) -> bool:
    """Say whether a set is written with a member twice: JSON Schema refuses what msgspec takes."""
    kinds = data.get("kinds")
    names = [str(each) for each in cast("list[object]", kinds)] if isinstance(kinds, list) else []
    return len(set(names)) < len(names)
