"""Every example runs as a program and checks itself."""

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

from agentrail.model import weights
from tests.forks import Beginning, run

ROOT = Path(__file__).parents[2]
LOCAL = "local:"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("path", sorted(ROOT.glob("examples/*.py")), ids=lambda path: path.stem)
def test_an_example_succeeds(path: Path, tmp_path: Path) -> None:
    if LOCAL in path.read_text(encoding="utf-8"):
        if find_spec("xllamacpp") is None:
            pytest.skip("xllamacpp is not installed")
        weights.install()

    done = run([path], tmp_path, os.environ, Beginning(("agentrail",), ("-W", "error")))

    assert done.status == 0, done.out + done.err
