"""A run's events as a server-sent event stream."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import Final, TypeVar

import anyio
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from agentrail.events import Event, encode
from agentrail.requests import EventStream

HEARTBEAT: Final = 15.0
"""Seconds without an event after which a comment is sent, so that proxies keep the line open.

Source: the HTML standard advises about every 15 seconds,
https://html.spec.whatwg.org/multipage/server-sent-events.html#authoring-notes
"""

T = TypeVar("T")


def frame(event: Event) -> bytes:
    """Return the event as one frame: its id, its type, and all of it as one JSON object."""
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event.id, event.type.encode(), encode(event))


class StreamResponse(Response):
    """Answers with the events of a run, and leaves the run when the client hangs up.

    What goes wrong before the first event is raised, so that it becomes a plain HTTP problem.
    """

    media_type = "text/event-stream"

    def __init__(
        self, stream: AbstractAsyncContextManager[EventStream], heartbeat: float = HEARTBEAT
    ) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._stream = stream
        self._heartbeat = heartbeat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Serve the stream."""
        with suppress(ClientDisconnect):
            await until_hang_up(receive, lambda: self._serve(send))

    async def _serve(self, send: Send) -> None:
        async with self._stream as events:
            self.status_code = events.status
            self.headers.update(events.headers)
            await self._send_all(events, send)

    async def _send_all(self, events: EventStream, send: Send) -> None:
        start: Message = {
            "type": "http.response.start",
            "status": self.status_code,
            "headers": self.raw_headers,
        }
        await send(start)
        ended = False
        while not ended:
            body = b": keep-alive\n\n"
            with anyio.move_on_after(self._heartbeat):
                event = await anext(events, None)
                ended = event is None
                body = b"" if event is None else frame(event)
            await send({"type": "http.response.body", "body": body, "more_body": not ended})


async def until_hang_up(receive: Receive, call: Callable[[], Awaitable[T]]) -> T:
    """Return what ``call`` returns; when the client hangs up first, cancel it.

    Raises:
        ClientDisconnect: the client hung up.
    """
    results: list[T] = []
    failures: list[Exception] = []
    async with anyio.create_task_group() as group:

        async def listen() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            group.cancel_scope.cancel()

        group.start_soon(listen)
        try:
            results.append(await call())
        except Exception as error:  # noqa: BLE001 - boundary: ASGI edge; a group would wrap it
            failures.append(error)
        group.cancel_scope.cancel()
    if failures:
        raise failures[0]
    if not results:
        raise ClientDisconnect
    return results[0]
