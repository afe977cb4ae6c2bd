from pathlib import Path

import anyio

from agentrail import AppConfig, ChatRequest, Profile, ScriptedModel, create_app
from agentrail.host import SettingsSource
from agentrail.testing import http_client

SETTINGS = """
profiles:
  - id: helper
    model: scripted:any
    prompt: You answer in one sentence.
"""
file = Path("agentrail.yaml")
file.write_text(SETTINGS, encoding="utf-8")

# region source
model = ScriptedModel.repeat("Hello.")
app = create_app(
    AppConfig(profiles=[Profile(id="assistant", model="scripted:any")], providers=[model]),
    settings=SettingsSource(file),
)
# endregion


async def main() -> None:
    # region reload
    async with http_client(app) as client:
        await anyio.Path(file).write_text(
            SETTINGS.replace("in one sentence", "briefly"), encoding="utf-8"
        )
        state = (await client.post("/api/config/reload")).json()
        assert state["state"] == "ok"
        assert [each["path"] for each in state["revision"]["changes"]] == ["profiles.0.prompt"]

        await app.host.chat(ChatRequest("Hello?", agent_id="helper"))
        assert model.requests[-1].messages[0].text == "You answer briefly."
    # endregion


anyio.run(main)
