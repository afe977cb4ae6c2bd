"""What every model provider keeps to, as tests."""

from typing import get_args

import anyio.lowlevel
from msgspec.structs import replace

from agentrail.messages import Message, StopReason
from agentrail.model import ModelProvider
from agentrail.requests import Delta, ModelReply, ModelRequest


class _Stop(Exception):
    """What a reader raises that wants no more."""


class ModelProviderContract:
    """The tests that a model provider passes, whatever is behind it.

    A subclass has two pytest fixtures: ``provider``, which yields a started provider and stops it,
    and ``model``, the name of a model of its that answers with a text of at least two pieces each
    time that it is asked.  The tests are async: mark the module with ``pytest.mark.anyio``.
    """

    async def test_the_pieces_are_the_reply(self, provider: ModelProvider, model: str) -> None:
        """What was emitted is the reply's text, piece by piece."""
        reader = _Reader()

        reply = await provider.complete(_request(model, reader))

        assert len(reader.pieces) > 1
        assert "".join(reader.pieces) == reply.message.text
        _check(reply)

    async def test_a_reply_needs_no_reader(self, provider: ModelProvider, model: str) -> None:
        """A request with no ``emit`` of its own gets a whole reply."""
        _check(await provider.complete(_request(model)))

    async def test_the_next_piece_waits_for_the_reader(
        self, provider: ModelProvider, model: str
    ) -> None:
        """``emit`` is awaited: it is never entered twice at a time."""
        inside = most = 0

        async def emit(_delta: Delta) -> None:
            nonlocal inside, most
            inside += 1
            most = max(most, inside)
            await anyio.lowlevel.checkpoint()
            inside -= 1

        await provider.complete(replace(_request(model), emit=emit))

        assert (inside, most) == (0, 1)

    async def test_calls_at_the_same_time_do_not_mix(
        self, provider: ModelProvider, model: str
    ) -> None:
        """Each of two concurrent calls gets its own pieces."""
        readers = [_Reader(), _Reader()]
        replies: list[ModelReply | None] = [None, None]

        async def ask(number: int) -> None:
            replies[number] = await provider.complete(_request(model, readers[number]))

        async with anyio.create_task_group() as calls:
            for number in range(2):
                calls.start_soon(ask, number)

        for reader, reply in zip(readers, replies, strict=True):
            assert reply is not None
            assert "".join(reader.pieces) == reply.message.text

    async def test_a_failing_reader_ends_the_call(
        self, provider: ModelProvider, model: str
    ) -> None:
        """What ``emit`` raises comes out as it is, and the provider goes on."""

        async def emit(_delta: Delta) -> None:
            raise _Stop

        try:
            await provider.complete(replace(_request(model), emit=emit))
        except _Stop:
            pass
        else:
            raise AssertionError("the reader's error was lost")
        _check(await provider.complete(_request(model)))

    async def test_a_cancelled_call_ends(self, provider: ModelProvider, model: str) -> None:
        """A call that is cancelled in the middle ends there, and the provider goes on."""
        pieces: list[Delta] = []

        with anyio.CancelScope() as scope:

            async def emit(delta: Delta) -> None:
                pieces.append(delta)
                scope.cancel()
                await anyio.lowlevel.checkpoint()

            await provider.complete(replace(_request(model), emit=emit))

        assert scope.cancelled_caught
        assert len(pieces) == 1
        _check(await provider.complete(_request(model)))

    async def test_a_stopped_provider_starts_again(
        self, provider: ModelProvider, model: str
    ) -> None:
        """``stop`` may come twice, and ``start`` may follow it."""
        await provider.stop()
        await provider.stop()
        await provider.start()

        _check(await provider.complete(_request(model)))


class _Reader:
    """Reads a streamed answer."""

    def __init__(self) -> None:
        self.pieces: list[str] = []

    async def __call__(self, delta: Delta) -> None:
        assert delta.text or delta.reasoning
        if delta.text:
            self.pieces.append(delta.text)


def _request(model: str, reader: _Reader | None = None) -> ModelRequest:
    question = Message.user("Count from one to five.")
    request = ModelRequest(model=model, messages=(question,), max_tokens=24, temperature=0.0)
    return request if reader is None else replace(request, emit=reader)


def _check(reply: ModelReply) -> None:
    assert reply.message.role == "assistant"
    assert reply.message.text
    assert reply.stop_reason in get_args(StopReason)
    assert reply.stop_reason not in {"cancelled", "error"}
    assert reply.usage.input_tokens >= 0
    assert reply.usage.output_tokens >= 0
