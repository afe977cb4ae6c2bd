"""Directories of packages: an upload, a new id and two versions that only go together."""

import logging
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from agentrail.audit import entries
from agentrail.host import AgentHost
from agentrail.plugin import PackageSettings
from agentrail.registry import PackageEvent, Packages
from agentrail.registry._directories import Directories
from tests.registry.shop import ADA, TELL, Chunks, archive, host_of, upload, write

pytestmark = pytest.mark.anyio

RAISES = "raise OSError('no')"


@asynccontextmanager
async def using(tmp_path: Path) -> AsyncGenerator[tuple[AgentHost, Packages]]:
    settings = PackageSettings(directories=[tmp_path / "own"])
    async with host_of(tmp_path, settings=settings) as host:
        yield host, host.part(Packages)


def needing(*needs: str) -> str:
    return f"[dependencies]\nplugins = {list(needs)}\n"


def module(id_: str, version: str = "1.0.0") -> str:
    comment = f'# /// plugin\n# id = "{id_}"\n# version = "{version}"\n# ///\n'
    return comment + TELL.format(says=id_)


async def tools(host: AgentHost) -> list[str]:
    return [each.name for each in host.composition.agent("a").agent.request.tools]


async def states(packages: Packages) -> dict[str, tuple[str, str]]:
    return {info.id: (info.version, info.state) for info in await packages.list()}


async def history(packages: Packages, kind: str) -> list[PackageEvent]:
    await packages.events.flush()
    return list(await packages.events.history(kind=kind))


def directories(packages: Packages) -> Directories:
    return Directories(packages.inventory, packages.running)


@pytest.mark.parametrize("again", [True, False], ids=["at the next start", "at once"])
@pytest.mark.parametrize("approved", [True, False])
async def test_an_upload_that_was_not_promoted_never_displaces_the_applications_own(
    tmp_path: Path, *, again: bool, approved: bool
) -> None:
    own = tmp_path / "own"
    write(own, "core")
    async with using(tmp_path) as (host, packages):
        await upload(packages, "core", "1.0.1", ready=False, source=RAISES)
        if approved:
            await packages.approve("core", ADA, version="1.0.1")
        write(own, "core", "1.0.1")
        if not again:
            await packages.refresh(own)
            assert await tools(host) == ["core__tell"]
    async with using(tmp_path) as (host, packages):
        assert await tools(host) == ["core__tell"]
        info = await packages.get("core")
        assert [(each.version, each.state, each.source) for each in info.versions] == [
            ("1.0.1", "active", "directory")
        ]
        assert len(list((tmp_path / "packages").iterdir())) == 1
        kept = await packages.inventory.database.read(partial(entries, limit=2))
        assert [(each.actor, each.action) for each in kept] == [
            ("application", "package.find"),
            ("application", "package.delete"),
        ]


async def test_an_upload_of_the_same_content_is_displaced_too(tmp_path: Path) -> None:
    own = tmp_path / "own"
    async with using(tmp_path) as (_, packages):
        await packages.upload(Chunks(archive("p")), "p.zip", ADA)
        write(own, "p")
        await packages.refresh(own)
        info = await packages.get("p")
        assert [(each.state, each.source) for each in info.versions] == [("active", "directory")]


async def test_a_promoted_upload_keeps_its_version(tmp_path: Path) -> None:
    own = tmp_path / "own"
    write(own, "p")
    async with using(tmp_path) as (host, packages):
        await upload(packages, "p", "2.0.0")
        write(own, "p", "2.0.0", source=RAISES)
        await packages.refresh(own)
        info = await packages.get("p")
        assert (info.version, info.state) == ("1.0.0", "active")
        assert "another version" in info.error
        assert await tools(host) == ["p__tell"]


async def test_an_edit_beside_an_upload_in_use_says_how_to_use_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = tmp_path / "own"
    write(own, "p")
    async with using(tmp_path) as (_, packages):
        await upload(packages, "p", "2.0.0")
        await packages.upgrade("p", ADA)
        assert not await history(packages, "find")
        write(own, "p", "1.5.0")
        for _ in range(2):
            await packages.refresh(own)
        [told] = await history(packages, "find")
        assert (told.plugin, told.version) == ("p", "1.5.0")
        assert "2.0.0 was uploaded" in told.message
        assert "agentrail plugin upgrade p --version 1.5.0" in told.message
        assert told.message in caplog.text


async def test_a_file_with_another_id_is_another_package(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "a.py").write_text(module("one"))
    async with using(tmp_path) as (host, packages):
        (own / "a.py").write_text(module("two"))
        (own / "b.py").write_text(module("one", "1.0.1"))
        await packages.refresh(own)
        assert await tools(host) == ["one__tell", "two__tell"]
        assert await states(packages) == {"one": ("1.0.1", "active"), "two": ("1.0.0", "active")}
        (own / "a.py").write_text(module("one"))
        (own / "b.py").write_text(module("two"))
        await packages.refresh(own)
        assert await tools(host) == ["one__tell", "two__tell"]
        (own / "b.py").write_text(module("three"))
        await packages.refresh(own)
        assert await tools(host) == ["one__tell", "three__tell"]
        assert list(await states(packages)) == ["one", "three"]
        (own / "b.py").write_text('# /// plugin\n# id = "four"\n# ///\n')
        await packages.refresh(own)
        assert await tools(host) == ["one__tell", "three__tell"]


async def test_a_package_that_moved_stays_in_use(tmp_path: Path) -> None:
    own = tmp_path / "own"
    write(own, "p")
    async with using(tmp_path) as (host, packages):
        running = host.composition
        (own / "p").rename(own / "q")
        await packages.refresh(own)
        assert host.composition is running
        (own / "q" / "plugin.toml").write_text("id = 1")
        await packages.refresh(own)
        assert "id" in (await packages.get("p")).error
        write(own, "p", "1.0.1")
        shutil.rmtree(own / "q")
        await packages.refresh(own)
        assert await states(packages) == {"p": ("1.0.1", "active")}


async def test_of_two_files_with_one_id_the_one_in_use_is_followed(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "b.py").write_text(module("p"))
    async with using(tmp_path) as (_, packages):
        (own / "a.py").write_text(module("p", "3.0.0"))
        (own / "b.py").write_text(module("p", "2.0.0"))
        await packages.refresh(own)
        info = await packages.get("p")
        assert (info.version, info.error) == ("2.0.0", "")


async def test_what_is_broken_is_told_with_its_path_until_it_is_gone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "a.py").write_text(module("p"))
    (own / "b.py").write_text(module("p", "2.0.0"))
    (own / "c.py").write_text("# /// plugin\n# id = 1\n# ///\n")
    async with using(tmp_path) as (_, packages):
        errors = [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR]
        assert [error.split()[0] for error in errors] == [str(own / "b.py"), str(own / "c.py")]
        looking = directories(packages)
        await packages.running.alone(partial(looking.look, own, on=True))
        assert {path.name: "already" in why for path, why in looking.broken.items()} == {
            "b.py": True,
            "c.py": False,
        }
        (own / "b.py").unlink()
        (own / "c.py").write_text(module("c"))
        await packages.running.alone(partial(looking.look, own, on=True))
        assert not looking.broken


async def test_a_broken_edit_is_told_of_the_package_and_not_of_the_file(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "file.py").write_text(module("p"))
    async with using(tmp_path) as (_, packages):
        (own / "file.py").write_text("# /// plugin\n# id = 1\n# ///\n")
        await packages.refresh(own)
        assert [event.plugin for event in await history(packages, "error")] == ["p"]


async def test_packages_that_are_removed_together_go_together(tmp_path: Path) -> None:
    own = tmp_path / "own"
    write(own, "geo")
    write(own, "weather", more=needing("geo>=1"))
    write(own, "zoo", more=needing("weather"))
    async with using(tmp_path) as (_, packages):
        assert len(await states(packages)) == 3
        for name in ("geo", "weather", "zoo"):
            shutil.rmtree(own / name)
        await packages.refresh(own)
        assert await states(packages) == {}


@pytest.mark.parametrize("removed", ["geo", "weather"])
async def test_what_is_removed_may_be_needed_until_the_other_has_changed(
    tmp_path: Path, removed: str
) -> None:
    own = tmp_path / "own"
    write(own, "geo")
    write(own, "weather", more=needing("geo>=1,<2"))
    async with using(tmp_path) as (_, packages):
        left = "weather" if removed == "geo" else "geo"
        shutil.rmtree(own / removed)
        write(own, left, "2.0.0")
        await packages.refresh(own)
        assert await states(packages) == {left: ("2.0.0", "active")}
        assert not await history(packages, "error")


def write_tied(own: Path, version: int, **weather: str) -> None:
    """Write four packages of which each version needs the same version of the others."""
    exact = f">={version},<{version + 1}"
    write(own, "geo", f"{version}.0.0")
    write(own, "maps", f"{version}.0.0")
    more = needing(f"geo{exact}", f"maps{exact}")
    write(own, "weather", f"{version}.0.0", more=more, **weather)
    write(own, "zoo", f"{version}.0.0", more=needing(f"weather{exact}"))


async def test_versions_that_only_go_together_change_together(tmp_path: Path) -> None:
    own = tmp_path / "own"
    write_tied(own, 1)
    write(own, "bystander", more=needing("weather"))
    async with using(tmp_path) as (_, packages):
        write_tied(own, 2)
        write(own, "young")
        write(own, "zoo", "2.0.0", more=needing("weather>=2,<3", "young"))
        await packages.refresh(own)
        new = dict.fromkeys(["geo", "maps", "weather", "zoo"], ("2.0.0", "active"))
        same = dict.fromkeys(["bystander", "young"], ("1.0.0", "active"))
        assert await states(packages) == {**same, **new}
        assert not await history(packages, "error")
        assert not any(info.error for info in await packages.list())


async def test_versions_of_which_one_fails_leave_the_old_ones_on(tmp_path: Path) -> None:
    own = tmp_path / "own"
    write_tied(own, 1)
    names = ["geo", "maps", "weather", "zoo"]
    async with using(tmp_path) as (host, packages):
        write_tied(own, 2, source=RAISES)
        await packages.refresh(own)
        assert await states(packages) == dict.fromkeys(names, ("1.0.0", "active"))
        assert await tools(host) == [f"{name}__tell" for name in names]
        assert all("OSError: no" in info.error for info in await packages.list())
        write_tied(own, 2)
        await packages.refresh(own)
        assert await states(packages) == dict.fromkeys(names, ("2.0.0", "active"))
    async with using(tmp_path) as (_, packages):
        assert await states(packages) == dict.fromkeys(names, ("2.0.0", "active"))


async def test_a_version_that_something_unchanged_cannot_do_with_is_refused(tmp_path: Path) -> None:
    own = tmp_path / "own"
    write(own, "geo")
    write(own, "weather", more=needing("geo>=1,<2"))
    write(own, "zoo", more=needing("geo>=1,<2"))
    async with using(tmp_path) as (host, packages):
        running = host.composition
        write(own, "geo", "2.0.0")
        write(own, "weather", "2.0.0", more=needing("geo>=2,<3"))
        await packages.refresh(own)
        assert host.composition is running
        assert "is needed by" in (await packages.get("geo")).error
