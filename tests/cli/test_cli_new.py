"""``agentrail new``: a project that appears whole or not at all."""

import subprocess
from pathlib import Path

import pytest

from agentrail.cli._new import new
from agentrail.errors import ConfigError
from tests.cli.command import AGENTRAIL, agentrail, environment

NAMES = ["demo", "My.Host_2"]
NO_NAMES = ["", ".", "..", "-x", "x-", "a b", "a/b", "/a", "a\nb", "ümlaut", "$name", "a" * 300]


def tree(path: Path) -> set[str]:
    return {str(each.relative_to(path)) for each in path.rglob("*") if each.is_file()}


@pytest.mark.parametrize("name", NAMES)
def test_a_project_bears_its_name(tmp_path: Path, name: str) -> None:
    done = agentrail(tmp_path, "new", name)

    assert done.status == 0
    assert done.out.startswith(f"made {name}; to run it:\n\n  cd {name}\n  pip install . && ")
    assert [each.name for each in tmp_path.iterdir()] == [name]
    made = tmp_path / name
    assert (made / "README.md").read_text().startswith(f"# {name}\n")
    assert f'\nname = "{name}"\n' in (made / "pyproject.toml").read_text()
    assert {".gitignore", "app.py", "tests/test_app.py", "plugins/activity.py"} <= tree(made)


def test_a_project_is_the_reference_host(tmp_path: Path) -> None:
    agentrail(tmp_path, "new", "demo")

    root = Path(__file__).parents[2]
    for part in ("app.py", "plugins", "profiles", "routes"):
        for source in [root / part, *(root / part).rglob("*")]:
            if source.is_file() and "__pycache__" not in source.parts:
                assert (tmp_path / "demo" / source.relative_to(root)).read_bytes() == (
                    source.read_bytes()
                )


def test_what_python_compiled_is_left_out(tmp_path: Path) -> None:
    agentrail(tmp_path, "new", "demo")

    assert not [name for name in tree(tmp_path / "demo") if name.endswith(".pyc")]


def test_the_project_is_what_the_user_may_change(tmp_path: Path) -> None:
    agentrail(tmp_path, "new", "demo")
    plain = tmp_path / "plain"
    plain.mkdir()
    plain.joinpath("file").touch()

    made = tmp_path / "demo"
    assert made.stat().st_mode == plain.stat().st_mode
    assert made.joinpath("app.py").stat().st_mode == plain.joinpath("file").stat().st_mode


def test_an_empty_directory_may_be_named(tmp_path: Path) -> None:
    place = tmp_path / "a place"
    place.mkdir()

    done = agentrail(tmp_path, "new", "demo", "--directory", "a place")

    assert done.status == 0
    assert "\n  cd 'a place'\n" in done.out
    assert (place / "README.md").read_text().startswith("# demo\n")


@pytest.mark.parametrize("name", NO_NAMES)
def test_what_is_no_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ConfigError):
        new(name, None)

    assert list(tmp_path.iterdir()) == []


def test_a_project_is_not_called_what_it_depends_on(tmp_path: Path) -> None:
    done = agentrail(tmp_path, "new", "Agentrail_Host")

    assert done.status == 2
    assert done.err.startswith("config_invalid: 'Agentrail_Host' is the name of what")
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to("nowhere")

    for name in ("full", "file", "link"):
        done = agentrail(tmp_path, "new", name)
        assert done.status == 2
        assert f"{name} is there already" in done.err

    assert tree(tmp_path) == {"full/mine", "file"}
    assert (tmp_path / "link").is_symlink()


def test_the_current_directory_is_not_replaced(tmp_path: Path) -> None:
    done = agentrail(tmp_path, "new", "demo", "--directory", ".")

    assert done.status == 2
    assert "current directory" in done.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["nowhere/demo", "file/demo", "/sys/demo", "/dev/null/demo"])
def test_where_nothing_can_be_made_is_told_in_a_sentence(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()

    done = agentrail(tmp_path, "new", "demo", "--directory", place)

    assert done.status == 2
    assert done.err.startswith(f"config_invalid: cannot make {place}: ")
    assert tree(tmp_path) == {"file"}


def test_a_disk_that_is_full_leaves_no_half_of_a_project(tmp_path: Path) -> None:
    """A limit on the size of files fails as a full disk does, after some were written."""
    # What measures the coverage could not write either.
    unmeasured = {
        name: value for name, value in environment().items() if not name.startswith("COVERAGE_")
    }
    done = subprocess.run(
        ["/bin/sh", "-c", f"ulimit -f 1; exec {AGENTRAIL} new demo"],
        cwd=tmp_path,
        env=unmeasured,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert done.stderr == "config_invalid: cannot make demo: File too large\n"
    assert list(tmp_path.iterdir()) == []
