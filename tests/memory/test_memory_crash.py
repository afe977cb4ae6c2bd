"""Whatever kills the host, each turn is in the memory once: its words, and its meaning."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.memory import lives

ROOT = Path(__file__).parents[2]
KILLS = 50


def column(path: Path, query: str) -> list[object]:
    with closing(sqlite3.connect(path)) as db:
        return [value for (value,) in db.execute(query)]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_each_turn_is_indexed_once_though_its_host_is_killed(backend: str, tmp_path: Path) -> None:
    command = [sys.executable, lives.__file__, str(tmp_path), backend, str(KILLS), "1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run(command, env=environment, check=True)

    memory = tmp_path / "memory.db"
    committed = column(tmp_path / "sessions.db", "select id from turn where status = 'completed'")
    keys = column(memory, "select key from turn where asked != '' order by key")
    recovered = (tmp_path / "recovered").read_text("utf-8").split()

    assert len(committed) > KILLS / 2
    assert sorted(map(str, column(memory, "select id from turn"))) == sorted(map(str, committed))
    assert len(keys) == len(committed)
    assert column(memory, "select rowid from words order by rowid") == keys
    assert column(memory, "select key from vector order by key") == keys
    assert column(memory, "select count(*) from words where words match 'number'") == [len(keys)]
    assert set(committed) & set(recovered), "no host was killed between a commit and the hook"
