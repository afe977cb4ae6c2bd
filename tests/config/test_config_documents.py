"""What is read from files of settings, and what is refused with which words and line."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentrail.config import Document, read_document
from agentrail.errors import ConfigRefused, Fault

CANARY = "c4n4ry"
LARGEST = 1 << 20
QUOTE = "put a text that begins with ! or * in quotation marks"

# What YAML 1.1, and so libyaml, takes for a line break or for no character at all is left out:
# there a JSON document is no YAML.
CHARACTERS = st.characters(
    exclude_categories=["Cs", "Cc", "Cn", "Co", "Zl", "Zp"], exclude_characters="\ufeff"
)
TEXTS = st.text(CHARACTERS, max_size=12)
NAMES = st.text("abcXYZ019_-", min_size=1, max_size=6)
NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
LEAVES = st.none() | st.booleans() | NUMBERS | TEXTS


def tables(
    leaves: st.SearchStrategy[object], names: st.SearchStrategy[str] = NAMES
) -> st.SearchStrategy[dict[str, object]]:
    inner: st.SearchStrategy[object] = st.recursive(
        leaves,
        lambda each: st.lists(each, max_size=3) | st.dictionaries(names, each, max_size=3),
        max_leaves=12,
    )
    return st.dictionaries(names, inner, max_size=5)


def read(suffix: str, text: str | bytes) -> Document:
    raw = text if isinstance(text, bytes) else text.encode()
    return read_document(f"agentrail.{suffix}", raw, LARGEST)


def refused(suffix: str, text: str | bytes) -> Fault:
    with pytest.raises(ConfigRefused) as caught:
        read(suffix, text)
    (fault,) = caught.value.faults
    assert fault.file == f"agentrail.{suffix}"
    return fault


TAKEN: Sequence[tuple[str, str, Mapping[str, object]]] = [
    ("yaml", "", {}),
    ("yaml", "# nothing\n", {}),
    ("yaml", "null", {}),
    ("yaml", "---\na: 1\n...\n", {"a": 1}),
    ("yml", "a: [1, -2, +3, 0o17, 0x1f, 017]", {"a": [1, -2, 3, 15, 31, 17]}),
    ("yaml", "a: [1.5, .5, 1e3, -0.0]", {"a": [1.5, 0.5, 1000.0, -0.0]}),
    ("yaml", "a: [true, False, null, ~, ]", {"a": [True, False, None, None]}),
    ("yaml", "a:\nb: ''", {"a": None, "b": ""}),
    ("yaml", "a: [no, on, y, 12:30, 2024-01-01, 1_000, .inf, .nan]", {
        "a": ["no", "on", "y", "12:30", "2024-01-01", "1_000", ".inf", ".nan"]
    }),
    ("yaml", "a: ['1', \"true\", ! 1, !!str 1]", {"a": ["1", "true", "1", "1"]}),
    ("yaml", "1: a\ntrue: b\n~: c\n'': d", {"1": "a", "true": "b", "~": "c", "": "d"}),
    ("yaml", "'<<': {a: 1}", {"<<": {"a": 1}}),
    ("yaml", "a: &x {b: [1]}\nc: *x", {"a": {"b": [1]}, "c": {"b": [1]}}),
    ("yaml", "a: |\n  x\n  y\n", {"a": "x\ny\n"}),
    ("yaml", "__class__: {__proto__: 1}", {"__class__": {"__proto__": 1}}),
    ("yaml", "Timeout: 1\ntimeout: 2", {"Timeout": 1, "timeout": 2}),
    ("json", "{}", {}),
    ("json", ' {"a": [1, -0, 1e2, null, true]} ', {"a": [1, 0, 100.0, None, True]}),
    ("json", '{"": {"": 1}, "a.b": 2}', {"": {"": 1}, "a.b": 2}),
    ("json", '{"a": "\\ud83d\\ude00\\u0000"}', {"a": "\U0001f600\0"}),
    ("toml", "", {}),
    ("toml", "a = 1\r\nb.c = 'x'\r\n", {"a": 1, "b": {"c": "x"}}),
    ("toml", "[[a]]\nb = 1\n[[a]]\n", {"a": [{"b": 1}, {}]}),
]  # fmt: skip


@pytest.mark.parametrize(("suffix", "text", "data"), TAKEN)
def test_a_document_is_read_as_data(suffix: str, text: str, data: Mapping[str, object]) -> None:
    found = read(suffix, text).data
    assert found == data
    assert repr(found) == repr(data)  # True is no 1, and 1.0 is no 1


def test_json_has_no_numbers_but_those_of_its_grammar_nor_a_text_of_half_a_character() -> None:
    assert refused("json", '{"a": NaN}').message == "NaN is no number of JSON"
    assert refused("json", '{"a": -Infinity}').message == "-Infinity is no number of JSON"
    assert "half a character" in refused("json", '{"b": 1,\n"a": "\\ud800"}').message


DEEP = "it is nested deeper than 32 levels"
TWICE = "the key 'a' stands there twice"
REFUSED: Sequence[tuple[str, str, str, int | None]] = [
    ("yaml", f"x: 1\na: !!python/object/apply:os.system [{CANARY}]",
     f"no tag is taken: {QUOTE}", 2),
    ("yaml", f"a: !!python/name:{CANARY}", f"no tag is taken: {QUOTE}", 1),
    ("yaml", f"password: !{CANARY}", f"no tag is taken: {QUOTE}", 1),
    ("yaml", "a: !!int '1'", f"no tag is taken: {QUOTE}", 1),
    ("yaml", "a: !!map {b: 1}", f"no tag is taken: {QUOTE}", 1),
    ("yaml", f"%TAG ! tag:{CANARY},2000:\n---\na: !b 1", f"no tag is taken: {QUOTE}", 3),
    ("yaml", "!!str a: 1\n!!binary b: 2", "a key must be a text", 2),
    ("yaml", f"x: 1\npassword: *{CANARY}",
     f"it names with '*' nothing that is whole before it: {QUOTE}", 2),
    ("yaml", "a: &x [*x]", f"it names with '*' nothing that is whole before it: {QUOTE}", 1),
    ("yaml", "a: &x 1\n*x : 2", "a key must be a text", 2),
    ("yaml", "a: 1\n? [1]\n: 2", "a key must be a text", 2),
    ("yaml", "? {b: 1}\n: 2", "a key must be a text", 1),
    ("yaml", "a: 1\n? \n: 2", "a key must be a text", 2),
    ("yaml", "b: 1\na: 1\na: 2", TWICE, 3),
    ("yaml", "b: {a: 1,\n 'a': 2}", TWICE, 2),
    ("yaml", "a: 1\n<<: {b: 1}",
     "'<<' is not taken: write the keys, or name the whole with '*'", 2),
    ("yaml", "a: 1\n---\nb: 2", "it has a second document: one is taken", 2),
    ("yaml", "- 1", "it must be a mapping, of names to values", 1),
    ("yaml", "hello", "it must be a mapping, of names to values", 1),
    ("yaml", "a: 1\n\tb: 2", "found a tab character that violates indentation", 2),
    ("yaml", "a: 1\nb: 'x", "found unexpected end of stream", 2),
    ("yaml", "a: b: c", "mapping values are not allowed in this context", 1),
    ("yaml", "a: 1\nb: \0", "control characters are not allowed", 2),
    ("yaml", "a: " + "[" * 5000, DEEP, 1),
    ("yaml", "- " * 5000, DEEP, 1),
    ("yaml", "a: [" + "1," * 100_000 + "]", "it has more than 100000 values", 1),
    ("json", "", "Expecting value", 1),
    ("json", '{"a":\n 1', "Expecting ',' delimiter", 2),
    ("json", '{"a": 1}\nx', "Extra data", 2),
    ("json", "[1]", "it must be an object", None),
    ("json", '{"b": 1,\n"a": 1,\n"a": 2}', TWICE, 3),
    ("json", '{"b": [{"a": 1,\n"c": "\\"}",\n"a": 2}]}', TWICE, 3),
    ("json", "[" * 200_000, DEEP, None),
    ("json", '{"a":' * 40 + "1" + "}" * 40, DEEP, None),
    ("json", '{"a": [' + "1," * 100_000 + "1]}", "it has more than 100000 values", None),
    ("toml", "b = 1\na = 1\na = 2\n", "Cannot overwrite a value", 3),
    ("toml", "b = 1\na = 1\na = 2", "Cannot overwrite a value", 3),
    ("toml", "b = 1\na = [1,", "Invalid value", 2),
    ("toml", "[a]\n[a]\n", "Cannot declare ('a',) twice", 2),
    ("toml", "a = 1\nb", "Expected '=' after a key in a key/value pair", 2),
    ("toml", "a = " + "[" * 5000, DEEP, None),
    ("toml", "a" + ".a" * 5000 + " = 1", "it has a key of more than 32 parts", None),
    ("toml", "a = " + "9" * 5000, "a number in it is too large", None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("suffix", "text", "message", "line"), REFUSED, ids=[text[:30] for _, text, *_ in REFUSED]
)
def test_what_is_no_document_of_settings_is_refused_with_its_line_and_without_its_values(
    suffix: str, text: str, message: str, line: int | None
) -> None:
    fault = refused(suffix, text)
    assert fault == Fault("document_invalid", message, f"agentrail.{suffix}", line)
    assert CANARY not in str(fault)


@pytest.mark.parametrize(
    ("suffix", "text", "message", "line", "key"),
    [
        ("yaml", "a: 1\nb: 1e999", "the number is too large", 2, "b"),
        ("json", '{"a": 1,\n"b": -1e999}', "the number is too large", 2, "b"),
        ("yaml", "a:\n- 1\n- " + "9" * 10_000, "the number is too large", 3, "a.1"),
        ("yaml", "a: 9223372036854775808", "the number is too large", 1, "a"),
        ("json", '{"a": [1,\n{"b": ' + "9" * 10_000 + "}]}", "the number is too large", 2, "a.1.b"),
        ("toml", "[a]\nb = -9223372036854775809", "the number is too large", 2, "a.b"),
        ("toml", "a = 1\nb = 2024-01-01",
         "it is a date: write it as a text, in quotation marks", 2, "b"),
        ("toml", "b = 12:30:00", "it is a time: write it as a text, in quotation marks", 1, "b"),
    ],
)  # fmt: skip
def test_what_not_every_format_can_say_is_refused_at_its_key(
    suffix: str, text: str, message: str, line: int, key: str
) -> None:
    expected = Fault("document_invalid", message, f"agentrail.{suffix}", line, key)
    assert refused(suffix, text) == expected


@pytest.mark.parametrize("suffix", ["yaml", "json", "toml"])
@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"\xef\xbb\xbf", "it begins with a byte order mark: save it without one"),
        (b"\xff\xfea\0", "it is not UTF-8: byte 0 cannot be read"),
        (b"# \xc3", "it is not UTF-8: byte 2 cannot be read"),
    ],
)
def test_a_file_is_utf_8_without_a_mark(suffix: str, raw: bytes, message: str) -> None:
    assert refused(suffix, raw).message == message


@pytest.mark.parametrize("suffix", ["yaml", "json", "toml"])
def test_a_file_that_is_too_large_is_not_read(suffix: str) -> None:
    fault = refused(suffix, b" " * (LARGEST + 1))
    assert fault.code == "document_too_large"
    assert fault.message == f"it has {LARGEST + 1} bytes; it may have {LARGEST}"


@pytest.mark.parametrize(
    ("suffix", "text"),
    [
        ("yaml", "ok: 1\n? {key}\n: [1, 2]"),
        ("json", '{{"ok": 1,\n"{key}": [1, 2]}}'),
        ("toml", "ok = 1\n{key} = [1, 2]"),
        ("toml", "ok = 1\n[{key}]\na = 1"),
    ],
)
def test_a_key_that_is_too_long_is_refused_at_its_line_and_is_cut_in_the_message(
    suffix: str, text: str
) -> None:
    fault = refused(suffix, text.format(key="k" * 10_000))
    assert fault.message == "the names of its levels have more than 500 characters"
    assert fault.line == 2
    assert len(str(fault)) < 400


def test_a_long_text_that_is_named_often_counts_as_often() -> None:
    text = f"a: &x '{'y' * 100_000}'\nb: [{'*x, ' * 1000}]"
    assert refused("yaml", text).message == "it has more than 100000 values"


PLACES: Sequence[tuple[str, str]] = [
    ("yaml", "a: 1\nb:\n  - c:\n      1\n  -\n    - 2\n"),
    ("json", '{"a": 1,\n"b"\n:[\n{"c":\n1},\n[2]]}'),
]


def test_the_line_of_a_value_is_that_of_its_key_and_in_a_list_its_own() -> None:
    (_, text), (_, other) = PLACES
    lines = {"a": 1, "b": 2, "b.0": 3, "b.0.c": 3, "b.1": 6, "b.1.0": 6}
    assert dict(read("yaml", text).lines()) == lines
    lines = {"a": 1, "b": 2, "b.0": 4, "b.0.c": 4, "b.1": 6, "b.1.0": 6}
    assert dict(read("json", other).lines()) == lines
    document = read("toml", "a = 1\n[b]\nc = 1\n[[d]]\ne = 1\n[[d]]\n[d.f]\n'g' . h = 1")
    found = dict(document.lines())
    wanted = {"a": 1, "b": 2, "b.c": 3, "d.0": 4, "d.0.e": 5, "d.1": 6, "d.1.f": 7, "d.1.f.g.h": 8}
    assert found.items() >= wanted.items()


def inside(value: object) -> Mapping[str, object]:
    if isinstance(value, dict):
        return cast("dict[str, object]", value)
    if isinstance(value, list):
        return {str(at): each for at, each in enumerate(cast("list[object]", value))}
    return {}


def paths_of(value: object, path: str = "") -> list[str]:
    found: list[str] = []
    for key, each in inside(value).items():
        at = f"{path}.{key}" if path else key
        found += [at, *paths_of(each, at)]
    return found


@given(tables(LEAVES), st.sampled_from([None, 0, 1, 4]))
def test_a_json_document_reads_the_same_as_yaml_with_the_same_lines(
    data: dict[str, object], indent: int | None
) -> None:
    text = json.dumps(data, indent=indent, ensure_ascii=False)
    as_json, as_yaml = read("json", text), read("yaml", text)
    assert as_json.data == as_yaml.data == data
    assert dict(as_json.lines()) == dict(as_yaml.lines())
    assert sorted(path for path, _ in as_json.lines()) == sorted(paths_of(data))


@given(tables(LEAVES, TEXTS))
def test_the_names_in_a_document_may_be_any_text(data: dict[str, object]) -> None:
    text = json.dumps(data, ensure_ascii=False)
    assert read("json", text).data == read("yaml", text).data == data
    assert read("json", json.dumps(data)).data == data


def as_toml(value: object) -> str:
    if isinstance(value, bool | str):
        return json.dumps(value, ensure_ascii=False)
    inner = inside(value)
    if isinstance(value, list):
        return f"[{', '.join(as_toml(each) for each in inner.values())}]"
    if isinstance(value, dict):
        pairs = [f"{key} = {as_toml(each)}" for key, each in inner.items()]
        return f"{{{', '.join(pairs)}}}"
    return repr(value)


def in_tables(data: Mapping[str, object], above: Sequence[str] = ()) -> list[str]:
    """Return the lines of a document in TOML: mappings as tables, all else on one line each."""
    tables = [key for key, value in data.items() if isinstance(value, dict)]
    lines = [f"{key} = {as_toml(value)}" for key, value in data.items() if key not in tables]
    for key in tables:
        path = [*above, key]
        lines += ["", f"[{'.'.join(path)}]", *in_tables(inside(data[key]), path)]
    return lines


@given(tables(st.booleans() | NUMBERS | TEXTS))
def test_toml_reads_as_it_was_written_with_the_line_of_each_key(data: dict[str, object]) -> None:
    lines = in_tables(data)
    document = read("toml", "\n".join(lines))
    assert document.data == data
    found = dict(document.lines())
    for path, line in found.items():
        name = path.rpartition(".")[2]
        written = lines[line - 1]
        assert written.startswith(f"{name} = ") or written == f"[{path}]"
    assert {path.partition(".")[0] for path in found} == set(data)


SNIPPETS = st.sampled_from(
    ["a", ": ", "- ", "\n", " ", "{", "}", "[", "]", ",", '"', "'", "&a ", "*a", "!!", "<<", "? ",
     "|", ">", "%", "---", "...", "=", "[[", "]]", ".", "#", "\t", "\\", "\\u", "1", "e9", "nan",
     '"""', "'''", "\r", "\x85", "\u2028", "\0", "\U0001f600", "~", "@", "`"]
)  # fmt: skip
NOISE = st.binary(max_size=60) | st.lists(SNIPPETS, max_size=40).map(lambda p: "".join(p).encode())


@given(NOISE, st.sampled_from(["yaml", "yml", "json", "toml"]))
def test_any_bytes_are_read_or_refused(raw: bytes, suffix: str) -> None:
    try:
        document = read(suffix, raw)
    except ConfigRefused as error:
        faults = error.faults
    else:
        faults = ()
        breaks = re.findall("\r\n?|[\n\x85\u2028\u2029]", raw.decode())
        assert all(1 <= line <= len(breaks) + 1 for _, line in document.lines())
        # TOML has numbers that are not finite: the schema of a setting refuses them.
        json.dumps(document.data, allow_nan=suffix == "toml", ensure_ascii=False).encode()
    assert all(fault.file and fault.message for fault in faults)
    assert all(str(fault).isprintable() for fault in faults)


@given(tables(LEAVES), st.data())
def test_a_half_written_document_is_read_or_refused(
    data: dict[str, object], draw: st.DataObject
) -> None:
    text = json.dumps(data, ensure_ascii=False, indent=1)
    half = text[: draw.draw(st.integers(0, len(text) - 1))]
    refused("json", half)
    if half:
        refused("yaml", half)
