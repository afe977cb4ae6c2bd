"""Packages in directories: what changes there is used, and what breaks there breaks nothing."""

import stat
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio.streams.memory import MemoryObjectReceiveStream

from agentrail.errors import ConfigError
from agentrail.hook import Plugin
from agentrail.host import AgentHost
from agentrail.plugin import PackageSettings
from agentrail.registry import Commit, PackageEvent, Packages, Retired
from tests.registry.shop import ADA, TELL, files, host_of, upload, write

pytestmark = pytest.mark.anyio

Feed = MemoryObjectReceiveStream[PackageEvent]

KEEPS = """
from agentrail import define_plugin, tool

def plugin(context):
    @tool
    async def tell() -> str:
        "Tell."
        return {says!r}

    async def start():
        count = int(await context.state.get("count") or b"0") + 1
        await context.state.put("count", str(count).encode())
        context.emit(f"start {{count}}")

    return define_plugin("p", tools=[tell], start=start)
"""

TELLS = """
def get_manifest():
    return {{"name": "{}", "version": "1.0.0", "enabled": True}}
"""
COMMENT = """
# /// plugin
# id = "comment"
# version = "1.0.0"
# ///
"""


def kept(says: str) -> dict[str, str]:
    return {"more": 'entry_point = ":plugin"\n', "source": KEEPS.format(says=says)}


@asynccontextmanager
async def watching(data: Path, own: Path) -> AsyncGenerator[tuple[AgentHost, Feed]]:
    settings = PackageSettings(directories=[own], watch=True, quiet_seconds=0.1)
    host = host_of(data, settings=settings)
    async with host.part(Packages).events.feed() as feed, host:  # what the start does is told too
        yield host, feed


async def until(feed: Feed, *types: str) -> PackageEvent:
    with anyio.fail_after(30):
        async for event in feed:
            if event.type in types:
                return event
    raise AssertionError(types)


async def say(host: AgentHost) -> list[str]:
    return [each.name for each in host.composition.agent("a").agent.request.tools]


async def test_what_has_a_manifest_in_whatever_form_is_found_and_nothing_else(
    tmp_path: Path,
) -> None:
    own, tools = tmp_path / "own", TELL.format(says="told")
    for name in ("folder", "helpers", "empty"):
        (own / name).mkdir(parents=True)
    (own / "folder" / "__init__.py").write_text(TELLS.format("folder") + tools)
    (own / "single.py").write_text(TELLS.format("single") + tools)
    (own / "comment.py").write_text(COMMENT + tools)
    (own / "helpers" / "__init__.py").write_text("import get_manifest\nraise SystemExit\n")
    (own / "helper.py").write_text("class A:\n    def get_manifest(self): ...\nraise SystemExit\n")
    async with host_of(tmp_path, settings=PackageSettings(directories=[own])) as host:
        packages = host.part(Packages)
        assert [(info.id, info.state, info.error) for info in await packages.list()] == [
            (name, "active", "") for name in ("comment", "folder", "single")
        ]
        assert not await packages.events.history(kind="error")


async def test_an_edit_is_used_with_the_state_kept(tmp_path: Path) -> None:
    own = tmp_path / "own"
    write(own, "p", **kept("one"))
    async with watching(tmp_path, own) as (host, feed):
        assert (await until(feed, "custom")).message == "start 1"
        (own / "p" / "__init__.py").write_text(KEEPS.format(says="two"))
        assert (await until(feed, "custom")).message == "start 2"
        await until(feed, "reload")
        assert (await host.part(Packages).get("p")).state == "active"


@pytest.mark.parametrize("broken", ["syntax", "raises", "manifest"])
async def test_a_broken_edit_leaves_the_old_version_running_and_says_why(
    tmp_path: Path, broken: str
) -> None:
    own = tmp_path / "own"
    write(own, "p")
    async with watching(tmp_path, own) as (host, feed):
        packages = host.part(Packages)
        await until(feed, "enable")
        running = host.composition
        file = "plugin.toml" if broken == "manifest" else "__init__.py"
        text = {"syntax": "def (", "raises": "raise OSError('no')", "manifest": "id = 1"}[broken]
        (own / "p" / file).write_text(text)
        why = (await until(feed, "error")).error
        info = await packages.get("p")
        assert (info.state, info.version) == ("active", "1.0.0")
        assert info.error
        assert host.composition is running
        assert {"syntax": "invalid", "raises": "OSError: no", "manifest": "id"}[broken] in why

        (own / "p" / file).write_text(files("p", "1.0.0")[file] + "\n# mended\n")
        await until(feed, "reload")
        assert not (await packages.get("p")).error


async def test_a_new_package_is_used_and_a_removed_one_is_gone(tmp_path: Path) -> None:
    own = tmp_path / "own"
    write(own, "p")
    async with watching(tmp_path, own) as (host, feed):
        await until(feed, "enable")
        write(own, "q")
        await until(feed, "enable")
        assert await say(host) == ["p__tell", "q__tell"]
        for file in (own / "p").iterdir():
            file.unlink()
        await until(feed, "delete")
        assert await say(host) == ["q__tell"]
        assert [each.id for each in await host.part(Packages).list()] == ["q"]


async def test_several_changes_in_one_look_never_leave_a_package_out(tmp_path: Path) -> None:
    own = tmp_path / "own"
    for name in ("a", "b"):
        write(own, name)
    settings = PackageSettings(directories=[own])
    async with host_of(tmp_path, settings=settings) as host:
        seen: list[list[str]] = []
        swap = host.part(Packages).running.swap

        async def noted(plugins: Sequence[Plugin], commit: Commit | None = None) -> Retired:
            seen.append([plugin.name for plugin in plugins])
            return await swap(plugins, commit)

        host.part(Packages).running.swap = noted
        for name in ("a", "b"):
            write(own, name, "1.0.0", source=files(name, "1.0.1")["__init__.py"])
        await host.part(Packages).refresh(own)
        assert seen == [["a", "b"], ["a", "b"]]


async def test_what_an_edit_replaced_is_unloaded_and_its_files_go(tmp_path: Path) -> None:
    own = tmp_path / "own"
    write(own, "p")
    settings = PackageSettings(directories=[own])
    async with host_of(tmp_path, settings=settings) as host:
        packages = host.part(Packages)
        for version in ("1.0.1", "1.0.2", "1.1.0"):
            write(own, "p", version)
            async with packages.events.feed() as feed:
                await packages.refresh(own)
                await until(feed, "unload")
            assert [each.version for each in (await packages.get("p")).versions] == [version]
        await packages.refresh(own)
        assert len(list((tmp_path / "packages").iterdir())) == 1


async def test_two_directories_with_one_id_are_told_apart_by_who_was_first(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    write(one, "p")
    write(two, "p", "2.0.0")
    settings = PackageSettings(directories=[one, two])
    async with host_of(tmp_path, settings=settings) as host:
        info = await host.part(Packages).get("p")
        assert (info.version, info.state) == ("1.0.0", "active")


async def test_an_edit_beside_an_uploaded_version_in_use_changes_nothing_that_runs(
    tmp_path: Path,
) -> None:
    own = tmp_path / "own"
    write(own, "p")
    settings = PackageSettings(directories=[own])
    async with host_of(tmp_path, settings=settings) as host:
        packages = host.part(Packages)
        await upload(packages, "p", "2.0.0")
        await packages.upgrade("p", ADA)
        running = host.composition
        write(own, "p", "1.5.0")
        await packages.refresh(own)
        assert host.composition is running
        info = await packages.get("p")
        assert [(each.version, each.state) for each in info.versions] == [
            ("1.5.0", "disabled"),
            ("2.0.0", "active"),
        ]


@pytest.mark.parametrize("fault", ["writable", "missing"])
async def test_a_directory_that_cannot_be_trusted_is_not_watched(
    tmp_path: Path, fault: str
) -> None:
    own = tmp_path / "own"
    if fault == "writable":
        own.mkdir()
        own.chmod(own.stat().st_mode | stat.S_IWOTH)
    host = host_of(tmp_path, settings=PackageSettings(directories=[own], watch=True))
    with pytest.raises(ConfigError, match=r"everybody may write|is no directory"):
        await host.__aenter__()
