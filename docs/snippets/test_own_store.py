from collections.abc import Callable
from pathlib import Path

import pytest

from agentrail import SessionStore, SQLiteSessionStore
from agentrail.testing import SessionStoreContract

pytestmark = pytest.mark.anyio


class MyStore(SQLiteSessionStore):
    """A store that takes nobody else for alive."""

    async def start(self) -> None:
        await super().start()
        self._users.leave()


# region contract
class TestMyStore(SessionStoreContract):
    @pytest.fixture
    def make(self, tmp_path: Path) -> Callable[[], SessionStore]:
        return lambda: MyStore(tmp_path / "sessions.db")


# endregion
