"""What a turn does and in which order, on chat and stream alike."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import anyio
import pytest

from agentrail import (
    AgentrailError,
    Attachment,
    ChatRequest,
    ChatResponse,
    Event,
    Limits,
    Message,
    PluginFailure,
    Principal,
    Profile,
    RequestContext,
    ScriptedModel,
    define_plugin,
)
from agentrail.errors import (
    AgentNotFound,
    DeadlineExceeded,
    HookError,
    ModelUnavailable,
    RequestRefused,
    SessionBusy,
)
from agentrail.events import TurnEnd
from agentrail.host import AgentHost
from agentrail.testing import HookCall, HookRecorder
from tests.host.conftest import REQUEST_HOOKS, MakeHost

A_FILE = (Attachment("a.txt", "text/plain", b"x"),)


async def run(host: AgentHost, request: ChatRequest, kind: str) -> str:
    """Runs a turn through one of the two doors and returns its answer."""
    if kind == "chat":
        return (await host.chat(request)).message
    end = (await events_of(host, request))[-1]
    assert isinstance(end, TurnEnd)
    return end.message


async def events_of(host: AgentHost, request: ChatRequest) -> list[Event]:
    async with host.stream(request) as events:
        return [event async for event in events]


async def transcript(host: AgentHost, session_id: str) -> list[tuple[str, str]]:
    """Returns who said what, oldest first."""
    rows = await host.messages(Principal(), session_id)
    return [(row.message.role, row.message.text) for row in reversed(rows)]


both_doors = pytest.mark.parametrize("kind", ["chat", "stream"])


@both_doors
async def test_hooks_run_in_the_turns_order_and_plugins_in_theirs(
    make_host: MakeHost, kind: str
) -> None:
    calls: list[HookCall] = []
    plugins = [HookRecorder(name, calls, hooks=["stop", *REQUEST_HOOKS]) for name in "ab"]
    async with make_host(plugins=plugins) as host:
        await run(host, ChatRequest("hi", attachments=A_FILE), kind)
    log = list(map(str, calls))
    expected = [f"{name}.{hook}" for hook in REQUEST_HOOKS for name in ("a", "b")]
    # Context providers run at the same time; which one notes itself first is not promised.
    assert sorted(log[6:8]) == expected[6:8]
    assert log[:6] + log[8:] == [*expected[:6], *expected[8:], "b.stop", "a.stop"]


@both_doors
async def test_the_context_names_the_request(make_host: MakeHost, kind: str) -> None:
    seen: list[RequestContext] = []
    plugin = define_plugin("see", on_request_start=seen.append, on_request_end=seen.append)
    async with make_host(plugins=[plugin]) as host:
        request = ChatRequest("hi", session_id="s", tenant_id="t", user_id="u")
        await run(host, request, kind)
    begin, end = seen
    assert begin is end
    assert (begin.kind, begin.tenant_id, begin.user_id) == (kind, "t", "u")
    assert (begin.session_id, begin.agent_id, begin.transport) == ("s", "assistant", "python")
    assert begin.turn_id.startswith("turn_")
    assert begin.request_id


@both_doors
async def test_state_is_shared_by_the_hooks_of_one_request_alone(
    make_host: MakeHost, kind: str
) -> None:
    found: list[object] = []

    def begin(context: RequestContext) -> None:
        found.append(context.state.get("mark"))
        context.state["mark"] = 1

    plugins = [
        define_plugin("one", on_request_start=begin),
        define_plugin("two", on_request_end=lambda context: found.append(context.state["mark"])),
    ]
    async with make_host("a", "b", plugins=plugins) as host:
        await run(host, ChatRequest("x"), kind)
        await run(host, ChatRequest("y"), kind)
    assert found == [None, 1, None, 1]


@both_doors
async def test_the_first_interceptor_that_answers_wins_and_the_profile_never_runs(
    make_host: MakeHost, recorder: HookRecorder, kind: str
) -> None:
    asked: list[str] = []

    def interceptor(name: str, answer: str | None) -> Callable[..., ChatResponse | None]:
        def intercept(request: ChatRequest, context: RequestContext) -> ChatResponse | None:
            asked.append(name)
            return None if answer is None else ChatResponse(answer)

        return intercept

    model = ScriptedModel([])
    plugins = [
        define_plugin("none", intercept_chat_request=interceptor("none", None)),
        define_plugin("first", intercept_chat_request=interceptor("first", "it is me")),
        define_plugin("second", intercept_chat_request=interceptor("second", "never")),
        recorder,
    ]
    async with make_host(plugins=plugins, providers=[model]) as host:
        assert await run(host, ChatRequest("/me", session_id="s"), kind) == "it is me"
        assert not await host.sessions(Principal())
    assert asked == ["none", "first"]
    assert model.requests == []
    assert recorder.names == ["start", "on_request_start", "on_request_end", "stop"]


@both_doors
async def test_an_interceptors_answer_may_ask_to_be_kept(
    make_host: MakeHost, recorder: HookRecorder, kind: str
) -> None:
    keep = define_plugin(
        "keep", intercept_chat_request=lambda _r, _c: ChatResponse("kept", keep=True)
    )
    async with make_host(plugins=[keep, recorder]) as host:
        await run(host, ChatRequest("remember", session_id="s"), kind)
        assert await transcript(host, "s") == [("user", "remember"), ("assistant", "kept")]
    assert "on_turn_persisted" in recorder.names


@both_doors
async def test_an_interceptors_answer_may_come_piece_by_piece(
    make_host: MakeHost, kind: str
) -> None:
    async def count() -> AsyncIterator[str]:
        for number in range(3):
            yield f"{number} "

    def intercept(_request: ChatRequest, _context: RequestContext) -> ChatResponse:
        return ChatResponse(text_stream=count())

    async with make_host(plugins=[define_plugin("n", intercept_chat_request=intercept)]) as host:
        assert await run(host, ChatRequest("/count"), kind) == "0 1 2 "


@both_doors
async def test_an_interceptor_that_fails_is_passed_over_unless_it_is_critical(
    make_host: MakeHost, recorder: HookRecorder, kind: str
) -> None:
    def fail(_request: ChatRequest, _context: RequestContext) -> ChatResponse:
        message = "no"
        raise ValueError(message)

    failures: list[PluginFailure] = []
    plugin = define_plugin("guard", intercept_chat_request=fail)
    async with make_host(plugins=[plugin], on_plugin_error=failures.append) as host:
        assert await run(host, ChatRequest("hi"), kind) == "fine"
    critical = define_plugin("guard", critical=True, intercept_chat_request=fail)
    async with make_host(plugins=[critical, recorder], on_plugin_error=failures.append) as host:
        with pytest.raises(RequestRefused, match="guard"):
            await run(host, ChatRequest("hi"), kind)
    assert [(each.plugin, each.hook) for each in failures] == [
        ("guard", "intercept_chat_request")
    ] * 2
    assert recorder.names[-2:] == ["on_request_end", "stop"]


@both_doors
async def test_an_interceptor_that_returns_something_else_is_reported_and_passed_over(
    make_host: MakeHost, kind: str
) -> None:
    failures: list[PluginFailure] = []

    def wrong(*_: object) -> Any:  # noqa: ANN401 - what an untyped plugin may do
        return "text"

    plugin = define_plugin("wrong", intercept_chat_request=wrong)
    async with make_host(plugins=[plugin], on_plugin_error=failures.append) as host:
        assert await run(host, ChatRequest("hi"), kind) == "fine"
    assert "returned str, not ChatResponse" in str(failures[0].error)


@both_doors
async def test_a_text_stream_that_breaks_off_is_an_error_and_not_the_models_business(
    make_host: MakeHost, kind: str
) -> None:
    async def broken() -> AsyncIterator[str]:
        yield "half"
        message = "broken"
        raise ValueError(message)

    def intercept(_request: ChatRequest, _context: RequestContext) -> ChatResponse:
        return ChatResponse(text_stream=broken())

    model = ScriptedModel([])
    plugin = define_plugin("cmd", intercept_chat_request=intercept)
    async with make_host(plugins=[plugin], providers=[model]) as host:
        if kind == "chat":
            with pytest.raises(RequestRefused, match="cmd"):
                await host.chat(ChatRequest("/x"))
        else:
            last = (await events_of(host, ChatRequest("/x")))[-1]
            assert (last.type, getattr(last, "code", "")) == ("turn.error", "request_refused")
    assert model.requests == []


TOO_LONG = "c" * 1_000_001


async def in_pieces() -> AsyncIterator[str]:
    for _ in range(21):
        yield "c" * 50_000


async def nothing() -> AsyncIterator[Any]:
    yield None


@both_doors
@pytest.mark.parametrize(
    ("answer", "told", "code"),
    [
        (lambda: ChatResponse(TOO_LONG), "more than 1000000 characters", "hook_failed"),
        (
            lambda: ChatResponse(text_stream=in_pieces()),
            "more than 1000000 characters",
            "hook_failed",
        ),
        (
            lambda: ChatResponse(text_stream=nothing()),
            "with NoneType, not with text",
            "hook_type_error",
        ),
    ],
    ids=["whole", "pieces", "no text"],
)
async def test_an_interceptors_answer_that_cannot_be_given_is_an_error_that_is_reported(
    make_host: MakeHost, kind: str, answer: Callable[[], ChatResponse], told: str, code: str
) -> None:
    failures: list[PluginFailure] = []
    plugin = define_plugin("cmd", intercept_chat_request=lambda _r, _c: answer())
    async with make_host(plugins=[plugin], on_plugin_error=failures.append) as host:
        if kind == "chat":
            with pytest.raises(HookError, match=told) as caught:
                await host.chat(ChatRequest("/x"))
            assert (caught.value.code, caught.value.retryable) == (code, False)
        else:
            last = (await events_of(host, ChatRequest("/x")))[-1]
            assert (last.type, getattr(last, "code", "")) == ("turn.error", code)
    assert [told in str(each.error) for each in failures] == [True]


async def test_the_longest_answer_of_an_interceptor_is_given(make_host: MakeHost) -> None:
    plugin = define_plugin(
        "cmd", intercept_chat_request=lambda _r, _c: ChatResponse(TOO_LONG[:1_000_000])
    )
    async with make_host(plugins=[plugin]) as host:
        assert len((await host.chat(ChatRequest("/x"))).message) == 1_000_000


async def test_the_model_sees_prompt_history_context_and_message_in_this_order(
    make_host: MakeHost,
) -> None:
    def provider(text: str) -> Callable[..., Sequence[Message]]:
        def provide(_context: RequestContext, _messages: Sequence[Message]) -> list[Message]:
            return [Message.system(text)]

        return provide

    model = ScriptedModel(["one", "two"])
    profile = Profile(
        id="assistant",
        model="scripted:test",
        prompt=lambda context: f"for {context.user_id}",
        context_providers=[provider("own")],
    )
    plugins = [
        define_plugin("p1", context_providers=[provider("p1")]),
        define_plugin("p2", context_providers=[provider("p2")], priority=5),
        define_plugin("files", attachment_handler=lambda _a, _c: " about the file "),
        define_plugin("more", attachment_handler=lambda _a, _c: "and more"),
        define_plugin("silent", attachment_handler=lambda _a, _c: ""),
    ]
    async with make_host(profiles=[profile], plugins=plugins, providers=[model]) as host:
        await host.chat(ChatRequest("first", session_id="s"))
        await host.chat(ChatRequest("second", session_id="s", attachments=A_FILE))
    shown = [(message.role, message.text) for message in model.requests[1].messages]
    assert shown == [
        ("system", "for local"),
        ("user", "first"),
        ("assistant", "one"),
        ("system", "own"),
        ("system", "p2"),
        ("system", "p1"),
        ("user", "about the file\n\nand more\n\nsecond"),
    ]


async def test_what_attachments_added_is_remembered_and_what_providers_added_is_not(
    make_host: MakeHost,
) -> None:
    model = ScriptedModel(["one", "two"])
    plugins = [
        define_plugin("files", attachment_handler=lambda _a, _c: "a file"),
        define_plugin("now", context_providers=[lambda _c, _m: [Message.system("today")]]),
    ]
    async with make_host(plugins=plugins, providers=[model]) as host:
        await host.chat(ChatRequest("first", session_id="s", attachments=A_FILE))
        await host.chat(ChatRequest("second", session_id="s"))
        assert (await transcript(host, "s"))[0] == ("user", "first")
    shown = [message.text for message in model.requests[1].messages]
    assert shown == ["a file\n\nfirst", "one", "today", "second"]


@both_doors
async def test_providers_and_handlers_that_fail_are_left_out(
    make_host: MakeHost, kind: str
) -> None:
    def fail(*_: object) -> Any:  # noqa: ANN401 - it returns nothing at all
        message = "no"
        raise ValueError(message)

    failures: list[PluginFailure] = []
    model = ScriptedModel(["fine"])

    def returns(value: object) -> Any:  # noqa: ANN401 - what an untyped plugin may do
        def provide(*_: object) -> object:
            return value

        return provide

    bad = [fail, returns("text"), returns(["text"]), returns(None)]
    plugins = [
        define_plugin("bad", context_providers=bad, attachment_handler=fail),
        define_plugin(
            "good",
            context_providers=[lambda _c, _m: [Message.system("kept")]],
            attachment_handler=lambda _a, _c: "file",
        ),
    ]
    config = {"plugins": plugins, "on_plugin_error": failures.append, "providers": [model]}
    async with make_host(**config) as host:
        assert await run(host, ChatRequest("hi", attachments=A_FILE), kind) == "fine"
    assert [message.text for message in model.requests[0].messages] == ["kept", "file\n\nhi"]
    assert len(failures) == 5


@both_doors
async def test_the_users_message_is_durable_before_the_model_is_called(
    make_host: MakeHost, kind: str
) -> None:
    found: list[list[tuple[str, str]]] = []
    hosts: list[AgentHost] = []

    async def reply(_request: object) -> str:
        found.append(await transcript(hosts[0], "s"))
        return "fine"

    async with make_host(reply) as host:
        hosts.append(host)
        await run(host, ChatRequest("hi", session_id="s"), kind)
    assert found == [[("user", "hi")]]


@both_doors
async def test_on_turn_persisted_finds_the_turn_in_the_store_and_its_lease_free(
    make_host: MakeHost, kind: str
) -> None:
    found: list[list[str]] = []

    async def persisted(context: RequestContext) -> None:
        found.append([message.text for message in await context.services.session.turn()])
        await context.services.session.note("indexed")

    plugin = define_plugin("index", on_turn_persisted=persisted)
    async with make_host("one", "two", plugins=[plugin]) as host:
        await run(host, ChatRequest("a", session_id="s"), kind)
        await run(host, ChatRequest("b", session_id="s"), kind)
        assert ("system", "indexed") in await transcript(host, "s")
    assert found == [["a", "one"], ["b", "two"]]


async def test_the_terminal_event_comes_after_the_commit_and_before_the_persisted_hooks(
    make_host: MakeHost,
) -> None:
    release = anyio.Event()

    async def persisted(_context: RequestContext) -> None:
        await release.wait()

    plugin = define_plugin("slow", on_turn_persisted=persisted)
    async with (
        make_host(plugins=[plugin]) as host,
        host.stream(ChatRequest("hi", session_id="s")) as events,
    ):
        async for event in events:
            if event.type == "turn.end":
                # The hook is waiting for us, so what we see was there before it.
                assert ("assistant", "fine") in await transcript(host, "s")
                release.set()


@both_doors
async def test_a_failed_model_call_ends_the_turn_and_leaves_the_session_usable(
    make_host: MakeHost, recorder: HookRecorder, kind: str
) -> None:
    broken = ModelUnavailable("it broke off")
    async with make_host(broken, "fine", plugins=[recorder]) as host:
        request = ChatRequest("hi", session_id="s")
        if kind == "chat":
            with pytest.raises(ModelUnavailable):
                await host.chat(request)
        else:
            last = (await events_of(host, request))[-1]
            assert last.type == "turn.error"
            assert getattr(last, "code", "") == "model_unavailable"
        assert "on_turn_persisted" not in recorder.names
        assert recorder.names[-1] == "on_request_end"
        assert await run(host, ChatRequest("again", session_id="s"), kind) == "fine"
        assert await transcript(host, "s") == [
            ("user", "hi"),
            ("user", "again"),
            ("assistant", "fine"),
        ]


@both_doors
async def test_an_unforeseen_error_is_one_clear_error_too(make_host: MakeHost, kind: str) -> None:
    def prompt(_context: RequestContext) -> str:
        message = "typo"
        raise KeyError(message)

    profile = Profile(id="assistant", model="scripted:test", prompt=prompt)
    async with make_host(profiles=[profile]) as host:
        if kind == "chat":
            with pytest.raises(AgentrailError, match="KeyError"):
                await host.chat(ChatRequest("hi"))
        else:
            last = (await events_of(host, ChatRequest("hi")))[-1]
            assert getattr(last, "code", "") == "internal_error"


@both_doors
async def test_an_unknown_agent_is_named_together_with_the_known_ones(
    make_host: MakeHost, recorder: HookRecorder, kind: str
) -> None:
    async with make_host(plugins=[recorder]) as host:
        with pytest.raises(AgentNotFound, match=r"'nobody'.*assistant"):
            await run(host, ChatRequest("hi", agent_id="nobody"), kind)
        assert not await host.sessions(Principal())
    assert "on_request_end" in recorder.names


@both_doors
async def test_a_turn_that_takes_too_long_is_ended_by_its_limit(
    make_host: MakeHost, kind: str
) -> None:
    cancelled = anyio.Event()

    async def hang(_request: object) -> str:
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()
        return ""

    profile = Profile(id="assistant", model="scripted:test", limits=Limits(seconds=0.05))
    async with make_host(hang, "fine", profiles=[profile]) as host:
        request = ChatRequest("hi", session_id="s")
        if kind == "chat":
            with pytest.raises(DeadlineExceeded):
                await host.chat(request)
        else:
            last = (await events_of(host, request))[-1]
            assert getattr(last, "code", "") == "deadline_exceeded"
        assert cancelled.is_set()
        assert await run(host, ChatRequest("again", session_id="s"), kind) == "fine"


async def test_turns_of_one_session_run_one_after_the_other(make_host: MakeHost) -> None:
    under_way: list[int] = []
    first_in, go_on = anyio.Event(), anyio.Event()

    async def reply(_request: object) -> str:
        under_way.append(1)
        assert len(under_way) == 1
        first_in.set()
        await go_on.wait()
        under_way.pop()
        return "fine"

    async with make_host(reply, reply) as host:
        async with anyio.create_task_group() as group:
            group.start_soon(host.chat, ChatRequest("a", session_id="s"))
            await first_in.wait()
            group.start_soon(host.chat, ChatRequest("b", session_id="s"))
            go_on.set()
        assert [text for _, text in await transcript(host, "s")] == ["a", "fine", "b", "fine"]


async def test_a_busy_session_is_refused_at_once_when_the_application_says_so(
    make_host: MakeHost,
) -> None:
    first_in, go_on = anyio.Event(), anyio.Event()

    async def reply(_request: object) -> str:
        first_in.set()
        await go_on.wait()
        return "fine"

    async with make_host(reply, session_wait=0) as host, anyio.create_task_group() as group:
        group.start_soon(host.chat, ChatRequest("a", session_id="s"))
        await first_in.wait()
        with pytest.raises(SessionBusy):
            await host.chat(ChatRequest("b", session_id="s"))
        go_on.set()


async def test_reset_hides_the_past_from_the_model_and_from_nobody_else(
    make_host: MakeHost,
) -> None:
    async def intercept(request: ChatRequest, context: RequestContext) -> ChatResponse | None:
        if request.message != "/reset":
            return None
        await context.services.session.reset()
        return ChatResponse("done")

    model = ScriptedModel(["one", "two"])
    plugin = define_plugin("cmd", intercept_chat_request=intercept)
    async with make_host(plugins=[plugin], providers=[model]) as host:
        for text in ("secret", "/reset", "next"):
            await host.chat(ChatRequest(text, session_id="s"))
        assert [text for _, text in await transcript(host, "s")] == ["secret", "one", "next", "two"]
    assert [message.text for message in model.requests[1].messages] == ["next"]
