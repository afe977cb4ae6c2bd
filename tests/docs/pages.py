"""The documentation's pages, read as a test needs them.

Run as a program, it writes each snippet into the blocks that name it.
"""

import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

from attrs import frozen

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(ROOT.glob("docs/**/*.md"))]

_MARK = re.compile(r"<!-- (?P<path>[\w/.]+\.py)(?:#(?P<region>\w+))? -->")


@frozen
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str
    source: Path | None
    """The snippet that the comment before a Python block names."""
    region: str | None

    @property
    def wanted(self) -> str:
        """What the snippet says."""
        if self.source is None:
            raise ValueError(f"{self}: no comment before the block names the file it comes from")
        source = self.source.read_text(encoding="utf-8")
        return source if self.region is None else regions(source)[self.region]

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path, language: str = "") -> Iterator[Block]:
    """Yields a page's fenced blocks, of one language if asked."""
    text = page.read_text(encoding="utf-8")
    pieces = re.split(r"^```", text, flags=re.MULTILINE)
    line = 1
    for number, piece in enumerate(pieces):
        if number % 2:
            kind, _, body = piece.partition("\n")
            before = pieces[number - 1].rstrip().rpartition("\n")[2]
            mark = _MARK.fullmatch(before)
            if not language or kind == language:
                source = ROOT / mark["path"] if mark else None
                yield Block(page, line, kind, body, source, mark["region"] if mark else None)
        line += piece.count("\n")


def regions(source: str) -> Mapping[str, str]:
    """Returns a file's marked regions by name, without their common indent."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in source.splitlines():
        words = line.split()
        if words[:2] == ["#", "region"]:
            name = words[2]
        elif words == ["#", "endregion"]:
            name = ""
        elif name:
            found.setdefault(name, []).append(line)
    return {
        name: textwrap.dedent("\n".join(lines)).strip("\n") + "\n" for name, lines in found.items()
    }


def tables(page: str) -> list[list[dict[str, str]]]:
    """Returns the tables of a page of the reference, each row by its column's heading."""
    found: list[list[dict[str, str]]] = []
    head: list[str] = []
    for line in [*(ROOT / "docs" / page).read_text(encoding="utf-8").splitlines(), ""]:
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not line.startswith("|"):
            head = []
        elif not head:
            head = cells
            found.append([])
        elif not all(set(cell) <= set("-: ") for cell in cells):
            found[-1].append(dict(zip(head, cells, strict=True)))
    return found


def rows(page: str, column: str) -> dict[str, dict[str, str]]:
    """Returns the rows of all tables with that column, by what stands in it, without backticks."""
    return {row[column].strip("`"): row for table in tables(page) for row in table if column in row}


def fill(page: Path) -> None:
    """Writes the snippets into a page."""
    pieces = re.split(r"^```", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    for number, block in enumerate(blocks(page)):
        if block.language == "python":
            pieces[2 * number + 1] = f"python\n{block.wanted}"
    page.write_text("```".join(pieces), encoding="utf-8")


if __name__ == "__main__":
    for page in PAGES:
        fill(page)
