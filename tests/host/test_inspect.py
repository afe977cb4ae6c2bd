"""What the inspector says of a model's context is what the model was given."""

from collections.abc import Sequence
from typing import Any

import anyio.lowlevel
import pytest

from agentrail import (
    AgentHost,
    Attachment,
    ChatRequest,
    Message,
    ModelRequest,
    Profile,
    RequestContext,
    ScriptedModel,
    define_plugin,
    tool,
)
from agentrail.errors import ContextTooLong, ModelUnavailable, Overloaded, SessionNotFound
from agentrail.host import Seen, inspect_context, said
from agentrail.messages import estimate_spec_tokens, estimate_tokens
from agentrail.model import call_tools
from agentrail.model.scripted import Scripted
from agentrail.tool import ask
from tests.host.conftest import MakeHost
from tests.host.office import approved, transcript

pytestmark = pytest.mark.anyio

LONG = "word " * 70
"""Two turns with such answers are more than a window of 400 tokens leaves alone."""

WHY = {
    "prompt": "the profile's prompt",
    "history": "the history",
    "turn": "this turn",
    "left": "left out: it does not fit the window",
}


@tool
def look(what: str = "it") -> str:
    """Look something up."""
    return f"{what} is here"


def agent(*script: Scripted, **profile: Any) -> dict[str, Any]:  # noqa: ANN401
    profile.setdefault("prompt", "Be brief.")
    return {
        "profiles": [Profile(id="assistant", model="scripted:m", **profile)],
        "providers": [ScriptedModel(script)],
    }


async def seen_in(host: AgentHost, session_id: str = "s") -> Sequence[Seen]:
    served = host.composition.agent("assistant")
    return await inspect_context(host.core.store, served, session_id)


def requests_of(config: dict[str, Any]) -> list[ModelRequest]:
    model: ScriptedModel = config["providers"][0]
    return model.requests


def given(seen: Sequence[Seen]) -> list[tuple[str, str]]:
    """Returns role and text of what the inspector says was given as messages."""
    return [(each.role, each.text) for each in seen if each.role]


def told(messages: Sequence[Message]) -> list[tuple[str, str]]:
    return [(message.role, said(message)) for message in messages]


def check(seen: Sequence[Seen], request: ModelRequest, answer: str) -> None:
    """Asserts that it names what the model was given in its last call, and then the answer."""
    assert given(seen) == [*told(request.messages), ("assistant", answer)]


async def test_a_context_is_told_piece_by_piece_with_its_reasons(make_host: MakeHost) -> None:
    async def provide(_context: RequestContext, _messages: object) -> list[Message]:
        return [Message.system("it rains"), Message.user("so they say")]

    plugin = define_plugin("weather", context_providers=[provide])
    config = agent("one", call_tools(("look", {"what": "Ada"})), "two", tools=[look])
    async with make_host(**config, plugins=[plugin]) as host:
        for text in ("q1", "q2"):
            await host.chat(ChatRequest(text, session_id="s"))
        seen = await seen_in(host)

    assert [(each.why, each.role, each.text) for each in seen] == [
        (WHY["prompt"], "system", "Be brief."),
        ("the tools", "", "look"),
        (WHY["history"], "user", "q1"),
        (WHY["history"], "assistant", "one"),
        ("for this turn, from weather", "system", "it rains"),
        ("for this turn, from weather", "user", "so they say"),
        (WHY["turn"], "user", "q2"),
        (WHY["turn"], "assistant", "calls look"),
        (WHY["turn"], "tool", "Ada is here"),
        (WHY["turn"], "assistant", "two"),
    ]
    check(seen, requests_of(config)[-1], "two")
    assert [each.tokens for each in seen if each.role][:-1] == [
        estimate_tokens(message) for message in requests_of(config)[-1].messages
    ]
    assert seen[1].tokens == estimate_spec_tokens(requests_of(config)[-1].tools)


async def test_what_does_not_fit_is_counted_and_not_among_it(make_host: MakeHost) -> None:
    config = agent(*["word " * 60] * 5, context_window=400, compact=False)
    async with make_host(**config) as host:
        for number in range(3):
            await host.chat(ChatRequest(f"q{number}", session_id="s"))
        before = await transcript(host)
        await host.chat(ChatRequest("long " * 80, session_id="s"))
        seen = await seen_in(host)

    check(seen, requests_of(config)[-1], "word " * 60)
    (left_out,) = [each for each in seen if each.why == WHY["left"]]
    history = [each for each in seen if each.why == WHY["history"]]
    assert len(history) < len(before)
    tokens = [estimate_tokens(message) for message in before]
    assert left_out.tokens == sum(tokens[: len(before) - len(history)]) > 0


async def test_a_summary_says_what_it_stands_for(make_host: MakeHost) -> None:
    config = agent(LONG, LONG, "in short", "fine", context_window=400)
    async with make_host(**config) as host:
        for text in ("q1", "q2"):
            await host.chat(ChatRequest(text, session_id="s"))
            while host.core.compacting:
                await anyio.lowlevel.checkpoint()
        await host.chat(ChatRequest("q3", session_id="s"))
        rows = await host.core.store.messages("s")
        seen = await seen_in(host)

    check(seen, requests_of(config)[-1], "fine")
    (summary,) = [each for each in seen if each.why.startswith("a summary")]
    covered = max(row.seq for row in rows if row.turn_id == rows[-1].turn_id)
    assert summary.why == f"a summary of all up to event {covered}"
    assert summary.text.endswith("in short")
    assert WHY["left"] not in {each.why for each in seen}


async def test_what_does_not_fit_beside_a_summary_is_counted_without_it(
    make_host: MakeHost,
) -> None:
    busy = Overloaded("busy")
    config = agent(LONG, LONG, "in short", LONG, busy, LONG, busy, "fine", busy, context_window=400)
    async with make_host(**config) as host:
        for text in ("q1", "q2", "q3", "q4", "q5"):
            await host.chat(ChatRequest(text, session_id="s"))
            while host.core.compacting:
                await anyio.lowlevel.checkpoint()
        said_before = await transcript(host)
        seen = await seen_in(host)

    check(seen, requests_of(config)[-2], "fine")
    (left_out,) = [each for each in seen if each.why == WHY["left"]]
    covered = [each for each in seen if each.why.startswith("a summary")]
    history = [each for each in seen if each.why == WHY["history"]]
    between = said_before[2 : -2 - len(history)]  # the first turn is in the summary
    assert (len(covered), len(between)) == (1, 2)
    assert left_out.tokens == sum(map(estimate_tokens, between))


async def test_a_summary_of_the_time_after_does_not_change_what_was_given(
    make_host: MakeHost,
) -> None:
    config = agent(LONG, LONG, "in short", context_window=400)
    async with make_host(**config) as host:
        for text in ("q1", "q2"):
            await host.chat(ChatRequest(text, session_id="s"))
            while host.core.compacting:
                await anyio.lowlevel.checkpoint()
        seen = await seen_in(host)

    assert not [each for each in seen if each.why.startswith("a summary")]
    check(seen, requests_of(config)[1], LONG)
    assert len(requests_of(config)) == 3


async def test_a_summary_that_the_turn_itself_needed_is_told(make_host: MakeHost) -> None:
    too_long = ContextTooLong("it is too long")
    config = agent("one", "two", too_long, "in short", "fine")
    async with make_host(**config) as host:
        for text in ("q1 " * 20, "q2 " * 20, "q3"):
            await host.chat(ChatRequest(text, session_id="s"))
        seen = await seen_in(host)

    check(seen, requests_of(config)[-1], "fine")
    assert len([each for each in seen if each.why.startswith("a summary")]) == 1


async def test_results_that_are_shown_short_are_told_so(make_host: MakeHost) -> None:
    @tool
    def read() -> str:
        """Read."""
        return "word " * 80

    config = agent(
        *[call_tools(("read", {})) for _ in range(4)], "done", tools=[read], context_window=600
    )
    async with make_host(**config) as host:
        await host.chat(ChatRequest("q", session_id="s"))
        seen = await seen_in(host)

    check(seen, requests_of(config)[-1], "done")
    whys = [each.why for each in seen if each.role == "tool"]
    assert whys[0].startswith("this turn, shown short")
    assert whys[-2:] == [WHY["turn"]] * 2


async def test_attachments_and_a_prompt_of_the_request_are_told(make_host: MakeHost) -> None:
    plugin = define_plugin("files", attachment_handler=lambda files, _: f"{len(files)} files")

    def prompt(context: RequestContext) -> str:
        return f"You talk to {context.user_id}."

    config = agent("fine", prompt=prompt)
    async with make_host(**config, plugins=[plugin]) as host:
        file = Attachment("a.txt", "text/plain", b"x")
        await host.chat(ChatRequest("look", session_id="s", attachments=(file,)))
        seen = await seen_in(host)

    assert [(each.why, each.role) for each in seen] == [
        ("the profile's prompt, made for each request", "system"),
        ("attachments, put before the message", "user"),
        (WHY["turn"], "user"),
        (WHY["turn"], "assistant"),
    ]
    assert seen[1].text == "1 files"


async def test_attachments_of_earlier_messages_are_not_taken_for_left_out(
    make_host: MakeHost,
) -> None:
    plugin = define_plugin("files", attachment_handler=lambda files, _: "word " * 50)
    file = Attachment("a.txt", "text/plain", b"x")
    seen: list[Sequence[Seen]] = []
    for session, window in (("wide", 4000), ("narrow", 220)):
        config = agent("one", "two", "three", context_window=window, compact=False)
        async with make_host(**config, plugins=[plugin]) as host:
            for text in ("q1", "q2"):
                await host.chat(ChatRequest(text, session_id=session, attachments=(file,)))
            await host.chat(ChatRequest("q3", session_id=session))
            seen.append(await seen_in(host, session))

    whole, cut = seen
    assert WHY["left"] not in {each.why for each in whole}
    (left_out,) = [each for each in cut if each.why == WHY["left"]]
    tokens = [each.tokens for each in whole if each.why == WHY["history"]]
    kept = [each for each in cut if each.why == WHY["history"]]
    assert len(kept) == 2
    assert abs(left_out.tokens - sum(tokens[:2])) <= 4  # the message's and the text's overhead


async def test_a_note_that_came_later_was_not_given(make_host: MakeHost) -> None:
    plugin = define_plugin(
        "notes", on_turn_persisted=lambda context: context.services.session.note("for next time")
    )
    config = agent("one", "two")
    async with make_host(**config, plugins=[plugin]) as host:
        await host.chat(ChatRequest("q1", session_id="s"))
        first = await seen_in(host)
        await host.chat(ChatRequest("q2", session_id="s"))
        second = await seen_in(host)

    check(first, requests_of(config)[0], "one")
    check(second, requests_of(config)[1], "two")
    assert (WHY["history"], "system", "for next time") in [
        (each.why, each.role, each.text) for each in second
    ]


async def test_a_turn_of_several_runs_is_one_turn(make_host: MakeHost) -> None:
    config = agent("one", call_tools(("look", {})), "done", tools=[look], permissions=[ask("look")])
    async with make_host(**config) as host:
        await host.chat(ChatRequest("q1", session_id="s"))
        asked = await host.chat(ChatRequest("q2", session_id="s"))
        waiting = await seen_in(host)
        await approved(host, asked)
        done = await seen_in(host)

    assert given(waiting) == [*told(requests_of(config)[1].messages), ("assistant", "calls look")]
    check(done, requests_of(config)[2], "done")


async def test_a_turn_that_failed_is_told_too(make_host: MakeHost) -> None:
    config = agent("one", ModelUnavailable("it is down"))
    async with make_host(**config) as host:
        await host.chat(ChatRequest("q1", session_id="s"))
        with pytest.raises(ModelUnavailable):
            await host.chat(ChatRequest("q2", session_id="s"))
        seen = await seen_in(host)

    assert given(seen) == told(requests_of(config)[1].messages)


async def test_a_session_without_a_turn_is_not_found(make_host: MakeHost) -> None:
    async with make_host() as host:
        with pytest.raises(SessionNotFound, match="'nowhere'"):
            await seen_in(host, "nowhere")
