"""The contract of model providers, on every provider with a scripted upstream."""

from collections.abc import AsyncGenerator

import pytest

from agentrail.messages import Message
from agentrail.model import ModelProvider, ScriptedModel, call_tools
from agentrail.requests import ModelReply, ModelRequest
from agentrail.testing.models import Ability, ModelProviderContract
from tests.model.wires import CHAT, MESSAGES, RESPONSES, Format, asking

pytestmark = pytest.mark.anyio

ALL: frozenset[Ability] = frozenset({"tools", "output", "images", "usage"})


class Wired(ModelProviderContract):
    spoken: Format

    @pytest.fixture
    async def provider(self) -> AsyncGenerator[ModelProvider]:
        async with asking(self.spoken, self.spoken.converses) as (provider, _):
            yield provider

    @pytest.fixture
    def model(self) -> str:
        return "m"

    @pytest.fixture
    def abilities(self) -> frozenset[Ability]:
        return ALL


class TestChat(Wired):
    spoken = CHAT


class TestResponses(Wired):
    spoken = RESPONSES


class TestMessages(Wired):
    spoken = MESSAGES


class TestScripted(ModelProviderContract):
    @pytest.fixture
    def provider(self) -> ModelProvider:
        return ScriptedModel.repeat(converse, chunk=4)

    @pytest.fixture
    def model(self) -> str:
        return "m"

    @pytest.fixture
    def abilities(self) -> frozenset[Ability]:
        return ALL - {"usage"}


def converse(request: ModelRequest) -> str | ModelReply | Message:
    if request.output is not None:
        return '{"age": 20, "adult": true}'
    if request.tool_choice == "required":
        return call_tools(("get_weather", {"city": "Paris"}))
    return "one two three"
