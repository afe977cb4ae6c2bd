from collections.abc import Callable
from pathlib import Path

import pytest

from agentrail import SessionStore, SQLiteSessionStore
from agentrail.testing import SessionStoreContract

pytestmark = pytest.mark.anyio


# region contract
class TestMyStore(SessionStoreContract):
    @pytest.fixture
    def make(self, tmp_path: Path) -> Callable[[], SessionStore]:
        return lambda: SQLiteSessionStore(tmp_path / "sessions.db")


# endregion
