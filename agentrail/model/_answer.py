"""What all answers have in common while their events arrive."""

from typing import Final, Protocol

import msgspec

from agentrail.errors import ModelProtocolError
from agentrail.ids import new_id
from agentrail.messages import ToolCall
from agentrail.model._sse import ServerSentEvent
from agentrail.requests import Delta, ModelReply

SHOWN: Final = 1000
"""How many characters of unreadable arguments are shown to the model that wrote them."""


class StreamFailure(Exception):
    """The upstream said in the middle of its answer that it failed; holds what it said."""


class Answer(Protocol):
    """A model's answer while its events arrive."""

    ended: bool
    """Whether the upstream said that the answer is whole."""

    def take(self, event: ServerSentEvent) -> Delta | None:
        """Take an event in and return what a reader sees of it, if anything.

        Raises:
            ModelProtocolError: it cannot be read.
            StreamFailure: it says that the upstream failed.
        """
        ...

    def reply(self) -> ModelReply:
        """Return the whole reply, once the stream has ended.

        Raises:
            ModelUnavailable: the stream ended before the answer did.
            ModelRefused: the upstream's filter cut the answer off.
        """
        ...


def unreadable(data: bytes, error: Exception) -> ModelProtocolError:
    """Return the error for an event whose data cannot be read."""
    shown = data[:100].decode(errors="replace")
    return ModelProtocolError(f"the upstream sent a chunk that cannot be read ({error}): {shown!r}")


def read_call(call_id: str, name: str, written: str) -> ToolCall:
    """Return the tool call that a model made; unreadable arguments are its fault, not an error."""
    call_id = call_id or new_id("call")
    if not name:
        return ToolCall(id=call_id, name="", invalid="the call names no tool")
    try:
        # No arguments at all is how some upstreams write that there are none.
        arguments = msgspec.json.decode(written or "{}", type=dict[str, object])
    except msgspec.DecodeError as error:
        shown = written if len(written) <= SHOWN else written[:SHOWN] + "…"
        invalid = f"the arguments are not a JSON object ({error}): {shown}"
        return ToolCall(id=call_id, name=name, invalid=invalid)
    return ToolCall(id=call_id, name=name, arguments=arguments)
