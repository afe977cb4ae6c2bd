from collections import Counter
from collections.abc import Callable

import pytest

from agentrail import Plugin, RequestContext
from agentrail.testing import PluginContract

pytestmark = pytest.mark.anyio


class Turns:
    """Counts what each user asked."""

    name = "turns"

    def __init__(self) -> None:
        self.count: Counter[str] = Counter()

    async def on_turn_persisted(self, context: RequestContext) -> None:
        self.count[context.user_id] += 1


# region contract
class TestTurns(PluginContract):
    @pytest.fixture
    def make(self) -> Callable[[], Plugin]:
        return Turns


# endregion
