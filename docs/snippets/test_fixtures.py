import pytest

from agentrail import (
    AgentApp,
    AppConfig,
    ChatRequest,
    MemorySessionStore,
    Profile,
    ScriptedModel,
    create_app,
)
from agentrail.testing import OpenClient, OpenHost

pytestmark = pytest.mark.anyio

# region conftest
pytest_plugins = ["agentrail.testing.fixtures"]
# endregion


def app_with(model: ScriptedModel) -> AgentApp:
    assistant = Profile(id="assistant", model="scripted:any")
    return create_app(
        AppConfig(profiles=[assistant], providers=[model], store=MemorySessionStore())
    )


# region use
async def test_the_host_answers(open_host: OpenHost) -> None:
    host = await open_host(app_with(ScriptedModel(["Hello."])))

    assert (await host.chat(ChatRequest("hi"))).message == "Hello."


async def test_the_server_answers(open_client: OpenClient) -> None:
    client = await open_client(app_with(ScriptedModel(["Hello."])))

    assert (await client.get("/health")).status_code == 200


# endregion
