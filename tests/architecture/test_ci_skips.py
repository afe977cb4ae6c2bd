"""A missing system part skips on a laptop and fails in CI."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"

IN_A_TEST = """
import pytest

def test_call(): pytest.skip("no database")

@pytest.mark.skip(reason="no database")
def test_mark(): ...

@pytest.mark.skipif(True, reason="no database")
def test_condition(): ...

@pytest.fixture
def database(): pytest.skip("no database")

def test_fixture(database): ...

@pytest.mark.xfail(reason="known")
def test_expected(): assert False
"""
OF_A_MODULE = 'import pytest\npytest.skip("no database", allow_module_level=True)\n'


@pytest.mark.parametrize(
    ("ci", "summary"),
    [("false", "5 skipped, 1 xfailed"), ("true", "1 failed, 1 xfailed, 4 errors")],
)
def test_a_skip_is_a_failure_in_ci(tmp_path: Path, ci: str, summary: str) -> None:
    shutil.copy(CONFTEST, tmp_path)
    (tmp_path / "test_in_a_test.py").write_text(IN_A_TEST)
    (tmp_path / "test_of_a_module.py").write_text(OF_A_MODULE)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:randomly"]

    done = subprocess.run(
        [*command, "--continue-on-collection-errors", "--rootdir", tmp_path, tmp_path],
        cwd=tmp_path,
        env=os.environ | {"CI": ci},
        capture_output=True,
        text=True,
        check=False,
    )

    assert summary in done.stdout
