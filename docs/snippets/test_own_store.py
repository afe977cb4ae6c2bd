from collections.abc import Callable
from pathlib import Path

import pytest

from agentrail import SessionStore, SQLiteSessionStore
from agentrail.testing import SessionStoreContract

pytestmark = pytest.mark.anyio


class MyStore(SQLiteSessionStore):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.locks = path.with_name(f"{path.name}-users")

    def lose_lock(self) -> None:
        """Look to the others as if the process had died."""
        for lock in self.locks.iterdir():
            lock.unlink()


# region contract
class TestMyStore(SessionStoreContract):
    @pytest.fixture
    def make(self, tmp_path: Path) -> Callable[[], SessionStore]:
        return lambda: MyStore(tmp_path / "sessions.db")

    async def crash(self, store: SessionStore) -> None:
        assert isinstance(store, MyStore)
        store.lose_lock()


# endregion
