"""A request with a key: sent once or many times, by whatever door, it begins one turn."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from attrs import define, field
from msgspec.structs import replace

from agentrail import (
    AgentHost,
    Attachment,
    ChatRequest,
    ChatResponse,
    Delta,
    Event,
    Message,
    ModelReply,
    ModelRequest,
    Principal,
    RequestContext,
    SessionStore,
    SQLiteSessionStore,
    define_plugin,
)
from agentrail.errors import (
    AgentrailError,
    Interrupted,
    KeyReused,
    ModelUnavailable,
    RequestError,
    SessionBusy,
)
from agentrail.events import MessageDelta, TurnEnd, TurnError, TurnStart
from agentrail.requests import Resume
from agentrail.route import frame
from agentrail.session import Owner
from tests.host.conftest import MakeHost
from tests.host.contract import both_doors
from tests.host.office import (
    ME,
    Office,
    again,
    check_log,
    decide,
    seen_by,
    streamed,
    transcript,
    writing,
)

pytestmark = pytest.mark.anyio

OVER = "the host ended before the turn did; .* try again with a new one$"
"""What is told of a turn whose host died, when its request had a key."""

KEYED = ChatRequest("write to ada", session_id="s", idempotency_key="k-1")


@define
class Slow:
    """A model that answers when it is let; it counts its calls."""

    calls: int = 0
    begun: anyio.Event = field(factory=anyio.Event)
    go_on: anyio.Event = field(factory=anyio.Event)

    async def __call__(self, request: ModelRequest) -> ModelReply:
        self.calls += 1
        await request.emit(Delta(text="Dear"))
        self.begun.set()
        await self.go_on.wait()
        return ModelReply(message=Message.assistant("Dear Ada"))


async def said(host: AgentHost, request: ChatRequest | Resume, kind: str) -> tuple[str, str, str]:
    """Return turn, outcome and text that a door answers with."""
    if kind == "chat":
        response = await host.chat(request)
        return response.turn_id, response.outcome, response.message
    end = (await streamed(host, request))[-1]
    assert isinstance(end, TurnEnd)
    return end.turn_id, end.outcome, end.message


async def failed(host: AgentHost, request: ChatRequest, kind: str) -> tuple[str, str, bool]:
    """Return what a door says of a failure: its code, its detail, whether to try again."""
    if kind == "chat":
        with pytest.raises(AgentrailError) as caught:
            await host.chat(request)
        return caught.value.code, caught.value.detail, caught.value.retryable
    try:
        end = (await streamed(host, request))[-1]
    except AgentrailError as error:
        return error.code, error.detail, error.retryable
    assert isinstance(end, TurnError)
    return end.code, end.detail, end.retryable


def frames(events: Sequence[Event]) -> list[bytes]:
    """Return events as they are sent."""
    return [frame(event) for event in events]


# A turn that has ended.


@both_doors
@pytest.mark.parametrize("first", ["chat", "stream"])
async def test_the_same_request_again_gets_the_first_ones_answer(
    make_host: MakeHost, first: str, kind: str
) -> None:
    config = Office().config("on its way", "a second answer")
    async with make_host(**config) as host:
        answer = await said(host, KEYED, first)
        assert await said(host, KEYED, kind) == answer
        assert await said(host, KEYED, kind) == answer
        assert len(await transcript(host)) == 2
        await check_log(host)
    assert answer[1:] == ("completed", "on its way")
    assert len(seen_by(config)) == 1


async def test_a_stream_again_is_the_same_bytes(make_host: MakeHost) -> None:
    async with make_host(**Office().config("one " * 40)) as host:
        sent = await streamed(host, KEYED)
        assert frames(await streamed(host, KEYED)) == frames(sent)


async def test_a_chat_again_is_the_same_response(make_host: MakeHost) -> None:
    async with make_host(**Office().config("one")) as host:
        answered = await host.chat(KEYED)
        assert await host.chat(KEYED) == answered


@both_doors
async def test_without_a_session_id_the_same_new_session_is_answered(
    make_host: MakeHost, kind: str
) -> None:
    request = ChatRequest("hi", idempotency_key="new")
    async with make_host("one", "two") as host:
        first = await host.chat(request)
        assert await said(host, request, kind) == (first.turn_id, "completed", "one")
        assert len(await host.sessions(ME)) == 1


@both_doors
async def test_a_failure_is_told_again_and_not_tried_again(make_host: MakeHost, kind: str) -> None:
    config = Office().config(ModelUnavailable("it is down"), "never")
    async with make_host(**config) as host:
        told = [await failed(host, KEYED, kind) for _ in range(3)]
    again = "it is down; the idempotency key gets this answer from now on: try again with a new one"
    assert told == [("model_unavailable", again, False)] * 3
    assert len(seen_by(config)) == 1


@both_doors
async def test_a_failure_that_did_not_come_to_the_log_may_be_tried_again_with_the_key(
    make_host: MakeHost, kind: str
) -> None:
    async with make_host("hello", session_wait=0) as host:
        lease = await host.core.store.acquire("s", Owner("default", "local", "assistant"))
        code, detail, retryable = await failed(host, KEYED, kind)
        host.core.store.release(lease)
    assert (code, retryable) == ("session_busy", True)
    assert "idempotency key" not in detail


@both_doors
async def test_a_request_that_began_no_turn_may_come_again(make_host: MakeHost, kind: str) -> None:
    async with make_host("hello", "fine", session_wait=0) as host:
        await host.chat(ChatRequest("hello", session_id="s"))
        lease = await host.core.store.acquire("s", Owner("default", "local", "assistant"))
        with pytest.raises(SessionBusy):
            await said(host, KEYED, kind)
        host.core.store.release(lease)
        assert (await said(host, KEYED, kind))[1:] == ("completed", "fine")


@both_doors
async def test_a_kept_interception_is_told_again_and_one_that_is_not_kept_is_given_anew(
    make_host: MakeHost, kind: str
) -> None:
    count = [0]

    def intercept(request: ChatRequest, _context: RequestContext) -> ChatResponse:
        count[0] += 1
        return ChatResponse(f"answer {count[0]}", keep=request.text == "keep")

    plugin = define_plugin("p", intercept_chat_request=intercept)
    async with make_host(plugins=[plugin]) as host:
        kept = ChatRequest("keep", session_id="s", idempotency_key="kept")
        for _ in range(2):
            assert (await said(host, kept, kind))[1:] == ("intercepted", "answer 1")
        loose = ChatRequest("loose", session_id="s", idempotency_key="loose")
        for number in (2, 3):
            assert (await said(host, loose, kind))[1:] == ("intercepted", f"answer {number}")


# Another request with the same key.


@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        {"message": "write to bob"},
        {"session_id": "other"},
        {"session_id": None},
        {"metadata": {"a": 1}},
        {"attachments": (Attachment("a.txt", "text/plain", b"x"),)},
    ],
    ids=["message", "session", "no session", "metadata", "attachment"],
)
@both_doors
async def test_another_request_with_the_key_is_refused(
    make_host: MakeHost, change: dict[str, Any], kind: str, *, running: bool
) -> None:
    model = Slow()
    if not running:
        model.go_on.set()
    config = Office().config(model, "never")
    async with make_host(**config) as host, anyio.create_task_group() as callers:
        callers.start_soon(host.chat, KEYED)
        await model.begun.wait()
        if not running:
            await host.chat(KEYED)
        with pytest.raises(KeyReused):
            await said(host, replace(KEYED, **change), kind)
        model.go_on.set()
    assert model.calls == 1


async def test_what_becomes_of_it_when_the_caller_leaves_is_no_part_of_the_request(
    make_host: MakeHost,
) -> None:
    async with make_host("one") as host:
        first = await host.chat(KEYED)
        assert await host.chat(replace(KEYED, on_disconnect="continue")) == first


@pytest.mark.parametrize(
    "other", [Principal(user_id="eve"), Principal(tenant_id="other")], ids=["user", "tenant"]
)
@both_doors
async def test_another_users_key_is_another_key(
    make_host: MakeHost, other: Principal, kind: str
) -> None:
    config = Office().config("for me", "for eve")
    async with make_host(**config) as host:
        mine = await said(host, replace(KEYED, session_id=None), kind)
        request = replace(KEYED, session_id=None, tenant_id=other.tenant_id, user_id=other.user_id)
        theirs = await said(host, request, kind)
        assert (mine[2], theirs[2]) == ("for me", "for eve")
        assert mine[0] != theirs[0]


async def test_the_key_is_the_principals_whatever_the_body_says(make_host: MakeHost) -> None:
    async with make_host("one", "two") as host:
        eve = Principal(user_id="eve")
        request = replace(KEYED, session_id=None)
        first = await host.chat(request, principal=eve)
        again_ = await host.chat(replace(request, user_id="somebody"), principal=eve)
        assert (again_.turn_id, again_.message) == (first.turn_id, "one")
        assert (await host.chat(request)).message == "two"


@pytest.mark.parametrize("key", ["k" * 256, "é", "a\nb", "\x00"])
async def test_a_key_that_is_none_is_refused(make_host: MakeHost, key: str) -> None:
    async with make_host("one") as host:
        with pytest.raises(RequestError, match="255 printable"):
            await host.chat(ChatRequest("hi", idempotency_key=key))
        assert host.core.turns.all() == ()


async def test_the_longest_key_is_taken(make_host: MakeHost) -> None:
    request = ChatRequest("hi", idempotency_key="~ " * 127 + "x")
    async with make_host("one") as host:
        assert await host.chat(request) == await host.chat(request)


async def test_requests_without_a_key_are_turns_of_their_own(make_host: MakeHost) -> None:
    async with make_host("one", "two") as host:
        request = ChatRequest("hi", session_id="s")
        assert (await host.chat(request)).message == "one"
        assert (await host.chat(request)).message == "two"


# A turn that runs.


@pytest.mark.parametrize("first", ["chat", "stream"])
async def test_many_who_ask_at_the_same_time_get_one_turn(make_host: MakeHost, first: str) -> None:
    model = Slow()
    config = Office().config(model, "never")
    answers: list[tuple[str, str, str]] = []
    async with make_host(**config) as host:

        async def ask_(kind: str) -> None:
            answers.append(await said(host, KEYED, kind))

        async with anyio.create_task_group() as callers:
            for kind in (first, "chat", "stream", "chat", "stream"):
                callers.start_soon(ask_, kind)
            await model.begun.wait()
            await anyio.wait_all_tasks_blocked()
            assert answers == []
            model.go_on.set()
        assert len(await transcript(host)) == 2
        await check_log(host)
        assert host.core.turns.all() == ()
    assert len(set(answers)) == 1
    assert answers[0][1:] == ("completed", "Dear Ada")
    assert (len(answers), model.calls) == (5, 1)


async def test_who_joins_a_stream_reads_it_from_its_first_event(make_host: MakeHost) -> None:
    model = Slow()
    joined: list[list[Event]] = []
    async with make_host(**Office().config(model)) as host:

        async def join() -> None:
            joined.append(await streamed(host, KEYED))

        sent: list[Event] = []
        async with anyio.create_task_group() as callers, host.stream(KEYED) as events:
            async for event in events:
                sent.append(event)
                if isinstance(event, MessageDelta) and not joined and not model.go_on.is_set():
                    callers.start_soon(join)
                    await anyio.wait_all_tasks_blocked()
                    model.go_on.set()
        assert [frames(each) for each in joined] == [frames(sent)]


async def test_who_joined_may_leave_and_the_turn_goes_on(make_host: MakeHost) -> None:
    model = Slow()
    answers: list[ChatResponse] = []
    async with make_host(**Office().config(model)) as host:

        async def first() -> None:
            answers.append(await host.chat(KEYED))

        async with anyio.create_task_group() as callers:
            callers.start_soon(first)
            await model.begun.wait()
            async with host.stream(KEYED) as events:
                assert isinstance(await anext(events), TurnStart)
            async with anyio.create_task_group() as impatient:
                impatient.start_soon(host.chat, KEYED)
                await anyio.wait_all_tasks_blocked()
                impatient.cancel_scope.cancel()
            model.go_on.set()
    assert [each.outcome for each in answers] == ["completed"]


@both_doors
async def test_when_the_first_leaves_those_who_joined_are_told_that_it_was_cancelled(
    make_host: MakeHost, kind: str
) -> None:
    model = Slow()
    answers: list[tuple[str, str, str]] = []
    async with make_host(**Office().config(model)) as host:

        async def join() -> None:
            answers.append(await said(host, KEYED, kind))

        async with anyio.create_task_group() as callers, anyio.create_task_group() as impatient:
            impatient.start_soon(host.chat, KEYED)
            await model.begun.wait()
            callers.start_soon(join)
            await anyio.wait_all_tasks_blocked()
            impatient.cancel_scope.cancel()
    assert [outcome for _, outcome, _ in answers] == ["cancelled"]


async def test_who_asks_while_the_first_waits_for_the_session_waits_too(
    make_host: MakeHost,
) -> None:
    model = Slow()
    config = Office().config(model, "second", "never")
    answers: list[tuple[str, str, str]] = []
    async with make_host(**config) as host:

        async def ask_(kind: str) -> None:
            answers.append(await said(host, KEYED, kind))

        async with anyio.create_task_group() as callers:
            callers.start_soon(host.chat, ChatRequest("hold it", session_id="s"))
            await model.begun.wait()
            callers.start_soon(ask_, "stream")
            callers.start_soon(ask_, "chat")
            await anyio.wait_all_tasks_blocked()
            model.go_on.set()
    assert [text for _, _, text in answers] == ["second"] * 2
    assert len({turn_id for turn_id, _, _ in answers}) == 1


# A turn that is suspended, and one whose host has died.


@both_doors
async def test_a_turn_that_waits_for_approval_says_so_again_and_later_how_it_ended(
    make_host: MakeHost, kind: str
) -> None:
    office = Office()
    async with make_host(**office.config(writing("ada"), "it is sent")) as host:
        first = await host.chat(KEYED)
        assert await said(host, KEYED, kind) == (first.turn_id, "suspended", first.message)
        if kind == "chat":
            assert (await host.chat(KEYED)).approvals == first.approvals
        await decide(host, first)
        await host.chat(Resume(first.turn_id))
        assert await said(host, KEYED, kind) == (first.turn_id, "completed", "it is sent")
        await check_log(host)
    assert office.done == ["sent ada"]


@both_doors
async def test_a_turn_that_failed_after_its_approval_cannot_be_tried_again_with_the_key(
    make_host: MakeHost, kind: str
) -> None:
    async with make_host(**Office().config(writing("ada"), ModelUnavailable("it is down"))) as host:
        first = await host.chat(KEYED)
        await decide(host, first)
        with pytest.raises(ModelUnavailable, match="try again with a new one"):
            await host.chat(Resume(first.turn_id))
        code, _, retryable = await failed(host, KEYED, kind)
    assert (code, retryable) == ("model_unavailable", False)


@pytest.fixture
def kept(tmp_path: Path) -> Any:  # noqa: ANN401
    """Returns a function that opens one file, again and again."""

    def open_() -> SessionStore:
        return SQLiteSessionStore(tmp_path / "kept.db")

    return open_


@both_doors
@pytest.mark.parametrize("new_store", ["sqlite"], indirect=True)
async def test_a_key_holds_across_a_restart(
    make_host: MakeHost,
    kept: Any,  # noqa: ANN401
    kind: str,
) -> None:
    config = Office().config("on its way", "never")
    async with make_host(**config, store=kept()) as host:
        sent = await streamed(host, KEYED)
    async with make_host(**config, store=kept()) as host:
        assert await said(host, KEYED, kind) == (sent[0].turn_id, "completed", "on its way")
        assert frames(await streamed(host, KEYED)) == frames(sent)
        with pytest.raises(KeyReused):
            await said(host, replace(KEYED, message="else"), kind)
    assert len(seen_by(config)) == 1


@both_doors
@pytest.mark.parametrize("new_store", ["sqlite"], indirect=True)
async def test_a_turn_whose_host_died_is_told_as_interrupted_and_not_run_again(
    make_host: MakeHost,
    kept: Any,  # noqa: ANN401
    kind: str,
    tmp_path: Path,
) -> None:
    """The file is copied while the turn runs, which is what a kill leaves."""
    model = Slow()
    async with (
        make_host(**Office().config(model), store=kept()) as host,
        anyio.create_task_group() as callers,
    ):
        callers.start_soon(streamed, host, KEYED)
        await model.begun.wait()
        for name in ("kept.db", "kept.db-wal"):
            content = await anyio.Path(tmp_path / name).read_bytes()
            await anyio.Path(tmp_path / name.replace("kept", "left")).write_bytes(content)
        model.go_on.set()

    config = Office().config("never")
    async with make_host(**config, store=SQLiteSessionStore(tmp_path / "left.db")) as host:
        if kind == "chat":
            with pytest.raises(Interrupted, match=OVER) as caught:
                await host.chat(KEYED)
            assert not caught.value.retryable
        else:
            sent = await streamed(host, KEYED)
            end = sent[-1]
            assert isinstance(end, TurnError)
            assert (end.code, end.retryable) == ("interrupted", False)
            assert re.search(OVER, end.detail)
            assert frames(await again(host, end.turn_id)) == frames(sent)
        await host.chat(replace(KEYED, idempotency_key="k-2"))
        await check_log(host)
    assert len(seen_by(config)) == 1
