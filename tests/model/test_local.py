"""The real local model in its real child process; slow machines get wide limits."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from importlib.util import find_spec
from pathlib import Path

import anyio
import httpx
import pytest
from msgspec.structs import replace

from agentrail.errors import (
    ConfigError,
    ContextTooLong,
    ModelError,
    ModelNotFound,
    ModelUnavailable,
)
from agentrail.messages import Message
from agentrail.model import local, weights
from agentrail.model.local import LocalModel
from agentrail.requests import Delta, ModelReply, ModelRequest
from agentrail.testing.models import Ability, ModelProviderContract

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.timeout(300),
    pytest.mark.skipif(find_spec("xllamacpp") is None, reason="xllamacpp is not installed"),
]

NAME = "smollm2-135m"
REQUEST = ModelRequest(
    model=NAME,
    messages=(Message.user("Count from one to a hundred, in words."),),
    max_tokens=24,
    temperature=0.0,
)


@pytest.fixture(scope="module", autouse=True)
def _installed() -> None:
    weights.install()


@pytest.fixture
async def running() -> AsyncGenerator[LocalModel]:
    provider = LocalModel()
    await provider.start()
    try:
        yield provider
    finally:
        await provider.stop()


class TestContract(ModelProviderContract):
    """All on one child, which takes longer to start than to answer."""

    @pytest.fixture(scope="class", params=["asyncio", "trio"])
    @classmethod
    def anyio_backend(cls, request: pytest.FixtureRequest) -> str:
        backend: str = request.param
        return backend

    @pytest.fixture(scope="class")
    @classmethod
    async def provider(cls, anyio_backend: str) -> AsyncGenerator[LocalModel]:
        provider = LocalModel()
        await provider.start()
        try:
            yield provider
        finally:
            await provider.stop()

    @pytest.fixture
    def model(self) -> str:
        return NAME

    @pytest.fixture
    def abilities(self) -> frozenset[Ability]:
        return frozenset({"output", "usage"})

    async def test_four_calls_are_answered_at_once(self, provider: LocalModel) -> None:
        together = anyio.Event()
        answering: set[int] = set()
        replies: list[ModelReply] = []

        async def ask(number: int) -> None:
            async def emit(_delta: Delta) -> None:
                answering.add(number)
                if len(answering) == 4:
                    together.set()
                await together.wait()

            replies.append(await provider.complete(replace(REQUEST, emit=emit)))

        async with anyio.create_task_group() as tasks:
            for number in range(4):
                tasks.start_soon(ask, number)

        assert [reply.usage.output_tokens for reply in replies] == [24] * 4

    async def test_usage_and_stop_reason_are_the_models(self, provider: LocalModel) -> None:
        reply = await provider.complete(REQUEST)

        assert reply.stop_reason == "length"
        assert reply.usage.input_tokens > 10
        assert reply.usage.output_tokens == 24

    async def test_too_long_a_conversation_is_told_apart(self, provider: LocalModel) -> None:
        with pytest.raises(ContextTooLong):
            await provider.complete(replace(REQUEST, messages=(Message.user("word " * 3000),)))

    async def test_an_unknown_model_is_refused_with_the_known_ones(
        self, provider: LocalModel
    ) -> None:
        with pytest.raises(ModelNotFound, match=r"no local model 'gpt-5'; there are: smollm2-135m"):
            await provider.complete(replace(REQUEST, model="gpt-5"))

    async def test_a_cancelled_call_frees_its_slot(self, provider: LocalModel) -> None:
        at_work = 0
        await provider.complete(REQUEST)  # it may be the first, and the child on its way
        await idle(provider)
        with anyio.CancelScope() as scope:

            async def emit(_delta: Delta) -> None:
                nonlocal at_work
                at_work = await busy(provider)
                scope.cancel()

            await provider.complete(replace(REQUEST, max_tokens=1500, emit=emit))

        assert at_work == 1
        await idle(provider)


def pid(provider: LocalModel) -> int:
    assert provider._child is not None
    return provider._child.process.pid


async def gone(process: int) -> None:
    """Wait until a process, which need not be a child of this one, has ended."""
    try:
        handle = os.pidfd_open(process)
    except ProcessLookupError:
        return
    try:
        await anyio.wait_readable(handle)
    finally:
        os.close(handle)


async def busy(provider: LocalModel) -> int:
    """How many slots of the child are at work."""
    child = provider._child
    assert child is not None
    assert child.provider is not None
    headers = {"authorization": f"Bearer {child.key}"}
    async with httpx.AsyncClient(trust_env=False, headers=headers) as client:
        slots = await client.get(f"{child.provider.base_url}/../slots")
    return sum(slot["is_processing"] for slot in slots.json())


async def idle(provider: LocalModel) -> None:
    """Wait until no slot of the child is at work."""
    with anyio.fail_after(60):
        while await busy(provider):  # noqa: ASYNC110 (the child has no event to wait for)
            await anyio.sleep(0.01)


async def test_a_child_that_is_killed_under_a_call_fails_it_and_is_replaced(
    running: LocalModel,
) -> None:
    first = 0

    async def emit(_delta: Delta) -> None:
        nonlocal first
        if not first:
            first = pid(running)
            os.kill(first, signal.SIGKILL)

    with pytest.raises(ModelUnavailable):
        await running.complete(replace(REQUEST, max_tokens=1500, emit=emit))

    assert (await running.complete(REQUEST)).message.text
    assert pid(running) != first


async def test_a_child_that_died_between_calls_is_replaced(running: LocalModel) -> None:
    await running.complete(REQUEST)
    first = pid(running)
    os.kill(first, signal.SIGKILL)
    assert running._child is not None
    await running._child.process.wait()

    assert (await running.complete(REQUEST)).message.text
    assert pid(running) != first


async def test_a_child_that_does_not_get_ready_is_unavailable() -> None:
    provider = LocalModel(ready_seconds=0.0)
    await provider.start()
    try:
        with pytest.raises(ModelUnavailable, match="not ready within 0 s"):
            await provider.complete(REQUEST)
        provider.ready_seconds = 60.0
        assert (await provider.complete(REQUEST)).message.text
    finally:
        await provider.stop()


async def test_a_child_that_cannot_load_its_weights_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTRAIL_CACHE_DIR", str(tmp_path))
    with weights.SMOLLM2.path.open("wb") as file:
        file.truncate(weights.SMOLLM2.size)
    provider = LocalModel()
    await provider.start()
    try:
        with pytest.raises(ModelUnavailable, match="to see why, run it"):
            await provider.complete(REQUEST)
    finally:
        await provider.stop()


async def test_missing_weights_are_said_with_their_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTRAIL_CACHE_DIR", str(tmp_path))

    with pytest.raises(ConfigError, match="agentrail local install"):
        await LocalModel().start()


async def test_a_provider_that_is_stopped_has_no_child(running: LocalModel) -> None:
    await running.complete(REQUEST)
    child = pid(running)

    with anyio.CancelScope() as scope:
        scope.cancel()
        await running.stop()

    with anyio.fail_after(0):
        await gone(child)
    with pytest.raises(ModelError, match="'local' is not started"):
        await running.complete(REQUEST)


HOST = """
import anyio
from agentrail.model.local import LocalModel

async def main():
    provider = LocalModel()
    await provider.start()
    print(provider._child.process.pid, flush=True)
    await anyio.sleep_forever()

anyio.run(main, backend=%r)
"""


async def test_a_host_that_is_killed_leaves_no_child(anyio_backend_name: str) -> None:
    command = [sys.executable, "-c", HOST % anyio_backend_name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as host:  # noqa: ASYNC220
        assert host.stdout is not None
        child = int(host.stdout.readline())
        host.kill()
        host.wait()

    with anyio.fail_after(60):
        await gone(child)


@pytest.mark.parametrize("close", [("stdin",), ("stdout", "stdin")])
def test_a_child_ends_without_its_host_however_far_it_had_got(close: tuple[str, ...]) -> None:
    """While it loads: it has yet to print its address, and may find nobody there to read it."""
    command = local._command(weights.SMOLLM2.path)
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "AGENTRAIL_LOCAL_KEY": "x"},
    ) as child:
        for pipe in close:
            getattr(child, pipe).close()
        try:
            child.wait(60)
        finally:
            child.kill()

    assert child.returncode == 0


def test_a_host_without_the_bindings_is_told_how_to_get_them() -> None:
    """In a process that no longer looks where packages are installed."""
    code = """
import sys, anyio
from agentrail.errors import ConfigError
from agentrail.model.local import LocalModel

sys.path = [p for p in sys.path if "site-packages" not in p]
try:
    anyio.run(LocalModel().start)
except ConfigError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "pip install 'agentrail-host[local]'" in done.stdout
