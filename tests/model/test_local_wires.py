"""Two wire formats as a real server speaks them: llama.cpp's.  The third is the local model's."""

import os
import subprocess
from collections.abc import AsyncGenerator, Callable, Generator
from importlib.util import find_spec

import httpx
import pytest
from msgspec.structs import replace

from agentrail.errors import ContextTooLong, ModelUnauthorized
from agentrail.messages import Message
from agentrail.model import ModelProvider, local, weights
from agentrail.model.anthropic import Anthropic
from agentrail.model.openai import OpenAIResponses
from agentrail.requests import ModelRequest
from agentrail.testing.models import Ability, ModelProviderContract

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.timeout(300),
    pytest.mark.skipif(find_spec("xllamacpp") is None, reason="xllamacpp is not installed"),
]

KEY = "key-of-the-test"
REQUEST = ModelRequest(model="any", messages=(Message.user("Say hello."),), max_tokens=8)


@pytest.fixture(scope="module")
def address() -> Generator[str]:
    """Where the server listens, once it is ready."""
    weights.install()
    with subprocess.Popen(
        local._command(weights.SMOLLM2.path),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "AGENTRAIL_LOCAL_KEY": KEY},
        text=True,
    ) as server:
        assert server.stdout is not None
        assert server.stdin is not None
        yield server.stdout.readline().strip()
        server.stdin.close()


class OnLocal(ModelProviderContract):
    make: Callable[..., ModelProvider]
    root: str

    def made(self, address: str, key: str = KEY) -> ModelProvider:
        # The server closes a connection after a stream, though it says that it keeps it.
        limits = httpx.Limits(max_keepalive_connections=0)
        transport = httpx.AsyncHTTPTransport(limits=limits)
        return type(self).make("test", address + self.root, key, transport=transport)

    @pytest.fixture
    async def provider(self, address: str) -> AsyncGenerator[ModelProvider]:
        provider = self.made(address)
        await provider.start()
        yield provider
        await provider.stop()

    @pytest.fixture
    def model(self) -> str:
        return "any"

    @pytest.fixture
    def abilities(self) -> frozenset[Ability]:
        return frozenset({"usage"})

    async def test_a_wrong_key_is_told(self, address: str) -> None:
        provider = self.made(address, "wrong")
        await provider.start()
        with pytest.raises(ModelUnauthorized):
            await provider.complete(REQUEST)
        await provider.stop()

    async def test_too_long_a_conversation_is_told(self, provider: ModelProvider) -> None:
        with pytest.raises(ContextTooLong):
            await provider.complete(replace(REQUEST, messages=(Message.user("word " * 3000),)))


class TestResponses(OnLocal):
    make = OpenAIResponses
    root = "/v1"


class TestMessages(OnLocal):
    make = Anthropic
    root = ""
