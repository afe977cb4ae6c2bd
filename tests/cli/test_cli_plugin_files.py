"""``agentrail plugin new``, ``check`` and ``pack``: packages that no host has yet."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.cli.command import agentrail, environment
from tests.cli.packages import package, plugin

FORMS = ["class", "module", "execute", "tool", "agent"]


@pytest.mark.parametrize("form", FORMS)
def test_a_new_package_is_right_and_its_test_passes(tmp_path: Path, form: str) -> None:
    assert plugin(tmp_path, "new", "my-own", "--form", form).out == "made my-own\n"
    assert plugin(tmp_path, "check", "my-own").out.startswith("my-own 0.1.0, 3 files, sha256:")

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"],
        cwd=tmp_path / "my-own",
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout  # on asyncio and on trio


@pytest.mark.parametrize("form", FORMS)
def test_a_new_package_is_typed_and_formatted(tmp_path: Path, form: str) -> None:
    plugin(tmp_path, "new", "my-own", "--form", form)
    rules = "select = ['ANN', 'B', 'E', 'F', 'N', 'RET', 'UP', 'W']"
    (tmp_path / "ruff.toml").write_text(f"line-length = 100\n[lint]\n{rules}\n")

    for command in (
        ["ruff", "check", "--no-cache", "my-own"],
        ["ruff", "format", "--no-cache", "--check", "my-own"],
        ["mypy", "--strict", "--cache-dir=/dev/null", "my-own/plugin.py"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout


def test_what_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("mine")

    for arguments in (["mine"], ["other", "--directory", "mine"]):
        done = agentrail(tmp_path, "plugin", "new", *arguments)
        assert (done.status, done.err.partition(":")[0]) == (2, "config_invalid")

    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("name", ["Upper", "-begins", "host", "a b"])
def test_a_name_that_is_no_id_is_refused(tmp_path: Path, name: str) -> None:
    done = agentrail(tmp_path, "plugin", "new", "--", name)

    assert (done.status, done.err.partition(":")[0]) == (2, "manifest_id")
    assert list(tmp_path.iterdir()) == []


def test_every_fault_is_told_with_its_place(tmp_path: Path) -> None:
    directory = package(
        tmp_path, more='license = 3\nunknown = 1\npermissions.network = ["http://"]'
    )
    (directory / "json.py").write_text("")
    (directory / "old.pyc").write_text("")

    done = agentrail(tmp_path, "plugin", "check", directory.name)

    assert done.status == 1
    places = [line.split(" ")[0] for line in done.out.splitlines()]
    assert "hello-1.0.0/plugin.toml:4:" in places
    assert "hello-1.0.0/plugin.toml:5:" in places
    assert "hello-1.0.0/plugin.toml:6:" in places
    assert "hello-1.0.0/old.pyc:" in places
    assert "its module 'json' has the name of one that the host imports" in done.out
    assert ": license: " in done.out
    assert done.err == ""


def test_a_single_module_is_checked(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text(
        '# /// plugin\n# id = "one"\n# version = "1"\n# ///\ndef execute(context):\n    return 1\n'
    )

    done = agentrail(tmp_path, "plugin", "check", "one.py")

    assert (done.status, done.out.startswith("one.py:3: version: ")) == (1, True)


def test_what_is_not_there_or_no_archive_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "no.zip").write_bytes(b"no archive")

    for name in ("missing", "no.zip"):
        done = agentrail(tmp_path, "plugin", "check", name)
        assert (done.status, done.out.startswith(name)) == (1, True)


def test_nothing_of_a_package_runs_when_it_is_checked(tmp_path: Path) -> None:
    directory = package(tmp_path)
    (directory / "greeter.py").write_text("open('ran', 'w')\n")

    plugin(tmp_path, "check", directory.name)
    plugin(tmp_path, "pack", directory.name)

    assert not (tmp_path / "ran").exists()


def test_an_archive_is_the_same_for_the_same_files(tmp_path: Path) -> None:
    directory = package(tmp_path)
    (directory / ".git").mkdir()
    (directory / ".git" / "config").write_text("hidden")

    assert plugin(tmp_path, "pack", directory.name).out == "made hello-1.0.0.zip\n"
    first = (tmp_path / "hello-1.0.0.zip").read_bytes()
    assert plugin(tmp_path, "pack", directory.name, "-o", "again.zip").out == "made again.zip\n"

    assert (tmp_path / "again.zip").read_bytes() == first
    assert zipfile.ZipFile(tmp_path / "again.zip").namelist() == ["greeter.py", "plugin.toml"]
    told = [plugin(tmp_path, "check", name).out for name in (directory.name, "again.zip")]
    assert told[0] == told[1]


def test_a_bad_package_is_not_packed(tmp_path: Path) -> None:
    directory = package(tmp_path, version="one")

    for arguments in ([directory.name], ["missing"], [directory.name, "-o", "no/where.zip"]):
        done = agentrail(tmp_path, "plugin", "pack", *arguments)
        assert done.status == 2
        assert "Traceback" not in done.err

    assert [path.name for path in tmp_path.iterdir()] == ["hello-one"]
