"""Roles of the application's own: what settings say that they may do over the API."""

from pathlib import Path

import pytest
from attrs import evolve

from agentrail import AppConfig, MemorySessionStore, Profile, ScriptedModel, create_app
from agentrail.access import Tokens
from agentrail.errors import ConfigRefused, RequestError
from agentrail.host import SettingsSource
from agentrail.settings import Configuration
from agentrail.testing import http_client
from tests.admin.site import problem

pytestmark = pytest.mark.anyio


async def test_a_role_of_settings_may_do_what_they_say_until_they_say_otherwise(
    tmp_path: Path,
) -> None:
    file = tmp_path / "agentrail.yaml"
    file.write_text("reload: {watch: false}\nroles: {deployer: [read, operate]}\n")
    config = AppConfig(
        profiles=[Profile(id="one", model="scripted:m")],
        providers=[ScriptedModel.repeat("Hello.")],
        store=MemorySessionStore(),
        data_dir=tmp_path / "data",
    )
    app = create_app(config, SettingsSource(file, {}))
    core = app.host.core
    async with http_client(app) as client:
        tokens = app.host.part(Tokens)
        made = await tokens.create("ada", ["deployer"], "test")
        headers = {"authorization": f"Bearer {made.token}"}
        core.config = evolve(core.config, authenticator=tokens)

        assert (await client.post("/api/config/reload", headers=headers)).status_code == 200
        refused = await client.get("/api/tokens", headers=headers)
        assert problem(refused) == (403, "forbidden")

        file.write_text("reload: {watch: false}\nroles: {deployer: [read]}\n")
        assert (await client.post("/api/config/reload", headers=headers)).status_code == 200
        refused = await client.post("/api/config/reload", headers=headers)
        assert problem(refused) == (403, "forbidden")
        with pytest.raises(RequestError, match="did you mean 'deployer'"):
            await tokens.create("ada", ["deploier"], "test")

        file.write_text("reload: {watch: false}\nroles: {admin: [read]}\n")
        with pytest.raises(ConfigRefused, match="this role is the host's own"):
            await app.host.part(Configuration).reload("ada")
