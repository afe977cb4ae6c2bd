import anyio
from msgspec.structs import replace

from agentrail import (
    AppConfig,
    ChatRequest,
    Delta,
    MemorySessionStore,
    Message,
    ModelReply,
    ModelRequest,
    Profile,
    RequestContext,
    ScriptedModel,
    create_app,
    define_plugin,
)
from agentrail.errors import Overloaded


# region before
def cooler(request: ModelRequest, context: RequestContext) -> ModelRequest | None:
    return replace(request, temperature=0.0) if "test" in context.roles else None


# endregion


# region answer
CACHE: dict[str, ModelReply] = {}


def cached(request: ModelRequest, _context: RequestContext) -> ModelReply | None:
    return CACHE.get(request.messages[-1].text)


# endregion


# region chunk
def soften(chunk: Delta, _context: RequestContext) -> Delta | None:
    return replace(chunk, text=chunk.text.replace("!", ".")) if chunk.text else None


# endregion


# region after
def sign(reply: ModelReply, context: RequestContext) -> ModelReply | None:
    if context.kind == "stream":
        return None
    return replace(reply, message=Message.assistant(reply.message.text + " (a model wrote this)"))


# endregion


# region error
def apologize(error: Exception, _context: RequestContext) -> ModelReply | None:
    if not isinstance(error, Overloaded):
        return None
    return ModelReply(message=Message.assistant("Too many people ask me just now."))


# endregion


async def main() -> None:
    model = ScriptedModel(["Hello!", "Hello!", Overloaded("busy")])
    app = create_app(
        AppConfig(
            profiles=[Profile(id="assistant", model="scripted:any")],
            providers=[model],
            plugins=[
                define_plugin("style", before_request=cooler, on_chunk=soften, after_response=sign),
                define_plugin("cache", before_request=cached),
                define_plugin("apology", on_error=apologize),
            ],
            store=MemorySessionStore(),
        )
    )
    async with app.host as host:
        assert (await host.chat(ChatRequest("hi"))).message == "Hello. (a model wrote this)"
        async with host.stream(ChatRequest("hi")) as events:
            texts = [getattr(event, "text", "") async for event in events]
        assert "".join(texts) == "Hello."
        answer = await host.chat(ChatRequest("hi"))
        assert answer.message == "Too many people ask me just now. (a model wrote this)"
        CACHE["What is two and two?"] = ModelReply(message=Message.assistant("Four."))
        answer = await host.chat(ChatRequest("What is two and two?"))
        assert answer.message == "Four. (a model wrote this)"
    assert len(model.requests) == 3


anyio.run(main)
