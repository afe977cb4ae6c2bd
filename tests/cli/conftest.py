"""What the tests of the command line have."""

from pathlib import Path

import pytest

from tests.cli.command import APP


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A directory with an application in it."""
    (tmp_path / "app.py").write_text(APP, encoding="utf-8")
    return tmp_path
