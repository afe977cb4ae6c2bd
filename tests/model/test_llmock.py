"""Our providers and an upstream that others wrote: llmock, in a process of its own."""

import re
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from random import Random

import httpx
import pytest

from agentrail import AppConfig, ChatRequest, MemorySessionStore, Profile, create_app
from agentrail.errors import (
    ContextTooLong,
    ModelError,
    ModelNotFound,
    ModelProtocolError,
    ModelUnauthorized,
    ModelUnavailable,
    Overloaded,
    QuotaExhausted,
    RateLimited,
)
from agentrail.messages import Message
from agentrail.middleware import retry
from agentrail.model import ModelProvider
from agentrail.requests import Delta, ModelRequest
from agentrail.testing.models import QUESTION, WEATHER, Ability, ModelProviderContract
from tests.model.upstream import Json
from tests.model.wires import CHAT, FORMATS, KEY, MESSAGES, RESPONSES, Format

pytestmark = pytest.mark.anyio

REQUEST = ModelRequest(model="m", messages=(Message.user("one two three four five"),))
WINDOW = 4000
ROOTS = {"chat": "/v1", "responses": "/v1", "messages": "/anthropic"}


@pytest.fixture(scope="module")
def llmock() -> Generator[str]:
    """The address of a running llmock."""
    command = Path(sys.executable).with_name("llmock")
    with subprocess.Popen(
        [command, "serve", "--port=0", "--response-style=echo", f"--context-window={WINDOW}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            assert server.stderr is not None
            log: list[str] = []
            for line in server.stderr:
                log.append(line)
                if found := re.search(r"running on (http://\S+)", line):
                    yield found[1]
                    break
            else:
                raise AssertionError("".join(log))
        finally:
            server.terminate()


@pytest.fixture
def address(llmock: str) -> str:
    """The address, with nothing planned and nothing recorded."""
    httpx.post(f"{llmock}/_llmock/reset", trust_env=False).raise_for_status()
    return llmock


def plan(address: str, *behaviors: Json) -> None:
    """Let the next requests meet this, one after another."""
    url = f"{address}/_llmock/scenario"
    httpx.post(url, json={"behaviors": behaviors}, trust_env=False).raise_for_status()


def verdict(address: str) -> Json:
    """Return what llmock thinks of how it was asked."""
    judged: Json = httpx.get(f"{address}/_llmock/verdict", trust_env=False).json()
    return judged


def made(spoken: Format, address: str) -> ModelProvider:
    return spoken.make("test", address + ROOTS[spoken.name], KEY)


@pytest.fixture(params=FORMATS, ids=lambda spoken: str(spoken.name))
async def provider(request: pytest.FixtureRequest, address: str) -> AsyncGenerator[ModelProvider]:
    provider = made(request.param, address)
    await provider.start()
    yield provider
    await provider.stop()


class OnLlmock(ModelProviderContract):
    spoken: Format
    knows: frozenset[Ability] = frozenset({"tools", "output", "images", "usage"})

    @pytest.fixture
    async def provider(self, address: str) -> AsyncGenerator[ModelProvider]:
        provider = made(self.spoken, address)
        await provider.start()
        yield provider
        await provider.stop()

    @pytest.fixture
    def model(self) -> str:
        return "m"

    @pytest.fixture
    def abilities(self) -> frozenset[Ability]:
        return self.knows


class TestChat(OnLlmock):
    spoken = CHAT


class TestResponses(OnLlmock):
    spoken = RESPONSES


class TestMessages(OnLlmock):
    spoken = MESSAGES
    # It does not know ``output_config``.
    knows = frozenset({"tools", "images", "usage"})


async def failure(provider: ModelProvider) -> tuple[ModelError, str]:
    """Return the error of a call, and what was emitted before; the next call is answered."""
    seen: list[str] = []

    async def emit(delta: Delta) -> None:
        seen.append(delta.text)

    with pytest.raises(ModelError) as caught:
        await provider.complete(ModelRequest(model="m", messages=REQUEST.messages, emit=emit))
    assert (await provider.complete(REQUEST)).message.text
    return caught.value, "".join(seen)


async def test_a_rate_limit_says_when_to_come_back(provider: ModelProvider, address: str) -> None:
    plan(address, {"type": "fail", "status": 429, "retry_after": 7})

    caught, _ = await failure(provider)

    assert (type(caught), caught.retry_after) == (RateLimited, 7.0)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, ModelError),
        (401, ModelUnauthorized),
        (402, QuotaExhausted),
        (403, ModelUnauthorized),
        (404, ModelNotFound),
        (408, Overloaded),
        (413, ContextTooLong),
        (429, RateLimited),
        (500, Overloaded),
        (503, Overloaded),
        (529, Overloaded),
    ],
)
async def test_a_status_is_its_error(
    provider: ModelProvider, address: str, status: int, expected: type[ModelError]
) -> None:
    plan(address, {"type": "fail", "status": status})

    assert type((await failure(provider))[0]) is expected


async def test_a_prompt_over_the_window_is_too_long(provider: ModelProvider) -> None:
    asked = ModelRequest(model="m", messages=(Message.user("word " * WINDOW * 2),))

    with pytest.raises(ContextTooLong):
        await provider.complete(asked)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("disconnect", ModelUnavailable),
        ("truncate", ModelUnavailable),
        ("malformed", ModelProtocolError),
    ],
)
async def test_a_broken_stream_is_never_taken_for_an_answer(
    provider: ModelProvider, address: str, kind: str, expected: type[ModelError]
) -> None:
    plan(address, {"type": "stream_fault", "kind": kind, "after_chunks": 6})

    caught, seen = await failure(provider)

    assert type(caught) is expected
    assert "five" not in seen


@pytest.mark.parametrize(
    ("kind", "name"),
    [("malformed_arguments", "get_weather"), ("unknown_tool", "llmock_unknown_tool")],
)
async def test_a_broken_call_is_the_models_fault(
    provider: ModelProvider, address: str, kind: str, name: str
) -> None:
    plan(address, {"type": "tool_fault", "kind": kind})
    asked = ModelRequest(model="m", messages=(QUESTION,), tools=(WEATHER,), tool_choice="required")

    (call,) = (await provider.complete(asked)).message.tool_calls

    assert call.name == name
    assert bool(call.invalid) == (kind == "malformed_arguments")


class Longest(Random):
    """Draws the longest wait each time: llmock takes what comes at once for another call."""

    def uniform(self, a: float, b: float) -> float:
        return b


async def test_llmock_finds_nothing_wrong_with_how_a_host_tries_again(
    provider: ModelProvider, address: str
) -> None:
    plan(
        address,
        {"type": "fail", "status": 429, "retry_after": 0.2},
        {"type": "stream_fault", "kind": "truncate", "after_chunks": 1},
        {"type": "stream_fault", "kind": "disconnect", "after_chunks": 1},
    )
    config = AppConfig(
        profiles=[Profile(id="assistant", model="test:m")],
        providers=[provider],
        model_middleware=[retry(4, base=0.05, random=Longest())],
        store=MemorySessionStore(),
    )

    async with create_app(config).host as host:
        answer = await host.chat(ChatRequest("one two three"))

    assert answer.message
    judged = verdict(address)
    assert judged["errors"] == 0, judged["findings"]
    assert (judged["calls"], judged["attempts"], judged["faults_injected"]) == (1, 4, 3)
