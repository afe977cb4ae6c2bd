import anyio

from agentrail import (
    AppConfig,
    ChatRequest,
    ChatResponse,
    MemorySessionStore,
    Message,
    Profile,
    RequestContext,
    ScriptedModel,
    create_app,
    define_plugin,
)


# region command
async def reset(request: ChatRequest, context: RequestContext) -> ChatResponse | None:
    if request.text.strip() != "/reset":
        return None
    await context.services.session.reset()
    return ChatResponse("The conversation begins anew.")


# endregion


# region stream
async def tell(request: ChatRequest, context: RequestContext) -> ChatResponse | None:
    command, _, topic = request.text.partition(" ")
    if command != "/tell":
        return None
    model = context.services.model()
    question = Message.user(f"Tell me about {topic}.")
    return ChatResponse(text_stream=model.stream([question]), keep=True)


# endregion


async def main() -> None:
    model = ScriptedModel(["Hello.", "Hooks are called in order."])
    app = create_app(
        AppConfig(
            profiles=[Profile(id="assistant", model="scripted:any")],
            providers=[model],
            plugins=[
                define_plugin("reset", intercept_chat_request=reset),
                define_plugin("tell", intercept_chat_request=tell),
            ],
            store=MemorySessionStore(),
        )
    )
    async with app.host as host:
        await host.chat(ChatRequest("hi", "s1"))
        answer = await host.chat(ChatRequest("/reset", "s1"))
        assert answer.message == "The conversation begins anew."
        assert answer.outcome == "intercepted"
        assert len(model.requests) == 1
        answer = await host.chat(ChatRequest("/tell hooks", "s1"))
        assert answer.message == "Hooks are called in order."
        assert model.requests[-1].messages[-1].text == "Tell me about hooks."


anyio.run(main)
