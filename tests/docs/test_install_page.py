"""The page on installing a plugin: its commands print what it shows."""

import re
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, blocks
from tests.docs.test_commands import run, served, session

pytestmark = pytest.mark.timeout(300)

PAGE = ROOT / "docs/how-to/install-a-plugin.md"


def plain(printed: str) -> str:
    """Return what is printed without what differs from run to run."""
    return re.sub("[0-9a-f]{64}", "…", printed).replace("draining, not", "disabled, not")


def test_its_commands_print_what_it_shows(tmp_path: Path) -> None:
    app = (ROOT / "docs/snippets/takes_packages.py").read_text("utf-8")
    (tmp_path / "app.py").write_text(app, "utf-8")
    first, [(serve, _)], *rest = [session(block.text) for block in blocks(PAGE, "console")]

    for command, printed in first:
        assert plain(run(command, tmp_path)) == printed
    assert serve == "agentrail serve"
    with served(tmp_path) as address:
        for command, printed in (each for commands in rest for each in commands):
            asked = command.replace("curl http://127.0.0.1:8642", f"curl --silent {address}")
            assert plain(run(asked, tmp_path)) == printed
