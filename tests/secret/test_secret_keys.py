"""Keys: what they seal nobody else opens, and their file is whole, private and made once."""

import os
import stat
import subprocess
import sys
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentrail.errors import ConfigError, StorageError
from agentrail.secret import KeyRing, make_keys, read_keys, write_keys

KEYS = st.binary(min_size=32, max_size=32)
OLD, NEW = KeyRing((b"o" * 32,)), KeyRing((b"n" * 32,))
BOTH = KeyRing((*NEW.keys, *OLD.keys))
CANARY: Final = b"kanarienvogel-4711"

MAKES: Final = """
import sys
from pathlib import Path
from agentrail.secret import make_keys
print("ready", flush=True)
for line in sys.stdin:
    print(*make_keys(Path(line.strip())).ids, flush=True)
"""


def text(ring: KeyRing) -> str:
    """Return the keys of a ring as they are told."""
    return ",".join(urlsafe_b64encode(key).decode() for key in ring.keys)


@given(KEYS, st.binary(), st.text())
def test_what_is_sealed_opens_with_its_key_and_name(key: bytes, data: bytes, about: str) -> None:
    ring = KeyRing((key,))

    assert ring.open(ring.seal(data, about), about) == data


@given(st.lists(KEYS, min_size=1, max_size=4, unique=True), st.data())
def test_all_keys_of_a_ring_open_and_the_first_seals(
    keys: list[bytes], data: st.DataObject
) -> None:
    ring, key = KeyRing(tuple(keys)), data.draw(st.sampled_from(keys))

    assert ring.open(KeyRing((key,)).seal(b"x", "a"), "a") == b"x"
    assert KeyRing((keys[0],)).open(ring.seal(b"x", "a"), "a") == b"x"


@given(st.binary(max_size=20), st.text(), st.text())
def test_under_another_name_it_is_refused(data: bytes, about: str, other: str) -> None:
    sealed = OLD.seal(data, about)
    if about != other:
        with pytest.raises(ConfigError, match="not what was sealed under that name"):
            OLD.open(sealed, other)


@given(st.binary(max_size=20), st.integers(1, 255))
def test_no_byte_of_it_can_be_changed(data: bytes, change: int) -> None:
    sealed = OLD.seal(data, "a")
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= change
        with pytest.raises(ConfigError):
            BOTH.open(bytes(changed), "a")


def test_the_key_that_it_names_is_part_of_what_is_sealed() -> None:
    sealed = OLD.seal(CANARY, "a")
    id_ = bytes.fromhex(NEW.ids[0])
    # A second ring that calls the same key by another name does not exist; the header is bound.
    with pytest.raises(ConfigError):
        BOTH.open(sealed[:1] + id_ + sealed[9:], "a")


def test_nothing_can_be_cut_off_or_put_behind() -> None:
    sealed = OLD.seal(CANARY, "a")
    for other in (*(sealed[:end] for end in range(len(sealed))), sealed + b"\0", sealed[1:]):
        with pytest.raises(ConfigError):
            OLD.open(other, "a")


def test_the_same_is_sealed_differently_each_time() -> None:
    assert len({OLD.seal(b"x", "a") for _ in range(100)}) == 100


def test_a_key_that_is_not_there_is_told_and_the_value_is_not() -> None:
    sealed = OLD.seal(CANARY, "secret:X")

    with pytest.raises(ConfigError) as one:
        NEW.open(sealed, "secret:X")
    with pytest.raises(ConfigError) as two:
        KeyRing((*NEW.keys, b"x" * 32)).open(sealed, "secret:X")

    assert str(one.value) == (
        f"secret:X is sealed with key {OLD.ids[0]}, which is not among the 1 key of this host: put "
        "that key back behind the others, in AGENTRAIL_KEY or the key file, or set the value anew"
    )
    assert "not among the 2 keys of this host" in str(two.value)


def test_a_fingerprint_tells_data_apart_for_who_has_the_key() -> None:
    prints = {ring.fingerprint(data) for ring in (OLD, NEW) for data in (b"", b"a", b"b")}

    assert len(prints) == 6
    assert all(len(each) == 12 and int(each, 16) >= 0 for each in prints)
    assert BOTH.fingerprint(b"a") == NEW.fingerprint(b"a")


def test_no_key_is_shown() -> None:
    ring = KeyRing.of([text(OLD)])

    assert repr(ring) == f"KeyRing(ids=('{ring.ids[0]}',))"
    assert len(ring.ids[0]) == 16
    assert ring.ids[0] not in OLD.keys[0].hex()


@given(st.lists(KEYS, min_size=1, max_size=4, unique=True), st.booleans())
def test_keys_are_read_as_they_are_written(keys: list[bytes], padded: bool) -> None:
    texts = [urlsafe_b64encode(key).decode() for key in keys]

    ring = KeyRing.of(texts if padded else [each.rstrip("=") for each in texts])

    assert ring == KeyRing(tuple(keys))


@pytest.mark.parametrize(
    "wrong", ["", "A" * 42, "A" * 44, "A" * 42 + "B", "A" * 43 + "==", "+" * 43, "é" * 43, "A" * 64]
)
def test_what_is_no_key_is_refused_and_not_told(wrong: str) -> None:
    with pytest.raises(ConfigError, match="key 2 of this key ring is none") as refused:
        KeyRing.of([text(OLD), wrong])
    assert not wrong or wrong not in str(refused.value)


def test_a_key_that_is_there_twice_is_there_once() -> None:
    assert KeyRing.of([text(OLD), text(NEW), text(OLD).rstrip("=")]).ids == (*OLD.ids, *NEW.ids)


@pytest.mark.parametrize("keys", [(), (b"short",), (b"x" * 32, b"x" * 33)])
def test_a_ring_has_keys_of_the_right_length(keys: tuple[bytes, ...]) -> None:
    with pytest.raises(ConfigError, match="keys of 32 bytes"):
        KeyRing(keys)


def test_the_variable_counts_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "secret.key"
    assert read_keys({}, file) is None
    write_keys(file, OLD)

    assert read_keys({}, file) == OLD
    assert read_keys({"AGENTRAIL_KEY": " "}, file) == OLD
    assert read_keys({"AGENTRAIL_KEY": f"{text(NEW)}, {text(OLD)}"}, file) == BOTH
    with pytest.raises(ConfigError, match="key 1 of AGENTRAIL_KEY is none"):
        read_keys({"AGENTRAIL_KEY": "secret"}, file)
    with pytest.raises(ConfigError, match="no key in AGENTRAIL_KEY"):
        read_keys({"AGENTRAIL_KEY": ","}, file)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o777])
def test_a_file_that_is_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "the keys" / "secret.key"
    make_keys(file)
    file.chmod(mode)

    with pytest.raises(ConfigError, match=f"run chmod 600 '{file}'$"):
        read_keys({}, file)
    with pytest.raises(ConfigError, match="run chmod 600 "):
        make_keys(file)
    file.chmod(0o400)
    assert read_keys({}, file)


def test_a_file_without_a_key_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "secret.key"
    for content in (b"", b"\n\n", b"\xff\xfe", b"nonsense\n", b"A" * 100_000):
        file.write_bytes(content)
        file.chmod(0o600)
        with pytest.raises(ConfigError, match=r"secret\.key"):
            make_keys(file)
        assert file.read_bytes() == content


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    pipe, directory = tmp_path / "pipe", tmp_path / "directory"
    os.mkfifo(pipe, 0o600)
    directory.mkdir(0o700)
    for path in (pipe, directory):
        with pytest.raises(ConfigError, match="cannot be read: "):
            read_keys({}, path)


def test_a_file_is_made_with_one_key_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "data" / "secret.key"
    before = os.umask(0)
    try:
        ring = make_keys(file)
    finally:
        os.umask(before)

    assert len(ring.ids) == 1
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert make_keys(file) == read_keys({}, file) == ring
    assert os.listdir(file.parent) == ["secret.key"]  # noqa: PTH208 - names


def test_a_file_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nothing")

    with pytest.raises(ConfigError, match="cannot be read: Not a directory"):
        make_keys(tmp_path / "file" / "secret.key")
    with pytest.raises(StorageError, match="cannot be written: "):
        write_keys(tmp_path / "none" / "secret.key", OLD)
    with pytest.raises(ConfigError, match="is a link to nothing"):
        make_keys(tmp_path / "link")


def test_a_file_is_replaced_whole_and_stays_private(tmp_path: Path) -> None:
    file, link = tmp_path / "secret.key", tmp_path / "link"
    make_keys(file)
    link.symlink_to(file)

    write_keys(link, BOTH)

    assert link.is_symlink()
    assert read_keys({}, link) == BOTH
    assert file.read_text() == text(BOTH).replace(",", "\n") + "\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert {each.name for each in tmp_path.iterdir()} == {"secret.key", "link"}


def test_two_processes_that_make_a_file_at_once_have_the_same_key(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MAKES]
    makers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    heard = list[tuple[str, ...]]()
    for _ in heard_of(makers):
        pass
    for number in range(100):
        for maker in makers:
            assert maker.stdin is not None
            maker.stdin.write(f"{tmp_path / str(number)}\n")
            maker.stdin.flush()
        heard.append(tuple(heard_of(makers)))
    for maker in makers:
        maker.communicate()

    assert [first for first, _ in heard] == [second for _, second in heard]
    assert len({*heard}) == 100
    assert len([*tmp_path.iterdir()]) == 100


def heard_of(makers: list[subprocess.Popen[str]]) -> list[str]:
    lines = list[str]()
    for maker in makers:
        assert maker.stdout is not None
        lines.append(maker.stdout.readline())
    return lines
