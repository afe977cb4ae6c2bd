"""A package as a set of files, whatever its shape."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import asdict
from hypothesis import given
from hypothesis import strategies as st

from agentrail.errors import PackageRefused
from agentrail.package import (
    ArchiveLimits,
    PackageFile,
    PackageFiles,
    check_content,
    files_of,
    host_modules,
    module_names,
    pack,
)
from agentrail.package._files import described
from tests.package.corpus_archives import MIB
from tests.package.corpus_sources import ELF
from tests.package.raw_zip import Entry, archive, directory
from tests.package.trees import snapshot, write

HELLO = {"plugin.toml": b'id = "hello"\n', "hello/__init__.py": b"x = 1\n", "hello/a.txt": b""}


def code_of(job: Callable[[], object]) -> str:
    with pytest.raises(PackageRefused) as caught:
        job()
    return caught.value.code


def zipped(path: Path, files: dict[str, bytes], top: str = "") -> Path:
    entries = [Entry(f"{top}{name}".encode(), data) for name, data in files.items()]
    path.write_bytes(archive(*([directory(top.encode())] if top else []), *entries))
    return path


def test_a_package_has_one_digest_in_every_shape(tmp_path: Path) -> None:
    root = write(tmp_path / "hello", HELLO)
    (tmp_path / "packed.zip").write_bytes(pack(root))
    shapes = [
        files_of(root),
        files_of(tmp_path / "packed.zip"),
        files_of(zipped(tmp_path / "flat.zip", dict(reversed(HELLO.items())))),
        files_of(zipped(tmp_path / "top.zip", HELLO, "hello-main/")),
    ]

    assert len({files.digest for files in shapes}) == 1
    assert all(files == shapes[0] for files in shapes)
    assert [list(files) for files in shapes] == [sorted(HELLO)] * 4
    assert all({path: files.read(path) for path in files} == HELLO for files in shapes)


def test_the_digest_is_over_the_paths_the_sizes_and_the_contents(tmp_path: Path) -> None:
    files = files_of(write(tmp_path / "hello", {"a.py": b"x\n"}))

    assert files["a.py"] == PackageFile(
        2, "73cb3858a687a8494ca3323053016282f3dad39d42cf62ca4e79dda2aac7d9ac"
    )
    assert files.digest == (
        "sha256:5bf12e24b01124a42525986335d5e8a3fa81d149208fb5b2a17be5a500a911e1"
    )


@given(
    st.dictionaries(st.sampled_from(["a", "b", "c/d"]), st.binary(max_size=3), min_size=1),
    st.dictionaries(st.sampled_from(["a", "b", "c/d"]), st.binary(max_size=3), min_size=1),
)
def test_two_sets_of_files_have_one_digest_when_they_are_equal(
    one: dict[str, bytes], two: dict[str, bytes]
) -> None:
    assert (in_memory(one).digest == in_memory(two).digest) is (one == two)


def in_memory(files: dict[str, bytes]) -> PackageFiles:
    return PackageFiles({path: described(data) for path, data in files.items()}, files.__getitem__)


def test_names_that_are_swapped_give_another_digest() -> None:
    one = in_memory({"a.py": b"1", "b.py": b"2"})
    two = in_memory({"a.py": b"2", "b.py": b"1"})

    assert one.digest != two.digest


@pytest.mark.parametrize(
    "junk",
    [
        *(".git/config", ".env", ".DS_Store", ".venv/lib/x.so", "x.py~", "__pycache__/x.pyc"),
        *("hello/__pycache__/x.cpython-311.pyc", "hello/.x.py.swp", ".mypy_cache/x y"),
    ],
)
def test_what_editors_leave_in_a_directory_is_no_part_of_it(tmp_path: Path, junk: str) -> None:
    plain = files_of(write(tmp_path / "plain", HELLO))
    root = write(tmp_path / "hello", HELLO | {junk: b"junk"})

    assert files_of(root) == plain
    assert pack(root) == pack(tmp_path / "plain")


def test_an_editors_lock_is_no_part_of_a_directory(tmp_path: Path) -> None:
    root = write(tmp_path / "hello", HELLO)
    (root / ".#x.py").symlink_to("me@host.123:456")

    assert sorted(files_of(root)) == sorted(HELLO)


def test_links_and_special_files_are_refused_in_a_directory(tmp_path: Path) -> None:
    root = write(tmp_path / "hello", HELLO)
    (root / "link.py").symlink_to("hello/__init__.py")
    (root / "away").symlink_to(tmp_path)
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as there:
        there.bind(os.path.relpath(root / "socket"))

        with pytest.raises(PackageRefused) as caught:
            files_of(root)

    faults = [(fault.code, fault.file) for fault in caught.value.faults]
    assert faults == [("archive_type", name) for name in ("away", "link.py", "pipe", "socket")]


def test_a_directory_is_not_reached_by_a_link(tmp_path: Path) -> None:
    root = write(tmp_path / "hello", HELLO)
    (tmp_path / "link").symlink_to(root)

    assert code_of(lambda: files_of(tmp_path / "link")) == "archive_type"


@pytest.mark.parametrize("name", ["", "hello", "hello/__init__.py"])
def test_what_everybody_may_write_to_is_refused(tmp_path: Path, name: str) -> None:
    root = write(tmp_path / "hello", HELLO)
    path = root / name
    path.chmod(path.stat().st_mode | 0o002)

    assert code_of(lambda: files_of(root)) == "archive_mode"


def test_a_directory_that_everybody_may_replace_is_refused(tmp_path: Path) -> None:
    root = write(tmp_path / "plugins" / "hello", HELLO)
    module = root.with_name("one.py")
    module.write_bytes(b"x = 1\n")

    root.parent.chmod(0o777)
    assert code_of(lambda: files_of(root)) == "archive_mode"
    assert code_of(lambda: files_of(module)) == "archive_mode"

    root.parent.chmod(0o1777)  # as /tmp is: others may add to it, and not replace
    assert files_of(root)
    assert files_of(module)


def test_a_module_that_everybody_may_write_to_is_refused(tmp_path: Path) -> None:
    module = tmp_path / "one.py"
    module.write_bytes(b"x = 1\n")
    module.chmod(0o666)

    assert code_of(lambda: files_of(module)) == "archive_mode"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_belongs_to_somebody_else_is_refused(tmp_path: Path) -> None:
    root = write(tmp_path / "hello", HELLO)
    os.chown(root / "hello", 12345, 12345)

    assert code_of(lambda: files_of(root)) == "archive_mode"


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ({"a b.py": b""}, "archive_name"),
        ({"é.py": b""}, "archive_name"),
        ({"A.py": b"", "a.py": b""}, "archive_collision"),
        ({"Lib/a.py": b"", "lib/a.py": b""}, "archive_collision"),
        ({"d/" * 16 + "x.py": b""}, "archive_depth"),
        ({"d/" * 99 + "x.py": b""}, "archive_depth"),
        ({"x" * 101: b""}, "archive_name"),
        ({"big.bin": bytes(101)}, "archive_size"),
        ({f"{n}.bin": bytes(99) for n in range(3)}, "archive_size"),
        ({f"{n}.txt": b"" for n in range(21)}, "archive_entries"),
        ({}, "archive_invalid"),
        ({".hidden": b""}, "archive_invalid"),
    ],
)
def test_a_directory_is_held_to_the_rules_of_archives(
    tmp_path: Path, files: dict[str, bytes], code: str
) -> None:
    root = write(tmp_path / "hello", files)
    root.mkdir(exist_ok=True)
    limits = ArchiveLimits(entries=20, entry=100, total=200)
    before = snapshot(tmp_path)

    assert code_of(lambda: files_of(root, limits=limits)) == code
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("name", ["x.zip", "x.py", "x"])
def test_what_is_not_there_is_refused(tmp_path: Path, name: str) -> None:
    assert code_of(lambda: files_of(tmp_path / name)) == "archive_invalid"


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.py")

    assert code_of(lambda: files_of(tmp_path / "x.py")) == "archive_type"


@pytest.mark.parametrize("shape", ["directory", "archive", "module"])
def test_a_file_that_changes_after_it_was_listed_is_not_read(tmp_path: Path, shape: str) -> None:
    if shape == "directory":
        path = write(tmp_path / "hello", HELLO)
        files, name = files_of(path), "plugin.toml"
        (path / name).write_bytes(b"other")
    elif shape == "archive":
        path = zipped(tmp_path / "x.zip", HELLO)
        files, name = files_of(path), "plugin.toml"
        zipped(path, HELLO | {name: b'id = "jello"\n'})
    else:
        path = tmp_path / "one.py"
        path.write_bytes(b"x = 1\n")
        files, name = files_of(path), "one.py"
        path.write_bytes(b"x = 2\n")

    with pytest.raises(PackageRefused) as caught:
        files.read(name)

    assert caught.value.code.startswith("archive_")
    with pytest.raises(KeyError):
        files.read("nothing.py")


def test_a_file_that_is_gone_after_it_was_listed_is_refused(tmp_path: Path) -> None:
    root = write(tmp_path / "hello", HELLO)
    files = files_of(root)
    (root / "plugin.toml").unlink()

    assert code_of(lambda: files.read("plugin.toml")) == "archive_invalid"


def test_what_takes_a_files_place_is_not_read(tmp_path: Path) -> None:
    root = write(tmp_path / "hello", HELLO)
    files = files_of(root)
    (root / "plugin.toml").unlink()
    os.mkfifo(root / "plugin.toml")
    (root / "hello" / "a.txt").rename(tmp_path / "a.txt")
    (root / "hello" / "a.txt").symlink_to(tmp_path / "a.txt")

    assert code_of(lambda: files.read("plugin.toml")) == "archive_type"
    assert code_of(lambda: files.read("hello/a.txt")) == "archive_invalid"


def test_native_code_is_taken_when_it_was_asked_for() -> None:
    files = in_memory({"fast.so": ELF, "fast.py": b"x = 1\n"})

    assert code_of(lambda: check_content(files)) == "native_not_declared"
    check_content(files, native=True)


def test_modules_are_named_as_python_would_find_them() -> None:
    files = in_memory(
        dict.fromkeys(
            (
                *("one.py", "two/__init__.py", "three/four/five.py", "six.cpython-311.so"),
                *("data/x.txt", "seven.txt", "not-one.py", "eight.nine/x.py", "plugin.toml"),
            ),
            b"",
        )
    )

    assert module_names(files) == {"one", "two", "three", "six"}


def test_the_hosts_modules_are_the_standard_library_and_what_is_installed() -> None:
    assert {"sys", "json", "agentrail", "anyio", "attr", "hypothesis"} <= host_modules()
    assert not {"tests", "docs", "hello"} & host_modules()


def test_tests_that_somebody_installed_stand_in_nobodys_way(tmp_path: Path) -> None:
    made = {"METADATA": b"Name: made\nVersion: 1\n", "RECORD": b"mine/x.py,,\ntests/x.py,,\n"}
    write(tmp_path, {f"made-1.dist-info/{name}": data for name, data in made.items()})
    write(tmp_path, {"mine/x.py": b"", "tests/x.py": b""})  # what is not there does not count
    code = "import agentrail.package as p; print({'mine', 'tests'} & p.host_modules())"

    told = subprocess.check_output(
        [sys.executable, "-c", code], text=True, env=os.environ | {"PYTHONPATH": str(tmp_path)}
    )

    assert told == "{'mine'}\n"


def test_every_fault_of_the_contents_is_named() -> None:
    files = in_memory({"x.pth": b"", "json.py": b"\xff", "a.so": b"", "b.pyc": b""})

    with pytest.raises(PackageRefused) as caught:
        check_content(files)

    assert sorted(fault.code for fault in caught.value.faults) == [
        "archive_forbidden_file",
        "bytecode_forbidden",
        "module_shadows_host",
        "native_not_declared",
        "source_encoding",
    ]


def test_the_same_files_are_packed_to_the_same_bytes(tmp_path: Path) -> None:
    one = write(tmp_path / "one", HELLO)
    two = write(tmp_path / "two", dict(reversed(HELLO.items())))
    os.utime(two / "plugin.toml", (0, 0))
    (two / "hello" / "__init__.py").chmod(0o755)
    (two / "empty").mkdir()

    assert pack(one) == pack(two)


def test_what_is_packed_is_accepted_however_well_it_packs(tmp_path: Path) -> None:
    files = {
        "zeros.bin": bytes(3 * MIB),
        "letters.txt": b"a" * 400 * 1000 * 3,
        "numbers.txt": b"".join(b"%d" % number for number in range(300_000)),
        "noise.bin": os.urandom(2 * MIB),
    }
    root = write(tmp_path / "hello", HELLO | files)
    (tmp_path / "hello.zip").write_bytes(pack(root))

    assert files_of(tmp_path / "hello.zip") == files_of(root)


def test_what_is_too_large_when_packed_is_not_packed(tmp_path: Path) -> None:
    root = write(tmp_path / "hello", {f"{n}.bin": os.urandom(17 * MIB) for n in range(3)})

    assert code_of(lambda: pack(root)) == "archive_size"


def test_what_would_be_refused_is_not_packed(tmp_path: Path) -> None:
    root = write(tmp_path / "hello", HELLO | {"a b.py": b""})

    assert code_of(lambda: pack(root)) == "archive_name"


def test_the_limits_are_those_that_the_documentation_names() -> None:
    page = Path(__file__).parents[2].joinpath("docs/reference/package-files.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)`: .* \| ([\d,]+)( MiB)? \|$", page, re.MULTILINE)
    told = {name: int(value.replace(",", "")) * (MIB if unit else 1) for name, value, unit in rows}

    assert told == asdict(ArchiveLimits())
