"""For any settings that the schema takes: what counts, where it is from, and in which words."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import cast

import msgspec
import pytest
from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st

from agentrail.config import Source, coerced, read_document
from agentrail.errors import ConfigRefused, Fault
from agentrail.settings import Reading, Settings, read_settings, settings_schema, shown_settings

Table = dict[str, object]
FORMATS = ["yaml", "toml", "json"]
SCHEMA = settings_schema()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for all examples: Hypothesis takes none of a single test."""
    return tmp_path_factory.mktemp("settings")


# --- any settings -------------------------------------------------------------------------------

# Without what would name a variable.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="$"), max_size=6)
NAME = st.text("abc09-", min_size=1, max_size=3)
NUMBER = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
LEAF: st.SearchStrategy[object] = st.booleans() | NUMBER | TEXT
ANY = st.recursive(
    LEAF,
    lambda each: st.lists(each, max_size=2) | st.dictionaries(NAME, each, max_size=2),
    max_leaves=4,
)


def of_schema(part: Mapping[str, object]) -> st.SearchStrategy[object]:
    """Return the values that a part of the schema takes."""
    if isinstance(name := part.get("$ref"), str):
        parts = cast("dict[str, Table]", SCHEMA["$defs"])
        return st.deferred(lambda: of_schema(parts[name.removeprefix("#/$defs/")]))
    if "anyOf" in part:
        return st.one_of([of_schema(each) for each in cast("list[Table]", part["anyOf"])])
    if "enum" in part:
        return st.sampled_from(cast("list[object]", part["enum"]))
    return OF_TYPE[cast("str", part["type"])](part)


def a_number(part: Mapping[str, object]) -> st.SearchStrategy[object]:
    least = cast("float", part.get("minimum", part.get("exclusiveMinimum", None)))
    above = "exclusiveMinimum" in part
    most = cast("float | None", part.get("maximum"))
    floats = st.floats(least, most, exclude_min=above, allow_nan=False, allow_infinity=False)
    # No float is any whole number above that.
    return floats | st.integers(int(least) + above, 2**53 if most is None else int(most))


def a_whole_number(part: Mapping[str, object]) -> st.SearchStrategy[object]:
    most = cast("int", part.get("maximum", 2**63 - 1))
    return st.integers(cast("int", part["minimum"]), most)


def a_text(part: Mapping[str, object]) -> st.SearchStrategy[object]:
    if "pattern" in part:
        return st.sampled_from(["m:o", "m.n:o.p", "_:_"])
    least = cast("int", part.get("minLength", 0))
    return TEXT.map(lambda text: text if len(text) >= least else f"{text}abc")


def a_list(part: Mapping[str, object]) -> st.SearchStrategy[object]:
    return st.lists(of_schema(cast("Table", part["items"])), max_size=2)


def a_mapping(part: Mapping[str, object]) -> st.SearchStrategy[object]:
    properties = cast("dict[str, Table]", part.get("properties", {}))
    if not properties:
        more = part.get("additionalProperties")
        inner = of_schema(cast("Table", more)) if more else ANY
        return st.dictionaries(NAME, inner, max_size=2)
    every = {name: of_schema(each) for name, each in properties.items()}
    needed = {name: every.pop(name) for name in cast("list[str]", part["required"])}
    return st.fixed_dictionaries(needed, optional=every)


OF_TYPE: Mapping[str, Callable[[Mapping[str, object]], st.SearchStrategy[object]]] = {
    "null": lambda _part: st.none(),
    "boolean": lambda _part: st.booleans(),
    "number": a_number,
    "integer": a_whole_number,
    "string": a_text,
    "array": a_list,
    "object": a_mapping,
}


def tables_in(data: Table, *path: str) -> list[Table]:
    """Return the mappings in the list at a path."""
    *above, last = path
    for key in above:
        data = cast("Table", data.get(key, {}))
    return cast("list[Table]", data.get(last, []))


def put_right(profile: Table, name: str) -> None:
    """Have in a profile what it may have."""
    profile["id"] = name
    profile["model"] = f"p:m{profile['model']}"
    models = cast("list[str]", profile.get("fallbacks", []))
    profile["fallbacks"] = [f"p:m{each}" for each in models]
    profile["tools"] = list(dict.fromkeys(cast("list[str]", profile.get("tools", []))))
    window = cast("int", profile.get("context_window", 8192))
    limits = cast("Table", profile.get("limits", {}))
    if cast("int", limits.get("max_tokens") or 0) >= window:
        del limits["max_tokens"]
    for rule in tables_in(profile, "permissions"):
        kinds = [kind for kind in ("allow", "ask", "deny") if rule.pop(kind, None) is not None]
        rule[kinds[0] if kinds else "deny"] = "t*"
        if "allow" in rule:
            rule.pop("reason", None)


def fitting(data: Table) -> Table:
    """Return settings with that put right which no schema says."""
    for name in ("providers", "roles"):
        if not data.get(name, True):
            del data[name]  # no mapping is as good as an empty one
    for provider in cast("dict[str, Table]", data.get("providers", {})).values():
        for name, write in (("base_url", "http://{}".format), ("api_key", ascii)):
            if provider.get(name) is not None:
                provider[name] = write(provider[name])
    for at, profile in enumerate(tables_in(data, "profiles")):
        put_right(profile, str(at))
    for at, entry in enumerate(tables_in(data, "plugins", "entries")):
        entry["name"] = f"{at}{entry['name']}"
        if entry.pop("version", None) is not None and entry.get("object") is None:
            entry["version"] = f"1.0.{at}"
    return data


DATA = of_schema(SCHEMA).map(lambda data: fitting(cast("Table", data)))


def inside(value: object) -> Mapping[str, object]:
    if isinstance(value, dict):
        return cast("Table", value)
    if isinstance(value, list | tuple):
        return {str(at): each for at, each in enumerate(cast("Sequence[object]", value))}
    return {}


def is_mapping(value: object) -> bool:
    return isinstance(value, dict)


def joined(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def leaves(value: object, path: str = "", *, lists: bool = False) -> Iterator[tuple[str, object]]:
    """Yield what is no mapping, by its path; with ``lists`` what is in lists, in their place."""
    if is_mapping(value) or (lists and inside(value)):
        for key, each in inside(value).items():
            yield from leaves(each, joined(path, key), lists=lists)
    else:
        yield path, value


def at_path(value: object, path: str) -> object:
    for key in path.split("."):
        value = inside(value)[key]
    return value


def without_null(value: object) -> object:
    """Return a value as TOML can say it."""
    if isinstance(value, dict):
        table = cast("Table", value)
        return {key: without_null(each) for key, each in table.items() if each is not None}
    if isinstance(value, list):
        return [without_null(each) for each in cast("list[object]", value) if each is not None]
    return value


# --- three writers ------------------------------------------------------------------------------


def quoted(text: str) -> str:
    """Return a text as YAML and TOML both write it."""
    plain = (c if " " <= c <= "~" and c not in '"\\' else f"\\U{ord(c):08x}" for c in text)
    return f'"{"".join(plain)}"'


@define(slots=True)
class Written:
    """A document, and the line of each path that has one."""

    lines: list[str] = field(factory=list[str])
    places: dict[str, int] = field(factory=dict[str, int])

    def add(self, path: str, line: str) -> None:
        self.lines.append(line)
        self.places.setdefault(path, len(self.lines))

    def line(self, path: str) -> int | None:
        while path not in self.places and path:
            path = path.rpartition(".")[0]
        return self.places.get(path)


def in_yaml(value: object, written: Written, path: str = "", before: str = "") -> Written:
    for key, each in inside(value).items():
        head = f"{before}{f'{quoted(key)}:' if isinstance(value, dict) else '-'}"
        if inside(each):
            # The line of an item is that on which its own first key or item stands.
            written.places[joined(path, key)] = len(written.lines) + 1 + isinstance(value, list)
            written.lines.append(head)
            in_yaml(each, written, joined(path, key), f"{before}  ")
        else:
            scalar = quoted(each) if isinstance(each, str) else json.dumps(each)
            written.add(joined(path, key), f"{head} {scalar}")
    return written


def in_toml(
    table: Mapping[str, object], written: Written, path: str = "", above: Sequence[str] = ()
) -> Written:
    below = {key for key, each in table.items() if is_table(each)}
    for key in [key for key in table if key not in below]:
        written.add(joined(path, key), f"{quoted(key)} = {inline(table[key])}")
    for key in below:
        at, names = joined(path, key), [*above, quoted(key)]
        each = table[key]
        if isinstance(each, dict):
            written.add(at, f"[{'.'.join(names)}]")
            in_toml(cast("Table", each), written, at, names)
        else:
            for number, item in inside(each).items():
                written.add(f"{at}.{number}", f"[[{'.'.join(names)}]]")
                written.places.setdefault(at, len(written.lines))
                in_toml(inside(item), written, f"{at}.{number}", names)
    return written


def is_table(value: object) -> bool:
    """Return whether a value is written below a header."""
    items = list(inside(value).values())
    return isinstance(value, dict) or (
        bool(items) and all(isinstance(item, dict) for item in items)
    )


def inline(value: object) -> str:
    if isinstance(value, str):
        return quoted(value)
    if is_mapping(value):
        return f"{{{', '.join(f'{quoted(k)} = {inline(v)}' for k, v in inside(value).items())}}}"
    if not isinstance(value, int | float):
        return f"[{', '.join(map(inline, inside(value).values()))}]"
    return json.dumps(value)


def in_json(value: object, written: Written, path: str = "", after: str = "") -> Written:
    """Write what is below a path, a line each, after the bracket that opens it."""
    items = inside(value)
    opens, closes = "{}" if isinstance(value, dict) else "[]"
    if not path:
        written.lines.append(opens)
    for at, (key, each) in enumerate(items.items(), 1):
        head = f"{json.dumps(key)}: " if isinstance(value, dict) else ""
        comma = "," if at < len(items) else ""
        if inside(each):
            written.add(joined(path, key), head + ("{" if is_mapping(each) else "["))
            in_json(each, written, joined(path, key), comma)
        else:
            written.add(joined(path, key), f"{head}{json.dumps(each)}{comma}")
    written.lines.append(closes + after)
    return written


def write(place: Path, data: Table, suffix: str) -> tuple[Path, Written]:
    writers = {"yaml": in_yaml, "toml": in_toml, "json": in_json}
    written = writers[suffix](data, Written())
    text = "\n".join(written.lines)
    path = place / f"agentrail.{suffix}"
    path.write_text("" if not data and suffix == "yaml" else text, encoding="utf-8")
    return path, written


def read(place: Path, data: Table, suffix: str = "json") -> Reading:
    return read_settings(write(place, data, suffix)[0], {})


# --- the three formats --------------------------------------------------------------------------


@settings(max_examples=60)
@given(DATA.map(without_null))
def test_the_same_in_three_formats_is_the_same_with_one_digest_and_the_line_of_each(
    place: Path, data: Table
) -> None:
    readings: list[Reading] = []
    for suffix in FORMATS:
        path, written = write(place, data, suffix)
        reading = read_settings(path, {})
        assert same(reading.layered.data, data)
        for at, source in reading.layered.sources.items():
            assert source == Source("file", path.name, written.line(at))
        readings.append(reading)
    for one, other in pairwise(readings):
        assert (one.settings, one.digest) == (other.settings, other.digest)


def same(one: object, other: object) -> bool:
    """Return whether two say the same; their order is nothing, and 1 is not 1.0."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


@settings(max_examples=60)
@given(DATA, DATA, st.sampled_from(Settings.__struct_fields__))
def test_the_digest_is_another_exactly_if_something_else_is_said(
    place: Path, data: Table, other: Table, key: str
) -> None:
    changed = {**data, key: other[key]} if key in other else data
    digests = {read(place, each).digest for each in (data, changed)}
    assert len(digests) == (1 if same(data, changed) else 2)


# --- what counts --------------------------------------------------------------------------------


def as_variables(data: Table, whole: set[str]) -> dict[str, str]:
    """Return the variables that say settings, some tables in one as JSON; fewer than there are."""
    variables: dict[str, str] = {}
    for path, value in leaves({key: data[key] for key in data.keys() - whole}):
        parts = path.split(".")
        # Where any text is taken, null cannot be said.
        if value is not None or coerced("null", SCHEMA, parts) is None:
            text = value if isinstance(value, str) else json.dumps(value)
            variables["AGENTRAIL_" + "__".join(parts).upper()] = text
    named = {key for key in whole & data.keys() if isinstance(data[key], dict)}
    return variables | {f"AGENTRAIL_{key.upper()}": json.dumps(data[key]) for key in named}


def said_by(variables: Mapping[str, str], data: Table) -> dict[str, str]:
    """Return which variable says each setting."""
    found: dict[str, str] = {}
    for path, _ in leaves(data):
        parts = path.split(".")
        for at in (parts, parts[:1]):
            if (name := f"AGENTRAIL_{'__'.join(at).upper()}") in variables:
                found[path] = name
    return found


def within(said: object, found: object) -> bool:
    """Return whether what is in force is what was said, but for the defaults of what was not."""
    items, table = inside(said), inside(found)
    if not items and not is_mapping(said):
        return not table and found in (said, ())
    complete = is_mapping(said) or len(items) == len(table)
    return complete and all(key in table and within(items[key], table[key]) for key in items)


@settings(max_examples=100)
@given(
    st.none() | DATA,
    DATA,
    DATA,
    st.sets(st.sampled_from(Settings.__struct_fields__)),
    st.sampled_from(["yaml", "json"]),
)
def test_of_each_setting_that_counts_which_the_strongest_place_says(
    place: Path,
    in_file: Table | None,
    in_variables: Table,
    in_flags: Table,
    whole: set[str],
    suffix: str,
) -> None:
    path, written = (None, Written()) if in_file is None else write(place, in_file, suffix)
    variables = as_variables(in_variables, whole)
    options = {at: (f"--{at}", each) for at, each in leaves(in_flags)}
    # By its path, where each setting must come from, and what it must be.
    wanted = {
        at: (f"agentrail.{suffix}:{written.line(at)}", each) for at, each in leaves(in_file or {})
    }
    names = said_by(variables, in_variables)
    wanted |= {at: (names[at], each) for at, each in leaves(in_variables) if at in names}
    wanted |= options
    wanted = {at: each for at, each in wanted.items() if at}

    reading = read_settings(path, variables, options)

    found = cast("Table", msgspec.to_builtins(reading.settings))
    default = dict(leaves(msgspec.to_builtins(Settings())))
    for at, (_, value) in wanted.items():
        assert within(value, at_path(found, at))
    assert {at: each for at, each in leaves(found) if at in default.keys() - wanted.keys()} == {
        at: each for at, each in default.items() if at not in wanted and at in dict(leaves(found))
    }
    for each in shown_settings(reading):
        assert each.source == source_of(each.path, wanted, written, suffix)


def source_of(
    path: str, wanted: Mapping[str, tuple[str, object]], written: Written, suffix: str
) -> str:
    """Return what must be shown as the place of a setting, or of what is in one that is a list."""
    for at, (source, value) in wanted.items():
        if path == at:
            return source
        if path.startswith(f"{at}.") and said_in(value, path.removeprefix(f"{at}.")):
            return f"agentrail.{suffix}:{written.line(path)}" if ":" in source else source
    return ""


def said_in(value: object, path: str) -> bool:
    try:
        at_path(value, path)
    except KeyError:
        return False
    return True


@settings(max_examples=30)
@given(DATA)
def test_a_place_that_says_nothing_changes_nothing(place: Path, data: Table) -> None:
    path, _ = write(place, data, "json")
    others = {"AGENTRAIL_MODEL": "m", "AGENTRAIL_SECRET_SERVER__PORT": "1", "SERVER__PORT": "1"}
    empty = {
        f"AGENTRAIL_{key.upper()}": "{}" for key, each in data.items() if isinstance(each, dict)
    }
    alone = read_settings(path, {})
    for variables in (others, empty):
        reading = read_settings(path, variables, {})
        assert (reading.layered, reading.digest) == (alone.layered, alone.digest)


@pytest.mark.parametrize("value", ["\udcff", "a\ud800"])
def test_an_option_that_is_not_utf_8_is_told(value: str) -> None:
    with pytest.raises(ConfigRefused) as caught:
        read_settings(None, {}, {"server.host": ("--host", value), "server.port": ("--port", "x")})
    assert [str(fault) for fault in caught.value.faults] == [
        "--host: server.host: it is not UTF-8",
        "--port: server.port: it must be a whole number",
    ]


# --- what is broken -----------------------------------------------------------------------------

CANARY = re.compile("c4n4ry")
SECRETS: Table = {
    "data_dir": "c4n4ry",
    "providers": {"p": {"kind": "openai", "base_url": "http://u:c4n4ry@h/", "api_key": "c4n4ry"}},
    "profiles": [
        {
            "id": "c4n4ry",
            "model": "p:c4n4ry",
            "prompt": "c4n4ry",
            "limits": {"steps": 3},
            "permissions": [{"ask": "c4n4ry", "reason": "c4n4ry", "arguments": {"a": "c4n4ry"}}],
        }
    ],
    "plugins": {
        "watch": False,
        "entries": [{"name": "c4n4ry", "config": {"password": "c4n4ry", "l": ["c4n4ry", 1.5]}}],
    },
    "middlewares": [
        "logging",
        {"name": "authorize", "rules": {"*": ["c4n4ry"]}, "otherwise": "deny"},
    ],
}


def faults_in(path: Path, raw: bytes) -> Sequence[Fault]:
    path.write_bytes(raw)
    try:
        read_settings(path, {"AGENTRAIL_LIMITS__BODY_BYTES": "c4n4ry", "C": "c4n4ry"})
    except ConfigRefused as error:
        return error.faults
    message = "the variable is wrong, whatever the file is"
    raise AssertionError(message)


def keys_in(value: object) -> Iterator[str]:
    for key, each in inside(value).items():
        yield key
        yield from keys_in(each)


def check_faults(path: Path, raw: bytes) -> None:
    """Check that the faults of a file have no value and a line that is there."""
    try:
        keys = list(keys_in(read_document(path.name, raw, 1 << 20).data))
    except ConfigRefused:
        keys = []
    told = faults_in(path, raw)
    lines = raw.count(b"\n") + 1
    for fault in told:
        if fault.file == path.name:
            assert fault.line is None or 1 <= fault.line <= lines
            assert fault.line is not None or fault.code == "document_invalid"
        else:
            assert fault.file == "AGENTRAIL_LIMITS__BODY_BYTES"
        assert not CANARY.search(str(fault)) or any(CANARY.search(key) for key in keys)
    assert told


def broken(text: str) -> Iterator[str]:
    lines = text.split("\n")
    for at, line in enumerate(lines):
        yield "\n".join([*lines[:at], *lines[at + 1 :]])
        yield "\n".join([*lines[:at], line, *lines[at:]])
        yield "\n".join([*lines[:at], f" {line}", *lines[at + 1 :]])
    for mark in re.finditer(r"[^\w\s]", text):
        at = mark.start()
        yield text[:at] + text[at + 1 :]
        yield text[:at] + "${" + text[at:]
    for at in range(0, len(text), 3):
        yield text[:at]


@pytest.mark.parametrize("suffix", FORMATS)
def test_no_fault_of_a_broken_file_has_a_value_and_each_has_its_line(
    place: Path, suffix: str
) -> None:
    path, written = write(place, SECRETS, suffix)
    text = "\n".join(written.lines)
    assert [fault.file for fault in faults_in(path, text.encode())] == [
        "AGENTRAIL_LIMITS__BODY_BYTES"
    ]
    for each in broken(text):
        check_faults(path, each.encode())


WRONG: Sequence[object] = [
    "c4n4ry", ["c4n4ry"], {"k": "c4n4ry"}, {"name": "c4n4ry"}, 1.5, None, "${C}", "${C", "c4n4ry${",
    "${C:${C}}", "c4n4ry\n\x1b[31m", ["c4n4ry", {"k": ["c4n4ry"]}],
]  # fmt: skip


def replaced(value: object, path: Sequence[str], other: object) -> object:
    """Return a value with another at a path."""
    if not path:
        return other
    items = {
        key: replaced(each, path[1:], other) if key == path[0] else each
        for key, each in inside(value).items()
    }
    return items if isinstance(value, dict) else list(items.values())


@pytest.mark.parametrize("suffix", FORMATS)
def test_no_fault_of_a_wrong_value_has_it_and_each_has_its_line(place: Path, suffix: str) -> None:
    paths = [at for at, _ in leaves(SECRETS, lists=True)] + ["profiles", "profiles.0", "plugins"]
    for at in paths:
        for other in WRONG:
            data = replaced(SECRETS, at.split("."), other)
            told = without_null(data) if suffix == "toml" else data
            path, written = write(place, cast("Table", told), suffix)
            check_faults(path, "\n".join(written.lines).encode())


# --- what is too much, and what cannot be read --------------------------------------------------

CHILD = """
import os, resource, sys
from pathlib import Path
from agentrail.errors import ConfigRefused
from agentrail.settings import read_settings

resource.setrlimit(resource.RLIMIT_CPU, (20, 20))  # seconds
user = os.geteuid()
if user == 0 and "unreadable" in sys.argv[1]:
    os.seteuid(65534)  # root may read all
for name in sys.argv[1:]:
    try:
        read_settings(Path(name), {})
        print("read")
    except ConfigRefused as error:
        print(len(error.faults), error.faults[0])
os.seteuid(user)
"""


def in_child(directory: Path, *names: str) -> list[str]:
    """Read files in a process with little time, and return what was said of each."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *names],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


MUCH = {
    "names": ('{"middlewares": [' + ",".join(['"x"'] * 99_000) + "]}", 100),
    "steps": ('{"middlewares": [' + ",".join(["{}"] * 99_000) + "]}", 100),
    "profiles": ('{"profiles": [' + ",".join(["{}"] * 99_000) + "]}", 100),
    "ids": ('{"profiles": [' + ",".join(['{"id": "a", "model": "b:c"}'] * 33_000) + "]}", 100),
    "keys": ("{" + ",".join(f'"k{at}": 1' for at in range(70_000)) + "}", 100),
    "references": ('{"data_dir": "' + "${" * 400_000 + '"}', 100),
    "reference": ('{"data_dir": "${' + "A" * 1_000_000 + '}"}', 2),
    "word": ('{"server": {"backend": "' + "a" * 1_000_000 + '"}}', 1),
}


@pytest.mark.parametrize("name", MUCH)
def test_of_a_file_with_very_much_that_is_wrong_the_first_is_told(
    tmp_path: Path, name: str
) -> None:
    text, count = MUCH[name]
    (tmp_path / "much.json").write_text(text)
    (said,) = in_child(tmp_path, "much.json")
    assert said.startswith(f"{count} much.json:1: ")
    assert len(said) < 1000


def test_what_may_not_be_read_or_leads_nowhere_is_told(tmp_path: Path) -> None:
    (tmp_path / "unreadable.json").write_text("{}")
    (tmp_path / "unreadable.json").chmod(0)
    (tmp_path / "round.yaml").symlink_to("round.yaml")
    (tmp_path / "zero.toml").symlink_to("/dev/zero")
    assert in_child(tmp_path, "unreadable.json") == [
        "1 unreadable.json: it cannot be read: Permission denied"
    ]
    for name, problem in (("round.yaml", "Too many levels"), ("zero.toml", "it is no file")):
        with pytest.raises(ConfigRefused) as caught:
            read_settings(tmp_path / name, {})
        (fault,) = caught.value.faults
        assert (fault.code, fault.file) == ("config_unreadable", name)
        assert problem in fault.message


def test_the_name_of_a_file_is_told_as_it_may_be_printed(tmp_path: Path) -> None:
    path = tmp_path / "a\n\udcff.yaml"
    path.write_text("server: {port: x}\n")
    with pytest.raises(ConfigRefused) as caught:
        read_settings(path, {})
    assert [str(fault) for fault in caught.value.faults] == [
        r"a\n\udcff.yaml:1: server.port: it must be a whole number"
    ]


def test_what_a_plugin_is_given_has_no_number_that_cannot_be_shown(tmp_path: Path) -> None:
    path = tmp_path / "agentrail.toml"
    path.write_text("[[plugins.entries]]\nname = 'a'\n[plugins.entries.config]\nx = -nan\n")
    with pytest.raises(ConfigRefused) as caught:
        read_settings(path, {})
    assert [str(fault) for fault in caught.value.faults] == [
        "agentrail.toml:4: plugins.entries.0.config.x: the number is not finite"
    ]
