from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from agentrail.events import (
    AttachmentsAdded,
    Event,
    MessageDelta,
    MessageEnd,
    MessageRecorded,
    MessageStart,
    SessionReset,
    TurnError,
    TurnStart,
)
from agentrail.messages import Message, Part, Text, ToolCall, ToolResult, Usage
from agentrail.session import Transcript, closing_events, recorded, unanswered

ALL = 1_000_000_000


def call(*names: str) -> MessageRecorded:
    calls: tuple[Part, ...] = tuple(ToolCall(id=name, name=name) for name in names)
    return recorded(Message.assistant(calls), "t")


def result(*names: str) -> MessageRecorded:
    parts = tuple(ToolResult(call_id=name, name=name, content=f"{name} done") for name in names)
    return recorded(Message(role="tool", parts=parts), "t")


def user(text: str, turn_id: str = "t") -> MessageRecorded:
    return recorded(Message.user(text), turn_id)


def note(text: str) -> MessageRecorded:
    return recorded(Message.system(text), "t")


def model(text: str) -> MessageRecorded:
    return recorded(Message.assistant(text), "t")


def shape(messages: Sequence[Message]) -> list[str]:
    """Tells messages in a few letters: a text, `+` and calls, `-` and results."""
    return [
        message.text
        + "".join(
            f"+{part.id}"
            if isinstance(part, ToolCall)
            else f"-{part.call_id}"
            if isinstance(part, ToolResult)
            else ""
            for part in message.parts
        )
        for message in messages
    ]


def test_a_result_without_its_call_is_left_out() -> None:
    events = [user("q"), call("a"), result("a", "x"), result("a"), result("y"), model("end")]

    assert shape(Transcript(events).window(ALL)) == ["q", "+a", "-a", "end"]


def test_a_call_without_a_result_gets_one_that_says_so() -> None:
    events = [user("q"), call("a", "b"), result("b"), user("r")]

    window = Transcript(events).window(ALL)

    assert shape(window) == ["q", "+a+b", "-b", "-a", "r"]
    (closing,) = window[3].parts
    assert isinstance(closing, ToolResult)
    assert closing.outcome == "cancelled"


def test_calls_of_the_turn_that_runs_stay_open() -> None:
    assert shape(Transcript([user("q"), call("a")]).window(ALL)) == ["q", "+a"]


def test_a_note_within_a_tool_round_comes_after_it() -> None:
    events = [user("q"), call("a", "b"), note("n"), result("a"), note("m"), result("b"), model("e")]

    assert shape(Transcript(events).window(ALL)) == ["q", "+a+b", "-a", "-b", "n", "m", "e"]


def test_a_reset_forgets_calls_and_notes_too() -> None:
    events = [user("q"), call("a"), note("n"), SessionReset(), result("a"), model("x"), user("r")]

    assert shape(Transcript(events).window(ALL)) == ["r"]


def test_a_window_that_was_handed_out_does_not_change() -> None:
    transcript = Transcript([user("q")])
    window = transcript.window(ALL)

    transcript.add(AttachmentsAdded(text="file", tokens=1, turn_id="t"))
    transcript.add(model("a"))

    assert shape(window) == ["q"]
    assert shape(transcript.window(ALL)) == ["file\n\nq", "a"]


entries = st.one_of(
    st.builds(user, st.text(max_size=40)),
    st.builds(model, st.text(max_size=40)),
    st.builds(note, st.text(max_size=40)),
    st.lists(st.sampled_from("abc"), min_size=1, max_size=2, unique=True).map(lambda n: call(*n)),
    st.lists(st.sampled_from("abc"), min_size=1, max_size=2, unique=True).map(lambda n: result(*n)),
    st.just(AttachmentsAdded(text="file", tokens=5, turn_id="t")),
    st.just(SessionReset()),
)


@given(st.lists(entries, max_size=25), st.integers(0, 200))
def test_any_events_make_a_window_that_a_model_takes(events: list[Event], tokens: int) -> None:
    window = Transcript(events).window(tokens)

    open_calls: list[str] = []
    if window:
        assert window[0].role in {"user", "system"}
    for message in window:
        if message.role == "tool":
            for part in message.parts:
                assert isinstance(part, ToolResult)
                open_calls.remove(part.call_id)
        else:
            assert open_calls == []
            open_calls += [each.id for each in message.tool_calls]
    assert (
        window
        == Transcript(events).window(ALL)[len(Transcript(events).window(ALL)) - len(window) :]
    )


@given(st.lists(entries, max_size=25), st.integers(0, 200))
def test_a_window_keeps_to_its_tokens(events: list[Event], tokens: int) -> None:
    transcript = Transcript(events)

    smaller, larger = transcript.window(tokens), transcript.window(tokens + 1)

    assert len(smaller) <= len(larger)
    added = sum(event.tokens for event in events if isinstance(event, AttachmentsAdded))
    assert sum(recorded(message).tokens for message in smaller) <= tokens + 4 * added


def test_what_had_begun_to_arrive_is_kept_and_the_turn_ends() -> None:
    events: list[Event] = [
        TurnStart(turn_id="t", session_id="s"),
        MessageStart(turn_id="t"),
        MessageDelta(turn_id="t", text="first try"),
        MessageStart(turn_id="t"),
        MessageDelta(turn_id="t", text="one", reasoning="hidden"),
        MessageDelta(turn_id="t", text=" two"),
    ]

    message, error = closing_events(events, code="interrupted", detail="why")

    assert isinstance(message, MessageRecorded)
    assert message.message.parts == (Text("one two"),)
    assert message.message.stop_reason == "error"
    assert isinstance(error, TurnError)
    assert (error.code, error.detail, error.retryable) == ("interrupted", "why", True)
    assert {(event.turn_id, event.session_id) for event in (message, error)} == {("t", "s")}


def test_an_answer_that_was_recorded_is_not_kept_twice() -> None:
    events = [TurnStart(turn_id="t"), MessageDelta(turn_id="t", text="one"), model("one")]

    (error,) = closing_events(events, code="interrupted", detail="why")

    assert isinstance(error, TurnError)


def test_open_calls_are_answered_before_what_came_after_them() -> None:
    events = [TurnStart(turn_id="t"), call("a", "b"), result("b"), MessageDelta(text="and")]

    closing = closing_events(events, code="interrupted", detail="why")

    assert shape(Transcript([user("q"), *events, *closing]).window(ALL)) == [
        "q",
        "+a+b",
        "-b",
        "-a",
        "and",
    ]


def test_a_turn_that_is_closed_tells_what_its_last_run_used() -> None:
    one = MessageEnd(turn_id="t", usage=Usage(input_tokens=1, output_tokens=2))
    events = [TurnStart(turn_id="t"), one, TurnStart(turn_id="t"), one, one]

    error = closing_events(events, code="interrupted", detail="why")[-1]

    assert isinstance(error, TurnError)
    assert error.usage == Usage(input_tokens=2, output_tokens=4)


def test_a_log_without_a_turn_needs_no_closing() -> None:
    assert closing_events([user("q"), call("a")], code="interrupted", detail="why") == ()


def test_only_calls_without_a_result_are_unanswered() -> None:
    assert [each.call_id for each in unanswered([call("a", "b"), result("a")])] == ["b"]
