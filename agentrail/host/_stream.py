"""A run that is read while it runs.

The run is a task of the host that sends into a bounded channel; a reader that is slow holds it
back.  No scope or task group of the reader's is open while it reads.
"""

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Self

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from attrs import define, field

from agentrail.errors import AgentrailError, HostNotRunning
from agentrail.events import Event
from agentrail.host._admit import admit
from agentrail.host._core import Core
from agentrail.host._turn import Turn
from agentrail.requests import ChatRequest, ChatResponse, Principal

_log = logging.getLogger("agentrail.host")

BUFFER = 64
"""Batches of events that may wait for the reader before the run waits for it."""


@define(slots=True, eq=False)
class RunStream:
    """The events of one run; open it with ``async with``, leave it early to cancel the run."""

    core: Core
    request: ChatRequest
    principal: Principal | None
    transport: str
    request_id: str
    _batches: MemoryObjectReceiveStream[Sequence[Event]] = field(init=False)
    _ready: deque[Event] = field(factory=deque[Event], init=False)
    _send: MemoryObjectSendStream[Sequence[Event]] = field(init=False)
    _turn: Turn | None = field(default=None, init=False)
    _scope: anyio.CancelScope = field(factory=anyio.CancelScope, init=False)
    _done: anyio.Event = field(factory=anyio.Event, init=False)
    _failure: AgentrailError | None = field(default=None, init=False)

    @property
    def status(self) -> int:
        """The HTTP status that an interceptor asked for, or 200."""
        return self._response.status

    @property
    def headers(self) -> Mapping[str, str]:
        """The HTTP headers that an interceptor asked for."""
        return self._response.headers

    @property
    def _response(self) -> ChatResponse:
        return (self._turn and self._turn.response) or ChatResponse()

    async def __aenter__(self) -> Self:
        """Begin the run, and return when its first event is there.

        Raises:
            AgentrailError: the run failed before its first event.
        """
        self.core.enter()
        opened = False
        try:
            admitted = await admit(
                self.core,
                self.request,
                kind="stream",
                transport=self.transport,
                principal=self.principal,
                request_id=self.request_id,
            )
            self._send, self._batches = anyio.create_memory_object_stream[Sequence[Event]](BUFFER)
            self._turn = Turn(self.core, admitted, self._show)
            self.core.spawn(partial(self._run, self._turn), f"turn {admitted.context.turn_id}")
            opened = await self._more()
        finally:
            if not opened:
                await self._leave()
        if not opened:
            raise self._failure or HostNotRunning("the host stopped before the turn began")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the run: one that has not committed is cancelled, its transcript is mended."""
        await self._leave()

    def __aiter__(self) -> Self:
        """Return the stream itself."""
        return self

    async def __anext__(self) -> Event:
        """Return the next event, or end after the terminal one."""
        if not self._ready and not await self._more():
            raise StopAsyncIteration
        return self._ready.popleft()

    async def _more(self) -> bool:
        """Wait for a batch of events; tell whether there was one."""
        try:
            self._ready.extend(await self._batches.receive())
        except anyio.EndOfStream:
            return False
        return True

    async def _leave(self) -> None:
        """End the run and wait until it has ended; it may never have begun."""
        if self._turn is not None:
            if not self._turn.journal.ended:
                self._scope.cancel()
            self._batches.close()
            with anyio.CancelScope(shield=True):
                await self._done.wait()
        else:
            self.core.leave()

    async def _show(self, events: Sequence[Event]) -> None:
        with suppress(anyio.BrokenResourceError):  # the reader has left, and is owed nothing
            await self._send.send(events)

    async def _run(self, turn: Turn) -> None:
        """Be the run's task."""
        try:
            with self._scope:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._trickle, turn)
                    await self._finish(turn)
                    await turn.journal.quiet()
                    group.cancel_scope.cancel()
        finally:
            self._send.close()
            self._done.set()
            self.core.leave()

    async def _finish(self, turn: Turn) -> None:
        try:
            await turn.run()
        except AgentrailError as error:
            self._failure = error

    async def _trickle(self, turn: Turn) -> None:
        try:
            await turn.journal.trickle()
        except AgentrailError as error:
            # What could not be written is tried again by the run, which then fails of it.
            _log.debug("a delta was left to the run: %s", error)
