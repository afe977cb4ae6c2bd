from pathlib import Path

import pytest

from agentrail import AppConfig, ChatRequest, MemorySessionStore, Profile, create_app
from agentrail.model.local import LocalModel
from agentrail.testing import RecordedModel

pytestmark = pytest.mark.anyio


# region record
async def test_the_model_knows_the_capital_of_france() -> None:
    model = RecordedModel(Path(__file__).with_name("capital.json"), LocalModel())
    guide = Profile(
        id="guide",
        model="local:smollm2-135m",
        prompt="You are a helpful assistant.",
        temperature=0,
    )
    app = create_app(AppConfig(profiles=[guide], providers=[model], store=MemorySessionStore()))

    async with app.host as host:
        answer = await host.chat(ChatRequest("What is the capital of France?"))

    assert "Paris" in answer.message


# endregion
