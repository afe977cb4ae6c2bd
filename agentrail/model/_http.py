"""What the providers behind an HTTP API have in common."""

import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from functools import cache
from typing import Final

import anyio
import httpx
from attrs import define, field

from agentrail.errors import ConfigError, ModelError, ModelProtocolError, ModelUnavailable
from agentrail.model._answer import Answer, StreamFailure
from agentrail.model._sse import EventParser
from agentrail.model._upstream_errors import ReasoningRefused, upstream_error
from agentrail.requests import Delta, ModelReply
from agentrail.secret import Hider, credentials_in, is_ordinary
from agentrail.telemetry import outgoing

CONNECT_SECONDS: Final = 10.0
SEND_SECONDS: Final = 30.0
END_SECONDS: Final = 1.0
"""How long the connection of a finished answer may take to become free again."""

OK: Final = 200
ERROR_BYTES: Final = 1 << 16
"""How much of an upstream's explanation is read."""

LIMITS: Final = httpx.Limits(max_connections=512, max_keepalive_connections=64)


@define(eq=False, kw_only=True)
class HTTPProvider:
    """A model provider with one HTTP client, open from ``start`` to ``stop``."""

    name: str
    base_url: str | None = field(default=None, repr=False)
    api_key: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(factory=dict[str, str], repr=False)
    """Headers for every request."""
    body: Mapping[str, object] = field(factory=dict[str, object], repr=False)
    """Fields for every request's body; objects are joined with the request's own."""
    read_seconds: float = field(default=300.0, repr=False)
    """How long the upstream may be silent, before its answer and within it."""
    transport: httpx.AsyncBaseTransport | None = field(default=None, repr=False)
    """What carries the requests, and is closed by ``stop``; None means httpx's own."""
    _client: httpx.AsyncClient | None = field(default=None, init=False, repr=False)
    _key: str = field(default="", init=False, repr=False)
    _hide: Hider = field(factory=Hider, init=False, repr=False)
    """Hides the key and who asks, should the upstream repeat them."""

    async def stop(self) -> None:
        """Close the connection pool."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def _address(self, default: str, url_variable: str, key_variable: str) -> str:
        """Read the key and return the base URL, of the provider or else of the environment."""
        base_url, key = self.base_url, self.api_key
        if base_url is None:
            base_url = os.environ.get(url_variable, "").strip() or default
            key = os.environ.get(key_variable) if key is None else key
        base_url = base_url.rstrip("/")
        self._key = (key or "").strip()
        for secret in (self._key, *credentials_in(base_url)):
            if not is_ordinary(secret):  # as the name of a program, which takes any key
                self._hide.add(secret, "***")
        if not self._key and base_url == default:
            message = f"model provider {self.name!r} has no key: set {key_variable} or api_key"
            raise ConfigError(message)
        if not (self._key.isascii() and self._key.isprintable()):
            message = f"the key of model provider {self.name!r} is not printable ASCII"
            raise ConfigError(message)
        if not base_url.startswith(("http://", "https://")):
            message = f"the base URL of model provider {self.name!r} is not http:// or https://"
            raise ConfigError(message)
        return base_url

    def _bearer(self) -> Mapping[str, str]:
        return {"authorization": f"Bearer {self._key}"} if self._key else {}

    def _open(self, base_url: str, headers: Mapping[str, str]) -> None:
        """Open the connection pool; nothing is sent yet."""
        try:
            self._client = httpx.AsyncClient(
                base_url=base_url,
                headers={
                    "accept": "text/event-stream",
                    # A compressed stream arrives in lumps.
                    "accept-encoding": "identity",
                    "content-type": "application/json",
                    **headers,
                    **self.headers,
                },
                timeout=httpx.Timeout(
                    SEND_SECONDS, connect=CONNECT_SECONDS, read=self.read_seconds
                ),
                limits=LIMITS,
                # A transport has its own.
                verify=True if self.transport else _certificates(),
                transport=self.transport,
            )
        except (ValueError, httpx.InvalidURL) as error:
            message = f"model provider {self.name!r} cannot be set up: {error}"
            raise ConfigError(message) from error

    async def _ask_signed(
        self,
        path: str,
        body: Callable[[str], bytes],
        answer: Callable[[str], Answer],
        emit: Callable[[Delta], Awaitable[None]],
    ) -> ModelReply:
        """Return the answer to a POST of a ``body`` with the reasoning that this provider signed.

        When the upstream behind its name is another one by now, it is asked again without.

        Args:
            path: where.
            body: the body with the reasoning of a source.
            answer: an answer that has its reasoning from a source.
            emit: who reads.
        """
        try:
            return await self._ask(path, body(self.name), answer(self.name), emit)
        except ReasoningRefused:
            return await self._ask(path, body(""), answer(self.name), emit)

    async def _ask(
        self, path: str, body: bytes, answer: Answer, emit: Callable[[Delta], Awaitable[None]]
    ) -> ModelReply:
        """Return the answer to a POST of ``body``, its pieces having been emitted."""
        client = self._client
        if client is None:
            message = f"model provider {self.name!r} is not started"
            raise ModelError(message)
        post = client.build_request("POST", path, content=body, headers=outgoing())
        response = await self._send(client, post)
        try:
            kind = response.headers.get("content-type", "").lower()
            encoding = response.headers.get("content-encoding", "identity")
            if response.status_code != OK or "text/event-stream" not in kind:
                raise await self._refusal(response)
            if encoding != "identity":
                message = f"model provider {self.name!r} answered in {encoding}, unasked"
                raise ModelProtocolError(message)
            return await self._read(response, answer, emit)
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

    async def _read(
        self, response: httpx.Response, answer: Answer, emit: Callable[[Delta], Awaitable[None]]
    ) -> ModelReply:
        parser, pieces, patience = EventParser(), response.aiter_raw(), 0.0
        try:
            while piece := await self._next(pieces):
                for event in parser.feed(piece):
                    delta = answer.take(event)
                    if delta is not None:
                        await emit(delta)
                    elif answer.ended:
                        patience = END_SECONDS
                        return answer.reply()
            return answer.reply()
        except StreamFailure as failure:
            raise self._failed(None, failure.args[0], {}) from None
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
        why = self._hide(why)
        if isinstance(error, httpx.TransportError):
            return ModelUnavailable(
                f"model provider {self.name!r} cannot be reached, or broke off: {why}"
            )
        return ModelProtocolError(f"model provider {self.name!r} answered unreadably: {why}")

    def _failed(self, status: int | None, body: bytes, headers: Mapping[str, str]) -> ModelError:
        who = f"model provider {self.name!r}"
        return upstream_error(who, status, body, headers, hide=self._hide)

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
            return self._failed(
                None if status == OK else status, body[:ERROR_BYTES], response.headers
            )
        kind = response.headers.get("content-type", "nothing in particular")
        message = f"model provider {self.name!r} answered with {kind} instead of an event stream"
        return ModelProtocolError(message)


@cache
def _certificates() -> ssl.SSLContext:
    """Return what all providers check their upstreams with; it takes time to load."""
    return httpx.create_ssl_context()


async def _leave(pieces: AsyncIterator[bytes], patience: float) -> None:
    """Read an answer to its end, for so many seconds; its connection can be used again then.

    With no patience the reading is cancelled at once.  That too ends httpx's generators, which lie
    inside each other: closing the outermost would leave the others to the garbage collector.
    """
    with anyio.move_on_after(patience), suppress(httpx.HTTPError):
        async for _ in pieces:
            pass
