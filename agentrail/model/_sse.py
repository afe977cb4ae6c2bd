"""Server-sent events, read without I/O.

Source: the HTML standard, "Server-sent events", section 9.2.6 (interpreting an event stream).
"""

from codecs import BOM_UTF8
from typing import Final

from msgspec import Struct

from agentrail.errors import ModelProtocolError

DEFAULT_LIMIT: Final = 4 << 20
"""The most bytes that one event may hold."""


class ServerSentEvent(Struct, frozen=True, gc=False):
    """One event: its type, ``message`` unless the stream says otherwise, and its undecoded data."""

    event: str
    data: bytes


class EventParser:
    """Turns the bytes of an event stream, however they are cut, into its events.

    Ids and reconnection times are read over: a model call is not resumed.  An event that the end
    of the stream cuts off is dropped, as the standard has it.

    Args:
        limit: the most bytes that one event, or one line, may hold.
    """

    __slots__ = ("_after_cr", "_begun", "_data", "_event", "_limit", "_partial", "_size")

    def __init__(self, limit: int = DEFAULT_LIMIT) -> None:
        self._limit = limit
        self._partial = bytearray()
        self._data: list[bytes] = []
        self._event = b""
        self._size = 0
        self._begun = False
        self._after_cr = False

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        """Return the events that ``data`` completes, in order.

        Raises:
            ModelProtocolError: an event or a line is over the limit.
        """
        events: list[ServerSentEvent] = []
        for line in self._lines(data):
            if not line:
                if self._data:
                    events.append(self._take())
                self._event = b""
                continue
            name, _, value = line.partition(b":")
            if name == b"data":
                self._add(value.removeprefix(b" "))
            elif name == b"event":
                self._event = value.removeprefix(b" ")
        return events

    def _lines(self, data: bytes) -> list[bytes]:
        """Return the lines that ``data`` ends, without their ends."""
        if self._after_cr and data:
            # The carriage return ended its line already; this is the other half of a CRLF.
            data = data.removeprefix(b"\n")
            self._after_cr = False
        # A line in pieces is joined once, at its end: its cost does not grow with their number.
        if b"\n" not in data and b"\r" not in data:
            self._keep(data)
            return []
        if self._partial:
            data = bytes(self._partial) + data
            self._partial.clear()
        self._after_cr = data.endswith(b"\r")
        lines = data.splitlines()
        if not data.endswith((b"\n", b"\r")):
            self._keep(lines.pop())
        if not self._begun:
            self._begun = True
            lines[0] = lines[0].removeprefix(BOM_UTF8)
        return lines

    def _keep(self, piece: bytes) -> None:
        self._partial += piece
        if len(self._partial) > self._limit:
            self._refuse()

    def _add(self, value: bytes) -> None:
        self._size += len(value) + 1
        if self._size > self._limit:
            self._refuse()
        self._data.append(value)

    def _take(self) -> ServerSentEvent:
        data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
        self._data.clear()
        self._size = 0
        event = self._event.decode(errors="replace") if self._event else "message"
        return ServerSentEvent(event, data)

    def _refuse(self) -> None:
        message = f"the upstream sent an event of more than {self._limit} bytes"
        raise ModelProtocolError(message)
