"""Packages whose code strays: they have failed, and the host goes on."""

from pathlib import Path

import pytest

from agentrail import ChatRequest
from agentrail.errors import PackageError
from agentrail.events import ToolEnd
from agentrail.plugin import PackageSettings
from agentrail.registry import PackageEvent, Packages
from tests.registry.shop import ADA, LAZY, call, host_of, upload, write
from tests.strays import STRAYS, Stray

pytestmark = pytest.mark.anyio

FACTORY = """
from agentrail import define_plugin, tool
from tests.strays import {stray}

async def plugin(context):
    if "{where}" == "factory":
        await {stray}()

    @tool
    async def tell() -> str:
        '''Tells.'''
        if "{where}" == "tool":
            await {stray}()
        return "told"

    life = {{"{where}": {stray}}} if "{where}" in ("start", "stop") else {{}}
    return define_plugin("p", tools=[tell], **life)
"""
ENTRY = 'entry_point = ":plugin"\n'


def source(where: str, stray: Stray) -> str:
    return FACTORY.format(where=where, stray=stray.__name__)


@pytest.mark.parametrize("stray", STRAYS)
@pytest.mark.parametrize("where", ["factory", "start"])
async def test_a_host_starts_with_a_package_that_strays(
    tmp_path: Path, where: str, stray: Stray
) -> None:
    plugins = tmp_path / "plugins"
    write(plugins, "good")
    write(plugins, "bad", source=source(where, stray), more=ENTRY)

    settings = PackageSettings(directories=[plugins])
    async with host_of(tmp_path / "data", settings=settings) as host:
        states = {each.id: each.state for each in await host.part(Packages).list()}
        answer = await host.chat(ChatRequest("hi"))

    assert states == {"good": "active", "bad": "failed"}
    assert answer.message == "fine"


@pytest.mark.parametrize("stray", STRAYS)
@pytest.mark.parametrize("where", ["factory", "start"])
async def test_a_package_that_strays_is_not_switched_on(
    tmp_path: Path, where: str, stray: Stray
) -> None:
    async with host_of(tmp_path) as host:
        packages = host.part(Packages)
        await upload(packages, "p", source=source(where, stray), more=ENTRY)
        with pytest.raises(PackageError, match=r"called sys\.exit\(\)|was cancelled by its own"):
            await packages.switch("p", ADA, on=True)
        state = (await packages.get("p")).state
        await upload(packages, "q")
        other = await packages.switch("q", ADA, on=True)

    assert (state, other.state) == ("failed", "active")


@pytest.mark.parametrize("stray", STRAYS)
async def test_a_package_whose_stop_strays_is_switched_off(tmp_path: Path, stray: Stray) -> None:
    async with host_of(tmp_path) as host:
        packages = host.part(Packages)
        await upload(packages, "p", source=source("stop", stray), more=ENTRY)
        await packages.switch("p", ADA, on=True)
        await packages.switch("p", ADA, on=False)
        again = await packages.switch("p", ADA, on=True)
        answer = await host.chat(ChatRequest("hi"))

    assert (again.state, answer.message) == ("active", "fine")


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("stray", STRAYS)
@pytest.mark.parametrize("where", ["factory", "tool"])
async def test_a_tool_of_a_package_that_strays_has_failed(
    tmp_path: Path, where: str, stray: Stray, *, lazy: bool
) -> None:
    more = ENTRY + LAZY if lazy else ENTRY
    async with host_of(tmp_path, call("p__tell"), "done", "fine") as host:
        packages = host.part(Packages)
        await upload(packages, "p", source=source(where, stray), more=more)
        if lazy or where == "tool":
            await packages.switch("p", ADA, on=True)
        async with host.stream(ChatRequest("hi")) as events:
            ended = [each.outcome async for each in events if isinstance(each, ToolEnd)]
        answer = await host.chat(ChatRequest("hi"))

    assert (ended, answer.message) == (["error"], "fine")


@pytest.mark.parametrize("stray", STRAYS)
async def test_a_handler_of_events_that_strays_ends_nothing(tmp_path: Path, stray: Stray) -> None:
    told: list[str] = []

    async def strays(_event: PackageEvent) -> None:
        await stray()

    async with host_of(tmp_path) as host:
        events = host.part(Packages).events
        events.add_handler(strays)
        events.add_handler(lambda event: told.append(event.type))
        await upload(host.part(Packages), "p")
        await host.part(Packages).switch("p", ADA, on=True)
        await events.flush()
        answer = await host.chat(ChatRequest("hi"))
    assert told == ["upload", "promote", "load", "enable"]
    assert answer.message == "fine"
