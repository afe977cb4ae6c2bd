"""A file that outgrows its budget is split at a real seam."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUDGETS = {
    "agentrail": 400,
    "profiles": 400,
    "routes": 400,
    "plugins": 400,
    "examples": 400,
    "docs": 400,
    "tests": 800,
}


@pytest.mark.parametrize(("directory", "budget"), BUDGETS.items())
def test_files_stay_within_their_budget(directory: str, budget: int) -> None:
    lines = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in ROOT.joinpath(directory).rglob("*.py")
    }

    assert {path: count for path, count in lines.items() if count > budget} == {}
