from pathlib import Path

import anyio

from agentrail import AppConfig, ChatRequest, Profile, ScriptedModel, create_app
from agentrail.model import call_tools
from agentrail.plugin import PackageSettings

PACKAGES = Path(__file__).with_name("packages")

model = ScriptedModel([call_tools(("slugs__slug", {"title": "A First Host"})), "Done."])

# region compose
app = create_app(
    AppConfig(
        profiles=[Profile(id="assistant", model="scripted:any")],
        providers=[model],
        packages=PackageSettings(
            directories=[PACKAGES],
            config={"currency": {"base": "USD"}},
            secrets={"RATES_KEY": "a key"}.get,
        ),
    )
)
# endregion


async def main() -> None:
    async with app.host as host:
        await host.chat(ChatRequest("What is the address of the page?"))

    assert "a-first-host" in str(model.requests[1].messages[-1])
    assert [tool.name for tool in model.requests[0].tools] == ["currency__rate", "slugs__slug"]


anyio.run(main)
