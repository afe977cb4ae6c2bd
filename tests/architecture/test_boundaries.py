"""Where everything may be caught, and what is never written."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TREES = ("agentrail", "profiles", "routes", "plugins")
BOUNDARIES = ("plugin", "tool", "observer", "ASGI edge")


def names(node: ast.expr | None) -> set[str]:
    """Names what an `except` clause catches; a bare one catches `BaseException`."""
    if node is None:
        return {"BaseException"}
    return {child.id for child in ast.walk(node) if isinstance(child, ast.Name)}


def faults(source: str) -> Iterator[str]:
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ExceptHandler):
            around = "\n".join(lines[max(node.lineno - 2, 0) : node.lineno])
            named = any(f"boundary: {boundary}" in around for boundary in BOUNDARIES)
            caught = names(node.type)
            if "BaseException" in caught:
                yield f"{node.lineno}: catches BaseException, and cancellation with it"
            elif "Exception" in caught and not named:
                yield f"{node.lineno}: catches Exception at none of the four boundaries"
        elif isinstance(node, ast.alias) and node.name == "TYPE_CHECKING":
            yield f"{node.lineno}: imports TYPE_CHECKING"
        elif isinstance(node, ast.Attribute) and node.attr == "TYPE_CHECKING":
            yield f"{node.lineno}: reads TYPE_CHECKING"


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("try: ...\nexcept ValueError: ...", 0),
        ("try: ...\nexcept Exception: ...  # boundary: tool", 0),
        ("try: ...\n# boundary: ASGI edge\nexcept Exception: ...", 0),
        ("try: ...\nexcept Exception: ...", 1),
        ("try: ...\nexcept Exception: ...  # boundary: elsewhere", 1),
        ("try: ...\nexcept (OSError, Exception): ...", 1),
        ("try: ...\nexcept* Exception: ...", 1),
        ("try: ...\nexcept: ...", 1),
        ("try: ...\nexcept BaseException: ...  # boundary: tool", 1),
        ("from typing import TYPE_CHECKING", 1),
        ("import typing\nif typing.TYPE_CHECKING: ...", 1),
    ],
)
def test_a_planted_fault_is_found(source: str, count: int) -> None:
    assert len(list(faults(source))) == count


def test_exceptions_are_caught_whole_only_at_the_boundaries() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{fault}"
        for path in [*ROOT.glob("app.py"), *(p for t in TREES for p in ROOT.glob(f"{t}/**/*.py"))]
        for fault in faults(path.read_text(encoding="utf-8"))
    ]

    assert found == []
