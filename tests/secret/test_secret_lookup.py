"""Values from variables, files and the store; and texts in which none of them is left."""

import json
import os
import re
import sqlite3
import subprocess
import sys
from base64 import b64encode, urlsafe_b64encode
from collections.abc import AsyncGenerator, Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentrail import audit, secret
from agentrail.errors import ConfigError, StorageError
from agentrail.secret import KeyRing, Vault, make_keys, read_secrets, write_keys
from agentrail.storage import Database
from agentrail.testing import FakeClock

pytestmark = pytest.mark.anyio

CANARY = "kanarienvogel-4711"
AWKWARD = 'a"b\\c/d é\n?&+=~🦜\x7f>>>????'
"""It is written differently in each kind of text."""


@pytest.fixture
async def vault(tmp_path: Path) -> AsyncGenerator[Vault]:
    database = Database(tmp_path / "host.db", (audit.SCHEMA, secret.SCHEMA))
    await database.start()
    yield Vault(database, FakeClock(), partial(make_keys, tmp_path / "secret.key"))
    await database.stop()


@pytest.fixture
def mounted(tmp_path: Path) -> Path:
    directory = tmp_path / "mounted"
    directory.mkdir()
    return directory


def of_variables(tmp_path: Path, **values: str) -> secret.Secrets:
    return read_secrets(
        tmp_path, {f"AGENTRAIL_SECRET_{name}": value for name, value in values.items()}
    )


def text(ring: KeyRing) -> str:
    return ",".join(urlsafe_b64encode(key).decode() for key in ring.keys)


async def test_a_variable_comes_before_a_file_and_that_before_the_store(
    vault: Vault, mounted: Path
) -> None:
    for name in ("A", "B", "C"):
        await vault.set(name, f"stored {name}", "ada")
    for name in ("A", "B", "D"):
        (mounted / name).write_text(f"mounted {name}\n")
    variables = {"AGENTRAIL_SECRET_A": "variable A", "AGENTRAIL_SECRET_E": "variable E"}

    found = read_secrets(mounted.parent, variables, mounted)

    assert {name: (found.source(name), found.value(name)) for name in found.names()} == {
        "A": ("environment", "variable A"),
        "B": ("file", "mounted B"),
        "C": ("store", "stored C"),
        "D": ("file", "mounted D"),
        "E": ("environment", "variable E"),
    }
    assert (found.source("X"), found.value("X"), found.fingerprint("X")) == (None, None, "")


async def test_what_is_empty_is_not_there(vault: Vault, mounted: Path) -> None:
    await vault.set("A", "stored", "ada")
    (mounted / "A").write_text("\n")

    found = read_secrets(mounted.parent, {"AGENTRAIL_SECRET_A": ""}, mounted)

    assert (found.source("A"), found.value("A"), found.names()) == ("store", "stored", ["A"])


async def test_variables_are_live_and_the_rest_is_not(vault: Vault, mounted: Path) -> None:
    variables = {"AGENTRAIL_SECRET_A": "one"}
    await vault.set("B", "one", "ada")
    (mounted / "C").write_text("one")
    found = read_secrets(mounted.parent, variables, mounted)
    assert [found.value(name) for name in "ABC"] == ["one", "one", "one"]

    variables["AGENTRAIL_SECRET_A"] = "two"
    await vault.set("B", "two", "ada")
    (mounted / "C").write_text("two")
    (mounted / "D").write_text("two")

    assert [found.value(name) for name in "ABCD"] == ["two", "one", "one", None]
    del variables["AGENTRAIL_SECRET_A"]
    assert found.source("A") is None


@pytest.mark.parametrize(
    ("content", "value"),
    [
        *((b"x", "x"), (b"x\n", "x"), (b"x\r\n", "x"), (b"x\n\n", "x\n"), (b" x \n", " x ")),
        ("é\ny\n".encode(), "é\ny"),
    ],
)
def test_one_newline_at_the_end_of_a_file_is_not_of_the_value(
    mounted: Path, content: bytes, value: str
) -> None:
    (mounted / "A").write_bytes(content)

    assert read_secrets(mounted, {}, mounted).value("A") == value


def test_a_file_is_found_through_links_as_kubernetes_mounts_it(mounted: Path) -> None:
    (mounted / "..2026_11_22").mkdir()
    (mounted / "..2026_11_22" / "A").write_text("mounted")
    (mounted / "..data").symlink_to("..2026_11_22")
    (mounted / "A").symlink_to("..data/A")
    (mounted / "DIRECTORY").mkdir()
    (mounted / "no-name").write_text("x")

    found = read_secrets(mounted, {"AGENTRAIL_SECRET_no-name": "x"}, mounted)

    assert found.names() == ["A"]
    assert found.value("A") == "mounted"
    assert found.value("../mounted/A") is None
    assert found.source("DIRECTORY") is None


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_dangling(path: Path) -> None:
    path.symlink_to("nothing")


def make_large(path: Path) -> None:
    path.write_text("k" * 65_537)


def make_latin(path: Path) -> None:
    path.write_bytes(f"{CANARY} é".encode("latin-1"))


@pytest.mark.parametrize("make", [make_pipe, make_dangling, make_large, make_latin])
async def test_a_file_that_cannot_be_read_is_told_and_nothing_takes_its_place(
    vault: Vault, mounted: Path, make: Callable[[Path], None]
) -> None:
    await vault.set("A", "stored", "ada")
    make(mounted / "A")
    found = read_secrets(mounted.parent, {}, mounted)

    assert found.names() == ["A"]
    for ask in (found.value, found.source, found.fingerprint):
        with pytest.raises(ConfigError, match=r"^the secret 'A' .*/mounted/A'") as refused:
            ask("A")
        assert CANARY not in str(refused.value)
        assert not isinstance(refused.value.__context__, UnicodeError)


def test_a_file_may_be_as_large_as_a_value(mounted: Path) -> None:
    (mounted / "A").write_text("k" * 65_535 + "\n")

    assert read_secrets(mounted, {}, mounted).value("A") == "k" * 65_535


def test_a_directory_that_is_not_there_has_no_secrets(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert read_secrets(tmp_path, {}, tmp_path / "none").names() == []
    with pytest.raises(ConfigError, match=r"directory of secrets .*/file' cannot be read: Not a"):
        read_secrets(tmp_path, {}, tmp_path / "file").value("A")


async def test_without_the_key_only_what_is_sealed_is_refused(vault: Vault, mounted: Path) -> None:
    await vault.set("A", CANARY, "ada")
    (mounted / "B").write_text("mounted")
    (mounted.parent / "secret.key").unlink()
    found = read_secrets(mounted.parent, {}, mounted)

    assert found.names() == ["A", "B"]
    assert found.value("B") == "mounted"
    with pytest.raises(ConfigError, match=r"^the secret 'A' is sealed, and this host has no key"):
        found.value("A")

    other = read_secrets(mounted.parent, {"AGENTRAIL_KEY": text(KeyRing((b"x" * 32,)))}, mounted)
    with pytest.raises(ConfigError, match=r"^secret:A is sealed with key [0-9a-f]{16}, which is"):
        other.value("A")


async def test_the_key_may_be_in_a_variable_or_in_another_file(
    vault: Vault, tmp_path: Path
) -> None:
    await vault.set("A", CANARY, "ada")
    key, elsewhere = tmp_path / "secret.key", tmp_path / "elsewhere"
    told = text(make_keys(key))
    key.rename(elsewhere)

    assert read_secrets(tmp_path, {}, key_file=elsewhere).value("A") == CANARY
    assert read_secrets(tmp_path, {"AGENTRAIL_KEY": told}).value("A") == CANARY


async def test_a_key_file_that_is_open_to_others_is_refused_at_once(tmp_path: Path) -> None:
    make_keys(tmp_path / "secret.key")
    (tmp_path / "secret.key").chmod(0o644)

    with pytest.raises(ConfigError, match="run chmod 600 "):
        read_secrets(tmp_path, {})


async def test_keys_that_are_rotated_while_they_are_read_are_read_again(
    vault: Vault, tmp_path: Path
) -> None:
    old, new = KeyRing((b"o" * 32,)), KeyRing((b"n" * 32,))
    write_keys(tmp_path / "secret.key", old)
    await vault.set("A", CANARY, "ada")
    await vault.rotate(KeyRing((*new.keys, *old.keys)), "ada")
    told = iter([text(old), text(new)])

    class Changing(dict[str, str]):
        def get(self, key: str, default: object = None) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
            return next(told) if key == "AGENTRAIL_KEY" else ""

    assert read_secrets(tmp_path, Changing()).value("A") == CANARY


def test_what_has_no_secrets_has_none_and_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "host.db"
    assert read_secrets(tmp_path, {}).names() == []
    path.touch()
    assert read_secrets(tmp_path, {}).names() == []
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("pragma user_version = 99")
        connection.execute("create table other (x)")
    assert read_secrets(tmp_path, {}).names() == []
    assert [each.name for each in tmp_path.iterdir()] == ["host.db"]
    path.write_text("no database" * 1000)
    with pytest.raises(StorageError, match=r"host\.db' cannot be read: "):
        read_secrets(tmp_path, {})


def files(directory: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in directory.iterdir()}


async def test_reading_what_a_host_has_left_makes_nothing(vault: Vault, tmp_path: Path) -> None:
    await vault.set("A", CANARY, "ada")
    beside = files(tmp_path).keys()
    assert read_secrets(tmp_path, {}).value("A") == CANARY
    assert files(tmp_path).keys() == beside
    await vault.database.stop()
    before = files(tmp_path)

    assert read_secrets(tmp_path, {}).value("A") == CANARY

    assert files(tmp_path) == before
    assert before.keys() == {"host.db", "secret.key"}


def test_a_fingerprint_is_of_the_value_and_the_key(tmp_path: Path) -> None:
    def prints(name: str = "A", **values: str) -> str:
        return of_variables(tmp_path, **values).fingerprint(name)

    own = [prints(A="one"), prints(A="one"), prints("B", B="one"), prints(A="two")]
    make_keys(tmp_path / "secret.key")
    keyed = [prints(A="one"), prints(A="one"), prints(A="two")]

    assert own[0] == own[1] == own[2] != own[3]
    assert keyed[0] == keyed[1] != keyed[2]
    assert not {*own} & {*keyed}
    assert all(len(each) == 12 for each in own + keyed)


def test_without_a_key_each_process_has_other_fingerprints(tmp_path: Path) -> None:
    script = (
        "from pathlib import Path; from agentrail.secret import read_secrets; "
        f"print(read_secrets(Path({str(tmp_path)!r}), "
        "{'AGENTRAIL_SECRET_A': 'one'}).fingerprint('A'))"
    )
    told = subprocess.check_output([sys.executable, "-c", script], text=True).strip()

    assert len(told) == 12
    assert told != of_variables(tmp_path, A="one").fingerprint("A")


def test_without_sealed_secrets_nothing_of_cryptography_is_imported(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path;"
        "from agentrail.secret import make_keys, read_secrets;"
        f"make_keys(Path({str(tmp_path / 'secret.key')!r}));"
        f"found = read_secrets(Path({str(tmp_path)!r}), {{'AGENTRAIL_SECRET_A': 'one two three'}});"
        "found.value('A'); found.fingerprint('A'); found.hide('one');"
        "sys.exit('cryptography' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


async def test_no_value_and_no_key_is_shown(vault: Vault, mounted: Path) -> None:
    await vault.set("A", CANARY, "ada")
    (mounted / "B").write_text(CANARY)
    found = read_secrets(mounted.parent, {"AGENTRAIL_SECRET_C": CANARY}, mounted)
    for name in "ABC":
        found.value(name)

    assert CANARY not in repr(found)
    assert text(make_keys(mounted.parent / "secret.key")) not in repr(found)
    assert found.hide(f"<{CANARY}>") == "<{{secret:A}}>"


def forms(value: str) -> dict[str, str]:
    raw = value.encode()
    return {
        "plain": value,
        "json": json.dumps(value)[1:-1],
        "json in unicode": json.dumps(value, ensure_ascii=False)[1:-1],
        "json with slashes": json.dumps(value)[1:-1].replace("/", "\\/"),
        "json in json": json.dumps(json.dumps(value)[1:-1])[1:-1],
        "base64": b64encode(raw).decode(),
        "base64 without padding": b64encode(raw).decode().rstrip("="),
        "url-safe": urlsafe_b64encode(raw).decode(),
        "url-safe without padding": urlsafe_b64encode(raw).decode().rstrip("="),
        "percent": quote(value, safe=""),
        "percent in a path": quote(value),
        "percent of a form": quote_plus(value),
        "percent of a component": quote(value, safe="!'()*"),
        "percent in lower case": re.sub(
            "%..", lambda match: match[0].lower(), quote(value, safe="")
        ),
    }


def test_the_forms_are_all_different() -> None:
    assert len({*forms(AWKWARD).values()}) >= 12


@pytest.mark.parametrize("form", forms(AWKWARD))
@pytest.mark.parametrize("value", [AWKWARD, CANARY, "aaaaaa", "???>>>", "é" * 6])
def test_each_form_of_a_value_is_hidden(tmp_path: Path, value: str, form: str) -> None:
    found = of_variables(tmp_path, A=value)
    found.value("A")
    written = forms(value)[form]

    assert found.hide(f"x {written}, {written};") == "x {{secret:A}}, {{secret:A}};"
    assert found.hide(written) == "{{secret:A}}"


def test_only_what_was_handed_out_and_is_not_short_is_hidden(tmp_path: Path) -> None:
    found = of_variables(tmp_path, A=CANARY, B="12345", C="123456")
    said = f"{CANARY} 12345 123456"
    found.fingerprint("A")
    found.source("A")
    assert found.hide(said) == said

    assert [found.value(name) for name in "BC"] == ["12345", "123456"]
    assert found.hide(said) == f"{CANARY} 12345 {{{{secret:C}}}}"
    found.value("A")
    assert found.hide(said) == "{{secret:A}} 12345 {{secret:C}}"


def test_a_value_of_before_is_still_hidden(tmp_path: Path) -> None:
    variables = {"AGENTRAIL_SECRET_A": "first value"}
    found = read_secrets(tmp_path, variables)
    found.value("A")
    variables["AGENTRAIL_SECRET_A"] = "second value"
    found.value("A")

    assert found.hide("first value, second value") == "{{secret:A}}, {{secret:A}}"


def test_values_that_overlap_leave_nothing(tmp_path: Path) -> None:
    found = of_variables(tmp_path, A="abcdef", B="abcdefgh", C="ghijkl", D="defghi")
    for name in "ABCD":
        found.value(name)

    assert found.hide("xabcdefx") == "x{{secret:A}}x"
    assert found.hide("xabcdefghx") == "x{{secret:B}}x"
    assert found.hide("xabcdefghijklx") == "x{{secret:B}}x"
    assert found.hide("abcdefabcdefgh") == "{{secret:A}}{{secret:B}}"
    assert found.hide("abcdefghijk") == "{{secret:B}}jk"


def test_what_is_hidden_stays_as_it_is(tmp_path: Path) -> None:
    found = of_variables(tmp_path, secret="secret", PASSWORD="PASSWORD", C="{{secret")
    for name in found.names():
        found.value(name)

    hidden = found.hide("secret PASSWORD {{secret")

    assert hidden == "{{secret:secret}} {{secret:PASSWORD}} {{secret:C}}"
    assert found.hide(hidden) == hidden


@given(
    st.dictionaries(st.sampled_from("abc"), st.text("01é/ ", min_size=6, max_size=9), min_size=1),
    st.text("01é/ x", max_size=200),
)
def test_no_value_is_left_in_a_text(values: dict[str, str], said: str) -> None:
    found = of_variables(Path("/nonexistent"), **values)
    handed = [found.value(name) for name in found.names()]
    whole = "".join([said, *values.values(), said, quote(values[next(iter(values))])])

    hidden = found.hide(whole)

    assert not [value for value in handed if value is None or value in hidden]
    assert found.hide(hidden) == hidden
