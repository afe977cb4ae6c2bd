from typing import ClassVar

import anyio

from agentrail import (
    AppConfig,
    ChatRequest,
    MemorySessionStore,
    Message,
    ModelReply,
    ModelRequest,
    Profile,
    RequestContext,
    ScriptedModel,
    create_app,
)

# region policy
from agentrail.hook import Policy, fallback

SORRY = ModelReply(message=Message.assistant("I cannot look that up now."))


class Glossary:
    name = "glossary"
    on_failure: ClassVar[dict[str, Policy]] = {
        "before_request": fallback(SORRY),
        "after_tool_call": "abort",
    }

    async def before_request(
        self, _request: ModelRequest, _context: RequestContext
    ) -> ModelRequest | None:
        raise ConnectionError("the glossary does not answer")


# endregion


async def main() -> None:
    app = create_app(
        AppConfig(
            profiles=[Profile(id="assistant", model="scripted:any")],
            providers=[ScriptedModel(["Hello."])],
            plugins=[Glossary()],
            on_plugin_error=lambda _failure: None,
            store=MemorySessionStore(),
        )
    )
    async with app.host as host:
        answer = await host.chat(ChatRequest("hi"))
    assert answer.message == "I cannot look that up now."


anyio.run(main)
