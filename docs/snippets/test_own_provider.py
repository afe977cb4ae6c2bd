from collections.abc import AsyncGenerator

import pytest

from agentrail import ModelProvider, ScriptedModel
from agentrail.testing import ModelProviderContract

pytestmark = pytest.mark.anyio


# region contract
class TestMyProvider(ModelProviderContract):
    @pytest.fixture
    async def provider(self) -> AsyncGenerator[ModelProvider]:
        provider = ScriptedModel.repeat("one two three four five", chunk=4)
        await provider.start()
        yield provider
        await provider.stop()

    @pytest.fixture
    def model(self) -> str:
        return "any"


# endregion
