"""The import rules that import-linter cannot express; its contracts are in pyproject.toml."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TREES = ("agentrail", "profiles", "routes", "plugins", "examples", "docs")


def sources() -> list[Path]:
    return [
        *ROOT.glob("app.py"),
        *(path for tree in TREES for path in ROOT.glob(f"{tree}/**/*.py")),
    ]


def imported(source: str) -> Iterator[str]:
    """Yields dotted names; `from a import b` counts as `a.b`, for b may be a module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def leaks(package: str, source: str) -> list[str]:
    """Finds imports of a private name from outside the package that holds it."""
    found: list[str] = []
    for name in imported(source):
        parts = name.split(".")
        for depth, part in enumerate(parts):
            private = part.startswith("_") and not part.startswith("__")
            owner = ".".join(parts[:depth])
            if private and parts[0] == "agentrail" and not f"{package}.".startswith(f"{owner}."):
                found.append(name)
    return found


@pytest.mark.parametrize(
    ("package", "source", "found"),
    [
        ("agentrail.plugin", "from agentrail.hook._order import ordered", True),
        ("agentrail.plugin", "from agentrail.hook import _order", True),
        ("agentrail.hooks", "import agentrail.hook._order", True),
        ("plugins", "from agentrail.hook._order import ordered", True),
        ("agentrail.hook", "from agentrail.hook._order import ordered", False),
        ("agentrail.plugin.package", "from agentrail.plugin._define import define", False),
        ("agentrail.plugin", "from agentrail.hook import __doc__", False),
    ],
)
def test_a_planted_leak_is_found(package: str, source: str, found: bool) -> None:
    assert bool(leaks(package, source)) is found


def test_no_module_imports_another_slices_private_module() -> None:
    found = {
        str(path.relative_to(ROOT)): leaked
        for path in sources()
        if (leaked := leaks(".".join(path.relative_to(ROOT).parent.parts), path.read_text("utf-8")))
    }

    assert found == {}


def test_no_module_of_the_sdk_imports_its_own_root() -> None:
    """The root re-exports every slice: importing it from one is a cycle that no contract sees."""
    found = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in ROOT.glob("agentrail/**/*.py")
        for name in imported(path.read_text(encoding="utf-8"))
        if name == "agentrail" or (name.startswith("agentrail.") and is_root_name(name))
    ]

    assert found == []


def is_root_name(name: str) -> bool:
    """Tells `from agentrail import Profile` from `from agentrail import profile`."""
    first = ROOT / "agentrail" / name.split(".")[1]
    return not (first.is_dir() or first.with_suffix(".py").is_file())
