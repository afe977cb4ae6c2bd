import anyio

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


# region greet
async def greet(request: ChatRequest, context: RequestContext) -> ChatResponse | None:
    if request.text.strip().lower() not in {"hi", "hello"}:
        return None
    return ChatResponse(f"Hello {context.user_id}, what can I do for you?", keep=True)


greeter = define_plugin("greeter", intercept_chat_request=greet)
# endregion


async def main() -> None:
    model = ScriptedModel(["It rains."])
    app = create_app(
        AppConfig(
            profiles=[Profile(id="assistant", model="scripted:any")],
            providers=[model],
            plugins=[greeter],
            store=MemorySessionStore(),
        )
    )
    async with app.host as host:
        answer = await host.chat(ChatRequest("Hello", "s1", user_id="ada"))
        assert answer.message == "Hello ada, what can I do for you?"
        assert answer.outcome == "intercepted"
        answer = await host.chat(ChatRequest("How is the weather?", "s1", user_id="ada"))
        assert answer.message == "It rains."
    assert len(model.requests[0].messages) == 3


anyio.run(main)
