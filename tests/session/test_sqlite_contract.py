from collections.abc import Callable
from pathlib import Path

import pytest

from agentrail.session import SessionStore, SQLiteSessionStore
from agentrail.testing import SessionStoreContract

pytestmark = pytest.mark.anyio


class TestSQLiteSessionStore(SessionStoreContract):
    @pytest.fixture
    def make(self, tmp_path: Path) -> Callable[[], SessionStore]:
        return lambda: SQLiteSessionStore(tmp_path / "data" / "sessions.db")
