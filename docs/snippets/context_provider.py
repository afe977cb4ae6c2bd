from collections.abc import Sequence

import anyio

from agentrail import (
    AppConfig,
    ChatRequest,
    MemorySessionStore,
    Message,
    Profile,
    RequestContext,
    ScriptedModel,
    create_app,
    define_plugin,
)

# region facts
FACTS = {"ada": "The user counts in metric units."}


async def recall(context: RequestContext, _messages: Sequence[Message]) -> Sequence[Message]:
    fact = FACTS.get(context.user_id)
    return [Message.system(fact)] if fact else []


facts = define_plugin("facts", context_providers=[recall])
# endregion


async def main() -> None:
    model = ScriptedModel(["Hello.", "Two kilometers."])
    app = create_app(
        AppConfig(
            profiles=[Profile(id="assistant", model="scripted:any", prompt="Be brief.")],
            providers=[model],
            plugins=[facts],
            store=MemorySessionStore(),
        )
    )
    async with app.host as host:
        await host.chat(ChatRequest("hi", "s1", user_id="ada"))
        await host.chat(ChatRequest("How far is it?", "s1", user_id="ada"))
    prompt, said, answered, added, question = model.requests[1].messages
    assert prompt.text == "Be brief."
    assert (said.text, answered.text) == ("hi", "Hello.")
    assert added.text == "The user counts in metric units."
    assert question.text == "How far is it?"


anyio.run(main)
