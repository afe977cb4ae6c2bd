"""Models behind the chat completions API, which most upstreams speak."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Final

import anyio
import httpx
from attrs import define, field

from agentrail.errors import (
    ConfigError,
    ModelError,
    ModelProtocolError,
    ModelUnavailable,
)
from agentrail.model._openai_answer import Answer, read_chunk
from agentrail.model._openai_errors import upstream_error
from agentrail.model._openai_request import Dialect, request_body
from agentrail.model._sse import EventParser
from agentrail.requests import ModelReply, ModelRequest

OPENAI: Final = "https://api.openai.com/v1"

CONNECT_SECONDS: Final = 10.0
SEND_SECONDS: Final = 30.0
END_SECONDS: Final = 1.0
"""How long the connection of a finished answer may take to become free again."""

OK: Final = 200
ERROR_BYTES: Final = 1 << 16
"""How much of an upstream's explanation is read."""

LIMITS: Final = httpx.Limits(max_connections=512, max_keepalive_connections=64)


@define(eq=False)
class OpenAICompatible:
    """A model provider for an upstream with the chat completions API.

    ``input_tokens`` of its usage includes what the upstream read from its cache.

    Raises:
        ConfigError: on ``start``, when key or base URL are missing or unusable.
    """

    name: str = "openai"
    base_url: str | None = field(default=None, repr=False)
    """Where ``/chat/completions`` is; None means ``OPENAI_BASE_URL``, or else OpenAI itself."""
    api_key: str | None = field(default=None, repr=False)
    """The bearer token.  None means ``OPENAI_API_KEY`` if ``base_url`` is None too, or else no key:
    a key from the environment never goes to another upstream than the environment's."""
    headers: Mapping[str, str] = field(factory=dict[str, str], kw_only=True, repr=False)
    """Headers for every request."""
    body: Mapping[str, object] = field(factory=dict[str, object], kw_only=True, repr=False)
    """Fields for every request's body, such as ``reasoning_effort``."""
    max_tokens_field: str | None = field(default=None, kw_only=True, repr=False)
    """What the upstream calls the token limit; None means ``max_completion_tokens`` for OpenAI
    itself and ``max_tokens`` for everybody else."""
    reasoning_field: str | None = field(default=None, kw_only=True, repr=False)
    """Where an assistant's message takes its reasoning back; None does not send it."""
    read_seconds: float = field(default=120.0, kw_only=True, repr=False)
    """How long the upstream may be silent, before its answer and within it."""
    transport: httpx.AsyncBaseTransport | None = field(default=None, kw_only=True, repr=False)
    """What carries the requests, and is closed by ``stop``; None means httpx's own."""
    _client: httpx.AsyncClient | None = field(default=None, init=False, repr=False)
    _dialect: Dialect = field(init=False, repr=False)
    _key: str = field(default="", init=False, repr=False)

    async def start(self) -> None:
        """Read the environment and open the connection pool; nothing is sent yet."""
        base_url, key = self.base_url, self.api_key
        if base_url is None:
            base_url = os.environ.get("OPENAI_BASE_URL", "").strip() or OPENAI
            key = os.environ.get("OPENAI_API_KEY") if key is None else key
        self._key = self._checked_key((key or "").strip(), base_url)
        self._dialect = Dialect(
            max_tokens=self.max_tokens_field
            or ("max_completion_tokens" if base_url == OPENAI else "max_tokens"),
            reasoning=self.reasoning_field,
            body=self.body,
        )
        headers = {
            "accept": "text/event-stream",
            # A compressed stream arrives in lumps.
            "accept-encoding": "identity",
            "content-type": "application/json",
            **({"authorization": f"Bearer {self._key}"} if self._key else {}),
            **self.headers,
        }
        try:
            self._client = httpx.AsyncClient(
                base_url=self._checked_url(base_url),
                headers=headers,
                timeout=httpx.Timeout(
                    SEND_SECONDS, connect=CONNECT_SECONDS, read=self.read_seconds
                ),
                limits=LIMITS,
                transport=self.transport,
            )
        except (ValueError, httpx.InvalidURL) as error:
            message = f"model provider {self.name!r} cannot be set up: {error}"
            raise ConfigError(message) from error

    def _checked_key(self, key: str, base_url: str) -> str:
        if not key and base_url == OPENAI:
            message = f"model provider {self.name!r} has no key: set OPENAI_API_KEY or api_key"
            raise ConfigError(message)
        if not (key.isascii() and key.isprintable()):
            message = f"the key of model provider {self.name!r} is not printable ASCII"
            raise ConfigError(message)
        return key

    def _checked_url(self, url: str) -> str:
        if url.startswith(("http://", "https://")):
            return url
        message = f"the base URL of model provider {self.name!r} is not http:// or https://"
        raise ConfigError(message)

    async def stop(self) -> None:
        """Close the connection pool."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def complete(self, request: ModelRequest) -> ModelReply:
        """Answer one request; see ``ModelProvider``.

        Raises:
            ModelError: one of its leaves.
        """
        client = self._client
        if client is None:
            message = f"model provider {self.name!r} is not started"
            raise ModelError(message)
        post = client.build_request(
            "POST", "chat/completions", content=request_body(request, self._dialect)
        )
        response = await self._send(client, post)
        try:
            kind = response.headers.get("content-type", "").lower()
            encoding = response.headers.get("content-encoding", "identity")
            if response.status_code != OK or "text/event-stream" not in kind:
                raise await self._refusal(response)
            if encoding != "identity":
                message = f"model provider {self.name!r} answered in {encoding}, unasked"
                raise ModelProtocolError(message)
            return await self._read(response, request)
        finally:
            await response.aclose()

    async def _send(self, client: httpx.AsyncClient, post: httpx.Request) -> httpx.Response:
        """Return the head of the answer."""
        try:
            # A connection that was used before may be closed by now: nothing came, so ask again.
            with suppress(httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
                return await client.send(post, stream=True)
            return await client.send(post, stream=True)
        except httpx.HTTPError as error:
            raise self._broken(error) from error

    async def _read(self, response: httpx.Response, request: ModelRequest) -> ModelReply:
        parser, answer, emit = EventParser(), Answer(), request.emit
        pieces, patience = response.aiter_raw(), 0.0
        try:
            while piece := await self._next(pieces):
                for event in parser.feed(piece):
                    data = event.data
                    if data == b"[DONE]":
                        patience = END_SECONDS
                        return answer.reply()
                    if not data:
                        continue
                    if event.event == "error":
                        raise self._error(data)
                    chunk = read_chunk(data)
                    if chunk.error is not None:
                        raise self._error(data)
                    delta = answer.add(chunk)
                    if delta is not None:
                        await emit(delta)
            # Some upstreams do not say that they are done; the finish reason decides.
            return answer.reply()
        finally:
            await _leave(pieces, patience)

    async def _next(self, pieces: AsyncIterator[bytes]) -> bytes | None:
        """Return the next bytes of the answer; None at its end."""
        # Only around httpx, never around ``emit``: its errors are not the upstream's.
        try:
            return await anext(pieces, None)
        except httpx.HTTPError as error:
            raise self._broken(error) from error

    def _broken(self, error: httpx.HTTPError) -> ModelError:
        """Return our error for one of httpx's."""
        why = f"{type(error).__name__} {error}".strip()
        why = why.replace(self._key, "***") if self._key else why
        if isinstance(error, httpx.TransportError):
            return ModelUnavailable(
                f"model provider {self.name!r} cannot be reached, or broke off: {why}"
            )
        return ModelProtocolError(f"model provider {self.name!r} answered unreadably: {why}")

    def _error(self, body: bytes) -> ModelError:
        return upstream_error(f"model provider {self.name!r}", None, body, {}, secret=self._key)

    async def _refusal(self, response: httpx.Response) -> ModelError:
        """Return the error that an answer without a stream means."""
        body, pieces = b"", response.aiter_raw()
        try:
            while len(body) < ERROR_BYTES and (piece := await self._next(pieces)):
                body += piece
        finally:
            await _leave(pieces, 0.0)
        status = response.status_code
        if status != OK or b'"error"' in body:
            return upstream_error(
                f"model provider {self.name!r}",
                None if status == OK else status,
                body[:ERROR_BYTES],
                response.headers,
                secret=self._key,
            )
        kind = response.headers.get("content-type", "nothing in particular")
        message = f"model provider {self.name!r} answered with {kind} instead of an event stream"
        return ModelProtocolError(message)


async def _leave(pieces: AsyncIterator[bytes], patience: float) -> None:
    """Read an answer to its end, for so many seconds; its connection can be used again then.

    With no patience the reading is cancelled at once.  That too ends httpx's generators, which lie
    inside each other: closing the outermost would leave the others to the garbage collector.
    """
    with anyio.move_on_after(patience), suppress(httpx.HTTPError):
        async for _ in pieces:
            pass
