"""A suspended turn that goes on: what its second run is, and what it takes over of the first."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from agentrail import (
    AgentHost,
    ChatRequest,
    ChatResponse,
    Limits,
    Message,
    ModelReply,
    RequestContext,
    SQLiteSessionStore,
    Usage,
    define_plugin,
)
from agentrail.agent import Prices
from agentrail.errors import HostNotRunning, ModelUnavailable
from agentrail.events import TurnEnd, TurnStart
from agentrail.model import call_tools
from agentrail.model.scripted import Scripted
from agentrail.requests import Resume
from agentrail.testing import HookRecorder
from agentrail.tool import ask, deny
from tests.host.conftest import MakeHost
from tests.host.contract import both_doors, run
from tests.host.office import (
    ME,
    Office,
    again,
    approved,
    check_log,
    decide,
    letter,
    results,
    seen_by,
    shown,
    streamed,
    transcript,
    writing,
)
from tests.host.test_turn import A_FILE

pytestmark = pytest.mark.anyio

ASKED = ChatRequest("write to ada", session_id="s")


def costing(reply: Scripted, read: int, written: int) -> ModelReply:
    """Return a reply that took so many tokens."""
    usage = Usage(input_tokens=read, output_tokens=written)
    if isinstance(reply, ModelReply):
        return ModelReply(message=reply.message, stop_reason=reply.stop_reason, usage=usage)
    return ModelReply(message=Message.assistant(str(reply)), usage=usage)


# What the second run is.


async def test_each_run_has_its_own_pair_of_request_hooks_and_only_the_turn_is_persisted(
    make_host: MakeHost, recorder: HookRecorder
) -> None:
    config = Office().config(writing("ada"), "done")
    async with make_host(**config, plugins=[recorder]) as host:
        recorder.clear()
        suspended = await host.chat(ChatRequest("write", session_id="s", attachments=A_FILE))
        assert recorder.names == [
            "on_request_start",
            "intercept_chat_request",
            "attachment_handler",
            "context_providers",
            "on_request_end",
        ]
        recorder.clear()
        await approved(host, suspended)
        assert recorder.names == ["on_request_start", "on_turn_persisted", "on_request_end"]


async def test_both_runs_are_the_same_turn_to_their_hooks(make_host: MakeHost) -> None:
    seen: list[RequestContext] = []
    plugin = define_plugin("see", on_request_start=seen.append)
    async with make_host(**Office().config(writing("ada"), "done"), plugins=[plugin]) as host:
        suspended = await host.chat(ASKED, transport="letter")
        await decide(host, suspended)
        await streamed(host, Resume(suspended.turn_id))
    first, second = seen
    assert first is not second
    assert first.turn_id == second.turn_id == suspended.turn_id
    assert first.session_id == second.session_id
    assert first.agent_id == second.agent_id
    assert (first.kind, second.kind) == ("chat", "stream")


async def test_the_persisted_hook_finds_the_whole_turn(make_host: MakeHost) -> None:
    found: list[Sequence[Message]] = []

    async def persisted(context: RequestContext) -> None:
        found.append(await context.services.session.turn())

    plugin = define_plugin("index", on_turn_persisted=persisted)
    async with make_host(**Office().config(writing("ada"), "done"), plugins=[plugin]) as host:
        await approved(host, await host.chat(ASKED))
    (turn,) = found
    assert [message.role for message in turn] == ["user", "assistant", "tool", "assistant"]


async def test_the_runs_are_numbered_on_in_one_log(make_host: MakeHost) -> None:
    async with make_host(**Office().config(writing("ada"), "done")) as host:
        first = await streamed(host, ASKED)
        (asked,) = (await host.turn(ME, first[0].turn_id)).approvals
        await host.decide(ME, first[0].turn_id, asked.call.id, approved=True)
        second = await streamed(host, Resume(first[0].turn_id))
        whole = await again(host, first[0].turn_id)

    assert isinstance(second[0], TurnStart)
    assert isinstance(second[-1], TurnEnd)
    numbers = [event.id for event in [*first, *second]]
    assert numbers == sorted(set(numbers))
    (decided,) = [event for event in whole if event not in [*first, *second]]
    assert decided.type == "approval.decided"
    assert [event for event in whole if event != decided] == [*first, *second]


async def test_what_the_runs_used_adds_up(make_host: MakeHost) -> None:
    config = Office().config(
        costing(writing("ada"), 100, 10), costing("done", 200, 20), prices=Prices(1e6, 2e6)
    )
    async with make_host(**config) as host:
        suspended = await host.chat(ASKED)
        assert suspended.usage == Usage(input_tokens=100, output_tokens=10, cost=120)

        response = await approved(host, suspended)
        status = await host.turn(ME, response.turn_id)
        ends = [e for e in await again(host, response.turn_id) if isinstance(e, TurnEnd)]
    whole = Usage(input_tokens=300, output_tokens=30, cost=360)
    assert status.usage == response.usage == whole
    assert [end.usage.input_tokens for end in ends] == [100, 200]


# What the model is shown.


async def test_the_model_is_shown_what_it_was_shown_before_and_what_came_since(
    make_host: MakeHost,
) -> None:
    asked: list[str] = []

    async def provide(_context: RequestContext, _messages: Sequence[Message]) -> list[Message]:
        asked.append("provider")
        return [Message.system(f"it is {len(asked)} o'clock")]

    def read(_files: object, _context: RequestContext) -> str:
        asked.append("handler")
        return f"the file, read for the {len(asked)}. time"

    plugin = define_plugin("p", context_providers=[provide], attachment_handler=read)
    config = Office().config("hello", writing("ada"), "done", prompt="Be kind.")
    async with make_host(**config, plugins=[plugin]) as host:
        await host.chat(ChatRequest("hi", session_id="s"))
        asked.clear()
        request = ChatRequest("write", session_id="s", attachments=A_FILE)
        await approved(host, await host.chat(request))
        await check_log(host)

    _, asked_before, asked_after = seen_by(config)
    before, after = shown(asked_before), shown(asked_after)
    assert sorted(asked) == ["handler", "provider"]
    assert [message.text for message in asked_before.messages] == [
        "Be kind.",
        "hi",
        "hello",
        "it is 2 o'clock",
        "the file, read for the 1. time\n\nwrite",
    ]
    assert after[: len(before)] == before
    assert [role for role, _ in after[len(before) :]] == ["assistant", "tool"]


@pytest.mark.parametrize("window", [400, 1000, 8192])
async def test_a_long_history_begins_where_it_began_before(
    make_host: MakeHost, window: int
) -> None:
    """What the turn has said since takes no room of what was there before it."""
    chatter = [f"{number} " + "blah " * 40 for number in range(20)]
    config = Office().config(
        *chatter,
        writing("ada"),
        "done",
        context_window=window,
        compact=False,
        limits=Limits(max_tokens=100),
    )
    async with make_host(**config) as host:
        for number in range(20):
            await host.chat(ChatRequest(f"go on, {number}", session_id="s"))
        await approved(host, await host.chat(ChatRequest("write " * 20, session_id="s")))

    before, after = [shown(each) for each in seen_by(config)[-2:]]
    assert after[: len(before)] == before
    assert len(after) == len(before) + 2


async def test_later_turns_are_shown_the_turn_as_it_was(make_host: MakeHost) -> None:
    config = Office().config(writing("ada", "bob"), "done", "hello")
    async with make_host(**config) as host:
        await approved(host, await host.chat(ASKED))
        await host.chat(ChatRequest("hi", session_id="s"))
    during, later = [shown(each) for each in seen_by(config)[-2:]]
    assert later[: len(during)] == during


# Limits.


async def test_steps_count_across_runs(make_host: MakeHost) -> None:
    office = Office()
    script = [writing("ada"), writing("bob"), writing("cem"), "never"]
    config = office.config(*script, limits=Limits(steps=3))
    async with make_host(**config) as host:
        second = await approved(host, await host.chat(ASKED))
        third = await approved(host, second)
        assert (third.outcome, third.stop_reason) == ("completed", "step_limit")
        await check_log(host)
    assert office.done == ["sent ada", "sent bob"]
    assert [each.tool_choice for each in seen_by(config)] == ["auto", "auto", "none"]


@pytest.mark.parametrize(
    ("limits", "reason"),
    [(Limits(tokens=300), "token_limit"), (Limits(cost=300.0), "cost_limit")],
    ids=["tokens", "cost"],
)
async def test_tokens_and_money_count_across_runs(
    make_host: MakeHost, limits: Limits, reason: str
) -> None:
    office = Office()
    script = [costing(writing(to), 150, 10) for to in ("ada", "bob", "cem")]
    config = office.config(*script, limits=limits, prices=Prices(1e6, 1e6))
    async with make_host(**config) as host:
        response = await approved(host, await host.chat(ASKED))
        assert (response.outcome, response.stop_reason) == ("completed", reason)
        await check_log(host)
    assert office.done == ["sent ada"]
    assert len(seen_by(config)) == 2


# What goes wrong.


async def test_a_run_that_fails_after_the_call_leaves_it_done_and_told(make_host: MakeHost) -> None:
    office = Office()
    script = [writing("ada"), ModelUnavailable("it broke off"), "hello"]
    config = office.config(*script)
    async with make_host(**config) as host:
        suspended = await host.chat(ASKED)
        with pytest.raises(ModelUnavailable):
            await approved(host, suspended)
        assert (await host.turn(ME, suspended.turn_id)).status == "failed"
        await host.chat(ChatRequest("well?", session_id="s"))
        await check_log(host)
    assert office.done == ["sent ada"]
    assert results(seen_by(config)[-1].messages) == [("ok", "the letter to ada is sent")]


async def test_a_run_that_never_opened_leaves_the_turn_to_be_resumed(make_host: MakeHost) -> None:
    """It was cancelled while it waited for its session."""
    office = Office()
    async with make_host(**office.config(writing("ada"), "done")) as host:
        suspended = await host.chat(ASKED)
        await decide(host, suspended)
        lease = await host.core.store.acquire("s", (await _record(host, suspended)).owner)
        async with anyio.create_task_group() as impatient:
            resume = Resume(suspended.turn_id, on_disconnect="cancel")
            impatient.start_soon(host.chat, resume)
            await anyio.wait_all_tasks_blocked()
            impatient.cancel_scope.cancel()
        host.core.store.release(lease)
        assert (await host.turn(ME, suspended.turn_id)).status == "suspended"
        assert (await host.chat(Resume(suspended.turn_id))).message == "done"
    assert office.done == ["sent ada"]


async def _record(host: AgentHost, response: ChatResponse) -> Any:  # noqa: ANN401
    return await host.core.store.turn(response.turn_id)


# At the same time.


async def test_a_turn_that_is_about_to_go_on_can_be_cancelled(make_host: MakeHost) -> None:
    """Even as it waits for its session, and whoever cancels it came before it could be."""
    office = Office()
    told: list[str] = []
    async with make_host(**office.config(writing("ada"), "done")) as host:
        suspended = await host.chat(ASKED)
        await decide(host, suspended)
        lease = await host.core.store.acquire("s", (await _record(host, suspended)).owner)

        async def cancel() -> None:
            while not host.core.turns.all():
                await anyio.lowlevel.checkpoint()
            told.append((await host.cancel(ME, suspended.turn_id)).status)

        async with anyio.create_task_group() as people:
            people.start_soon(cancel)
            people.start_soon(host.chat, Resume(suspended.turn_id))
            while host.core.turns.get(suspended.turn_id) is None:
                await anyio.lowlevel.checkpoint()
            with anyio.fail_after(20):
                while host.core.turns.all():
                    await anyio.lowlevel.checkpoint()
            host.core.store.release(lease)
        await check_log(host)
    assert told == ["cancelled"]
    assert office.done == []


@both_doors
async def test_who_resumes_a_turn_that_has_just_ended_is_told_of_that_run(
    make_host: MakeHost, kind: str
) -> None:
    """It has written its end, and its last hook still runs."""
    ending, go_on = anyio.Event(), anyio.Event()

    async def end(context: RequestContext) -> None:
        if context.request_id == "slow":
            ending.set()
            await go_on.wait()

    plugin = define_plugin("p", on_request_end=end)
    config = Office().config(writing("ada"), "it is on its way")
    answers: list[str] = []
    async with make_host(**config, plugins=[plugin]) as host:
        suspended = await host.chat(ASKED)
        await decide(host, suspended)

        async def first() -> None:
            await host.chat(Resume(suspended.turn_id), request_id="slow")

        async def second() -> None:
            answers.append(await run(host, Resume(suspended.turn_id), kind))

        async with anyio.create_task_group() as people:
            people.start_soon(first)
            await ending.wait()
            people.start_soon(second)
            await anyio.wait_all_tasks_blocked()
            go_on.set()
    assert answers == ["it is on its way"]


# Restarts.


@pytest.fixture
def restart(tmp_path: Path, make_host: MakeHost) -> Any:  # noqa: ANN401
    """Returns a function that makes hosts over one file."""

    def make(config: dict[str, Any], **more: Any) -> AgentHost:  # noqa: ANN401
        return make_host(**config, store=SQLiteSessionStore(tmp_path / "kept.db"), **more)

    return make


@pytest.mark.parametrize("new_store", ["sqlite"], indirect=True)
async def test_a_turn_waits_across_a_restart(restart: Any) -> None:  # noqa: ANN401
    office = Office()
    config = office.config("hello", writing("ada"), "done", prompt="Be kind.")
    async with restart(config) as host:
        await host.chat(ChatRequest("hi", session_id="s"))
        suspended = await host.chat(ASKED)
    async with restart(config) as host:
        status = await host.turn(ME, suspended.turn_id)
        assert (status.status, status.approvals) == ("suspended", suspended.approvals)
        assert (await approved(host, suspended)).message == "done"
        await check_log(host)
    assert office.done == ["sent ada"]
    _, before, after = [shown(each) for each in seen_by(config)]
    assert after[: len(before)] == before


@pytest.mark.parametrize("new_store", ["sqlite"], indirect=True)
async def test_a_decision_outlives_the_host_that_took_it(restart: Any) -> None:  # noqa: ANN401
    """It ended between the decision and the resumed run: to decide the same again resumes."""
    office = Office()
    config = office.config(writing("ada"), "done")
    async with restart(config) as host:
        suspended = await host.chat(ASKED)
        await decide(host, suspended)
    async with restart(config) as host:
        status = await decide(host, suspended)
        assert (status.status, status.approvals) == ("suspended", ())
        assert (await host.chat(Resume(suspended.turn_id))).message == "done"
    assert office.done == ["sent ada"]


@pytest.mark.parametrize("new_store", ["sqlite"], indirect=True)
async def test_what_the_present_rules_deny_is_denied_approved_or_not(
    restart: Any,  # noqa: ANN401
) -> None:
    office = Office()
    async with restart(office.config(writing("ada"))) as host:
        suspended = await host.chat(ASKED)
    config = office.config("so be it", permissions=[deny("send", reason="no more letters")])
    async with restart(config) as host:
        assert (await approved(host, suspended)).message == "so be it"
        await check_log(host)
    assert office.done == []
    ((outcome, text),) = results(seen_by(config)[0].messages)
    assert outcome == "denied"
    assert "no more letters" in text


@pytest.mark.parametrize("new_store", ["sqlite"], indirect=True)
async def test_what_was_only_looked_up_is_not_asked_for_after_a_change_of_the_rules(
    restart: Any,  # noqa: ANN401
) -> None:
    """A pending call that nobody was asked about is judged by the rules of the second run."""
    office = Office()
    calls = call_tools(letter(), ("look", {"what": "a"}))
    async with restart(office.config(calls)) as host:
        suspended = await host.chat(ASKED)
        assert len(suspended.approvals) == 1
    async with restart(office.config("done", permissions=[ask("*")])) as host:
        second = await approved(host, suspended)
        assert office.done == ["sent ada"]
        assert [asked.call.name for asked in second.approvals] == ["look"]
        assert (await approved(host, second)).message == "done"
        await check_log(host)
    assert office.done == ["sent ada", "looked a"]


@pytest.mark.parametrize("new_store", ["sqlite"], indirect=True)
async def test_a_host_that_stops_during_the_second_run_ends_the_turn(
    restart: Any,  # noqa: ANN401
) -> None:
    office = Office()
    begun = anyio.Event()

    async def hang(_request: object) -> str:
        begun.set()
        await anyio.sleep_forever()
        return ""

    failures: list[HostNotRunning] = []
    config = office.config(writing("ada"), hang, "hello")
    host = restart(config, stop_grace=0)
    async with anyio.create_task_group() as callers, host:
        suspended = await host.chat(ASKED)
        await decide(host, suspended)

        async def resume() -> None:
            try:
                await host.chat(Resume(suspended.turn_id))
            except HostNotRunning as error:
                failures.append(error)

        callers.start_soon(resume)
        await begun.wait()
    assert len(failures) == 1
    async with restart(config) as host:
        turn_id = (await host.core.store.read("s"))[0].turn_id
        assert (await host.turn(ME, turn_id)).status == "failed"
        await host.chat(ChatRequest("well?", session_id="s"))
        await check_log(host)
        roles = [message.role for message in await transcript(host)]
        assert roles == ["user", "assistant", "tool", "user", "assistant"]
    assert office.done == ["sent ada"]
