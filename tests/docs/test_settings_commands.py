"""The pages on changing settings: their commands print what they show, against a real server."""

import re
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, blocks
from tests.docs.test_commands import run, served, session

pytestmark = pytest.mark.timeout(300)

PAGES = ("reload-settings", "roll-back", "order-middleware", "keep-secrets")
APP = ROOT / "docs/snippets/tells_prompt.py"
NOT_HERE = "/run/secrets"
"""In a file that is shown and not written: it is there in containers."""


def plain(printed: str, cwd: Path) -> str:
    """Return what is printed without what differs from run to run, columns' widths among it."""
    printed = printed.replace(str(cwd), "…")
    printed = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", "<time>", printed)
    printed = re.sub(r"\b[0-9a-f]{16}\b|(?<=\")[0-9a-f]{12}(?=\")", "…", printed)
    # Where it takes long to ask for it, the host has read the file by itself.
    printed = re.sub(" {2,}", "  ", printed)
    return re.sub("(reload  |reload by )host", r"\1local", printed)


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_print_what_it_shows(page: str, tmp_path: Path) -> None:
    """What a page shows of files is written, and all is done in the order of the page."""
    (tmp_path / "app.py").write_text(APP.read_text("utf-8"), "utf-8")
    (tmp_path / "house.key").write_text("the first key", "utf-8")
    address = ""
    with ExitStack() as stack:
        for block in blocks(ROOT / f"docs/how-to/{page}.md"):
            if block.language == "yaml" and NOT_HERE not in block.text:
                (tmp_path / "agentrail.yaml").write_text(block.text, "utf-8")
            elif block.source is not None and block.region is None:
                (tmp_path / block.source.name).write_text(block.text, "utf-8")
            for command, printed in session(block.text) if block.language == "console" else ():
                if command == "agentrail serve" and not printed:
                    address = stack.enter_context(served(tmp_path))
                    continue
                asked = command.replace("curl http://127.0.0.1:8642", f"curl --silent {address}")
                told = run(f"{asked}; true", tmp_path)
                assert plain(told, tmp_path) == plain(printed, tmp_path), f"{block}: {command}"
