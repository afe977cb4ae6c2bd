"""The wheel, installed where there is no checkout, and the project that it makes."""

import os
import re
import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

import pytest
from attrs import frozen

from agentrail.model import weights
from tests.cli.command import agentrail, environment, serving
from tests.docs.pages import ROOT, blocks

pytestmark = pytest.mark.timeout(300)

BIN = Path(sys.executable).parent
OFFLINE = "install --no-index --no-build-isolation"


@frozen
class Installed:
    """An environment in which the wheel is installed, and a directory for projects."""

    bin: Path
    cwd: Path

    def run(self, command: str, cwd: Path | None = None) -> str:
        """Run a command that is expected to succeed."""
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=cwd or self.cwd,
            env=environment() | {"PATH": f"{self.bin}:{os.environ['PATH']}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """What the wheel depends on comes from the test's environment, and the checkout does not.

    A ``.pth`` file leads to the former; the one there, which leads to the latter, is not read.
    """
    place = tmp_path_factory.mktemp("wheel")
    made = Installed(place / "env" / "bin", place)
    made.run(f"cd {ROOT} && {sys.executable} -m hatchling build -t wheel -d {place}")
    made.run(f"{BIN}/uv venv --quiet --no-config --python {sys.executable} env")
    pip = f"{BIN}/uv pip install --quiet --no-config --offline --python env/bin/python"
    made.run(f"{pip} --no-deps *.whl")
    own = made.run("env/bin/python -c 'import sysconfig; print(sysconfig.get_path(\"purelib\"))'")
    Path(own.strip(), "shared.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    where = made.run("env/bin/python -c 'import agentrail; print(agentrail.__file__)'")
    assert where.startswith(own.strip())
    return made


@pytest.fixture(scope="module")
def demo(installed: Installed) -> Path:
    """A project that the wheel made."""
    told = installed.run("agentrail new demo")
    assert told.startswith("made demo;")
    return installed.cwd / "demo"


def files(path: Path) -> dict[str, bytes]:
    return {
        str(each.relative_to(path)): each.read_bytes()
        for each in path.rglob("*")
        if each.is_file() and not {"__pycache__", ".pytest_cache", "data"} & set(each.parts)
    }


def test_the_wheel_makes_the_project_that_the_checkout_makes(demo: Path, tmp_path: Path) -> None:
    assert agentrail(tmp_path, "new", "demo").status == 0

    assert files(demo) == files(tmp_path / "demo")


def test_the_wheel_makes_the_package_that_the_checkout_makes(
    installed: Installed, tmp_path: Path
) -> None:
    installed.run("agentrail plugin new greeter")
    assert agentrail(tmp_path, "plugin", "new", "greeter").status == 0

    assert files(installed.cwd / "greeter") == files(tmp_path / "greeter")


def test_the_project_passes_its_own_tests(installed: Installed, demo: Path) -> None:
    told = installed.run("python -m pytest -p no:randomly -p no:cacheprovider", demo)

    assert re.search(r"\d+ passed", told)


def test_the_commands_of_the_projects_readme_work(installed: Installed, demo: Path) -> None:
    if find_spec("xllamacpp") is None:
        pytest.skip("xllamacpp is not installed")
    weights.install()
    page = demo / "README.md"
    (fetch, serve), asked, (get_pytest, test) = [
        block.text.splitlines() for block in blocks(page, "sh")
    ]
    assert (get_pytest, test) == ("pip install pytest", "python -m pytest")

    # Its index is the environment: what the project asks for has to be there, the extras too.
    told = installed.run(f"python -m {fetch.replace('install', OFFLINE, 1)}", demo)
    assert "does not provide the extra" not in told
    assert serve == "agentrail dev"
    with serving(demo, verb="dev", command=installed.bin / "agentrail") as server:
        url = str(server.client.base_url)
        answers = [
            installed.run(f"{each.replace('http://127.0.0.1:8642', url)} --silent --fail", demo)
            for each in asked
        ]
        assert server.stop() == 0
    assert [line for line in server.log if line.startswith("WARNING ")] == []

    assert [re.findall(r'"outcome":"(\w+)"', each) for each in answers] == [
        ["completed"],
        ["intercepted"],
    ]
