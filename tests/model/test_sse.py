"""The server-sent events parser, however its input is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentrail.errors import ModelProtocolError
from agentrail.model._sse import EventParser


def parse(*pieces: bytes, limit: int = 1 << 20) -> list[tuple[str, bytes]]:
    parser = EventParser(limit)
    return [(event.event, event.data) for piece in pieces for event in parser.feed(piece)]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\n", [("message", b"a")]),
        (b"data:a\n\n", [("message", b"a")]),
        (b"data:  a\n\n", [("message", b" a")]),
        (b"data: a: b\n\n", [("message", b"a: b")]),
        (b"data: a\r\n\r\n", [("message", b"a")]),
        (b"data: a\r\r", [("message", b"a")]),
        (b"data: a\rdata: b\r\n\n", [("message", b"a\nb")]),
        (b"data: a\ndata\ndata: b\n\n", [("message", b"a\n\nb")]),
        (b"data\n\n", [("message", b"")]),
        (b"data:\ndata:\n\n", [("message", b"\n")]),
        (b": ping\n\ndata: a\n: ping\n\n", [("message", b"a")]),
        (b"event: error\ndata: a\n\ndata: b\n\n", [("error", b"a"), ("message", b"b")]),
        (b"event: lost\n\ndata: b\n\n", [("message", b"b")]),
        (b"id: 7\nretry: 10\nunknown: x\ndata: a\n\n", [("message", b"a")]),
        (b"\xef\xbb\xbfdata: a\n\n", [("message", b"a")]),
        (b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [("message", b"a")]),
        (b"Data: a\n\n data: a\n\n", []),
        (b"\n\n\r\n\r\r", []),
        (b"data: cut off", []),
        (b"data: cut off\n", []),
        (b"data: caf\xc3\xa9\xe2\x80\xa8x\x0b\x0c\x85\n\n",
         [("message", b"caf\xc3\xa9\xe2\x80\xa8x\x0b\x0c\x85")]),
    ],
)  # fmt: skip
def test_a_stream_has_the_events_that_the_standard_says(
    stream: bytes, events: list[tuple[str, bytes]]
) -> None:
    assert parse(stream) == events
    assert parse(*[stream[i : i + 1] for i in range(len(stream))]) == events


LINES = st.sampled_from(
    [
        b"data: a",
        b"data:",
        b"data",
        b"data:\xc3\xa9: b",
        b"event: e",
        b"event",
        b": c",
        b"x: y",
        b"",
    ]
)
ENDS = st.sampled_from([b"\n", b"\r", b"\r\n"])


@given(
    st.sampled_from([b"", b"\xef\xbb\xbf"]),
    st.lists(st.tuples(LINES, ENDS).map(b"".join), max_size=30),
    st.data(),
)
def test_the_events_do_not_depend_on_how_the_stream_is_cut(
    begin: bytes, lines: list[bytes], data: st.DataObject
) -> None:
    stream = begin + b"".join(lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]

    assert parse(*pieces) == parse(stream)


@given(
    st.lists(
        st.lists(st.binary(max_size=8).filter(lambda b: not {10, 13} & set(b)), min_size=1),
        max_size=8,
    ),
    ENDS,
)
def test_what_is_written_is_read(events: list[list[bytes]], end: bytes) -> None:
    stream = b"".join(
        [b"".join([b"data: " + line + end for line in lines]) + end for lines in events]
    )

    assert parse(stream) == [("message", b"\n".join(lines)) for lines in events]


@given(st.binary(max_size=200), st.integers(1, 20))
def test_no_bytes_make_it_fail(stream: bytes, size: int) -> None:
    pieces = [stream[i : i + size] for i in range(0, len(stream), size)]

    assert parse(*pieces) == parse(stream)


@pytest.mark.parametrize(
    "pieces",
    [
        [b"data: " + b"x" * 100 + b"\n\n"],
        [b"x" * 60, b"x" * 60],
        [b"data: " + b"x" * 30 + b"\n"] * 4,
        [b"data\n" * 200],
        [b": " + b"x" * 60, b"x" * 60],
    ],
)
def test_an_event_over_the_limit_is_refused(pieces: list[bytes]) -> None:
    with pytest.raises(ModelProtocolError, match="more than 100 bytes"):
        parse(*pieces, limit=100)


def test_many_events_within_the_limit_are_not_refused() -> None:
    assert len(parse(b"data: " + b"x" * 90 + b"\n\n", *[b"data: y\n\n"] * 100, limit=100)) == 101
