"""Documents that are broken in any way, and the places that are told of what is in them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentrail.config import (
    Layer,
    Layered,
    Source,
    checked,
    environment_layer,
    faults_of,
    file_layer,
    filled_in,
    layered,
    read_document,
)
from agentrail.errors import ConfigRefused, Fault

LARGEST = 1 << 20
MOST = 100


class Server(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    port: int = 1
    wait: float = 1.0
    tries: int | None = None


class Settings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    server: Server = Server()
    servers: list[Server] = []
    named: dict[str, Server] = {}
    ports: Annotated[list[int] | None, msgspec.Meta(description="all of them")] = None
    free: dict[str, Any] = {}


SCHEMA = msgspec.json.schema(Settings)

VALID = {
    "yaml": """\
# all there is
server: &one
  port: 1
  "wait": 1.5e0
servers:
  - *one
  - {port: 0x1f, tries: ~}
free:
  text: |
    [server]
    port = 2
  'long': "\\U0001f600 é"
  list: [true, [], {}]
""",
    "toml": """\
# all there is
ports = [
  1, # one
  2,
]
[server]
port = 1
"wait" = 1.5e0
[[servers]]
port = 0x1f
[free]
text = \"\"\"
[server]
port = "2"
\"\"\"
'long' . x = '\U0001f600 é'
list = [true, [], {}]
""",
    "json": """\
{
 "server": {"port": 1, "wait": 1.5e0},
 "servers": [
  {"port": 31, "tries": null}
 ],
 "free": {"text": "[server]\\nport = 2", "long": "\\ud83d\\ude00 é", "list": [true, [], {}]}
}
""",
}
PIECES = [
    b"!!python/object/apply:os.system ['touch pwned'] ", b"!!python/name:os.system ", b"! ", b"&a ",
    b"*one", b"<<: *one\n", b"? ", b"- ", b": ", b"{", b"}", b"[", b"]", b",", b'"', b"'", b'"""',
    b"'''", b"#", b"=", b".", b"\\", b"\\u", b"\\ud800", b"\n", b"\r", b"\t", b"\0", b"\xff",
    b"\xef\xbb\xbf", b"\xc2\x85", b"\xe2\x80\xa8", b"---\n", b"...\n", b"%YAML 1.1\n", b"nan",
    b"-inf", b"1e999", b"-0", b"9" * 5000, b"[" * 5000, b"{a: " * 50, b'{"a":' * 50, b"a." * 50,
    b"port: 1\n", b"Port = 2\n", b"[server]\n", b"[[servers]]\n", b'"port": 1,', b"${",
    b"${A:${B}}", b"2024-01-01", b"|\n", b">-\n", b"0o17", b"1_000", b"k" * 600,
]  # fmt: skip


@st.composite
def broken(draw: st.DrawFn) -> tuple[str, bytes]:
    """Return a document of a format with bytes and lines of it changed."""
    suffix = draw(st.sampled_from(sorted(VALID)))
    raw = VALID[suffix].encode()
    for _ in range(draw(st.integers(1, 4))):
        if draw(st.booleans()):
            parts, glue = raw.split(b"\n"), b"\n"
            at, other = (draw(st.integers(0, len(parts) - 1)) for _ in range(2))
            parts[at : at + draw(st.integers(0, 1))] = draw(
                st.sampled_from([[], [parts[other]], [parts[at], parts[other]]])
            )
        else:
            at = draw(st.integers(0, len(raw)))
            piece = draw(st.sampled_from(PIECES) | st.binary(max_size=3))
            parts, glue = [raw[:at], piece, raw[at + draw(st.integers(0, 3)) :]], b""
        raw = glue.join(parts)
    return suffix, raw


def taken(suffix: str, raw: bytes) -> tuple[object, Sequence[Fault]]:
    """Return what is read from a document, and what is wrong with it."""
    try:
        document = checked(read_document(f"a.{suffix}", raw, LARGEST), finite=True)
    except ConfigRefused as error:
        return None, error.faults
    layer, unset = filled_in(file_layer(document), {}, SCHEMA)
    found = layered([layer])
    return document.data, [*unset, *faults_of(found, SCHEMA)]


def lines_of(raw: bytes) -> int:
    """Return how many lines there are, by the breaks that YAML 1.1 has."""
    text = raw.decode(errors="replace").replace("\r\n", "\n")
    return 1 + sum(text.count(each) for each in "\n\r\x85\u2028\u2029")


def check(suffix: str, raw: bytes) -> None:
    data, faults = taken(suffix, raw)
    assert data is not None or len(faults) == 1
    for fault in faults:
        assert fault.file == f"a.{suffix}"
        assert fault.line is None or 1 <= fault.line <= lines_of(raw)
        # What is wrong with a setting stands somewhere.
        assert fault.line is not None or data is None
        assert str(fault).isprintable()
        assert len(str(fault)) < 1000
    assert json.loads(json.dumps(data, allow_nan=False)) == data


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("documents")


@settings(max_examples=400)
@given(broken())
def test_a_broken_document_is_read_or_refused_and_executes_nothing(
    here: Path, document: tuple[str, bytes]
) -> None:
    suffix, raw = document
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        check(suffix, raw)
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("suffix", sorted(VALID))
def test_a_document_that_ends_at_any_byte_is_read_or_refused(suffix: str) -> None:
    raw = VALID[suffix].encode()
    assert taken(suffix, raw)[1] == []
    for end in range(len(raw)):
        check(suffix, raw[:end])


@pytest.mark.parametrize("suffix", sorted(VALID))
@pytest.mark.parametrize("code", ["utf-16-le", "utf-16-be", "utf-32-le"])
def test_a_document_in_another_encoding_is_refused(suffix: str, code: str) -> None:
    assert taken(suffix, VALID[suffix].encode(code))[0] is None


# --- the lines of TOML --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        # What is in a text or a list is no statement.
        ('a = """\nb = 1\n[c]\n\\""" "\\"\n"""\nb = 2', {"a": 1, "b": 6}),
        ('a = """x""""\nb = """"""\nc = ""', {"a": 1, "b": 2, "c": 3}),
        ("a = '''\n[c]\n''''\nb = ''\n[d]\ne = 1", {"a": 1, "b": 4, "d": 5, "d.e": 6}),
        ('a = "\'\'\'" # """\nb = \'"""\'\nc = 1', {"a": 1, "b": 2, "c": 3}),
        ("a = [\n  ['b'],\n  ['c']\n]\nd = 1", {"a": 1, "d": 5}),
        ("a = [ # ]]\n{b = 1},\n]\nc = 1", {"a": 1, "c": 4}),
        ("a = [\n'''\n]\n''', \"[\"]\r\n[c]\r\nd = 1", {"a": 1, "c": 5, "c.d": 6}),
        # What is above a table or a key may be written nowhere else.
        ("[a.b.c]\nd = 1\n[a]\ne = 1", {"a": 1, "a.b": 1, "a.b.c": 1, "a.b.c.d": 2, "a.e": 4}),
        ("[[a.b]]\nc.d = 1\n[[a.b]]", {
            "a": 1, "a.b": 1, "a.b.0": 1, "a.b.0.c": 2, "a.b.0.c.d": 2, "a.b.1": 3
        }),
        ("a . 'b c' = 1\n\"d\" . e = 1", {"a": 1, "a.b c": 1, "d": 2, "d.e": 2}),
    ],
)  # fmt: skip
def test_a_key_of_toml_has_the_line_that_its_statement_begins_on(
    text: str, lines: dict[str, int]
) -> None:
    document = read_document("a.toml", text.encode(), LARGEST)
    assert dict(document.lines()) == lines


def test_what_is_inside_a_value_of_toml_has_the_line_of_that_value() -> None:
    text = b"\nports = [\n1,\n'x']\n[server.port.x]\n[named]\na = {port = 'x'}\n"
    found = layered([file_layer(read_document("a.toml", text, LARGEST))])
    assert {(fault.key, fault.line) for fault in faults_of(found, SCHEMA)} == {
        ("ports.1", 2),
        ("server.port", 5),
        ("named.a.port", 7),
    }


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        ("[[servers]]\nwait = nan", 2, "servers.0.wait"),
        ("ports = [1,\n-inf]", 1, "ports.1"),
        ("[free]\nb = {c = 1e999}", 2, "free.b.c"),
    ],
)
def test_a_number_that_no_other_format_has_is_refused_at_its_key(
    text: str, line: int, key: str
) -> None:
    fault = Fault("document_invalid", "the number is not finite", "a.toml", line, key)
    data, faults = taken("toml", text.encode())
    assert (data, list(faults)) == (None, [fault])


# --- what the schema and the settings see otherwise ---------------------------------------------


def of_data(data: dict[str, object]) -> Layered:
    return layered([Layer(data, lambda path: Source("flag", "--f"))])


def test_a_whole_number_is_written_without_a_point() -> None:
    data: dict[str, object] = {
        "server": {"port": 1.0, "wait": 1.0, "tries": -0.0},
        "ports": [1, 1e300],
        "free": {"port": 1.0},
    }
    assert {str(fault) for fault in faults_of(of_data(data), SCHEMA)} == {
        f"--f: {path}: it must be a whole number, written without a point"
        for path in ("server.port", "server.tries", "ports.1")
    }


@pytest.mark.parametrize("before", [0, 99, 100, 101, 5000])
def test_of_a_long_list_the_first_faults_are_told(before: int) -> None:
    data: dict[str, object] = {"ports": [1] * before + ["x"] * 5000, "server": {"port": "x"}}
    found = {fault.key for fault in faults_of(of_data(data), SCHEMA)}
    wrong = {f"ports.{before + at}" for at in range(MOST)}
    assert len(found) == MOST
    assert found < {*wrong, "server.port"}


def test_of_a_long_list_the_last_item_may_be_the_fault() -> None:
    found = faults_of(of_data({"ports": [1] * 60_000 + ["x"]}), SCHEMA)
    assert [fault.key for fault in found] == ["ports.60000"]


@pytest.mark.parametrize(
    ("variable", "whole"),
    [
        ("AGENTRAIL_SERVERS__0__PORT", "AGENTRAIL_SERVERS"),
        ("AGENTRAIL_SERVERS__99999999999__NOWHERE", "AGENTRAIL_SERVERS"),
        ("AGENTRAIL_SERVERS__-1__PORT", "AGENTRAIL_SERVERS"),
        ("AGENTRAIL_SERVERS__", "AGENTRAIL_SERVERS"),
        ("AGENTRAIL_PORTS__0", "AGENTRAIL_PORTS"),
    ],
)
def test_of_an_item_of_a_list_the_variable_of_the_list_is_told(variable: str, whole: str) -> None:
    layer, (fault,) = environment_layer({variable: "1"}, SCHEMA, {})
    assert layer.data == {}
    assert (fault.code, fault.file) == ("config_unknown", variable)
    assert fault.message == f"a single item of a list has no variable: set {whole}"


def test_a_fault_of_a_reference_is_on_one_line_and_not_long() -> None:
    data = {"free": {"a\n\x1b[31m": "${", "b": f"${{{'B' * 5000}}}", "c": "${C}"}}
    layer = Layer(data, lambda path: Source("file", "f", 1))
    _, faults = filled_in(layer, {"C": "\udcff"}, SCHEMA)
    assert len(faults) == 3
    assert all(str(fault).isprintable() and len(str(fault)) < 600 for fault in faults)


def test_a_message_of_toml_has_no_more_than_the_beginning_of_a_name() -> None:
    name = "k" * 100_000
    _, (fault,) = taken("toml", f"[{name}]\n[{name}]\n".encode())
    assert fault.line == 2
    assert len(str(fault)) < 300
