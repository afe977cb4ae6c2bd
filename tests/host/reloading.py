"""An application whose settings change while it runs, and what is noted of it."""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

import anyio
from attrs import define, field

from agentrail import (
    AppConfig,
    ChatRequest,
    MemorySessionStore,
    Profile,
    RequestContext,
    ScriptedModel,
    create_app,
    tool,
)
from agentrail.audit import AuditEntry, entries
from agentrail.hook import Call
from agentrail.host import AgentHost
from agentrail.model.scripted import Scripted
from agentrail.requests import Delta, ModelReply, ModelRequest
from agentrail.settings import Configuration, SettingsSource
from agentrail.storage import Database

LIVES: list[str] = []
"""The starts and stops of plugins and providers, in order."""

SEEN: dict[str, list[str]] = {}
"""The plugins whose hooks were called, by the turn."""

BETWEEN: list[str] = []
"""The calls of the application's own middleware."""


@define(eq=False)
class Marks:
    """A plugin that notes which one of it was called, and when it lived."""

    name: str
    label: str
    fails: str = ""
    deadlines: dict[str, float] = field(factory=dict[str, float])
    runs: bool = field(default=False, init=False)

    async def start(self) -> None:
        LIVES.append(f"start {self.name} {self.label}")
        if self.fails == "start":
            LIVES.append(f"stop {self.name} {self.label}")
            raise RuntimeError("it does not want to")
        if self.fails == "late":
            try:
                await anyio.sleep_forever()
            finally:
                LIVES.append(f"stop {self.name} {self.label}")

        self.runs = True

    def stop(self) -> None:
        self.runs = False
        LIVES.append(f"stop {self.name} {self.label}")

    def on_request_start(self, context: RequestContext) -> None:
        self._mark(context)

    def before_request(self, _request: ModelRequest, context: RequestContext) -> None:
        self._mark(context)

    def on_chunk(self, chunk: Delta, context: RequestContext) -> Delta:
        self._mark(context)
        return chunk

    def on_turn_persisted(self, context: RequestContext) -> None:
        self._mark(context)

    def on_request_end(self, context: RequestContext) -> None:
        self._mark(context)

    def _mark(self, context: RequestContext) -> None:
        SEEN.setdefault(context.turn_id, []).append(f"{self.name} {self.label}")
        if not self.runs:
            SEEN[context.turn_id].append("called while it does not run")


def marks(name: str = "m", label: str = "1", fails: str = "") -> Marks:
    """Make a plugin that is told its label."""
    if fails == "make":
        raise ValueError("no such label")
    return Marks(name, label, fails, {"start": 0.05} if fails == "late" else {})


class Counted(ScriptedModel):
    """A provider that notes its starts and stops."""

    def __init__(self, name: str, *replies: Scripted, fails: bool = False) -> None:
        super().__init__(replies or repeat(f"from {name}"), name, record=False)
        self.fails = fails

    async def start(self) -> None:
        if self.fails:
            raise RuntimeError("the provider is not there")
        LIVES.append(f"start {self.name}")

    async def stop(self) -> None:
        LIVES.append(f"stop {self.name}")


async def between(request: ModelRequest, call_next: Call[ModelRequest, ModelReply]) -> ModelReply:
    """Note a call of the model."""
    BETWEEN.append(type(request).__name__)
    return await call_next(request)


@tool
def look(what: str) -> str:
    """Look something up."""
    return what


again = look
"""The same tool by another name in the code."""


@define(eq=False)
class Tooled:
    """A plugin with a tool."""

    name: str
    tools = (look,)


@define
class Site:
    """A host that runs, with its file of settings."""

    host: AgentHost
    path: Path

    @property
    def configuration(self) -> Configuration:
        return self.host.part(Configuration)

    async def use(self, text: str) -> int:
        """Go by other settings, and return the revision."""
        self.path.write_text(text, encoding="utf-8")
        return (await self.configuration.reload("ada")).number

    async def ask(self, message: str = "hi", agent: str | None = None) -> tuple[str, Sequence[str]]:
        """Return an answer, and the plugins that had a part in it."""
        reply = await self.host.chat(ChatRequest(message=message, agent_id=agent))
        return reply.message, sorted(set(SEEN.pop(reply.turn_id or "", [])))

    async def audited(self) -> list[AuditEntry]:
        """Return all audit entries, oldest first."""
        return list(reversed(await self.host.part(Database).read(entries)))

    def plugin(self, name: str) -> object:
        """Return the plugin of that name."""
        plugins = self.host.composition.hooks.plugins
        return next(plugin for plugin in plugins if plugin.name == name)

    def provider(self, name: str) -> object:
        """Return the provider of that name."""
        return self.host.composition.models._entries[name].provider

    @property
    def held(self) -> tuple[object, ...]:
        """What must be as it was when a change was refused."""
        core = self.host.core
        return (
            core.present,
            core.first,
            core.config,
            core.models,
            self.configuration.reading,
            [*core.generations],
            sorted(core.lives._lives),
            list(core.models._line.running),
            sorted(core.models._line.known),
        )


def site_of(
    directory: Path,
    text: str,
    *replies: Any,  # noqa: ANN401
    source: Callable[[Path], SettingsSource] | None = None,
    **config: Any,  # noqa: ANN401
) -> Site:
    """Return a host of an application with a file of settings, which is not watched."""
    path = directory / "agentrail.yaml"
    path.write_text(text, encoding="utf-8")
    LIVES.clear()
    SEEN.clear()
    BETWEEN.clear()
    config.setdefault("store", MemorySessionStore())
    config.setdefault("providers", [ScriptedModel(replies or repeat("fine"), record=False)])
    app = AppConfig(
        profiles=[Profile(id="assistant", model="scripted:m")],
        data_dir=directory / "data",
        **config,
    )
    settings = source(path) if source is not None else SettingsSource(path, UNWATCHED)
    return Site(create_app(app, settings).host, path)


UNWATCHED = {"AGENTRAIL_RELOAD__WATCH": "false"}


def entry(name: str = "m", label: str = "1", **more: str) -> str:
    """Return a plugin's entry in settings."""
    config = ", ".join(
        f"{key}: '{value}'" for key, value in {"name": name, "label": label, **more}.items()
    )
    return f"    - {{name: {name}, object: 'tests.host.reloading:marks', config: {{{config}}}}}\n"


def plugins(*entries: str) -> str:
    """Return settings with these plugins."""
    return "plugins:\n  entries:\n" + "".join(entries) if entries else "plugins: {}\n"


def balanced() -> Counter[str]:
    """Return what was started more often than stopped; below zero, the other way round."""
    found: Counter[str] = Counter()
    for line in LIVES:
        what, who = line.split(" ", 1)
        found[who] += 1 if what == "start" else -1
    return Counter({who: count for who, count in found.items() if count})


async def until(there: Callable[[], bool]) -> None:
    """Let others run until something is there."""
    while not there():
        await anyio.lowlevel.checkpoint()
