"""The packages of the reference host: one in each form, found, switched on, and used in a turn."""

import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import httpx
import pytest
from attrs import define, field

from agentrail import (
    AgentApp,
    AgentHost,
    ChatRequest,
    ModelReply,
    ModelRequest,
    ScriptedModel,
    ToolResult,
)
from agentrail.errors import PackageError
from agentrail.model import call_tools
from agentrail.package import pack
from agentrail.plugin import PackageSettings
from agentrail.registry import By, Packages
from agentrail.testing import http_client
from tests.reference.composed import PLUGINS, reference

pytestmark = pytest.mark.anyio

ME = By("test")
FOUND = {"dice", "hello_world", "text_stats", "today", "todo", "unit_converter"}


@define
class Caller:
    """A model that calls a tool, if it is told to, and then says what came of it."""

    calls: list[tuple[str, Mapping[str, object]]] = field(
        factory=list[tuple[str, Mapping[str, object]]]
    )
    requests: list[ModelRequest] = field(factory=list[ModelRequest])

    def say(self, request: ModelRequest) -> str | ModelReply:
        self.requests.append(request)
        if self.calls:
            return call_tools(self.calls.pop())
        (result, *_) = [*request.messages[-1].parts]
        return result.content if isinstance(result, ToolResult) else "Hello."

    @property
    def offered(self) -> list[str]:
        return [tool.name for tool in self.requests[-1].tools]


@pytest.fixture
def caller() -> Caller:
    return Caller()


def running(caller: Caller, directory: Path, settings: PackageSettings | None = None) -> AgentHost:
    return reference(directory, ScriptedModel.repeat(caller.say), settings).app.host


@pytest.fixture
async def host(caller: Caller, tmp_path: Path) -> AsyncIterator[AgentHost]:
    async with running(caller, tmp_path) as host:
        yield host


async def told(host: AgentHost, caller: Caller, tool: str, **arguments: object) -> str:
    """Return what a tool says in a turn."""
    caller.calls.append((tool, arguments))
    return (await host.chat(ChatRequest("Go on."))).message


async def test_packages_are_found_and_switched_off(host: AgentHost, caller: Caller) -> None:
    """A small model does better without tools."""
    found = {each.id: each for each in await host.part(Packages).list()}
    await host.chat(ChatRequest("Hi."))

    assert found.keys() >= FOUND
    assert {each.state for each in found.values()} == {"disabled"}
    assert caller.offered == []


@pytest.mark.parametrize("package", ["dice", "text_stats", "todo", "unit_converter"])
async def test_the_tools_of_a_package_come_and_go(
    host: AgentHost, caller: Caller, package: str
) -> None:
    on = await host.part(Packages).switch(package, ME, on=True)
    await host.chat(ChatRequest("Hi."))
    assert caller.offered == [tool.name for tool in on.tools] != []
    assert all(name.startswith(f"{package}__") for name in caller.offered)

    await host.part(Packages).switch(package, ME, on=False)
    await host.chat(ChatRequest("Hi."))
    assert caller.offered == []


async def test_a_module_with_a_manifest_in_a_comment_rolls_dice(
    host: AgentHost, caller: Caller
) -> None:
    await host.part(Packages).switch("dice", ME, on=True)

    said = await told(host, caller, "dice__roll", dice=2, sides=6)

    one, two, both = map(int, re.findall(r"\d+", said))
    assert 1 <= one <= 6
    assert 1 <= two <= 6
    assert one + two == both


async def test_a_class_with_one_method_counts(host: AgentHost, caller: Caller) -> None:
    await host.part(Packages).switch("text_stats", ME, on=True)

    said = await told(host, caller, "text_stats__text_stats", text="one two\nthree")
    wrong = await told(host, caller, "text_stats__text_stats", words=3)

    assert said == '{"characters":13,"words":3,"lines":2}'
    assert "invalid arguments" in wrong


@pytest.mark.parametrize(
    ("amount", "unit", "into", "said"),
    [
        (1, "mi", "km", "1 mi = 1.60934 km"),
        (16, "oz", "lb", "16 oz = 1 lb"),
        (100, "C", "F", "100 C = 212 F"),
        (-40, "F", "C", "-40 F = -40 C"),
        (0, "K", "C", "0 K = -273.15 C"),
        (1, "kg", "m", "kg cannot be converted into m"),
    ],
)
async def test_an_activated_object_handles_its_tool(
    host: AgentHost, caller: Caller, amount: float, unit: str, into: str, said: str
) -> None:
    await host.part(Packages).switch("unit_converter", ME, on=True)
    arguments = {"amount": amount, "unit": unit, "into": into}

    assert await told(host, caller, "unit_converter__convert", **arguments) == said


async def test_what_a_package_executes_is_told_in_each_turn(
    host: AgentHost, caller: Caller
) -> None:
    await host.part(Packages).switch("today", ME, on=True)

    await host.chat(ChatRequest("Hi.", user_id="ada"))

    (text,) = [each.text for each in caller.requests[-1].messages if "Plugin Exec" in each.text]
    assert re.search(
        r"\[today\]\nStatus: Success\n"
        r'Result: \{"day": "\w+day, \d{4}-\d\d-\d\d", "user": "ada"\}\nExecution Time: \d',
        text,
    )


async def test_a_class_keeps_a_list_for_each_user_over_restarts(
    caller: Caller, tmp_path: Path
) -> None:
    async with running(caller, tmp_path) as host:
        await host.part(Packages).switch("todo", ME, on=True)
        assert await told(host, caller, "todo__add", task="buy milk") == "1. buy milk"
        await told(host, caller, "todo__add", task="call Ada")

    async with running(caller, tmp_path) as host:
        assert await told(host, caller, "todo__show") == "1. buy milk\n2. call Ada"
        assert await told(host, caller, "todo__remove", number=1) == "1. call Ada"
        assert "no task 2" in await told(host, caller, "todo__remove", number=2)

        caller.calls.append(("todo__show", {}))
        other = await host.chat(ChatRequest("Go on.", user_id="bob"))
        assert other.message == "nothing to do"


async def test_a_list_is_as_long_as_the_application_says(caller: Caller, tmp_path: Path) -> None:
    settings = PackageSettings(directories=[PLUGINS], config={"todo": {"most": 1}})
    async with running(caller, tmp_path, settings) as host:
        await host.part(Packages).switch("todo", ME, on=True)
        await told(host, caller, "todo__add", task="buy milk")

        assert "there are 1 tasks" in await told(host, caller, "todo__add", task="call Ada")


async def test_a_configuration_that_does_not_fit_its_schema_is_told(
    caller: Caller, tmp_path: Path
) -> None:
    settings = PackageSettings(directories=[PLUGINS], config={"todo": {"most": "many"}})
    async with running(caller, tmp_path, settings) as host:
        with pytest.raises(PackageError, match=r"most: .*integer"):
            await host.part(Packages).switch("todo", ME, on=True)


async def asked(client: httpx.AsyncClient) -> str:
    """Go on with one conversation, in which somebody is to be greeted."""
    answer = await client.post("/chat", json={"message": "Greet Ada.", "sessionId": "one"})
    return str(answer.json()["message"])


async def sent(client: httpx.AsyncClient, verb: str, **body: object) -> str:
    """Change the package, and return its state."""
    answer = await client.post(f"/api/plugins/hello_world/{verb}", json=body)
    return str(answer.json()["state"])


async def test_an_uploaded_plugin_comes_and_goes_in_a_running_chat(tmp_path: Path) -> None:
    def say(request: ModelRequest) -> str | ModelReply:
        (last, *_) = request.messages[-1].parts
        if isinstance(last, ToolResult):
            return last.content
        offered = [tool.name for tool in request.tools]
        return call_tools((offered[0], {"name": "Ada"})) if offered else "There is no tool."

    def app() -> AgentApp:
        return reference(tmp_path, ScriptedModel.repeat(say), PackageSettings()).app

    async with http_client(app()) as client:
        assert await asked(client) == "There is no tool."
        form = {"file": ("hello_world.zip", pack(PLUGINS / "hello_world"))}
        received = (await client.post("/api/plugins/upload", files=form)).json()
        assert (received["state"], received["tools"]) == ("received", [])
        digest = received["digest"]
        assert await sent(client, "approve", digest=digest, promote=True) == "disabled"
        assert await asked(client) == "There is no tool."
        assert await sent(client, "toggle", enabled=True) == "active"
        assert await asked(client) == "Hello, Ada!"
        await sent(client, "toggle", enabled=False)
        assert await asked(client) == "There is no tool."

    async with http_client(app()) as client:
        assert await asked(client) == "There is no tool."
        assert await sent(client, "toggle", enabled=True) == "active"

    async with http_client(app()) as client:
        assert await asked(client) == "Hello, Ada!"


@pytest.mark.parametrize("cut", [0, 9, 200])
async def test_a_bad_archive_is_told_and_leaves_nothing(
    caller: Caller, tmp_path: Path, cut: int
) -> None:
    archive = pack(PLUGINS / "hello_world")
    bad = archive[: len(archive) - cut] if cut else b"no archive"
    app = reference(tmp_path, ScriptedModel.repeat(caller.say), PackageSettings()).app

    async with http_client(app) as client:
        before = sorted((tmp_path / "packages").rglob("*"))
        form = {"file": ("hello_world.zip", bad)}
        refused = await client.post("/api/plugins/upload", files=form)
        found = (await client.get("/api/plugins")).json()["plugins"]

    assert refused.status_code == 422
    assert refused.json()["code"] == "archive_invalid"
    assert "no ZIP archive" in refused.json()["faults"][0]["message"]
    assert found == []
    assert sorted((tmp_path / "packages").rglob("*")) == before
