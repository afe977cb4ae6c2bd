from typing import ClassVar

import anyio

from agentrail import (
    AgentrailError,
    AppConfig,
    ChatRequest,
    ChatResponse,
    MemorySessionStore,
    PluginFailure,
    Profile,
    RequestContext,
    ScriptedModel,
    create_app,
)


# region policy
class Policy:
    name = "policy"
    priority = 100
    critical = True
    deadlines: ClassVar = {"intercept_chat_request": 0.05}

    async def intercept_chat_request(
        self, _request: ChatRequest, _context: RequestContext
    ) -> ChatResponse | None:
        await anyio.sleep(3600)
        return None


# endregion

# region report
failures: list[PluginFailure] = []


def report(failure: PluginFailure) -> None:
    failures.append(failure)


# endregion


async def main() -> None:
    app = create_app(
        AppConfig(
            profiles=[Profile(id="assistant", model="scripted:any")],
            providers=[ScriptedModel(["Hello."])],
            plugins=[Policy()],
            on_plugin_error=report,
            store=MemorySessionStore(),
        )
    )
    code = ""
    async with app.host as host:
        try:
            await host.chat(ChatRequest("hi"))
        except AgentrailError as error:
            code = error.code
    assert code == "request_refused"
    assert [(each.plugin, each.hook) for each in failures] == [("policy", "intercept_chat_request")]


anyio.run(main)
