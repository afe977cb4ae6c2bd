"""What goes wrong in the middle: a full disk, a caller that hangs up, a process that is killed."""

import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from agentrail import ChatRequest
from agentrail.audit import entries, verify
from agentrail.errors import PackageError, PackageStateError, StorageError
from agentrail.events import ToolEnd
from agentrail.plugin import PackageSettings
from agentrail.registry import PackageEvent, PackageInfo, Packages
from tests.registry.shop import ADA, LAZY, Chunks, archive, call, host_of, upload

pytestmark = pytest.mark.anyio

Change = Callable[[Packages], Coroutine[object, object, object]]

CHANGES: dict[str, Change] = {
    "upload": lambda p: upload(p, "p", "3.0.0", ready=False),
    "approve": lambda p: p.approve("w", ADA, promote=True),
    "on": lambda p: p.switch("off", ADA, on=True),
    "off": lambda p: p.switch("p", ADA, on=False),
    "upgrade": lambda p: p.upgrade("p", ADA, version="2.0.0"),
    "delete": lambda p: p.delete("off", ADA),
    "delete what is on": lambda p: p.delete("p", ADA),
}

PLUG = "create trigger plug before insert on audit begin select raise(abort, 'plugged'); end"


def deny(path: Path, *, on: bool) -> None:
    with closing(sqlite3.connect(path / "host.db")) as database, database:
        database.execute(PLUG if on else "drop trigger plug")


async def stock(packages: Packages) -> None:
    await upload(packages, "p")
    await packages.switch("p", ADA, on=True)
    await upload(packages, "p", "2.0.0")
    await upload(packages, "off")
    await upload(packages, "w", ready=False)


def shown(infos: Sequence[PackageInfo]) -> list[tuple[object, ...]]:
    return [
        (
            i.id,
            i.version,
            i.enabled,
            i.revision,
            i.previous,
            [(v.version, v.digest) for v in i.versions],
        )
        for i in infos
    ]


@pytest.mark.parametrize("what", CHANGES)
async def test_a_change_that_cannot_be_written_has_not_happened(tmp_path: Path, what: str) -> None:
    async with host_of(tmp_path) as host:
        packages = host.part(Packages)
        await stock(packages)
        before, served = shown(await packages.list()), host.composition
        states = [each.state for each in await packages.list()]
        files = sorted((tmp_path / "packages").iterdir())
        deny(tmp_path, on=True)
        with pytest.raises(StorageError):
            await CHANGES[what](packages)

        assert shown(await packages.list()) == before
        assert [each.state for each in await packages.list()] == states
        assert host.composition is served
        assert sorted((tmp_path / "packages").iterdir()) == files
        modules = [name for name in sys.modules if name.startswith("_package_p_")]
        assert len(modules) == 1

        deny(tmp_path, on=False)
        await CHANGES[what](packages)
        after = shown(await packages.list())
    async with host_of(tmp_path) as host:
        assert shown(await host.part(Packages).list()) == after
    with closing(sqlite3.connect(tmp_path / "host.db")) as database, database:
        assert verify(database).faults == ()


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("steps", [0, 1, 2, 3, 5, 8, 13, 21])
async def test_memory_and_file_agree_when_a_caller_hangs_up(
    tmp_path: Path, what: str, steps: int
) -> None:
    async with host_of(tmp_path) as host:
        packages = host.part(Packages)
        await stock(packages)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(CHANGES[what], packages)
            for _ in range(steps):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        await _settled(packages)
        after = shown(await packages.list())
    async with host_of(tmp_path) as host:
        assert shown(await host.part(Packages).list()) == after
        left = {path.name for path in (tmp_path / "packages").iterdir()}
        digests = {v.digest for i in await host.part(Packages).list() for v in i.versions}
        assert left == {digest.replace(":", "-") for digest in digests}


async def _settled(packages: Packages) -> None:
    async def nothing() -> None:
        await anyio.lowlevel.checkpoint()

    await packages.running.alone(nothing)


async def test_an_upload_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield archive("p")[:50]
        raise ConnectionError

    async with host_of(tmp_path) as host:
        packages = host.part(Packages)
        with pytest.raises(ConnectionError):
            await packages.upload(broken(), "p.zip", ADA)
        assert list((tmp_path / "packages").iterdir()) == []
        assert await packages.list() == []


async def test_the_same_upload_twice_at_once_is_one_package(tmp_path: Path) -> None:
    async with host_of(tmp_path) as host:
        packages = host.part(Packages)
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(packages.upload, Chunks(archive("p")), "p.zip", ADA)
        with pytest.raises(PackageStateError, match="with other content"):
            await packages.upload(Chunks(archive("p", source="x = 1")), "p.zip", ADA)
    with closing(sqlite3.connect(tmp_path / "host.db")) as database, database:
        assert len(entries(database)) == 1


async def test_what_was_changed_in_the_store_is_not_run_and_an_upload_mends_it(
    tmp_path: Path,
) -> None:
    async with host_of(tmp_path) as host:
        await upload(host.part(Packages), "p")
        await host.part(Packages).switch("p", ADA, on=True)
    (file,) = (tmp_path / "packages").glob("*/__init__.py")
    file.chmod(0o644)
    file.write_text("raise SystemExit")
    async with host_of(tmp_path) as host:
        packages = host.part(Packages)
        info = await packages.get("p")
        assert (info.state, info.enabled) == ("failed", True)
        with pytest.raises(PackageStateError, match="cannot be used"):
            await packages.switch("p", ADA, on=True)
        assert (await upload(packages, "p", ready=False)).state == "disabled"
        assert (await packages.switch("p", ADA, on=True)).state == "active"


async def test_a_second_host_on_the_same_data_takes_the_packages_as_they_are(
    tmp_path: Path,
) -> None:
    async with host_of(tmp_path) as host:
        first = host.part(Packages)
        await upload(first, "p")
        await first.switch("p", ADA, on=True)
        await first.events.flush()
        before = await first.events.history()

        async with host_of(tmp_path) as other:
            second = other.part(Packages)
            assert [(each.id, each.state) for each in await second.list()] == [("p", "active")]
            for change in (second.switch("p", ADA, on=False), second.delete("p", ADA)):
                with pytest.raises(PackageStateError, match="another process changes the packages"):
                    await change
            await upload(first, "q")

        assert (await first.get("p")).state == "active"
        await first.events.flush()
        assert {each.plugin for each in (await first.events.history())[len(before) :]} == {"q"}
    async with host_of(tmp_path) as host:
        assert [each.id for each in await host.part(Packages).list()] == ["p", "q"]


async def test_a_second_host_loads_what_is_loaded_on_demand_and_puts_it_away(
    tmp_path: Path,
) -> None:
    settings = PackageSettings(idle_seconds=0.01)
    async with host_of(tmp_path) as host:
        first = host.part(Packages)
        await upload(first, "p", more=LAZY)
        await first.switch("p", ADA, on=True)

        async with host_of(tmp_path, call("p__tell"), "done", settings=settings) as other:
            second = other.part(Packages)
            async with other.stream(ChatRequest(message="hi")) as events:
                told = [event.content async for event in events if isinstance(event, ToolEnd)]
            assert told == ["p 1.0.0"]
            with anyio.fail_after(20):
                while [each for each in sys.modules if each.startswith("_package_p_")]:
                    await anyio.wait_all_tasks_blocked()
            assert (await second.get("p")).state == "idle"


async def test_a_handler_that_fails_or_hangs_or_comes_again_stops_nobody(tmp_path: Path) -> None:
    seen: list[str] = []

    def fail(event: PackageEvent) -> None:
        raise ValueError(event.type)

    async with host_of(tmp_path) as host:
        packages, done = host.part(Packages), anyio.Event()

        async def again(event: PackageEvent) -> None:
            seen.append(event.type)
            if event.type == "promote":
                await packages.switch("p", ADA, on=True)
            if event.type == "enable":
                done.set()

        packages.events.add_handler(fail)
        end = packages.events.add_handler(again)
        await upload(packages, "p")
        with anyio.fail_after(20):
            await done.wait()
        end()
        end()
    assert seen == ["upload", "promote", "load", "enable"]


async def test_what_a_package_says_of_an_event_never_stops_the_host(tmp_path: Path) -> None:
    source = (
        "import threading\nfrom agentrail import define_plugin\n"
        "def plugin(context):\n"
        "    context.emit('odd \\udcff', what=object(), deep={1: {2: b'x'}})\n"
        "    own = threading.Thread(target=context.emit, args=('thread',)); own.start()\n"
        "    own.join()\n"
        "    context.emit('long' * 10000, long='x' * 100000)\n"
        "    return define_plugin('p', start=lambda: None)\n"
    )
    async with host_of(tmp_path) as host:
        packages = host.part(Packages)
        await upload(packages, "p", more='entry_point = ":plugin"\n', source=source)
        async with packages.events.feed() as feed:
            await packages.switch("p", ADA, on=True)
            found: list[PackageEvent] = []
            with anyio.fail_after(20):
                while len(found) < 3:
                    event = await feed.receive()
                    found += [event] if event.type == "custom" else []
        assert [each.message[:6] for each in found] == ["odd ?", "thread", "longlo"]
        assert all(len(str(each)) < 5_000 for each in found)


async def test_a_full_disk_for_events_does_not_stop_the_host(tmp_path: Path) -> None:
    plug = "create trigger e before insert on package_event begin select raise(abort, 'full'); end"
    async with host_of(tmp_path) as host:
        packages = host.part(Packages)
        with closing(sqlite3.connect(tmp_path / "host.db")) as database, database:
            database.execute(plug)
        await upload(packages, "p")
        await packages.switch("p", ADA, on=True)
        with closing(sqlite3.connect(tmp_path / "host.db")) as database, database:
            database.execute("drop trigger e")
        await packages.switch("p", ADA, on=False)
        await packages.events.flush()
        types = [event.type for event in await packages.events.history()]
        assert types[:5] == ["upload", "promote", "load", "enable", "disable"]


CHILD = """
import sys, anyio
from pathlib import Path
from agentrail.registry import Packages
from tests.registry.shop import ADA, host_of, upload

async def main():
    async with host_of(Path(sys.argv[1])) as host:
        packages = host.part(Packages)
        number = 0
        while True:
            number += 1
            version = f"{number}.0.0"
            await upload(packages, "p", version)
            if number == 1:
                await packages.switch("p", ADA, on=True)
            else:
                await packages.upgrade("p", ADA)
            await packages.switch("p", ADA, on=bool(number % 3))
            await packages.switch("p", ADA, on=True)
            if number > 2:
                await packages.delete("p", ADA, version=f"{number - 2}.0.0")
            print(number, flush=True)

anyio.run(main, backend=sys.argv[2])
"""


@pytest.mark.parametrize("lines", [1, 2, 4])
async def test_a_host_that_is_killed_comes_back_to_what_was_written(
    tmp_path: Path, lines: int, anyio_backend_name: str
) -> None:
    child = subprocess.Popen(  # noqa: ASYNC220 - it is killed, and read line by line
        [sys.executable, "-c", CHILD, str(tmp_path), anyio_backend_name],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert child.stdout is not None
    for _ in range(lines):
        child.stdout.readline()
    child.kill()
    child.wait()
    child.stdout.close()
    with closing(sqlite3.connect(tmp_path / "host.db")) as database, database:
        assert verify(database).faults == ()
        enabled, active = database.execute("select enabled, active from package").fetchone()
        rows = set(
            database.execute("select version, digest from package_version where state <> 'deleted'")
        )
    async with host_of(tmp_path) as host:
        packages = host.part(Packages)
        info = await packages.get("p")
        assert (info.enabled, info.version) == (bool(enabled), active)
        assert info.state == ("active" if enabled else "disabled")
        assert {(each.version, each.digest) for each in info.versions} == rows
        left = {path.name for path in (tmp_path / "packages").iterdir() if path.name[0] != "."}
        assert left == {digest.replace(":", "-") for _, digest in rows}
        await packages.switch("p", ADA, on=not enabled)


async def test_a_load_that_hangs_is_given_up(tmp_path: Path) -> None:
    source = "import anyio\nasync def plugin(context):\n    await anyio.sleep_forever()\n"
    async with host_of(tmp_path, settings=PackageSettings(load_seconds=0.05)) as host:
        packages = host.part(Packages)
        await upload(packages, "p", more='entry_point = ":plugin"\n', source=source)
        with pytest.raises(PackageError, match=r"longer than 0\.05 s"):
            await packages.switch("p", ADA, on=True)
        assert not [name for name in sys.modules if name.startswith("_package_p_")]
