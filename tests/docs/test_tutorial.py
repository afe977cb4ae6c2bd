"""The tutorial's project, made and changed in a fresh directory as its reader would."""

import re
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import pytest
from attrs import define, field

from agentrail.model import weights
from tests.cli.command import Serving, serving
from tests.docs.pages import ROOT, Block, blocks
from tests.docs.test_commands import run, session

pytestmark = pytest.mark.timeout(300)

PAGES = [ROOT / "docs/tutorial/02-plugin.md", ROOT / "docs/tutorial/03-command.md"]
HOST = "http://127.0.0.1:8642"


@define
class Reader:
    """Does what the pages say, in the order in which they do."""

    cwd: Path
    _stack: ExitStack
    _server: Serving | None = None
    _written: dict[Path, str] = field(factory=dict[Path, str])
    """Files that are not saved yet."""

    def write(self, block: Block) -> None:
        """Write a file of the project, and no other."""
        assert block.source is not None
        name = f"plugins/{block.source.name}"
        assert f"`{name}`" in block.page.read_text("utf-8")
        self._written[self.cwd / name] = block.text

    def change(self, block: Block) -> None:
        """Change the one file in which a diff fits."""
        before, after = (
            "".join(f"{line[1:]}\n" for line in block.text.splitlines() if line[0] in kept)
            for kept in (" -", " +")
        )
        texts = {each: each.read_text("utf-8") for each in self.cwd.rglob("*.py")} | self._written
        (path,) = [each for each, text in texts.items() if text.count(before) == 1]
        self._written[path] = texts[path].replace(before, after)

    def save(self) -> None:
        """Save what was written, each file in one step, and wait until all of it is served."""
        for path, text in self._written.items():
            beside = path.with_suffix(".new")
            beside.write_text(text, "utf-8")
            beside.rename(path)
        if self._written and self._server is not None:
            last = str([*self._written][-1].relative_to(self.cwd))
            while last not in self._server.until("changed: "):
                pass
            self._server.until(" at http://")
        self._written.clear()

    def do(self, command: str) -> str:
        """Run a command, and return what it prints."""
        if command.startswith("cd "):
            self.cwd /= command.removeprefix("cd ")
            return ""
        # It would be installed beside the tests; tests/cli/test_cli_wheel.py installs it.
        command = command.removeprefix("pip install . && ")
        if command == "agentrail dev":
            self._server = self._stack.enter_context(serving(self.cwd, verb="dev"))
            return ""
        if self._server is not None:
            command = command.replace(HOST, str(self._server.client.base_url))
        if command.startswith("curl "):
            return run(f"{command} --silent --show-error", self.cwd) + "\n"
        return run(command, self.cwd)


def fits(text: str, printed: str) -> bool:
    """Tell whether a text is what a page prints, in which … stands for anything."""
    return bool(re.fullmatch(".*".join(map(re.escape, printed.split("…"))), text, re.DOTALL))


def test_the_project_of_the_tutorial_works(tmp_path: Path) -> None:
    if find_spec("xllamacpp") is None:
        pytest.skip("xllamacpp is not installed")
    weights.install()
    with ExitStack() as stack:
        reader = Reader(tmp_path, stack)
        for page in PAGES:
            for block in blocks(page):
                if block.language == "python":
                    reader.write(block)
                elif block.language == "diff":
                    reader.change(block)
                else:
                    assert block.language == "console"
                    reader.save()
                    for command, printed in session(block.text):
                        told = reader.do(command)
                        assert fits(told, printed), f"{block}: {command}\n{told}"


def test_a_plugin_object_and_a_command_take_less_than_thirty_lines() -> None:
    """Of the reader's writing, empty ones among them."""
    written = [
        line
        for page in PAGES
        for block in blocks(page)
        for line in block.text.splitlines()
        if block.language == "python" or (block.language == "diff" and line[0] == "+")
    ]

    assert 20 <= len(written) < 30
