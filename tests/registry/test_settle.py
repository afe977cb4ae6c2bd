"""Packages go by other settings while requests run: what is loaded anew, and what stays."""

import gc
import sys
from collections import Counter
from itertools import repeat
from pathlib import Path
from typing import Any

import anyio
import pytest
from attrs import define, field

from agentrail import AppConfig, ChatRequest, MemorySessionStore, Profile, ScriptedModel, create_app
from agentrail.errors import ConfigRefused, StorageError
from agentrail.events import TERMINAL
from agentrail.host import AgentHost
from agentrail.plugin import PackageSettings
from agentrail.registry import Packages
from agentrail.requests import Delta, ModelRequest
from agentrail.settings import Configuration, SettingsSource
from agentrail.storage import Database
from tests.host.reloading import until
from tests.registry.shop import ADA, LAZY, call, upload

pytestmark = pytest.mark.anyio

LIVES: list[str] = []
"""The loadings, starts and stops of packages, with what each is configured with."""

SEEN: dict[str, list[str]] = {}
"""The packages whose hooks were called, by the turn."""

PLUGIN = f"""
import sys
import anyio
from agentrail import tool

TEST = sys.modules[{__name__!r}]

class Plugin:
    def __init__(self, context):
        self.word = context.config.get("word", "")
        self.key = context.secret("KEY").reveal() if MAY else ""
        TEST.LIVES.append(f"load NAME {{self.word}}")
        if self.word == "unloadable":
            raise ValueError("it will not be loaded")
        if self.word == "late":
            self.deadlines = {{"start": 0.05}}

        @tool
        def tell() -> str:
            "Tell."
            return f"{{self.key}} {{context.secret('KEY').reveal() if MAY else ''}}"

        self.tools = [tell]

    async def start(self):
        if self.word == "unwilling":
            raise RuntimeError("it will not start")
        if self.word == "late":
            await anyio.sleep_forever()
        TEST.LIVES.append(f"start NAME {{self.word}}")

    def stop(self):
        TEST.LIVES.append(f"stop NAME {{self.word}}")

    def mark(self, *given):
        TEST.SEEN.setdefault(given[-1].turn_id, []).append(f"NAME {{self.word}}")

    on_request_start = on_turn_persisted = on_request_end = mark

    def on_chunk(self, chunk, context):
        self.mark(context)
        return chunk
"""
SCHEMA = """
[permissions]
config = ["word"]
[config_schema]
type = "object"
additionalProperties = false
[config_schema.properties.word]
type = "string"
maxLength = 10
"""


def package(name: str = "p", *, lazy: bool = False, secrets: bool = False) -> dict[str, Any]:
    """Return the parts of a package that notes what becomes of it."""
    more = SCHEMA if not secrets else SCHEMA.replace('["word"]', '["word"]\nsecrets = ["KEY"]')
    source = PLUGIN.replace("NAME", name).replace("MAY", str(secrets))
    entry_point = 'entry_point = ":Plugin"\n'
    return {"more": entry_point + (LAZY if lazy else "") + more, "source": source}


@define
class Site:
    """A host with packages and a file of settings."""

    host: AgentHost
    path: Path

    @property
    def packages(self) -> Packages:
        return self.host.part(Packages)

    async def use(self, text: str) -> None:
        """Go by other settings."""
        self.path.write_text(text, encoding="utf-8")
        await self.host.part(Configuration).reload("ada")

    async def on(self, name: str = "p", **more: bool) -> None:
        """Take in a package, and switch it on."""
        await upload(self.packages, name, **package(name, **more))
        await self.packages.switch(name, ADA, on=True)

    async def ask(self) -> list[str]:
        """Return the packages that had a part in a turn."""
        reply = await self.host.chat(ChatRequest(message="hi"))
        return sorted(set(SEEN.pop(reply.turn_id or "", [])))

    async def state(self, name: str = "p") -> str:
        return (await self.packages.get(name)).state

    def plugin(self, name: str = "p") -> object:
        known = self.packages.inventory.entries[name].active
        return None if known is None else known.plugin

    @property
    def loaded(self) -> list[int]:
        """What is loaded, by its identity."""
        loads = self.packages.running._loads
        return sorted(loads._loaded) if loads is not None else []

    async def quiet(self) -> None:
        """Return once what was replaced is put away."""
        entries = self.packages.inventory.entries.values()
        await until(lambda: len(self.host.core.generations) == 1)
        for known in [known for entry in entries for known in entry.versions.values()]:
            await known.drained.wait()

    def held(self) -> dict[str, object]:
        """Return what must be as it was when a change was refused."""
        running, core = self.packages.running, self.host.core
        return {
            "present": core.present,
            "generations": [*core.generations],
            "lives": sorted(core.lives._lives),
            "loaded": self.loaded,
            "modules": sorted(name for name in sys.modules if name.startswith("_package_")),
            "scratch": sorted(path.name for path in (running.directory / "scratch").glob("*")),
            "settings": running.settings,
            "known": [
                (known.state, known.plugin, known.loaded, known.draining)
                for entry in running.entries.values()
                for known in entry.versions.values()
            ],
            "models": sorted(core.models._line.known),
        }


def site_of(directory: Path, *replies: Any, text: str = "", **config: Any) -> Site:  # noqa: ANN401
    """Return a host with packages and settings; nothing of before is noted any more."""
    LIVES.clear()
    SEEN.clear()
    path = directory / "agentrail.yaml"
    path.write_text(text, encoding="utf-8")
    config.setdefault("packages", PackageSettings())
    app = AppConfig(
        profiles=[Profile(id="a", model="scripted:m")],
        providers=[ScriptedModel(replies or repeat("fine"), record=False), Absent()],
        store=MemorySessionStore(),
        data_dir=directory / "data",
        **config,
    )
    return Site(create_app(app, SettingsSource(path, UNWATCHED)).host, path)


UNWATCHED = {"AGENTRAIL_RELOAD__WATCH": "false"}


class Absent(ScriptedModel):
    """A provider that does not start."""

    def __init__(self) -> None:
        super().__init__([], "absent")

    async def start(self) -> None:
        raise RuntimeError("the provider is not there")


def words(**said: str) -> str:
    """Return settings with the configuration of packages."""
    entries = [f"    - {{name: {name}, config: {{word: {word}}}}}\n" for name, word in said.items()]
    return "plugins:\n  entries:\n" + "".join(entries)


def alive() -> Counter[str]:
    """Return what was started more often than stopped."""
    found = Counter(line.removeprefix("start ") for line in LIVES if line.startswith("start"))
    found.subtract(line.removeprefix("stop ") for line in LIVES if line.startswith("stop"))
    return Counter({who: count for who, count in found.items() if count})


@define
class Gate:
    """A model's answer that waits in its middle until it may go on."""

    entered: anyio.Event = field(factory=anyio.Event)
    open: anyio.Event = field(factory=anyio.Event)

    async def answer(self, request: ModelRequest) -> str:
        await request.emit(Delta(text="a"))
        self.entered.set()
        await self.open.wait()
        await request.emit(Delta(text="b"))
        return "ab"


async def test_only_the_package_whose_configuration_changes_is_loaded_anew(tmp_path: Path) -> None:
    site = site_of(tmp_path)
    async with site.host:
        await site.on("p")
        await site.on("q")
        p, q = site.plugin("p"), site.plugin("q")
        await site.use(words(p="one"))
        assert site.plugin("p") is not p
        assert site.plugin("q") is q
        assert await site.ask() == ["p one", "q "]
        p = site.plugin("p")
        await site.use(words(p="one") + "stop_grace: 1\n")
        await site.use("stop_grace: 1\n" + words(p="one", q="two"))
        assert site.plugin("p") is p
        assert await site.ask() == ["p one", "q two"]
        loads = [line for line in LIVES if line.startswith("load")]
        assert loads == ["load p ", "load q ", "load p one", "load q two"]
    assert alive() == {}


async def test_runs_under_way_keep_the_configuration_that_they_began_with(tmp_path: Path) -> None:
    gate = Gate()
    site = site_of(tmp_path, gate.answer, "fine")
    async with site.host, anyio.create_task_group() as tasks:
        await site.on()
        tasks.start_soon(site.host.chat, ChatRequest(message="one"))
        await gate.entered.wait()
        await site.use(words(p="two"))
        assert await site.ask() == ["p two"]
        assert alive() == {"p ": 1, "p two": 1}
        assert await site.state() == "active"

        gate.open.set()
        await until(lambda: alive() == {"p two": 1})
        assert [set(seen) for seen in SEEN.values()] == [{"p "}]
        await site.quiet()
        assert await site.state() == "active"
        assert len(site.loaded) == 1


REFUSED = {
    "its schema": (words(p="far_too_long"), "does not fit its schema"),
    "a key that it does not take": (words(p="x").replace("word:", "ward:"), "does not fit"),
    "its code": (words(p="unloadable"), "it will not be loaded"),
    "its start": (words(p="unwilling"), "it will not start"),
    "its start, too long": (words(p="late"), "took longer than 0.05 s"),
    "another package": (words(q="two", p="unloadable"), "it will not be loaded"),
    "another package before it": (words(p="two", q="unwilling"), "it will not start"),
    "a provider": (
        words(p="two") + "profiles: [{id: b, model: 'absent:m'}]\n",
        "the provider is not there",
    ),
    "a profile": (words(p="two") + "profiles: [{id: b, model: 'nobody:m'}]\n", "no model provider"),
    "an object": (words(p="two") + "    - {name: x, object: 'no_such:thing'}\n", "cannot be taken"),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_what_refuses_a_change_leaves_all_packages_as_they_were(
    tmp_path: Path, what: str
) -> None:
    text, reason = REFUSED[what]
    site = site_of(tmp_path)
    async with site.host:
        await site.on("p")
        await site.on("q")
        await site.quiet()
        held = site.held()
        for _ in range(2):
            with pytest.raises(ConfigRefused) as caught:
                await site.use(text)
            assert reason in str(caught.value)
            gc.collect()
            assert site.held() == held
            assert alive() == {"p ": 1, "q ": 1}
            assert await site.ask() == ["p ", "q "]
            assert [await site.state(name) for name in "pq"] == ["active", "active"]
            assert site.host.part(Configuration).state.state == "degraded"

        await site.use(words(p="good", q="too"))
        assert await site.ask() == ["p good", "q too"]
        await until(lambda: alive() == {"p good": 1, "q too": 1})
    assert alive() == {}


async def test_what_cannot_be_written_leaves_all_packages_as_they_were(tmp_path: Path) -> None:
    site = site_of(tmp_path)
    async with site.host:
        await site.on()
        await site.quiet()
        held, writer = site.held(), site.host.part(Database)._writer
        (pages,) = writer.execute("PRAGMA page_count").fetchone()
        writer.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StorageError, match="the disk is full"):
            await site.use(words(p="two") + f"# {'long' * 30_000}\n")
        assert site.held() == held
        assert alive() == {"p ": 1}
        assert await site.ask() == ["p "]
        writer.execute("PRAGMA max_page_count = 100000")
        await site.use(words(p="two"))
        assert await site.ask() == ["p two"]


async def test_a_caller_that_goes_does_not_stop_a_package_from_being_loaded(tmp_path: Path) -> None:
    site = site_of(tmp_path)
    async with site.host:
        await site.on()
        lock = site.packages.running.lock
        async with anyio.create_task_group() as tasks, lock:
            tasks.start_soon(site.use, words(p="two"))
            await until(lambda: lock.statistics().tasks_waiting > 0)
            tasks.cancel_scope.cancel()
        await until(lambda: site.host.part(Configuration).revision.number == 2)
        assert await site.ask() == ["p two"]


async def test_a_package_on_demand_stays_so_and_is_loaded_with_its_new_configuration(
    tmp_path: Path,
) -> None:
    tell = call("p__tell")
    site = site_of(tmp_path, *[tell, "fine"] * 5)
    async with site.host:
        await site.on(lazy=True)
        assert await site.state() == "idle"
        await site.use(words(p="one"))
        assert (await site.state(), LIVES) == ("idle", [])
        await site.ask()
        assert (await site.state(), LIVES) == ("active", ["load p one", "start p one"])

        await site.use(words(p="two"))
        assert await site.state() == "idle"
        await until(lambda: alive() == {})
        await site.ask()
        assert alive() == {"p two": 1}
    assert alive() == {}


async def test_a_run_that_has_loaded_a_package_on_demand_keeps_it(tmp_path: Path) -> None:
    gate = Gate()

    async def ask_again(request: ModelRequest) -> Any:  # noqa: ANN401
        await gate.answer(request)
        return call("p__tell")

    site = site_of(tmp_path, call("p__tell"), ask_again, "fine")
    async with site.host, anyio.create_task_group() as tasks:
        await site.on(lazy=True)
        tasks.start_soon(site.host.chat, ChatRequest(message="one", session_id="s"))
        await gate.entered.wait()
        await site.use(words(p="two"))
        assert alive() == {"p ": 1}
        gate.open.set()
        await until(lambda: alive()["p "] == 0)
        rows = await site.host.core.store.messages("s")
        parts = [part for row in rows for part in row.message.parts]
        told = [getattr(part, "outcome", "") for part in parts if hasattr(part, "call_id")]
        assert told == ["ok", "ok"]


async def test_the_master_switch_takes_all_packages_out_and_puts_them_in_again(
    tmp_path: Path,
) -> None:
    site = site_of(tmp_path)
    async with site.host:
        await site.on("p")
        await site.on("q")
        await site.use("plugins: {enabled: false}\n")
        assert await site.ask() == []
        await site.quiet()
        assert alive() == {}
        assert [await site.state(name) for name in "pq"] == ["disabled", "disabled"]
        assert (await site.packages.get("p")).enabled
        await site.use(words(p="two"))
        assert await site.ask() == ["p two", "q "]
    assert alive() == {}


async def test_a_package_is_given_the_secrets_of_today_by_a_reload(tmp_path: Path) -> None:
    told: list[str] = []

    async def note(request: ModelRequest) -> str:
        told.extend(getattr(part, "content", "") for part in request.messages[-1].parts)
        return "fine"

    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "KEY").write_text("opensesame", encoding="utf-8")
    site = site_of(
        tmp_path, *[call("p__tell"), note] * 4, text=f"secrets: {{directory: {secrets}}}\n"
    )
    async with site.host:
        await site.on(secrets=True)
        await site.ask()
        (secrets / "KEY").write_text("alakazam", encoding="utf-8")
        await site.host.part(Configuration).reload("ada")
        await site.ask()
        (secrets / "KEY").write_text("hocuspocus", encoding="utf-8")
        with pytest.raises(ConfigRefused):
            await site.use(f"secrets: {{directory: {secrets}}}\n" + words(p="unwilling"))
        await site.ask()
        await site.use(f"secrets: {{directory: {secrets}}}\n" + words(p="two"))
        await site.ask()
    assert told == [
        "opensesame opensesame",
        "opensesame alakazam",
        "opensesame alakazam",
        "hocuspocus hocuspocus",
    ]


@define(eq=False)
class Waiting:
    """A plugin that waits in its start until it may go on, and does not start then."""

    name: str = "waiting"
    entered: anyio.Event = field(factory=anyio.Event)
    open: anyio.Event = field(factory=anyio.Event)

    async def start(self) -> None:
        self.entered.set()
        await self.open.wait()
        raise RuntimeError("it will not start")


MADE: list[Waiting] = []


def waiting() -> Waiting:
    """Return a plugin, for settings to name."""
    MADE.append(Waiting())
    return MADE[-1]


async def test_a_package_that_runs_is_not_given_the_secrets_of_settings_that_are_tried(
    tmp_path: Path,
) -> None:
    MADE.clear()
    for name, word in (("old", "opensesame"), ("new", "alakazam")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "KEY").write_text(word, encoding="utf-8")
    told: list[str] = []

    async def note(request: ModelRequest) -> str:
        told.extend(getattr(part, "content", "") for part in request.messages[-1].parts)
        return "fine"

    text = f"secrets: {{directory: {tmp_path / 'old'}}}\n"
    site = site_of(tmp_path, *[call("p__tell"), note] * 2, text=text)

    async def change() -> None:
        with pytest.raises(ConfigRefused, match="it will not start"):
            await site.use(
                text.replace("old", "new")
                + words(q="two")
                + f"    - {{name: waiting, object: '{__name__}:waiting'}}\n"
            )

    async with site.host, anyio.create_task_group() as tasks:
        await site.on("p", secrets=True)
        await site.on("q", secrets=True)
        tasks.start_soon(change)
        await until(lambda: bool(MADE))
        await MADE[0].entered.wait()
        await site.ask()
        MADE[0].open.set()
    assert told == ["opensesame opensesame"]


async def test_what_was_reloaded_stays_when_packages_are_switched(tmp_path: Path) -> None:
    site = site_of(tmp_path)
    async with site.host:
        await site.on()
        providers = "providers: {house: {kind: openai, base_url: 'http://127.0.0.1:9/v1'}}\n"
        profiles = "profiles: [{id: b, model: 'house:m'}]\n"
        await site.use(words(p="two") + providers + profiles)
        await site.packages.switch("p", ADA, on=False)
        assert list(site.host.agents()) == ["a", "b"]
        await site.packages.switch("p", ADA, on=True)
        assert list(site.host.agents()) == ["a", "b"]
        assert await site.ask() == ["p two"]


async def test_under_changes_of_its_configuration_no_run_sees_two_loadings(tmp_path: Path) -> None:
    outcomes: list[str] = []
    over = False

    async def answer(request: ModelRequest) -> str:
        for piece in "abc":
            await request.emit(Delta(text=piece))
            await anyio.sleep(0.05)  # or a slow machine does nothing but streams
        return "abc"

    async def ask(host: AgentHost) -> None:
        while not over:
            async with host.stream(ChatRequest(message="go")) as events:
                ends = [event async for event in events if isinstance(event, TERMINAL)]
            outcomes.extend(f"{event.type} {getattr(event, 'outcome', '')}" for event in ends)

    site = site_of(tmp_path, *[answer] * 20_000)
    async with site.host:
        await site.on("p")
        await site.on("q")
        async with anyio.create_task_group() as tasks:
            for _ in range(30):
                tasks.start_soon(ask, site.host)
            for number in range(30):
                await site.use(words(p=f"w{number}", q=f"w{number}"))
            over = True
        await until(lambda: alive() == {"p w29": 1, "q w29": 1})
        await site.quiet()
        modules = [name for name in sys.modules if name.startswith("_package_")]
        assert (len(site.loaded), len(modules)) == (2, 2)

    assert set(outcomes) == {"turn.end completed"}
    mixed = [seen for seen in SEEN.values() if len({each.split(" ")[1] for each in seen}) > 1]
    assert mixed == []
    assert alive() == {}


async def test_nothing_is_kept_of_a_package_that_was_replaced(tmp_path: Path) -> None:
    def made() -> list[Any]:
        gc.collect()
        objects = [each for each in gc.get_objects() if type(each).__name__ == "Plugin"]
        return [each for each in objects if str(type(each).__module__).startswith("_package_")]

    site, others = site_of(tmp_path), {id(each): each for each in made()}
    async with site.host:
        await site.on()
        await site.use(words(p="two"))
        await site.quiet()
        await site.ask()
        assert [each.word for each in made() if id(each) not in others] == ["two"]
