"""A tool call that needs approval: the turn waits, and goes on as it was decided."""

from functools import partial

import anyio
import pytest

from agentrail import (
    ChatRequest,
    ChatResponse,
    Message,
    ModelReply,
    Principal,
    RequestContext,
    ToolCall,
    define_plugin,
)
from agentrail.errors import HostNotRunning, NotPending, TurnNotFound
from agentrail.events import ApprovalDecided, ApprovalRequired, StepEnd, TurnEnd, decode
from agentrail.model import call_tools
from agentrail.requests import Resume
from agentrail.tool import ask
from tests.host.conftest import MakeHost
from tests.host.office import (
    ME,
    REASON,
    Office,
    again,
    approved,
    check_log,
    decide,
    letter,
    results,
    seen_by,
    streamed,
    transcript,
    writing,
)

pytestmark = pytest.mark.anyio

ASKED = ChatRequest("write to ada", session_id="s")


async def test_a_call_that_needs_approval_suspends_the_turn(make_host: MakeHost) -> None:
    office = Office()
    async with make_host(**office.config(writing("ada"))) as host:
        response = await host.chat(ASKED)

        assert (response.outcome, response.stop_reason) == ("suspended", "tool_calls")
        (asked,) = response.approvals
        assert (asked.call.name, asked.call.arguments, asked.reason) == (
            "send", {"to": "ada"}, REASON,
        )  # fmt: skip
        status = await host.turn(ME, response.turn_id)
        assert (status.status, status.approvals) == ("suspended", (asked,))
    assert office.done == []


def test_what_is_asked_for_in_a_log_of_before_is_a_tool_of_the_application() -> None:
    event = decode(b'{"type": "approval.required", "callId": "c", "name": "send"}')

    assert event == ApprovalRequired(call_id="c", name="send", origin="")


async def test_a_stream_ends_with_what_is_asked_for(make_host: MakeHost) -> None:
    async with make_host(**Office().config(writing("ada"))) as host:
        *_, required, end = await streamed(host, ASKED)

    assert isinstance(required, ApprovalRequired)
    assert (required.name, required.arguments, required.reason) == ("send", {"to": "ada"}, REASON)
    assert isinstance(end, TurnEnd)
    assert (end.outcome, end.stop_reason) == ("suspended", "tool_calls")


async def test_an_approved_call_is_executed_once_and_the_model_goes_on(make_host: MakeHost) -> None:
    office = Office()
    config = office.config(writing("ada"), "it is on its way")
    async with make_host(**config) as host:
        suspended = await host.chat(ASKED)
        response = await approved(host, suspended)

        assert (response.message, response.outcome) == ("it is on its way", "completed")
        assert (response.turn_id, response.approvals) == (suspended.turn_id, ())
        assert (await host.turn(ME, response.turn_id)).status == "completed"
        await check_log(host)
    assert office.done == ["sent ada"]
    assert results(seen_by(config)[1].messages) == [("ok", "the letter to ada is sent")]


@pytest.mark.parametrize("reason", ["", "ask grace first"])
async def test_a_refused_call_is_not_executed_and_the_model_is_told(
    make_host: MakeHost, reason: str
) -> None:
    office = Office()
    config = office.config(writing("ada"), "as you wish")
    async with make_host(**config) as host:
        suspended = await host.chat(ASKED)
        await decide(host, suspended, approved=False, reason=reason)
        response = await host.chat(Resume(suspended.turn_id))

        assert (response.message, response.outcome) == ("as you wish", "completed")
        await check_log(host)
    assert office.done == []
    ((outcome, text),) = results(seen_by(config)[1].messages)
    assert outcome == "denied"
    assert reason in text


async def test_the_log_tells_who_decided_what(make_host: MakeHost) -> None:
    async with make_host(**Office().config(writing("ada"), "done")) as host:
        suspended = await host.chat(ASKED)
        await decide(host, suspended, approved=False, reason="no")
        events = await again(host, suspended.turn_id)

    (decided,) = [event for event in events if isinstance(event, ApprovalDecided)]
    assert decided.call_id == suspended.approvals[0].call.id
    assert (decided.approved, decided.by, decided.reason) == (False, ME.user_id, "no")


async def test_the_turn_waits_until_all_its_calls_are_decided(make_host: MakeHost) -> None:
    office = Office()
    async with make_host(**office.config(writing("ada", "bob", "cem"), "done")) as host:
        suspended = await host.chat(ASKED)
        ada, bob, cem = [asked.call for asked in suspended.approvals]

        for call, is_approved, left in ((bob, True, [ada, cem]), (cem, False, [ada])):
            status = await host.decide(ME, suspended.turn_id, call.id, approved=is_approved)
            assert [asked.call for asked in status.approvals] == left
            with pytest.raises(NotPending, match="still waits"):
                await host.chat(Resume(suspended.turn_id))
        assert office.done == []

        status = await host.decide(ME, suspended.turn_id, ada.id, approved=True)
        assert (status.status, status.approvals) == ("suspended", ())
        await host.chat(Resume(suspended.turn_id))
        await check_log(host)
    assert office.done == ["sent ada", "sent bob"]


async def test_what_needs_no_approval_and_comes_first_is_done_and_not_done_again(
    make_host: MakeHost,
) -> None:
    office = Office()
    calls = call_tools(("look", {"what": "a"}), letter(), ("look", {"what": "b"}), letter("bob"))
    config = office.config(calls, "done")
    async with make_host(**config) as host:
        suspended = await host.chat(ASKED)
        assert office.done == ["looked a"]
        assert [asked.call.arguments["to"] for asked in suspended.approvals] == ["ada", "bob"]

        await approved(host, suspended)
        await check_log(host)
    assert office.done == ["looked a", "sent ada", "looked b", "sent bob"]
    shown = [text for _, text in results(seen_by(config)[1].messages)]
    assert shown == [
        "a is there",
        "the letter to ada is sent",
        "b is there",
        "the letter to bob is sent",
    ]


async def test_calls_side_by_side_do_not_wait_for_the_one_that_asks(make_host: MakeHost) -> None:
    office = Office()
    calls = call_tools(*[("look", {"what": what}) for what in "abc"])
    config = office.config(calls, "done", permissions=[ask("look", what="b")])
    async with make_host(**config) as host:
        suspended = await host.chat(ASKED)
        assert sorted(office.done) == ["looked a", "looked c"]

        await approved(host, suspended)
        await check_log(host)
    assert office.done[2:] == ["looked b"]
    shown = [text for _, text in results(seen_by(config)[1].messages)]
    assert shown == ["a is there", "b is there", "c is there"]


async def test_a_turn_may_ask_again_and_again(make_host: MakeHost) -> None:
    office = Office()
    async with make_host(**office.config(writing("ada"), writing("bob"), "done")) as host:
        first = await host.chat(ASKED)
        second = await approved(host, first)
        assert (second.outcome, second.turn_id) == ("suspended", first.turn_id)
        assert [asked.call.arguments["to"] for asked in second.approvals] == ["bob"]

        await decide(host, second, approved=False)
        third = await host.chat(Resume(first.turn_id))
        assert third.outcome == "completed"
        await check_log(host)
    assert office.done == ["sent ada"]


def called(*calls: tuple[str, str, dict[str, str]]) -> ModelReply:
    """Return a reply with calls whose ids are those of a model that counts anew in each step."""
    parts = tuple(
        [ToolCall(id=call_id, name=name, arguments=args) for call_id, name, args in calls]
    )
    return ModelReply(message=Message.assistant(parts), stop_reason="tool_calls")


@pytest.mark.parametrize("is_approved", [False, True])
async def test_a_decision_is_about_one_call_though_later_ones_have_its_id(
    make_host: MakeHost, *, is_approved: bool
) -> None:
    office = Office()
    config = office.config(
        called(("0", "send", {"to": "ada"})),
        called(("0", "look", {"what": "a"})),
        called(("1", "send", {"to": "bob"}), ("0", "look", {"what": "b"})),
        called(("0", "send", {"to": "ada"})),
        "done",
    )
    async with make_host(**config) as host:
        first = await host.chat(ASKED)
        await decide(host, first, approved=is_approved)
        second = await host.chat(Resume(first.turn_id))
        assert [asked.call.id for asked in second.approvals] == ["1"]
        await decide(host, second, approved=False)
        third = await host.chat(Resume(first.turn_id))
        assert [asked.call.arguments for asked in third.approvals] == [{"to": "ada"}]
        await decide(host, third, approved=False)
        assert (await host.chat(Resume(first.turn_id))).message == "done"
        await check_log(host)
    assert office.done == [*(["sent ada"] if is_approved else []), "looked a", "looked b"]


async def test_to_decide_the_same_again_changes_nothing(make_host: MakeHost) -> None:
    office = Office()
    async with make_host(**office.config(writing("ada"), "done")) as host:
        suspended = await host.chat(ASKED)
        once = await decide(host, suspended)
        assert await decide(host, suspended) == once
        await host.chat(Resume(suspended.turn_id))
        assert (await decide(host, suspended)).status == "completed"
        events = await again(host, suspended.turn_id)
    assert [event.type for event in events].count("approval.decided") == 1
    assert office.done == ["sent ada"]


@pytest.mark.parametrize("resumed", [False, True])
async def test_what_was_decided_is_not_decided_otherwise(
    make_host: MakeHost, *, resumed: bool
) -> None:
    office = Office()
    async with make_host(**office.config(writing("ada"), "done")) as host:
        suspended = await host.chat(ASKED)
        await decide(host, suspended)
        if resumed:
            await host.chat(Resume(suspended.turn_id))
        with pytest.raises(NotPending):
            await decide(host, suspended, approved=False)
        if not resumed:
            await host.chat(Resume(suspended.turn_id))
    assert office.done == ["sent ada"]


async def test_of_two_who_decide_otherwise_at_the_same_time_one_is_told_so(
    make_host: MakeHost,
) -> None:
    said: list[bool] = []
    refused: list[bool] = []
    async with make_host(**Office().config(writing("ada"), "done")) as host:
        suspended = await host.chat(ASKED)

        async def say(*, is_approved: bool) -> None:
            try:
                await decide(host, suspended, approved=is_approved)
                said.append(is_approved)
            except NotPending:
                refused.append(is_approved)

        async with anyio.create_task_group() as people:
            for number in range(6):
                people.start_soon(partial(say, is_approved=number % 2 == 0))
        events = await again(host, suspended.turn_id)
    decided = [event.approved for event in events if isinstance(event, ApprovalDecided)]
    assert decided == said[:1]
    assert len(set(said)) == len(set(refused)) == 1
    assert len(said) == len(refused) == 3


async def test_a_call_that_nobody_asked_about_is_not_pending(make_host: MakeHost) -> None:
    office = Office()
    calls = call_tools(("look", {"what": "a"}), letter())
    async with make_host(**office.config(calls, "done")) as host:
        suspended = await host.chat(ASKED)
        looked = (await transcript(host))[1].tool_calls[0]
        for call_id in (looked.id, "call_nobody"):
            with pytest.raises(NotPending):
                await host.decide(ME, suspended.turn_id, call_id, approved=True)


@pytest.mark.parametrize(
    "other", [Principal(user_id="eve"), Principal(tenant_id="other")], ids=["user", "tenant"]
)
async def test_the_turns_of_others_look_as_if_they_were_not_there(
    make_host: MakeHost, other: Principal
) -> None:
    office = Office()
    async with make_host(**office.config(writing("ada"), "done")) as host:
        suspended = await host.chat(ASKED)
        turn_id, call_id = suspended.turn_id, suspended.approvals[0].call.id

        for who, which in ((other, turn_id), (ME, "turn_nobodys")):
            with pytest.raises(TurnNotFound):
                await host.decide(who, which, call_id, approved=True)
            with pytest.raises(TurnNotFound):
                await host.turn(who, which)
            with pytest.raises(TurnNotFound):
                await host.cancel(who, which)
            with pytest.raises(TurnNotFound):
                await host.chat(Resume(which), principal=who)
            with pytest.raises(TurnNotFound):
                async with host.stream(Resume(which), principal=who):
                    pass
            with pytest.raises(TurnNotFound):
                async with host.events(who, which):
                    pass
        assert (await host.turn(ME, turn_id)).status == "suspended"
    assert office.done == []


async def test_a_turn_that_ended_or_never_waited_is_not_resumed(make_host: MakeHost) -> None:
    async with make_host("one") as host:
        response = await host.chat(ASKED)
        with pytest.raises(NotPending, match="completed"):
            await host.chat(Resume(response.turn_id))


async def test_two_who_resume_a_turn_get_the_same_answer_of_one_run(make_host: MakeHost) -> None:
    office = Office()
    begun, go_on = anyio.Event(), anyio.Event()

    async def answer(_request: object) -> str:
        begun.set()
        await go_on.wait()
        return "it is on its way"

    answers: list[ChatResponse] = []
    async with make_host(**office.config(writing("ada"), answer)) as host:
        suspended = await host.chat(ASKED)
        await decide(host, suspended)

        async def resume() -> None:
            answers.append(await host.chat(Resume(suspended.turn_id)))

        async with anyio.create_task_group() as people:
            people.start_soon(resume)
            await begun.wait()
            people.start_soon(resume)
            await anyio.wait_all_tasks_blocked()
            go_on.set()
    assert [each.message for each in answers] == ["it is on its way"] * 2
    assert office.done == ["sent ada"]


async def test_a_new_message_takes_the_place_of_a_turn_that_waits(make_host: MakeHost) -> None:
    office = Office()
    config = office.config(writing("ada"), "let us talk of something else")
    async with make_host(**config) as host:
        suspended = await host.chat(ASKED)
        await host.chat(ChatRequest("never mind", session_id="s"))

        status = await host.turn(ME, suspended.turn_id)
        assert (status.status, status.approvals) == ("cancelled", ())
        with pytest.raises(NotPending):
            await decide(host, suspended)
        with pytest.raises(NotPending):
            await host.chat(Resume(suspended.turn_id))
        await check_log(host)
    assert office.done == []
    shown = seen_by(config)[1].messages
    assert [message.role for message in shown] == ["user", "assistant", "tool", "user"]
    assert [outcome for outcome, _ in results(shown)] == ["cancelled"]


async def test_a_reset_takes_the_place_of_a_turn_that_waits(make_host: MakeHost) -> None:
    async def intercept(request: ChatRequest, context: RequestContext) -> ChatResponse | None:
        if request.message != "/reset":
            return None
        await context.services.session.reset()
        return ChatResponse("forgotten")

    office = Office()
    config = office.config(writing("ada"), "hello")
    plugin = define_plugin("reset", intercept_chat_request=intercept)
    async with make_host(**config, plugins=[plugin]) as host:
        suspended = await host.chat(ASKED)
        await host.chat(ChatRequest("/reset", session_id="s"))

        assert (await host.turn(ME, suspended.turn_id)).status == "cancelled"
        with pytest.raises(NotPending):
            await decide(host, suspended)
        await host.chat(ChatRequest("hi", session_id="s"))
        await check_log(host)
    assert office.done == []
    assert [message.text for message in seen_by(config)[1].messages] == ["hi"]


async def test_a_decision_that_was_overtaken_does_not_count(make_host: MakeHost) -> None:
    """It was approved, and before the turn went on the user said something else."""
    office = Office()
    async with make_host(**office.config(writing("ada"), "hello")) as host:
        suspended = await host.chat(ASKED)
        await decide(host, suspended)
        await host.chat(ChatRequest("never mind", session_id="s"))

        with pytest.raises(NotPending, match="cancelled"):
            await host.chat(Resume(suspended.turn_id))
        await check_log(host)
    assert office.done == []


async def test_other_sessions_go_on_while_a_turn_waits(make_host: MakeHost) -> None:
    office = Office()
    async with make_host(**office.config(writing("ada"), "hello", "done")) as host:
        suspended = await host.chat(ASKED)
        await host.chat(ChatRequest("hi", session_id="other"))
        assert (await approved(host, suspended)).message == "done"
    assert office.done == ["sent ada"]


async def test_a_call_that_a_hook_changes_after_its_approval_is_asked_for_again(
    make_host: MakeHost,
) -> None:
    office = Office()
    to = ["bob", "cem", "cem"]

    def redirect(call: ToolCall, _context: RequestContext) -> ToolCall:
        return ToolCall(id=call.id, name=call.name, arguments={"to": to.pop(0)})

    plugin = define_plugin("redirect", before_tool_call=redirect)
    async with make_host(**office.config(writing("ada"), "done"), plugins=[plugin]) as host:
        first = await host.chat(ASKED)
        assert [asked.call.arguments for asked in first.approvals] == [{"to": "bob"}]

        second = await approved(host, first)
        assert second.outcome == "suspended"
        assert [asked.call.arguments for asked in second.approvals] == [{"to": "cem"}]
        assert office.done == []

        third = await approved(host, second)
        assert third.outcome == "completed"
        await check_log(host)
    assert office.done == ["sent cem"]


async def test_a_call_that_waits_again_is_shown_as_it_is_now(make_host: MakeHost) -> None:
    """The first approval does not count for the second question."""
    to = ["bob", "cem"]

    def redirect(call: ToolCall, _context: RequestContext) -> ToolCall:
        return ToolCall(id=call.id, name=call.name, arguments={"to": to.pop(0)})

    office = Office()
    plugin = define_plugin("redirect", before_tool_call=redirect)
    async with make_host(**office.config(writing("ada")), plugins=[plugin]) as host:
        second = await approved(host, await host.chat(ASKED))
        status = await host.turn(ME, second.turn_id)
        assert [asked.call.arguments for asked in status.approvals] == [{"to": "cem"}]
        await decide(host, second, approved=False)
    assert office.done == []


async def test_to_suspend_is_one_step_that_ends_when_its_calls_are_done(
    make_host: MakeHost,
) -> None:
    async with make_host(**Office().config(writing("ada"), "done")) as host:
        await streamed(host, ASKED)
        (turn_id,) = {event.turn_id for event in await host.core.store.read("s") if event.turn_id}
        (asked,) = (await host.turn(ME, turn_id)).approvals
        await host.decide(ME, turn_id, asked.call.id, approved=True)
        events = await streamed(host, Resume(turn_id))

    kinds = [event.type for event in events if event.type.startswith(("turn", "tool", "step"))]
    assert kinds == [
        "turn.start",
        "tool.start",
        "tool.end",
        "step.end",
        "step.start",
        "step.end",
        "turn.end",
    ]
    assert [event.step for event in events if isinstance(event, StepEnd)] == [1, 2]


async def test_a_host_that_is_not_running_decides_nothing(make_host: MakeHost) -> None:
    host = make_host(**Office().config(writing("ada")))
    async with host:
        suspended = await host.chat(ASKED)
    turn_id, call_id = suspended.turn_id, suspended.approvals[0].call.id
    for act in (
        host.turn(ME, turn_id),
        host.cancel(ME, turn_id),
        host.decide(ME, turn_id, call_id, approved=True),
        host.chat(Resume(turn_id)),
    ):
        with pytest.raises(HostNotRunning):
            await act
