from collections.abc import Callable

import pytest

from agentrail.session import MemorySessionStore, SessionStore
from agentrail.testing import SessionStoreContract

pytestmark = pytest.mark.anyio


def next_life(store: MemorySessionStore) -> MemorySessionStore:
    """Makes a store over the same memory that knows of no lease."""
    revived = MemorySessionStore()
    revived._sessions = store._sessions
    revived._turns = store._turns
    revived._unannounced = store._unannounced
    revived._deletions = store._deletions
    return revived


class TestMemorySessionStore(SessionStoreContract):
    @pytest.fixture
    def make(self) -> Callable[[], SessionStore]:
        first = MemorySessionStore()
        lives = iter([first])
        return lambda: next(lives, None) or next_life(first)
