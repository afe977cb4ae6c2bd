import pytest

from agentrail import (
    AppConfig,
    ChatRequest,
    ChatResponse,
    MemorySessionStore,
    Profile,
    RequestContext,
    ScriptedModel,
    create_app,
    define_plugin,
)
from agentrail.testing import HookRecorder

pytestmark = pytest.mark.anyio

ASSISTANT = Profile(id="assistant", model="scripted:any")


# region turn
async def test_a_turn_is_persisted_before_its_request_ends() -> None:
    recorder = HookRecorder()
    app = create_app(
        AppConfig(
            profiles=[ASSISTANT],
            providers=[ScriptedModel(["Hello."])],
            plugins=[recorder],
            store=MemorySessionStore(),
        )
    )

    async with app.host as host:
        await host.chat(ChatRequest("hi", user_id="ada"))

    assert recorder.names[-3:] == ["on_turn_persisted", "on_request_end", "stop"]
    (persisted,) = recorder.calls("on_turn_persisted")
    assert persisted.context.user_id == "ada"


# endregion


# region wrap
async def test_the_plugin_answers_help_itself() -> None:
    async def help_me(request: ChatRequest, _context: RequestContext) -> ChatResponse | None:
        return ChatResponse("Ask me anything.") if request.text == "/help" else None

    recorder = HookRecorder()
    plugin = recorder.wrap(define_plugin("help", intercept_chat_request=help_me))
    app = create_app(
        AppConfig(
            profiles=[ASSISTANT],
            providers=[ScriptedModel([])],
            plugins=[plugin],
            store=MemorySessionStore(),
        )
    )

    async with app.host as host:
        await host.chat(ChatRequest("/help"))

    (call,) = recorder.calls("intercept_chat_request", "help")
    assert (call.outcome, call.result) == ("returned", ChatResponse("Ask me anything."))


# endregion
