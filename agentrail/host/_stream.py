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

from agentrail.errors import AgentrailError, HostNotRunning, NotPending, TurnExists
from agentrail.events import TERMINAL, Event
from agentrail.hook import as_failure, thrown
from agentrail.host._admit import Caller
from agentrail.host._begin import begin, join
from agentrail.host._core import Core
from agentrail.host._live import Follow
from agentrail.host._problems import unexpected
from agentrail.host._turn import Turn
from agentrail.requests import ChatRequest, ChatResponse, Resume

_log = logging.getLogger("agentrail.host")

BUFFER = 64
"""Batches of events that may wait for the reader before the run waits for it."""


@define(slots=True, eq=False)
class RunStream:
    """The events of one run; open it with ``async with``, leave it early to cancel the run.

    A run whose request says that it may go on is left to the host instead.
    """

    core: Core
    request: ChatRequest | Resume
    caller: Caller
    _batches: MemoryObjectReceiveStream[Sequence[Event]] = field(init=False)
    _ready: deque[Event] = field(factory=deque[Event], init=False)
    _late: Sequence[Event] = field(default=(), init=False)
    """What the run stopped waiting to pass on, because it was cancelled there or is at its end."""
    _last: int = field(default=0, init=False)
    """The number of the last event that was passed on."""
    _send: MemoryObjectSendStream[Sequence[Event]] = field(init=False)
    _turn: Turn | None = field(default=None, init=False)
    _follow: Follow | None = field(default=None, init=False)
    """The events of a run that was asked for before, in place of one of its own."""
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
        begun = await begin(self.core, self.request, self.caller, self._show)
        if isinstance(begun, Follow):
            self._follow = begun
            return self
        self._send, self._batches = anyio.create_memory_object_stream[Sequence[Event]](BUFFER)
        self._turn = begun
        self.core.spawn(partial(self._run, begun), f"turn {begun.context.turn_id}")
        opened = False
        try:
            opened = await self._more()
        finally:
            if not opened:
                await self.__aexit__(None, None, None)
        if isinstance(self._failure, TurnExists):
            self._turn, self._follow = None, await join(self.core, begun)
        elif not opened:
            raise self._failure or _never_began(begun)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the run: one that has not committed is cancelled, its transcript is mended.

        One that may go on does, in the host.
        """
        if self.request.on_disconnect == "cancel":
            await self._leave()
        elif self._turn is not None:
            self._batches.close()

    def __aiter__(self) -> Self:
        """Return the stream itself."""
        return self

    async def __anext__(self) -> Event:
        """Return the next event, or end after the terminal one."""
        if self._follow is not None:
            return await anext(self._follow)
        if not self._ready and not await self._more():
            raise StopAsyncIteration
        return self._ready.popleft()

    async def _more(self) -> bool:
        """Wait for events; tell whether there were any."""
        while not self._ready:
            try:
                batch = await self._batches.receive()
            except anyio.EndOfStream:
                batch, self._late = self._late, ()
                if not batch:
                    return False
            # One may have been taken just as the run stopped waiting for that: it comes again.
            self._ready += [event for event in batch if event.id > self._last]
            self._last = batch[-1].id
        return True

    async def _leave(self) -> None:
        """End the run and wait until it has ended; it may never have begun."""
        if self._turn is not None:
            if not self._turn.journal.ended:
                self._scope.cancel()
            self._batches.close()
            with anyio.CancelScope(shield=True):
                await self._done.wait()

    async def _show(self, events: Sequence[Event]) -> None:
        """Pass on what was written; nothing of it is lost, however the run is ended meanwhile."""
        batch, self._late = [*self._late, *events], ()
        try:
            self._send.send_nowait(batch)
        except anyio.BrokenResourceError:
            return  # the reader has left, who is owed nothing
        except anyio.WouldBlock:
            await self._wait(batch)

    async def _wait(self, batch: Sequence[Event]) -> None:
        """Wait for a slow reader; a run that is being ended does not."""
        sent = False
        try:
            if not isinstance(batch[-1], TERMINAL):
                with suppress(anyio.BrokenResourceError):
                    await self._send.send(batch)
                sent = True
        finally:
            if not sent:
                self._late = batch

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
            turn.close()

    async def _finish(self, turn: Turn) -> None:
        try:
            await turn.run()
        except AgentrailError as error:
            self._failure = error
        except thrown() as error:  # boundary: ASGI edge - the host must go on
            failure = await as_failure("the turn", error)
            self._failure = unexpected(failure, turn.context.turn_id)

    async def _trickle(self, turn: Turn) -> None:
        try:
            await turn.journal.trickle()
        except Exception as error:  # noqa: BLE001 - boundary: plugin - it may hold anything
            # What could not be written is tried again by the run, which then fails of it.
            _log.debug("a delta was left to the run: %s", error)


def _never_began(turn: Turn) -> AgentrailError:
    """Return why a run ended without an event or a failure of its own."""
    if turn.ending == "cancelled":
        return NotPending(f"turn {turn.context.turn_id!r} was cancelled before it went on")
    return HostNotRunning("the host stopped before the turn began")
