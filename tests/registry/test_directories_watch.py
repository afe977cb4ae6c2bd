"""Watching a directory: whichever is at the path is watched, and changes may be without end."""

import logging
import os
import shutil
import stat
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio.streams.memory import MemoryObjectReceiveStream

from agentrail.config import watch
from agentrail.registry import Packages
from tests.registry.shop import write
from tests.registry.test_directories import until, watching

pytestmark = pytest.mark.anyio

Looks = MemoryObjectReceiveStream[set[str]]


def names_in(directory: Path) -> set[str]:
    if not directory.exists():
        return set()
    assert not directory.stat().st_mode & stat.S_IWOTH
    return {path.name for path in directory.iterdir()}


@asynccontextmanager
async def looking(
    directory: Path, quiet: float = 0.1, longest: float = 30.0
) -> AsyncGenerator[Looks]:
    """Watch a directory, and tell what is in it at each look; the first has come."""
    send, receive = anyio.create_memory_object_stream[set[str]](1_000)

    async def look(where: Path) -> None:
        assert where == directory
        send.send_nowait(names_in(where))

    async def run() -> None:
        await watch(directory, quiet, look, longest_seconds=longest)

    with send, receive:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await receive.receive()
            yield receive
            tasks.cancel_scope.cancel()


async def until_there(looks: Looks, *names: str) -> None:
    with anyio.fail_after(30):
        while await looks.receive() != set(names):
            pass


def remade(directory: Path, new: Path) -> None:
    shutil.rmtree(directory)
    shutil.copytree(new, directory)


def renamed(directory: Path, new: Path) -> None:
    directory.rename(directory.with_name("old"))
    new.rename(directory)


def switched(directory: Path, new: Path) -> None:
    link = directory.with_name("link")
    link.symlink_to(new)
    link.replace(directory)


def made(tmp_path: Path, replace: Callable[[Path, Path], None]) -> tuple[Path, Path]:
    """Return a directory, and another that is to take its place."""
    one, two = tmp_path / "one", tmp_path / "two"
    for each in (one, two):
        each.mkdir()
        (each / each.name).touch()
    if replace is not switched:
        return one, two
    current = tmp_path / "current"
    current.symlink_to(one)
    return current, two


@pytest.mark.parametrize("replace", [remade, renamed, switched])
async def test_another_directory_at_the_path_is_looked_at_and_watched(
    tmp_path: Path, replace: Callable[[Path, Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    directory, new = made(tmp_path, replace)
    async with looking(directory) as looks:
        replace(directory, new)
        await until_there(looks, "two")
        (directory / "three").touch()
        await until_there(looks, "two", "three")
        (directory / "four").touch()
        await until_there(looks, "two", "three", "four")
    assert "another directory now" in caplog.text


async def test_a_directory_that_is_gone_is_looked_at_and_watched_once_it_is_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory, new = made(tmp_path, renamed)
    async with looking(directory) as looks:
        directory.rename(tmp_path / "old")
        await until_there(looks)
        new.rename(directory)
        await until_there(looks, "two")
        (directory / "three").touch()
        await until_there(looks, "two", "three")
    assert "cannot be watched, and is tried again" in caplog.text


@pytest.mark.skipif(os.name != "posix", reason="there are no such permissions")
async def test_a_directory_that_everybody_may_write_to_is_not_looked_at_before_that_ends(
    tmp_path: Path,
) -> None:
    directory, new = made(tmp_path, renamed)
    told = anyio.Event()

    class Told(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "everybody may write" in record.getMessage():
                told.set()

    log, handler = logging.getLogger("agentrail.config"), Told()
    log.addHandler(handler)
    try:
        async with looking(directory) as looks:
            new.chmod(0o777)
            renamed(directory, new)
            with anyio.fail_after(30):
                await told.wait()
            directory.chmod(0o755)
            await until_there(looks, "two")
    finally:
        log.removeHandler(handler)


async def test_changes_that_do_not_end_are_looked_at_all_the_same(tmp_path: Path) -> None:
    directory, _ = made(tmp_path, renamed)

    async def change() -> None:
        while True:
            (directory / "two").write_text("changed")
            await anyio.sleep(0.02)

    async with (
        looking(directory, quiet=1.0, longest=1.0) as looks,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(change)
        await until_there(looks, "one", "two")
        tasks.cancel_scope.cancel()


async def test_packages_in_a_directory_that_is_made_again_are_used(tmp_path: Path) -> None:
    own = tmp_path / "own"
    write(own, "p")
    async with watching(tmp_path, own) as (host, feed):
        await until(feed, "enable")
        shutil.rmtree(own)
        await until(feed, "delete")
        write(own, "p", "2.0.0")
        await until(feed, "enable")
        write(own, "p", "2.1.0")
        await until(feed, "reload")
        assert (await host.part(Packages).get("p")).version == "2.1.0"
