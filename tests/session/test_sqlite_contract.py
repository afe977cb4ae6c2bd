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

    async def crash(self, store: SessionStore) -> None:
        """The operating system takes the lock of a process that is killed."""
        assert isinstance(store, SQLiteSessionStore)
        store._users.leave()
