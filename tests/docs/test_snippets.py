"""Every Python block of the documentation is a file that runs, or a region of one."""

import ast
import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, Block, blocks, regions
from tests.forks import Beginning, run

SNIPPETS = sorted(ROOT.glob("docs/snippets/**/*.py"))
BEGINNING = Beginning(("agentrail",), ("-W", "error"))
"""All of them import the package, whose root does not import what is beside it."""

SHOWN = [block for page in PAGES for block in blocks(page, "python")]


def name_of(value: object) -> str:
    return str(value.relative_to(ROOT)) if isinstance(value, Path) else str(value)


@pytest.mark.parametrize("block", SHOWN, ids=name_of)
def test_a_block_is_a_snippet(block: Block) -> None:
    assert block.text == block.wanted, "python tests/docs/pages.py writes the snippets in"


def test_every_snippet_and_region_is_shown() -> None:
    """What no page shows is read by nobody; it is dropped, or it is a file of hidden code."""
    shown = {(block.source, block.region) for block in SHOWN}
    unseen = [
        f"{name_of(path)}#{region}"
        for path in SNIPPETS
        for region in regions(path.read_text(encoding="utf-8")) or [None]
        if (path, region) not in shown and (path, None) not in shown
    ]

    assert unseen == []


def names(source: str) -> Iterator[tuple[str, str]]:
    """Yields what is imported from agentrail, as module and name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "agentrail":
            yield from ((str(node.module), alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if "agentrail" in alias.name)


@pytest.mark.parametrize("path", [*SNIPPETS, *sorted(ROOT.glob("examples/*.py"))], ids=name_of)
def test_only_public_names_are_imported(path: Path) -> None:
    for module, name in names(path.read_text(encoding="utf-8")):
        assert "._" not in module
        assert not name.startswith("_")
        public: list[str] = getattr(importlib.import_module(module), "__all__", [])
        is_slice = module == "agentrail" and (ROOT / "agentrail" / name).is_dir()
        assert not public or not name or name in public or is_slice, f"{module}.{name}"


@pytest.mark.timeout(300)  # one of them runs all that a session store promises, on a real disk
@pytest.mark.parametrize("path", SNIPPETS, ids=name_of)
def test_a_snippet_runs(path: Path, tmp_path: Path) -> None:
    """Alone, with warnings as errors, and with nothing around it but an empty directory."""
    variables = os.environ | {"PYTHONPATH": str(ROOT)}
    if not path.name.startswith("test_"):
        done = run([path], tmp_path, variables, BEGINNING)
        assert done.status == 0, done.out + done.err
        return

    options = ["-q", "-p", "no:cacheprovider", "-p", "no:randomly"]
    tested = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", *options, str(path)],
        cwd=tmp_path,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert tested.returncode == 0, tested.stdout
