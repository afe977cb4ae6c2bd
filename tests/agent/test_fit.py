"""How the messages of a long turn are kept within a model's window."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from agentrail import Image, Message, Part, Text, ToolCall, ToolResult
from agentrail.agent import fit
from agentrail.messages import estimate_tokens

DOT = Image(mime_type="image/png", data=b"x")


def result(text: str, *images: Image) -> Message:
    part = ToolResult(call_id="c", name="look", content=text, images=images)
    return Message(role="tool", parts=(part,))


def of(message: Message) -> ToolResult:
    (part,) = message.parts
    assert isinstance(part, ToolResult)
    return part


def tokens(messages: Sequence[Message]) -> int:
    return sum(map(estimate_tokens, messages))


LONG = "x" * 4000
CJK = "漢" * 8000


def test_what_fits_is_left_alone() -> None:
    messages = [Message.user("q"), *[result(LONG)] * 5]

    assert fit(messages, tokens(messages)) == messages


def test_the_oldest_results_give_way_first_and_no_more_than_needed() -> None:
    messages = [Message.user("q"), *[result(LONG)] * 5]

    fitted = fit(messages, tokens(messages) - 1)

    assert [len(of(each).content) < 300 for each in fitted[1:]] == [True, *[False] * 4]
    assert of(fitted[1]).content.startswith("x" * 200)
    assert "3800 more characters were shown before" in of(fitted[1]).content
    assert tokens(fitted) < tokens(messages)


def test_the_newest_two_are_whole_as_long_as_there_is_a_way() -> None:
    messages = [Message.user(LONG), *[result(LONG)] * 4]
    older = [tokens([message]) for message in fit(messages, 10)[1:3]]

    fitted = fit(messages, tokens([messages[0], *messages[3:]]) + sum(older))

    assert [len(of(each).content) < 300 for each in fitted[1:]] == [True, True, False, False]
    assert [fitted[0], *fitted[3:]] == [messages[0], *messages[3:]]


def test_the_newest_two_give_way_last_and_the_longest_of_them_first() -> None:
    whole, short = result(CJK), result("short")

    for room in (5000, 1000, 300):
        fitted = fit([Message.user("q"), whole, short], room)
        assert tokens(fitted) <= room
        assert fitted[2] is short
        assert of(fitted[1]).content.endswith(" more characters do not fit here]")


def test_what_did_not_fit_is_told_and_shared_and_gives_way_again_when_it_is_older() -> None:
    one, other = fit([result(CJK), result(CJK)], 6144)

    assert one == other
    assert tokens([one, other]) <= 6144
    shown, _, note = of(one).content.partition("\n")
    assert len(shown) > 1500
    assert note == f"[{8000 - len(shown)} more characters do not fit here]"
    later = fit([one, result(CJK), result("short")], 6144)
    assert of(later[0]).content.startswith("漢" * 200 + "\n[")
    assert of(later[0]).content.endswith(" more characters were shown before]")


def test_a_step_with_many_calls_has_its_results_shared_out_for_none_was_shown_before() -> None:
    before = [result(LONG), Message.assistant(calling("again"))]
    messages = [Message.user("q"), Message.assistant(calling("")), *before, *[result(CJK)] * 5]

    fitted = fit(messages, 6144)

    assert tokens(fitted) <= 6144
    assert of(fitted[2]).content.endswith("were shown before]")
    assert len({of(each).content for each in fitted[4:]}) == 1
    assert len(of(fitted[4]).content) > 1000
    assert of(fitted[4]).content.endswith("do not fit here]")


def test_what_has_no_results_to_cut_is_left_alone() -> None:
    messages = [Message.user(LONG), Message.assistant(LONG)]

    assert fit(messages, 10) == messages


def test_the_images_of_the_newest_give_way_at_the_very_end() -> None:
    messages = [Message.user("q"), result(LONG, DOT), result("a dot", DOT, DOT)]

    assert [of(each).images for each in fit(messages, 5000)[1:]] == [(DOT,), (DOT, DOT)]
    assert tokens(fit(messages, 5000)) <= 5000
    fitted = fit(messages, 3000)
    assert [of(each).images for each in fitted[1:]] == [(), ()]
    assert of(fitted[2]).content == "a dot\n[2 images do not fit here]"


def test_images_give_way_too() -> None:
    messages = [Message.user("q"), result("a dot", DOT, DOT), *[result("more")] * 2]

    fitted = fit(messages, 100)

    assert of(fitted[1]) == ToolResult(
        call_id="c", name="look", content="a dot\n[2 images were shown before]"
    )


texts = st.integers(0, 3000).map(lambda size: "x" * size)
images = st.lists(st.just(DOT), max_size=2)
tool_messages = st.tuples(texts, images).map(lambda pair: result(pair[0], *pair[1]))
said: st.SearchStrategy[Message] = texts.map(Message.user)
called: st.SearchStrategy[Message] = texts.map(lambda text: Message.assistant(calling(text)))


def calling(text: str) -> tuple[Part, ...]:
    return (Text(text), ToolCall(id="c", name="look"))


@given(messages=st.lists(st.one_of(tool_messages, said, called), max_size=12),
       room=st.integers(0, 4000), smaller=st.integers(0, 4000))  # fmt: skip
def test_what_was_cut_stays_as_it_is(messages: list[Message], room: int, smaller: int) -> None:
    once = fit(messages, room)

    assert fit(once, room) == once
    assert [each.role for each in once] == [each.role for each in messages]
    assert tokens(once) <= tokens(messages)
    again = fit(once, smaller)
    tools = [place for place, each in enumerate(messages) if each.role == "tool"]
    calls = [place for place, each in enumerate(messages) if each.role == "assistant"]
    newest = {*tools[-2:], *[place for place in tools if calls and place > calls[-1]]}
    for place, (first, second, whole) in enumerate(zip(once, again, messages, strict=True)):
        assert place in newest or first in (second, whole)
    results = [estimate_tokens(each) for each in once if each.role == "tool"]
    assert tokens(once) <= room or max(results, default=0) < 80
