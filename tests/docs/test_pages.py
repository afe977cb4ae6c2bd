"""What holds for every page: links lead somewhere, cited tests exist, and the prose's form."""

import ast
import re
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT

LINK = re.compile(r"\]\(([^)\s]+)\)")
CITED = re.compile(r"`((?:tests|agentrail/testing)/[\w/]+\.py)::(\w+)`")
SENTENCE = re.compile(r"[.!?] +[A-Z]")
NUMBER = re.compile(r"^(#+ )?\d+\. ")
PRAISE = re.compile(
    r"\b(amazing|beautiful|best|blazing|easily|easy|elegant|excellent|fast|great|modern|"
    r"powerful|robust|seamless|simply|state-of-the-art)\b",
    re.IGNORECASE,
)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def prose(page: Path) -> list[str]:
    """Returns a page's lines of prose: no code, no tables, no comments."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    return [line for line in text.splitlines() if not line.startswith(("|", "<!--"))]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files(page: Path) -> None:
    targets = [link for link in LINK.findall(page.read_text("utf-8")) if "://" not in link]

    assert [link for link in targets if not (page.parent / link.partition("#")[0]).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_line_holds_one_sentence_without_praise(page: Path) -> None:
    lines = prose(page)

    assert [line for line in lines if SENTENCE.search(NUMBER.sub("", line))] == []
    assert [line for line in lines if PRAISE.search(line)] == []


def test_every_page_is_listed_in_the_index() -> None:
    index = ROOT / "docs/index.md"
    linked = {(index.parent / link).resolve() for link in LINK.findall(index.read_text("utf-8"))}

    assert {page for page in ROOT.glob("docs/**/*.md") if page != index} <= linked


def test_every_cited_test_exists() -> None:
    cited = {match for page in PAGES for match in CITED.findall(page.read_text("utf-8"))}
    missing = [f"{path}::{name}" for path, name in sorted(cited) if name not in defined(path)]

    assert cited
    assert missing == []


def defined(path: str) -> set[str]:
    """Returns the names of a file's functions, methods among them."""
    file = ROOT / path
    if not file.is_file():
        return set()
    nodes = ast.walk(ast.parse(file.read_text("utf-8")))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
