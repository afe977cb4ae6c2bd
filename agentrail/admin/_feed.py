"""What happens to packages: its history, and as it happens."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from typing import Annotated, Final

import anyio
import msgspec
from msgspec import Meta
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from agentrail.admin._call import Call, Nothing, Seq
from agentrail.errors import RequestError
from agentrail.messages import Wire
from agentrail.registry import Events, PackageEvent
from agentrail.route import HEARTBEAT, reply, until_hang_up

FEED_SECONDS: Final = 600.0
"""After how long a feed ends: whoever reads on must be somebody who still may."""

MISSED: Final = 10_000
"""How many events are sent at most of those that a reader missed."""

EVENT_STREAM: Final = "text/event-stream"

_json = msgspec.json.Encoder()


class EventsQuery(Wire, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which events of a package are wanted."""

    type: Annotated[str | None, Meta(description="those of this type, as `enable`")] = None
    after: Annotated[Seq, Meta(description="those with greater numbers")] = 0
    limit: Annotated[int, Meta(ge=1, le=1_000, description="the last so many")] = 100


class AllEventsQuery(EventsQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which events are wanted."""

    plugin: Annotated[str | None, Meta(description="those of this package")] = None


class EventList(Wire, frozen=True, omit_defaults=False):
    """What happened, the oldest first."""

    events: Sequence[PackageEvent]


async def plugin_events(call: Call, query: EventsQuery, _body: Nothing) -> Response:
    """Show what happened to a package, or with `Accept: text/event-stream` what happens."""
    return await _events(call, query, call.name)


async def all_events(call: Call, query: AllEventsQuery, _body: Nothing) -> Response:
    """Show what happened to packages, or with `Accept: text/event-stream` what happens."""
    return await _events(call, query, query.plugin)


async def _events(call: Call, query: EventsQuery, package: str | None) -> Response:
    events = call.packages.events
    if EVENT_STREAM in call.request.headers.get("accept", "").lower():
        return Feed(events, package, query.type, _last(call, query.after))
    found = await events.history(
        package=package, kind=query.type, after=query.after, limit=query.limit
    )
    return reply(EventList(found))


def _last(call: Call, after: int) -> int | None:
    """Return the number of the event that a reader had last, or None for what comes from now on."""
    text = call.request.headers.get("last-event-id")
    if text is None:
        return after if "after" in call.request.query_params else None
    try:
        return msgspec.convert(text, Seq, strict=False)
    except msgspec.ValidationError as error:
        raise RequestError(f"Last-Event-ID must be a number, not {text[:80]!r}") from error


class Feed(Response):
    """Answers with the events of packages as they happen, until the client hangs up.

    It ends by itself after a while, and when the reader falls too far behind.
    """

    media_type = EVENT_STREAM

    def __init__(
        self,
        events: Events,
        package: str | None,
        kind: str | None,
        after: int | None,
        *,
        heartbeat: float = HEARTBEAT,
    ) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._events = events
        self._package = package
        self._kind = kind
        self._after = after
        self._heartbeat = heartbeat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Serve the feed."""
        with suppress(ClientDisconnect):
            await until_hang_up(receive, lambda: self._serve(send))

    async def _serve(self, send: Send) -> None:
        headers = self.raw_headers
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        with anyio.move_on_after(FEED_SECONDS):
            async with aclosing(self._frames()) as frames:
                async for frame in frames:
                    await send({"type": "http.response.body", "body": frame, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _frames(self) -> AsyncGenerator[bytes]:
        """Yield the events that were missed, and then those that come, each once."""
        async with self._events.feed() as coming:
            yield b": open\n\n"
            last = 0
            for missed in await self._missed():
                last = missed.seq
                yield _frame(missed)
            while True:
                event: PackageEvent | None = None
                try:
                    with anyio.move_on_after(self._heartbeat):
                        event = await coming.receive()
                except anyio.EndOfStream:
                    return
                if event is None:
                    yield b": keep-alive\n\n"
                elif event.seq > last and self._fits(event):
                    yield _frame(event)

    async def _missed(self) -> Sequence[PackageEvent]:
        if self._after is None:
            return ()
        return await self._events.history(
            package=self._package, kind=self._kind, after=self._after, limit=MISSED
        )

    def _fits(self, event: PackageEvent) -> bool:
        return self._package in (None, event.plugin) and self._kind in (None, event.type)


def _frame(event: PackageEvent) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (
        event.seq,
        event.type.encode(),
        _json.encode(event),
    )
