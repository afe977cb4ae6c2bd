from collections.abc import Sequence

import anyio

from agentrail import (
    AppConfig,
    Attachment,
    ChatRequest,
    MemorySessionStore,
    Profile,
    RequestContext,
    ScriptedModel,
    create_app,
    define_plugin,
)


# region hints
def hint(attachments: Sequence[Attachment], _context: RequestContext) -> str:
    names = ", ".join(each.filename for each in attachments)
    return f"Uploaded files: {names}"


hints = define_plugin("attachment-hints", attachment_handler=hint)
# endregion


async def main() -> None:
    model = ScriptedModel(["A list of names."])
    app = create_app(
        AppConfig(
            profiles=[Profile(id="assistant", model="scripted:any")],
            providers=[model],
            plugins=[hints],
            store=MemorySessionStore(),
        )
    )
    names = Attachment(filename="names.txt", mime_type="text/plain", data=b"Ada\nGrace\n")
    async with app.host as host:
        await host.chat(ChatRequest("What is this?", attachments=(names,)))
    assert model.requests[0].messages[-1].text == "Uploaded files: names.txt\n\nWhat is this?"


anyio.run(main)
