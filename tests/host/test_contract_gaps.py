"""What the contract says of plugins, their order and what they add, on chat and stream alike."""

from collections.abc import Sequence
from typing import Final

import pytest

from agentrail import (
    ChatRequest,
    ChatResponse,
    Image,
    Limits,
    Message,
    ModelReply,
    Part,
    Plugin,
    PluginFailure,
    Principal,
    Profile,
    RequestContext,
    ScriptedModel,
    Text,
    define_plugin,
    tool,
)
from agentrail.errors import AgentMismatch, AgentNotFound, ModelUnavailable, PluginStartError
from agentrail.hook import AttachmentHandler, Interceptor, Lifecycle, compile_hooks
from agentrail.host._seams import agent_of
from agentrail.model.scripted import call_tools
from agentrail.requests import Resume
from agentrail.tool import ask
from tests.host.conftest import MakeHost
from tests.host.contract import A_FILE, TOLD, Witness, both_doors, events_of, run

ONCE: Final = ("attachment_handler", "context_providers")
"""The hooks whose answers are in the log of a turn that goes on."""


@tool
def ping() -> str:
    """Answer."""
    return "pong"


def shown_to(model: ScriptedModel) -> list[list[str]]:
    """Returns the texts of the messages that each call was asked with."""
    return [[message.text for message in request.messages] for request in model.requests]


def two_profiles() -> list[Profile]:
    return [Profile(id=name, model="scripted:m") for name in ("one", "two")]


# --- every profile, every hook ------------------------------------------------------------------


@both_doors
async def test_all_hooks_and_tools_of_a_plugin_hold_for_every_profile(
    make_host: MakeHost, kind: str
) -> None:
    model = ScriptedModel([call_tools(("ping", {})), "fine"] * 2)
    plugin = Witness(ping)
    async with make_host(profiles=two_profiles(), providers=[model], plugins=[plugin]) as host:
        for name in ("one", "two"):
            plugin.clear()
            request = ChatRequest("hi", agent_id=name, attachments=A_FILE)
            assert await run(host, request, kind) == "fine"
            assert plugin.names == list(TOLD)
            assert {call.context.agent_id for call in plugin.log} == {name}
    offered = [[spec.name for spec in request.tools] for request in model.requests]
    assert offered == [["ping"]] * 4


@both_doors
async def test_what_plugins_answer_and_add_holds_for_every_profile(
    make_host: MakeHost, kind: str
) -> None:
    def intercept(request: ChatRequest, context: RequestContext) -> ChatResponse | None:
        return ChatResponse(f"not {context.agent_id}") if request.text == "/who" else None

    model = ScriptedModel(["fine"] * 2)
    plugin = define_plugin(
        "p",
        intercept_chat_request=intercept,
        attachment_handler=lambda _files, _context: "a file",
        context_providers=[lambda _context, _messages: [Message.system("today")]],
    )
    async with make_host(profiles=two_profiles(), providers=[model], plugins=[plugin]) as host:
        for name in ("one", "two"):
            request = ChatRequest("/who", agent_id=name)
            assert await run(host, request, kind) == f"not {name}"
            await run(host, ChatRequest("hi", agent_id=name, attachments=A_FILE), kind)
    assert shown_to(model) == [["today", "a file\n\nhi"]] * 2


async def test_a_plugin_starts_and_stops_once_however_many_profiles_there_are(
    make_host: MakeHost,
) -> None:
    log: list[str] = []
    plugin = define_plugin("p", start=lambda: log.append("start"), stop=lambda: log.append("stop"))
    async with make_host(profiles=two_profiles(), plugins=[plugin]):
        assert log == ["start"]
    assert log == ["start", "stop"]


async def test_a_start_that_fails_is_raised_and_told_to_no_handler_but_a_stop_on_the_way_is(
    make_host: MakeHost,
) -> None:
    def fail(what: str) -> Lifecycle:
        def hook() -> None:
            raise OSError(what)

        return hook

    failures: list[PluginFailure] = []
    plugins = [
        define_plugin("first", stop=fail("no flush")),
        define_plugin("second", start=fail("no disk")),
    ]
    host = make_host(plugins=plugins, on_plugin_error=failures.append)
    with pytest.raises(PluginStartError, match="'second' did not start: no disk") as caught:
        await host.__aenter__()
    assert isinstance(caught.value.__cause__, OSError)
    told = [(each.plugin, each.hook, str(each.error)) for each in failures]
    assert told == [("first", "stop", "no flush")]


@both_doors
async def test_a_plugin_may_have_nothing_but_a_name(make_host: MakeHost, kind: str) -> None:
    class Bare:
        name = "bare"

    plugins: list[Plugin] = [Bare(), define_plugin("too")]
    async with make_host(plugins=plugins) as host:
        assert await run(host, ChatRequest("hi", attachments=A_FILE), kind) == "fine"


@both_doors
@pytest.mark.parametrize("said", ["fine", ModelUnavailable("down")], ids=["well", "badly"])
async def test_all_hooks_of_a_request_are_told_its_one_context(
    make_host: MakeHost, kind: str, said: str | ModelUnavailable
) -> None:
    witness = Witness(ping)
    plugins = [
        witness,
        define_plugin(
            "cure", on_error=lambda _error, _context: ModelReply(message=Message.assistant("well"))
        ),
    ]
    async with make_host(call_tools(("ping", {})), said, plugins=plugins) as host:
        request = ChatRequest("hi", session_id="s", tenant_id="t", user_id="u", attachments=A_FILE)
        await run(host, request, kind)
    context = witness.log[0].context
    assert [str(call) for call in witness.log if call.context is not context] == []
    assert (context.kind, context.transport) == (kind, "python")
    assert (context.tenant_id, context.user_id) == ("t", "u")
    assert (context.session_id, context.agent_id) == ("s", "assistant")
    if said == "fine":
        assert witness.names == list(TOLD)
    else:
        assert witness.names[-4:] == [
            *("on_error", "after_response"),
            *("on_turn_persisted", "on_request_end"),
        ]


# --- before the profile -------------------------------------------------------------------------


@both_doors
async def test_a_request_starts_before_an_interceptor_is_asked_and_that_before_the_profile(
    make_host: MakeHost, kind: str
) -> None:
    log: list[str] = []

    def prompt(_context: RequestContext) -> str:
        log.append("the profile")
        return ""

    def intercept(request: ChatRequest, _context: RequestContext) -> ChatResponse | None:
        log.append("intercept")
        return ChatResponse("me") if request.text == "/me" else None

    plugin = define_plugin(
        "p",
        on_request_start=lambda _context: log.append("start"),
        intercept_chat_request=intercept,
        on_request_end=lambda _context: log.append("end"),
    )
    profile = Profile(id="assistant", model="scripted:m", prompt=prompt)
    async with make_host(profiles=[profile], plugins=[plugin]) as host:
        await run(host, ChatRequest("hi"), kind)
        await run(host, ChatRequest("/me"), kind)
    assert log == ["start", "intercept", "the profile", "end", "start", "intercept", "end"]


@both_doors
async def test_an_unknown_agent_is_refused_by_the_profile_and_a_wrong_one_by_its_session(
    make_host: MakeHost, kind: str
) -> None:
    witness = Witness()
    async with make_host(profiles=two_profiles(), plugins=[witness]) as host:
        with pytest.raises(AgentNotFound):
            await run(host, ChatRequest("hi", session_id="s", agent_id="nobody"), kind)
        assert witness.names == ["on_request_start", "intercept_chat_request", "on_request_end"]
        await run(host, ChatRequest("hi", session_id="s", agent_id="one"), kind)
        witness.clear()
        for other in ("two", "nobody"):
            with pytest.raises(AgentMismatch):
                await run(host, ChatRequest("hi", session_id="s", agent_id=other), kind)
    assert witness.log == []


@both_doors
async def test_interceptors_are_asked_in_descending_priority(
    make_host: MakeHost, kind: str
) -> None:
    asked: list[str] = []

    def interceptor(name: str) -> Interceptor:
        def intercept(_request: ChatRequest, _context: RequestContext) -> ChatResponse | None:
            asked.append(name)
            return None if name == "high" else ChatResponse(name)

        return intercept

    plugins = [
        define_plugin(name, priority=priority, intercept_chat_request=interceptor(name))
        for name, priority in (("low", -1), ("plain", 0), ("high", 5))
    ]
    async with make_host(plugins=plugins) as host:
        assert await run(host, ChatRequest("hi"), kind) == "plain"
    assert asked == ["high", "plain"]


@both_doors
@pytest.mark.parametrize("message", ["/me", (Text("/me"), Image("image/png", b"x"))])
async def test_an_interceptor_is_given_the_message_as_it_came_and_its_text(
    make_host: MakeHost, kind: str, message: str | tuple[Part, ...]
) -> None:
    def intercept(request: ChatRequest, _context: RequestContext) -> ChatResponse | None:
        return ChatResponse("me") if (request.message, request.text) == (message, "/me") else None

    async with make_host(plugins=[define_plugin("p", intercept_chat_request=intercept)]) as host:
        assert await run(host, ChatRequest(message), kind) == "me"


@both_doors
async def test_the_session_that_an_interceptor_writes_is_not_looked_at(
    make_host: MakeHost, kind: str
) -> None:
    plugin = define_plugin(
        "p", intercept_chat_request=lambda _r, _c: ChatResponse("mine", session_id="of-another")
    )
    async with make_host(plugins=[plugin]) as host:
        request = ChatRequest("hi", session_id="s")
        if kind == "chat":
            told = {(await host.chat(request)).session_id}
        else:
            told = {event.session_id for event in await events_of(host, request)}
    assert told == {"s"}


@both_doors
async def test_a_turn_that_goes_on_is_not_asked_again_whether_it_may_begin(
    make_host: MakeHost, kind: str
) -> None:
    witness = Witness(ping)
    profile = Profile(id="assistant", model="scripted:m", permissions=[ask("ping")])
    config = {"profiles": [profile], "plugins": [witness]}
    async with make_host(call_tools(("ping", {})), "fine", **config) as host:
        waits = await host.chat(ChatRequest("hi", attachments=A_FILE))
        witness.clear()
        await host.decide(Principal(), waits.turn_id, waits.approvals[0].call.id, approved=True)
        assert await run(host, Resume(waits.turn_id), kind) == "fine"
    again = [hook for hook in TOLD if hook not in {"intercept_chat_request", *ONCE}]
    assert set(witness.names) == set(again)
    assert (witness.names[0], witness.names[-1]) == ("on_request_start", "on_request_end")


# --- what is added ------------------------------------------------------------------------------


@both_doors
async def test_attachment_handlers_are_asked_in_descending_priority(
    make_host: MakeHost, kind: str
) -> None:
    def handler(name: str) -> AttachmentHandler:
        return lambda files, _context: f"{name}: {files[0].filename}"

    model = ScriptedModel(["fine"])
    plugins = [
        define_plugin(name, priority=priority, attachment_handler=handler(name))
        for name, priority in (("low", -1), ("plain", 0), ("high", 5))
    ]
    async with make_host(providers=[model], plugins=plugins) as host:
        await run(host, ChatRequest("hi", attachments=A_FILE), kind)
    assert shown_to(model) == [["high: a.txt\n\nplain: a.txt\n\nlow: a.txt\n\nhi"]]


@both_doors
@pytest.mark.parametrize("texts", [(), ("",), (" \n", "")], ids=["none", "one", "two"])
async def test_a_message_stays_as_it_is_when_no_handler_says_anything(
    make_host: MakeHost, kind: str, texts: Sequence[str]
) -> None:
    def handler(text: str) -> AttachmentHandler:
        return lambda _files, _context: text

    model = ScriptedModel(["fine", "fine"])
    plugins = [
        define_plugin(f"p{number}", attachment_handler=handler(text))
        for number, text in enumerate(texts)
    ]
    async with make_host(providers=[model], plugins=plugins) as host:
        await run(host, ChatRequest("hi", session_id="s", attachments=A_FILE), kind)
        await run(host, ChatRequest("and?", session_id="s"), kind)
        log = await host.core.store.read("s")
    assert shown_to(model) == [["hi"], ["hi", "fine", "and?"]]
    assert [message.parts for message in model.requests[0].messages] == [(Text("hi"),)]
    assert "attachments" not in [event.type for event in log]


@both_doors
async def test_a_profile_keeps_its_providers_when_no_plugin_has_any(
    make_host: MakeHost, kind: str
) -> None:
    model = ScriptedModel(["fine"])
    profile = Profile(
        id="assistant",
        model="scripted:m",
        context_providers=[
            lambda _context, _messages: [Message.system("one")],
            lambda _context, _messages: [Message.system("two")],
        ],
    )
    plugin = define_plugin("p", on_request_start=lambda _context: None)
    async with make_host(profiles=[profile], providers=[model], plugins=[plugin]) as host:
        await run(host, ChatRequest("hi"), kind)
    assert shown_to(model) == [["one", "two", "hi"]]


@both_doors
async def test_context_providers_run_once_a_turn_however_many_steps_it_takes(
    make_host: MakeHost, kind: str
) -> None:
    told: list[list[str]] = []

    def provide(_context: RequestContext, messages: Sequence[Message]) -> list[Message]:
        told.append([message.text for message in messages])
        return [Message.system(f"look {len(told)}")]

    call = call_tools(("ping", {}))
    model = ScriptedModel([call, call, "fine", "again"])
    plugin = define_plugin("p", tools=[ping], context_providers=[provide])
    async with make_host(providers=[model], plugins=[plugin]) as host:
        await run(host, ChatRequest("hi", session_id="s"), kind)
        assert told == [["hi"]]
        assert [texts[:2] for texts in shown_to(model)] == [["look 1", "hi"]] * 3
        await run(host, ChatRequest("and?", session_id="s"), kind)
    assert [text for text in shown_to(model)[3] if text.startswith("look")] == ["look 2"]


# --- the model call -----------------------------------------------------------------------------


@both_doors
async def test_temperature_and_token_limit_of_a_profile_reach_its_model(
    make_host: MakeHost, kind: str
) -> None:
    model = ScriptedModel(["fine"] * 2)
    profiles = [
        Profile(id="one", model="scripted:m", temperature=0.3, limits=Limits(max_tokens=77)),
        Profile(id="two", model="scripted:m"),
    ]
    async with make_host(profiles=profiles, providers=[model]) as host:
        for name in ("one", "two"):
            await run(host, ChatRequest("hi", agent_id=name), kind)
    asked = [(request.temperature, request.max_tokens) for request in model.requests]
    assert asked == [(0.3, 77), (None, None)]


@both_doors
async def test_a_model_provider_is_told_whom_it_answers(make_host: MakeHost, kind: str) -> None:
    witness, model = Witness(), ScriptedModel(["fine"])
    async with make_host(providers=[model], plugins=[witness]) as host:
        request = ChatRequest("hi", session_id="s", tenant_id="t", user_id="u")
        await run(host, request, kind)
    context = model.requests[0].context
    assert context is not None
    assert context is witness.log[0].context
    assert (context.tenant_id, context.user_id, context.session_id) == ("t", "u", "s")


async def test_hooks_that_nobody_has_are_not_in_the_way_of_a_call(make_host: MakeHost) -> None:
    witness = Witness()
    async with make_host(plugins=[witness]) as host:
        await host.chat(ChatRequest("hi"))
        served, funnel, context = (
            host.composition.agent("assistant"),
            host.core.funnel,
            witness.log[0].context,
        )
        with_hooks = agent_of(served, host.composition.hooks, funnel, context)
    observer, _ = compile_hooks([define_plugin("p", on_request_end=lambda _context: None)])
    assert agent_of(served, observer, funnel, context) is served.agent
    assert with_hooks.model is not served.agent.model
    assert with_hooks.gate.hooks["before_tool_call"]
