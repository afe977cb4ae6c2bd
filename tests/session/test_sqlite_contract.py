from collections.abc import Callable
from pathlib import Path

import pytest

from agentrail.session import SessionStore, SQLiteSessionStore
from agentrail.testing import SessionStoreContract

pytestmark = pytest.mark.anyio


class TestSQLiteSessionStore(SessionStoreContract):
    @pytest.fixture
    def make(self, tmp_path: Path) -> Callable[[], SessionStore]:
        """Of those before it, the operating system has taken the lock, as of a killed process."""
        lives: list[SQLiteSessionStore] = []

        def _next_life() -> SessionStore:
            for store in lives:
                store._users.leave()
            lives.append(SQLiteSessionStore(tmp_path / "data" / "sessions.db"))
            return lives[-1]

        return _next_life
