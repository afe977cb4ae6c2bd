"""A small model on this machine, in a process of its own."""

import os
import secrets
import ssl
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from subprocess import DEVNULL
from typing import Final

import anyio
import httpx
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream
from attrs import define, field

from agentrail.errors import ConfigError, ModelError, ModelNotFound, ModelUnavailable
from agentrail.extras import pip_install
from agentrail.model import weights
from agentrail.model.openai import OpenAICompatible
from agentrail.requests import ModelReply, ModelRequest

SILENT_SECONDS: Final = 600.0
"""How long a call may wait for a free slot, or for the model to read its prompt."""
END_SECONDS: Final = 5.0
"""How long the process may take to end before it is killed."""
DEATH_SECONDS: Final = 1.0
"""How long a call that broke off waits to see whether the process has died."""
ADDRESS_BYTES: Final = 200


@define(eq=False)
class _Child:
    """A server process and, once it is ready, the provider that asks it."""

    process: Process
    key: str
    output: BufferedByteReceiveStream
    provider: OpenAICompatible | None = None


@define(eq=False)
class LocalModel:
    """A model provider whose models run on this machine, for trying out and for tests.

    The models are those of ``agentrail.model.weights``, served by a child process, one thread of it
    computing.  A child that died is replaced at the next call.

    Raises:
        ConfigError: on ``start``, when the weights or the ``[local]`` extra are missing.
    """

    name: str = "local"
    ready_seconds: float = field(default=60.0, kw_only=True)
    """How long a call may wait for the child to load the model."""
    _child: _Child | None = field(default=None, init=False, repr=False)
    _lock: anyio.Lock = field(factory=anyio.Lock, init=False, repr=False)

    async def start(self) -> None:
        """Launch the child and return; the first call waits until it is ready."""
        async with self._lock:
            self._child = await _launch()

    async def stop(self) -> None:
        """End the child: ask it to, then kill it; also when this is cancelled."""
        child, self._child = self._child, None
        if child is not None:
            await _end(child)

    async def complete(self, request: ModelRequest) -> ModelReply:
        """Answer one request; see ``ModelProvider``.

        Raises:
            ModelError: one of its leaves.
        """
        if request.model not in weights.MODELS:
            known = ", ".join(weights.MODELS)
            message = f"there is no local model {request.model!r}; there are: {known}"
            raise ModelNotFound(message)
        child, provider = await self._ready()
        try:
            return await provider.complete(request)
        except ModelUnavailable:
            # A connection breaks before its process is known to be dead.
            with anyio.move_on_after(DEATH_SECONDS):
                await child.process.wait()
            raise

    async def _ready(self) -> tuple[_Child, OpenAICompatible]:
        """Return the child and its provider, launched anew if it died, as soon as it is ready."""
        with anyio.move_on_after(self.ready_seconds):
            async with self._lock:
                child = self._child
                if child is None:
                    message = f"model provider {self.name!r} is not started"
                    raise ModelError(message)
                if child.process.returncode is not None:
                    await _end(child)
                    child = self._child = await _launch()
                if child.provider is None:
                    child.provider = await _connect(child, self.name)
                return child, child.provider
        message = f"the local model was not ready within {self.ready_seconds:g} s; try again"
        raise ModelUnavailable(message)


async def _launch() -> _Child:
    file = weights.installed()
    if file is None:
        message = f"the weights of the local model are not installed: {weights.INSTALL}"
        raise ConfigError(message)
    if find_spec("xllamacpp") is None:
        message = f"xllamacpp, which runs the local model, is missing: {pip_install('local')}"
        raise ConfigError(message)
    key = secrets.token_hex()
    process = await anyio.open_process(
        _command(file),
        stderr=DEVNULL,
        env={**os.environ, "AGENTRAIL_LOCAL_KEY": key},
        # An interrupt at the terminal is for the host, which ends the child when its turns ended.
        start_new_session=True,
    )
    if process.stdout is None:
        message = "the local model's process has no output"
        raise ModelError(message)
    return _Child(process, key, BufferedByteReceiveStream(process.stdout))


def _command(file: Path) -> list[str]:
    # By its path, and nothing beside it importable: the child needs nothing else of this package.
    return [sys.executable, "-P", str(Path(__file__).with_name("local_server.py")), str(file)]


async def _connect(child: _Child, name: str) -> OpenAICompatible:
    """Return a provider for the child, once it says where it listens; the model is loaded then."""
    try:
        address = await child.output.receive_until(b"\n", ADDRESS_BYTES)
    except (anyio.IncompleteRead, anyio.DelimiterNotFound) as error:
        message = (
            "the local model's process ended before it was ready; to see why, run it: "
            f"AGENTRAIL_LOCAL_KEY=x {' '.join(_command(weights.SMOLLM2.path))}"
        )
        raise ModelUnavailable(message) from error
    provider = OpenAICompatible(
        name,
        address.decode().strip() + "/v1",
        child.key,
        read_seconds=SILENT_SECONDS,
        # Neither a proxy nor certificates, which take time to load, have a part in this.  And the
        # server closes a connection after a stream, though it says that it keeps it.
        transport=httpx.AsyncHTTPTransport(
            verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            limits=httpx.Limits(max_keepalive_connections=0),
        ),
    )
    await provider.start()
    return provider


async def _end(child: _Child) -> None:
    with anyio.CancelScope(shield=True):
        if child.provider is not None:
            await child.provider.stop()
        process = child.process
        with suppress(ProcessLookupError):
            process.terminate()
        with anyio.move_on_after(END_SECONDS):
            await process.wait()
        with suppress(ProcessLookupError):
            process.kill()
        await process.aclose()
