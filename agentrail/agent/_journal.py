"""What a run writes and shows: first into the session's log, then to its reader."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import anyio
from attrs import define, field
from msgspec.structs import replace

from agentrail.clock import Clock
from agentrail.events import (
    TERMINAL,
    Event,
    MessageDelta,
    MessageRecorded,
    RunRecorded,
    ToolStart,
)
from agentrail.hook import Account
from agentrail.messages import NO_USAGE, Message, Part, StopReason, Text, Usage
from agentrail.requests import Delta
from agentrail.session import Lease, SessionStore, call_ends, recorded

COALESCE: Final = 0.04
"""Seconds between two deltas of one answer; people cannot see faster, and each is a log entry."""

Reader = Callable[[Sequence[Event]], Awaitable[None]]
"""Takes the events that a client reads, in order; it may wait, which holds the run back."""


@define(slots=True)
class Journal:
    """The events of one run.

    Without a reader, as in ``chat``, only what has to be kept is written.  Without a lease, as for
    an intercepted answer, nothing is written and the events count from 1.
    """

    turn_id: str
    session_id: str
    clock: Clock
    reader: Reader | None = None
    store: SessionStore | None = None
    lease: Lease | None = None
    step: int = 0
    usage: Usage = NO_USAGE
    ended: bool = False
    """Whether the run's terminal event is written."""
    is_taken: bool = field(default=False, init=False)
    """Whether events were taken to open the log with, and it is not known to be open."""
    _pending: list[Event] = field(factory=list[Event])
    _kept: list[Event] = field(factory=list[Event])
    """The messages of the turn, and the beginnings of its tool calls."""
    on_written: Callable[[], None] | None = None
    """Is told each time that events were written."""
    account: Account | None = None
    """Sums the run up; its record is kept right before the terminal event."""
    _record: RunRecorded | None = None
    """The run's one record, once it is made."""
    _message_id: str = ""
    _pieces: list[str] = field(factory=list[str])
    """The text of the answer that is arriving."""
    _unsent: list[Delta] = field(factory=list[Delta])
    _sent_at: float = 0.0
    _count: int = 0
    _waiting: anyio.Event = field(init=False)
    _trickling: anyio.CancelScope = field(init=False)
    _writing: anyio.Lock | None = field(default=None, init=False)
    _durable: int = field(default=0, init=False)
    """How many of those that are kept are written."""

    def __attrs_post_init__(self) -> None:
        """Prepare for the trickle of deltas, which there is with a reader."""
        if self.reader is not None:
            self._waiting = anyio.Event()
            self._trickling = anyio.CancelScope()
            self.share()

    def share(self) -> None:
        """Prepare for being written to by several tasks at a time."""
        if self._writing is None:
            self._writing = anyio.Lock(fast_acquire=True)

    def take(self) -> Sequence[Event]:
        """Return what was added and not written, for the store to write as it opens the log."""
        taken, self._pending, self.is_taken = self._pending, [], True
        return taken

    async def open(self, store: SessionStore, lease: Lease) -> None:
        """Go on in a session's log, whose opening events are the run's first ones."""
        self.store, self.lease, self._durable = store, lease, len(self._kept)
        self.is_taken = False
        await self._shown(lease.opening)

    def take_up(self, events: Sequence[Event]) -> None:
        """Go on with a turn, of which ``events`` are what its runs before have logged."""
        self._kept = [event for event in events if isinstance(event, MessageRecorded | ToolStart)]
        self.step = max((event.step for event in events), default=0)

    @property
    def tokens(self) -> int:
        """What the messages take that the run has recorded."""
        return sum([entry.window_tokens for entry in self._kept])

    @property
    def is_blank(self) -> bool:
        """Whether nothing has happened yet that a log or a reader should see the end of."""
        return self._count == 0 and not self._pending

    def add(self, event: Event, *, keep: bool = False) -> None:
        """Put an event at the end of what the next ``flush`` writes.

        Without a reader, what is for one alone is left out, unless it says ``keep``.
        """
        if self.reader is not None:
            self._settle_deltas()
        elif event.audience == "reader" and not keep:
            return
        if isinstance(event, ToolStart):
            self._kept.append(event)
        self._pending.append(
            replace(event, turn_id=self.turn_id, session_id=self.session_id, step=self.step)
        )

    def end(self, event: Event) -> None:
        """Put a terminal event at the end, after the record of the run."""
        if self.reader is not None:
            self._settle_deltas()
        account, self.account = self.account, None  # a run has one record
        if account is not None and self.lease is not None:
            now = self.clock.monotonic()
            self._record = account.record(self.turn_id, self.session_id, now)
        if self._record is not None:  # also one that was made before, and could not be written
            self._pending.append(self._record)
        self.add(event)

    def record(self, message: Message) -> int:
        """Keep a whole message, and return its tokens; an answer that was arriving has arrived."""
        if message.role == "assistant":
            self._pieces.clear()
        entry = recorded(message)
        self._kept.append(entry)
        self.add(entry)
        return entry.tokens

    def begin_message(self, message_id: str) -> None:
        """Let the deltas that follow belong to this message."""
        self._message_id = message_id
        self._pieces.clear()

    async def delta(self, delta: Delta) -> None:
        """Take a piece of an answer; it is written and shown within ``COALESCE`` seconds."""
        self._pieces.append(delta.text)
        if self.account is not None and self.account.first_text is None and delta.text:
            self.account.first_text = self.clock.monotonic()
        if self.reader is None:
            return
        self._unsent.append(delta)
        if self.clock.monotonic() - self._sent_at >= COALESCE:
            await self.flush()
        elif not self._waiting.is_set():
            self._waiting.set()

    @property
    def arriving(self) -> bool:
        """Whether any text of the present message has arrived."""
        return bool(self._pieces)

    async def flush(self) -> None:
        """Write what was added, then show it; what could not be written is written next time.

        Raises:
            SessionError: it could not be written.
        """
        if self._writing is None:
            await self._flush()
            return
        async with self._writing:
            self._settle_deltas()
            await self._flush()

    async def _flush(self) -> None:
        batch, self._pending, kept = self._pending, [], len(self._kept)
        if not batch:
            return
        written: Sequence[Event] = ()
        try:
            written = await self._write(batch)
        finally:
            if written or (self.lease is not None and self.lease.written is batch):
                self._durable, self.ended = kept, isinstance(batch[-1], TERMINAL)
            else:
                self._pending[:0] = batch
        await self._shown(written)

    async def show_unwritten(self) -> None:
        """Show the reader what the log would not take."""
        self.lease = None
        await self.flush()

    async def trickle(self) -> None:
        """Flush deltas that no later one pushes out, until the transcript is mended."""
        with self._trickling:
            while True:
                await self._waiting.wait()
                await anyio.sleep(COALESCE)
                self._waiting = anyio.Event()
                await self.flush()

    async def quiet(self) -> None:
        """Wait until nothing is being written, so that ``trickle`` can be cancelled."""
        if self._writing is not None:
            async with self._writing:
                pass

    def mend(self, stop_reason: StopReason) -> None:
        """Leave a transcript that can go on: keep a partial answer, end every tool call."""
        if self.reader is not None:
            self._trickling.cancel()  # it may be waiting for the reader, whom nobody waits for now
        self._settle_deltas()
        last = (RunRecorded, *TERMINAL)
        self._pending = [event for event in self._pending if not isinstance(event, last)]
        partial = "".join(self._pieces)
        if partial and self.lease is not None:
            parts: tuple[Part, ...] = (Text(partial),)
            self.record(
                Message(role="assistant", parts=parts, id=self._message_id, stop_reason=stop_reason)
            )
        for event in call_ends(self._kept):
            self._kept.append(event)
            self.add(event)

    def forget(self) -> None:
        """Let go of all that is not written, for it cannot be."""
        self._pending.clear()
        self._unsent.clear()
        self._pieces.clear()
        del self._kept[self._durable :]

    def _settle_deltas(self) -> None:
        """Turn the pieces that were not sent yet into as few events as they fit in."""
        if not self._unsent:
            return
        unsent, self._unsent = self._unsent, []
        reasoning = "".join([delta.reasoning for delta in unsent])
        text = "".join([delta.text for delta in unsent])
        self._pending.append(
            MessageDelta(
                turn_id=self.turn_id,
                session_id=self.session_id,
                step=self.step,
                message_id=self._message_id,
                text=text,
                reasoning=reasoning,
            )
        )

    async def _write(self, batch: Sequence[Event]) -> Sequence[Event]:
        if self.lease is not None and self.store is not None:
            return await self.store.append(self.lease, batch)
        return [replace(event, id=number) for number, event in enumerate(batch, self._count + 1)]

    async def _shown(self, events: Sequence[Event]) -> None:
        """Note that events are written, and pass on what a client may read of them."""
        self._count = events[-1].id
        self.ended = isinstance(events[-1], TERMINAL)
        if self.on_written is not None:
            self.on_written()
        if self.reader is None:
            return
        self._sent_at = self.clock.monotonic()
        shown = [event for event in events if event.audience != "log"]
        if shown:
            await self.reader(shown)
