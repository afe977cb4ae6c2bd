from collections.abc import Sequence

from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from agentrail.events import (
    AttachmentsAdded,
    ContextCompacted,
    Event,
    MessageDelta,
    MessageEnd,
    MessageRecorded,
    MessageStart,
    SessionReset,
    ToolEnd,
    ToolStart,
    TurnError,
    TurnStart,
)
from agentrail.messages import Message, Part, Text, ToolCall, ToolResult, Usage
from agentrail.session import Transcript, call_ends, closing_events, recorded

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

    assert shape(window) == ["q", "+a+b", "-a", "-b", "r"]
    (closing,) = window[2].parts
    assert isinstance(closing, ToolResult)
    assert closing.outcome == "cancelled"


def test_results_stand_in_the_order_of_their_calls() -> None:
    events = [user("q"), call("c", "a", "b"), result("b"), result("a"), result("c"), model("e")]

    assert shape(Transcript(events).window(ALL)) == ["q", "+c+a+b", "-c", "-a", "-b", "e"]


def test_results_that_share_a_message_stand_in_the_order_of_their_calls_too() -> None:
    log = [user("q"), call("a", "b", "c"), result("b"), result("c", "a"), model("done")]

    assert shape(Transcript(log).window(ALL)) == ["q", "+a+b+c", "-a", "-b", "-c", "done"]


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


@given(st.lists(entries, max_size=25), st.integers(0, 200))
def test_a_smaller_window_is_the_end_of_a_larger_one(events: list[Event], tokens: int) -> None:
    # A user's message closes what is open: a note that waits for a call is in no window with it.
    whole = Transcript([*events, user("")])

    window, larger = whole.window(tokens), whole.window(ALL)

    assert window == larger[len(larger) - len(window) :]


@given(st.lists(entries, max_size=25), st.integers(0, 200))
@example([user(""), call("a", "b"), user("")], 46)
@example([user(""), call("a", "b"), result("a", "b")], 17)
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
        MessageStart(turn_id="t", message_id="t.2"),
        MessageDelta(turn_id="t", message_id="t.2", text="one", reasoning="hidden"),
        MessageDelta(turn_id="t", message_id="t.2", text=" two"),
    ]

    message, error = closing_events(events, code="interrupted", detail="why")

    assert isinstance(message, MessageRecorded)
    assert message.message.parts == (Text("one two"),)
    assert (message.message.id, message.message.stop_reason) == ("t.2", "error")
    assert isinstance(error, TurnError)
    assert (error.code, error.detail, error.retryable) == ("interrupted", "why", True)
    assert {(event.turn_id, event.session_id) for event in (message, error)} == {("t", "s")}


def test_a_turn_that_came_with_a_key_cannot_be_asked_for_with_it_again() -> None:
    (error,) = closing_events(
        [TurnStart(turn_id="t", fingerprint="f")], code="interrupted", detail="why"
    )

    assert isinstance(error, TurnError)
    assert (error.retryable, error.detail.startswith("why; the idempotency key")) == (False, True)


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
        "-a",
        "-b",
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


def begun(call_id: str, step: int = 1) -> ToolStart:
    return ToolStart(turn_id="t", step=step, call_id=call_id, name=call_id)


def test_only_calls_without_a_result_are_ended() -> None:
    (entry,) = call_ends([call("a", "b"), result("a")])

    assert isinstance(entry, MessageRecorded)
    assert shape([entry.message]) == ["-b"]


def test_of_the_calls_that_are_closed_those_that_began_get_their_end_and_no_others() -> None:
    events = [TurnStart(turn_id="t"), call("a", "b", "c"), begun("a"), result("a"), begun("b", 2)]

    results, end, error = closing_events(events, code="interrupted", detail="why")

    assert isinstance(results, MessageRecorded)
    assert shape([results.message]) == ["-b-c"]
    assert isinstance(end, ToolEnd)
    assert (end.call_id, end.name, end.outcome, end.step) == ("b", "b", "cancelled", 2)
    assert "may have had its effects" in end.content
    assert isinstance(error, TurnError)


def test_a_call_with_the_id_of_one_that_began_before_it_has_not_begun() -> None:
    events = [call("a"), begun("a"), result("a"), call("a")]

    assert [event.type for event in call_ends(events)] == ["message"]


def test_a_summary_covers_calls_that_are_open_and_their_results() -> None:
    entries = [user("q"), call("a"), note("n"), ContextCompacted(until=3, summary="s")]
    later = [note("m"), result("a"), user("r"), model("done")]
    log = [replace(event, id=number) for number, event in enumerate([*entries, *later], 1)]

    (summary, *rest) = Transcript(log).window(ALL)

    assert summary.text.endswith("s")
    assert shape(rest) == ["m", "r", "done"]


def test_what_waits_for_results_outlives_a_summary_of_what_came_before() -> None:
    entries = [user("q"), call("a"), note("n"), ContextCompacted(until=2, summary="s"), user("r")]
    log = [replace(event, id=number) for number, event in enumerate(entries, 1)]

    assert shape(Transcript(log).window(ALL)[1:]) == ["n", "r"]
