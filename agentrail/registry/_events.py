"""What happens to packages: kept in a history, and told to whoever wants to know."""

import inspect
import logging
import threading
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Final

import anyio
import msgspec
from anyio.lowlevel import current_token
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from attrs import define, field

from agentrail.clock import Clock
from agentrail.errors import StorageError
from agentrail.hook import as_failure, thrown
from agentrail.registry._rows import PackageEvent, add_events, read_events
from agentrail.storage import Database

_log = logging.getLogger("agentrail.registry")

Handler = Callable[[PackageEvent], Awaitable[None] | None]
"""Is told of each event, in order; sync or async."""

WAITING: Final = 1_000
"""How many events may wait to be written; more are counted and dropped."""

PATIENCE: Final = 5.0
"""Seconds that a handler has for an event; one that takes longer is told no more."""

LONGEST: Final = 2_000
"""How many characters of a text are kept, and how many bytes of what comes with it."""

BEHIND: Final = 100
"""How many events a reader of the feed may be behind before it is cut off."""


@define(slots=True, eq=False)
class Events:
    """The events of a host's packages."""

    database: Database
    clock: Clock
    hide: Callable[[str, str], str] = field(default=lambda _, text: text)
    """Returns what may be shown of a text about the package of an id."""
    lost: int = field(default=0, init=False)
    """How many were dropped because too many came at once."""
    _waiting: deque[PackageEvent] = field(factory=deque[PackageEvent], init=False)
    _writing: anyio.Lock = field(factory=anyio.Lock, init=False)
    _some: anyio.Event = field(factory=anyio.Event, init=False)
    _thread: int | None = field(default=None, init=False)
    _post: Callable[[Callable[[], None]], object] | None = field(default=None, init=False)
    """Has the event loop call something soon, from another thread."""
    _handlers: list[Handler] = field(factory=list[Handler], init=False)
    _feeds: list[MemoryObjectSendStream[PackageEvent]] = field(
        factory=list[MemoryObjectSendStream[PackageEvent]], init=False
    )

    def emit(
        self,
        kind: str,
        package: str,
        version: str = "",
        *,
        message: str = "",
        error: str = "",
        metadata: Mapping[str, object] | None = None,
    ) -> None:
        """Note that something happened, from any thread; it is written and told soon after."""
        if len(self._waiting) >= WAITING:
            self.lost += 1
            return
        event = PackageEvent(
            0,
            self.clock.now(),
            package,
            version,
            kind,
            not error,
            _plain(self.hide(package, message)),
            _plain(self.hide(package, error)),
            _shown(metadata or {}, partial(self.hide, package)),
        )
        self._waiting.append(event)
        self._tell_some()

    def _tell_some(self) -> None:
        if self._post is None or self._thread == threading.get_ident():
            self._some.set()
        else:
            # Nobody waits for the loop, which may wait for this thread to end.
            with suppress(RuntimeError):  # the loop has ended
                self._post(self._some.set)

    def add_handler(self, handler: Handler) -> Callable[[], None]:
        """Have a function told of each event from now on; return what ends that."""
        self._handlers.append(handler)

        def end() -> None:
            if handler in self._handlers:
                self._handlers.remove(handler)

        return end

    async def history(
        self,
        *,
        package: str | None = None,
        kind: str | None = None,
        after: int = 0,
        limit: int = 100,
    ) -> Sequence[PackageEvent]:
        """Return the last events, the oldest of them first."""
        return await self.database.read(
            partial(read_events, package=package, kind=kind, after=after, limit=limit)
        )

    @asynccontextmanager
    async def feed(self) -> AsyncGenerator[MemoryObjectReceiveStream[PackageEvent]]:
        """Read the events that come from now on; who falls far behind finds the end."""
        send, receive = anyio.create_memory_object_stream[PackageEvent](BEHIND)
        self._feeds.append(send)
        try:
            with receive:
                yield receive
        finally:
            send.close()
            if send in self._feeds:
                self._feeds.remove(send)

    async def run(self) -> None:
        """Write and tell events, until cancelled."""
        self._thread, self._post = threading.get_ident(), _poster()
        while True:
            await self.flush()
            await self._some.wait()

    async def flush(self) -> None:
        """Write and tell what has come so far; what cannot be written waits for the next time."""
        async with self._writing:
            self._some = anyio.Event()
            batch = list(self._waiting)
            if not batch:
                return
            try:
                numbered = await self.database.write(partial(add_events, events=batch))
            except StorageError as error:
                _log.error("events of plugins were not written: %s", error.detail)
                return
            for _ in batch:
                self._waiting.popleft()
            for event in numbered:
                await self._tell(event)

    async def _tell(self, event: PackageEvent) -> None:
        for feed in list(self._feeds):
            try:
                feed.send_nowait(event)
            except (anyio.WouldBlock, anyio.BrokenResourceError):
                feed.close()
                self._feeds.remove(feed)
        for handler in list(self._handlers):
            with anyio.move_on_after(PATIENCE) as scope:
                await _call(handler, event)
            if scope.cancelled_caught and handler in self._handlers:
                _log.error("%r takes too long for plugin events, and is told no more", handler)
                self._handlers.remove(handler)


async def _call(handler: Handler, event: PackageEvent) -> None:
    try:
        told = handler(event)
        if inspect.isawaitable(told):
            await told
    except thrown() as error:  # boundary: observer
        failure = await as_failure("a handler of plugin events", error)
        _log.error("a handler of plugin events failed", exc_info=failure)


def _poster() -> Callable[[Callable[[], None]], object]:
    """Return what both backends have under names of their own, and anyio has no name for."""
    loop: Any = current_token().native_token
    post: Callable[[Callable[[], None]], object]
    post = getattr(loop, "call_soon_threadsafe", None) or loop.run_sync_soon
    return post


def _plain(text: str) -> str:
    """Return a text that can be stored."""
    return text[:LONGEST].encode(errors="replace").decode()


def _shown(metadata: Mapping[str, object], hide: Callable[[str], str]) -> Mapping[str, object]:
    """Return what can be stored of what comes with an event; a package may say anything."""
    try:
        written = hide(msgspec.json.encode(metadata, enc_hook=repr).decode()).encode()
        if len(written) <= LONGEST:
            return msgspec.json.decode(written, type=dict[str, object])
    except Exception:  # noqa: BLE001 - boundary: plugin
        written = b""
    return {"left_out": f"{len(written)} bytes" if written else "it is no JSON"}
