"""What the tests of the API share: its parts over real storage, and packages to send to it."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
from anyio.abc import TaskGroup
from attrs import define, field

from agentrail import (
    AgentApp,
    AppConfig,
    MemorySessionStore,
    Profile,
    ScriptedModel,
    access,
    audit,
    create_app,
    registry,
    secret,
    settings,
)
from agentrail.access import Role, Tokens
from agentrail.admin import Managed, PackageLogs, api_routes
from agentrail.clock import SYSTEM_CLOCK
from agentrail.hook import Plugin
from agentrail.host import Authenticator
from agentrail.package import InProcess, PackageStore
from agentrail.plugin import PackageSettings
from agentrail.registry import Commit, Events, Inventory, Packages, Running
from agentrail.secret import Vault, make_keys
from agentrail.storage import Database

Json = dict[str, Any]

SCHEMAS = (audit.SCHEMA, registry.SCHEMA, access.SCHEMA, settings.SCHEMA, secret.SCHEMA)

SOURCE = """
def get_tools():
    def greet(who):
        return f"Hello, {who}."

    schema = {"name": "greet", "description": "Greets somebody.",
              "parameters": {"type": "object", "properties": {"who": {"type": "string"}}}}
    return [{"schema": schema, "handler": greet}]
"""


def archive(files: Mapping[str, str]) -> bytes:
    """Return a ZIP archive of some files."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as zipped:
        for name, text in files.items():
            zipped.writestr(name, text)
    return out.getvalue()


def hello(
    version: str = "1.0.0", name: str = "hello_world", more: str = "", source: str = SOURCE
) -> bytes:
    """Return an archive of a package with one tool; ``more`` is added to its manifest."""
    manifest = f'id = "{name}"\nversion = "{version}"\ndescription = "Greets."\n{more}'
    return archive({"plugin.toml": manifest, "__init__.py": source})


@define
class Nowhere:
    """What becomes of what a swap replaced, where nothing runs."""

    busy = False

    async def wait(self) -> None:
        """Return at once."""


@define(eq=False)
class Site:
    """The parts that a host with packages has."""

    directory: Path
    database: Database = field(init=False)
    packages: Packages = field(init=False)
    tokens: Tokens = field(init=False)
    logs: PackageLogs = field(factory=PackageLogs)
    client: httpx.AsyncClient = field(init=False)
    swapped: list[Sequence[Plugin]] = field(factory=list[Sequence[Plugin]])
    """What the host was told to use, each time."""

    async def start(self, group: TaskGroup) -> None:
        """Open the database and begin."""
        self.database = Database(self.directory / "host.db", SCHEMAS)
        await self.database.start()
        given = PackageSettings()
        events = Events(self.database, SYSTEM_CLOCK)
        store = PackageStore(self.directory / "packages")
        inventory = Inventory(self.database, store, events, SYSTEM_CLOCK, "1.0.0")
        running = Running(
            given,
            self.database,
            events,
            SYSTEM_CLOCK,
            InProcess(),
            self.swap,
            self.directory,
            None,
            entries=inventory.entries,
            said=inventory.said,
        )
        self.packages = Packages(inventory, running)
        self.tokens = Tokens(self.database, SYSTEM_CLOCK)
        await self.packages.start(group)

    async def swap(self, plugins: Sequence[Plugin], commit: Commit | None = None) -> Nowhere:
        """Note what is to be used."""
        if commit is not None:
            await commit()
        self.swapped.append(plugins)
        return Nowhere()

    def app(self, authenticator: Authenticator | None = None) -> AgentApp:
        """Return an application with the API."""
        key = self.directory / "secret.key"
        vault = Vault(self.database, SYSTEM_CLOCK, lambda: make_keys(key))
        managed = Managed(
            self.packages, self.tokens, self.logs, vault, lambda: key, self.look_again, dict
        )
        routes = api_routes(lambda: managed)
        return create_app(
            AppConfig(
                profiles=[Profile(id="one", model="scripted:m")],
                providers=[ScriptedModel.repeat("Hello.")],
                store=MemorySessionStore(),
                routes=routes,
                authenticator=authenticator,
                data_dir=self.directory / "data",
            )
        )

    async def look_again(self, actor: str, request: str) -> None:
        """Have no secrets to look up."""

    async def headers(self, *roles: Role) -> dict[str, str]:
        """Return what somebody with these roles sends."""
        made = await self.tokens.create("ada", roles, "test")
        return {"authorization": f"Bearer {made.token}"}

    async def upload(
        self,
        content: bytes,
        name: str = "hello_world.zip",
        **more: Any,  # noqa: ANN401
    ) -> httpx.Response:
        """Upload a file as a form."""
        files = {"file": (name, content, "application/zip")}
        return await self.client.post("/api/plugins/upload", files=files, **more)

    async def post(self, path: str, body: object = None) -> Json:
        """Return what a change of a package answers that succeeds."""
        response = await self.client.post(f"/api/plugins/{path}", json=body)
        assert response.status_code == 200, response.text
        found: Json = response.json()
        return found

    async def ready(self, version: str = "1.0.0", name: str = "hello_world") -> None:
        """Have a package that is approved and promoted."""
        assert (await self.upload(hello(version, name))).status_code == 201
        await self.post(f"{name}/approve", {"version": version, "promote": True})

    async def get(self, path: str) -> Json:
        """Return what an address answers."""
        response = await self.client.get(path)
        assert response.status_code == 200, response.text
        found: Json = response.json()
        return found


def problem(response: httpx.Response) -> tuple[int, str]:
    """Return the status and the code of a problem document."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    return response.status_code, response.json()["code"]
