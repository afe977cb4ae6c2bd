"""The life of packages in a real host: what is decided, what runs, and what a restart restores."""

import sqlite3
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from agentrail import ChatRequest
from agentrail.audit import verify
from agentrail.errors import HostNotRunning, PackageError, PackageNotFound, PackageStateError
from agentrail.host import AgentHost
from agentrail.messages import ToolResult
from agentrail.plugin import PackageSettings
from agentrail.registry import PackageEvent, Packages
from agentrail.requests import ModelReply, ModelRequest
from tests.registry.shop import ADA, LAZY, call, host_of, upload, write

pytestmark = pytest.mark.anyio

SLOW = """
import anyio
from agentrail import define_plugin, tool

async def plugin(context):
    await anyio.sleep(0.05)

    @tool
    def tell() -> str:
        "Tell."
        return "told"

    return define_plugin("p", tools=[tell])
"""
BROKEN = "raise RuntimeError('no')"
FRAGILE = """
import anyio
from agentrail import tool

class Plugin:
    def __init__(self, context):
        self.end = anyio.Event()

        @tool
        async def fell() -> str:
            "Fell the package."
            self.end.set()
            return "it falls"

        self.tools = [fell]

    async def start(self):
        self.group = await anyio.create_task_group().__aenter__()
        self.group.start_soon(self.work)

    async def work(self):
        await self.end.wait()
        raise OSError("the line is dead")

    async def stop(self):
        self.group.cancel_scope.cancel()
        await self.group.__aexit__(None, None, None)
"""


def tools(host: AgentHost) -> list[str]:
    return [each.name for each in host.composition.agent("a").agent.request.tools]


def told(request: ModelRequest) -> str:
    """Return what the last tool said."""
    results = [p for m in request.messages for p in m.parts if isinstance(p, ToolResult)]
    return results[-1].content


async def state(packages: Packages, name: str) -> str:
    return (await packages.get(name)).state


async def test_a_package_is_a_tool_from_switch_on_to_switch_off(tmp_path: Path) -> None:
    async with host_of(tmp_path) as host:
        packages = host.part(Packages)
        assert (await upload(packages, "p")).state == "disabled"
        assert tools(host) == []
        assert (await packages.switch("p", ADA, on=True)).state == "active"
        assert tools(host) == ["p__tell"]
        assert (await packages.switch("p", ADA, on=False)).state == "disabled"
        assert tools(host) == []


async def test_nothing_of_it_runs_before_it_was_promoted(tmp_path: Path) -> None:
    async with host_of(tmp_path) as host:
        packages = host.part(Packages)
        source = f"open({str(tmp_path / 'ran')!r}, 'w')"
        await upload(packages, "p", ready=False, source=source)
        for promote in (False, True):
            with pytest.raises(PackageStateError, match=r"approve|promote"):
                await packages.switch("p", ADA, on=True)
            assert not (await packages.get("p")).enabled
            await packages.approve("p", ADA, promote=promote)
        assert not (tmp_path / "ran").exists()


async def test_a_restart_restores_what_was_decided(tmp_path: Path) -> None:
    async with host_of(tmp_path) as host:
        packages = host.part(Packages)
        await upload(packages, "a")
        await upload(packages, "b")
        await upload(packages, "c", ready=False)
        for name in ("a", "b"):
            await packages.switch(name, ADA, on=True)
        await upload(packages, "b", "2.0.0")
        await packages.upgrade("b", ADA)
        await packages.switch("a", ADA, on=False)
        await packages.delete("b", ADA, version="1.0.0")
        before = {info.id: info for info in await packages.list()}

    async with host_of(tmp_path) as host:
        packages = host.part(Packages)
        assert tools(host) == ["b__tell"]
        for info in await packages.list():
            was = before[info.id]
            assert (info.version, info.enabled, info.revision) == (
                was.version,
                was.enabled,
                was.revision,
            )
        assert [i.state for i in await packages.list()] == ["disabled", "active", "received"]


async def test_what_an_administrator_said_overrides_the_manifest_until_cleared(
    tmp_path: Path,
) -> None:
    settings = PackageSettings(directories=[tmp_path / "own"])
    write(tmp_path / "own", "p")
    async with host_of(tmp_path, settings=settings) as host:
        info = await host.part(Packages).switch("p", ADA, on=False)
        assert (info.enabled, info.overridden) == (False, True)
    async with host_of(tmp_path, settings=settings) as host:
        assert tools(host) == []
        info = await host.part(Packages).switch("p", ADA, on=None)
        assert (info.enabled, info.overridden, info.state) == (True, False, "active")


async def test_an_uploaded_version_in_the_place_of_the_applications_own_stays_there(
    tmp_path: Path,
) -> None:
    settings = PackageSettings(directories=[tmp_path / "own"])
    write(tmp_path / "own", "p")
    async with host_of(tmp_path, settings=settings) as host:
        packages = host.part(Packages)
        await upload(packages, "p", "2.0.0")
        assert (await packages.upgrade("p", ADA)).enabled
    async with host_of(tmp_path, settings=settings) as host:
        packages = host.part(Packages)
        info = await packages.get("p")
        assert (info.version, info.state, info.previous) == ("2.0.0", "active", "1.0.0")
        assert (await packages.rollback("p", ADA)).version == "1.0.0"
        assert tools(host) == ["p__tell"]


async def test_an_upgrade_that_fails_leaves_the_old_version_running_and_written(
    tmp_path: Path,
) -> None:
    async with host_of(tmp_path) as host:
        packages = host.part(Packages)
        await upload(packages, "p")
        await packages.switch("p", ADA, on=True)
        await upload(packages, "p", "2.0.0", source=BROKEN)
        with pytest.raises(PackageError, match="RuntimeError: no"):
            await packages.upgrade("p", ADA)
        info = await packages.get("p")
        assert (info.version, info.state, info.previous) == ("1.0.0", "active", None)
        assert tools(host) == ["p__tell"]
        assert [each.state for each in info.versions] == ["active", "failed"]
    async with host_of(tmp_path) as host:
        assert (await host.part(Packages).get("p")).version == "1.0.0"


async def test_a_failed_version_is_replaced_by_one_that_works(tmp_path: Path) -> None:
    async with host_of(tmp_path) as host:
        packages = host.part(Packages)
        await upload(packages, "p", source=BROKEN)
        with pytest.raises(PackageError, match="no"):
            await packages.switch("p", ADA, on=True)
        await upload(packages, "p", "1.0.1")
        info = await packages.upgrade("p", ADA)
        assert (info.state, info.enabled) == ("active", True)


async def test_one_that_fails_or_goes_in_a_circle_does_not_block_the_start(tmp_path: Path) -> None:
    own = tmp_path / "own"
    write(own, "a-bad", source=BROKEN)
    write(own, "fine")
    for one, other in (("x", "y"), ("y", "x")):
        write(own, one, more=f'[dependencies]\nplugins = ["{other}"]\n')
    write(own, "z", more='[dependencies]\nplugins = ["x"]\n')
    async with host_of(tmp_path, settings=PackageSettings(directories=[own])) as host:
        infos = {info.id: info for info in await host.part(Packages).list()}
        assert tools(host) == ["fine__tell"]
        assert {info.state for name, info in infos.items() if name != "fine"} == {"failed"}
        assert "circle: x → y → x" in infos["x"].error.replace("y → x → y", "x → y → x")
        assert infos["z"].error.endswith("x is not on")


async def test_packages_start_after_those_they_depend_on_and_hold_them(tmp_path: Path) -> None:
    async with host_of(tmp_path) as host:
        packages = host.part(Packages)
        await upload(packages, "z")
        await upload(packages, "a", more='[dependencies]\nplugins = ["z >=1, <2"]\n')
        with pytest.raises(PackageStateError, match="is not on"):
            await packages.switch("a", ADA, on=True)
        await packages.switch("z", ADA, on=True)
        await upload(packages, "z", "2.0.0")
        await packages.switch("a", ADA, on=True)
        assert tools(host) == ["a__tell", "z__tell"]
        assert [each.name for each in host.composition.hooks.plugins] == ["z", "a"]
        for change in (
            packages.switch("z", ADA, on=False),
            packages.upgrade("z", ADA),
            packages.delete("z", ADA),
        ):
            with pytest.raises(PackageStateError, match="is needed by a"):
                await change
        assert (await packages.get("z")).enabled
    async with host_of(tmp_path) as host:
        assert tools(host) == ["a__tell", "z__tell"]
        assert [each.name for each in host.composition.hooks.plugins] == ["z", "a"]
        await host.part(Packages).switch("a", ADA, on=False)
        assert not (await host.part(Packages).switch("z", ADA, on=False)).enabled


async def test_an_upgrade_that_would_close_a_circle_is_refused(tmp_path: Path) -> None:
    async with host_of(tmp_path) as host:
        packages = host.part(Packages)
        await upload(packages, "a")
        await upload(packages, "b", more='[dependencies]\nplugins = ["a"]\n')
        await packages.switch("a", ADA, on=True)
        await upload(packages, "a", "2.0.0", more='[dependencies]\nplugins = ["b"]\n')
        await packages.switch("b", ADA, on=True)
        with pytest.raises(PackageError, match="circle"):
            await packages.upgrade("a", ADA)
        assert tools(host) == ["a__tell", "b__tell"]
        await packages.switch("b", ADA, on=False)
        assert tools(host) == ["a__tell"]


async def test_three_crashes_are_a_quarantine_that_lasts_until_it_is_lifted(
    tmp_path: Path,
) -> None:
    async with host_of(tmp_path) as host:
        packages = host.part(Packages)
        await upload(packages, "p", source=BROKEN)
        for expected in ("failed", "failed", "quarantined"):
            with pytest.raises(PackageError, match="RuntimeError"):
                await packages.switch("p", ADA, on=True)
            assert await state(packages, "p") == expected
        with pytest.raises(PackageStateError, match="release it first"):
            await packages.switch("p", ADA, on=True)
    async with host_of(tmp_path) as host:
        packages = host.part(Packages)
        assert await state(packages, "p") == "quarantined"
        assert (await packages.release("p", ADA)).state == "disabled"


async def test_what_misses_a_dependency_never_crashed(tmp_path: Path) -> None:
    async with host_of(tmp_path) as host:
        packages = host.part(Packages)
        await upload(packages, "p", more='[dependencies]\nplugins = ["q"]\n')
        for _ in range(4):
            with pytest.raises(PackageStateError, match="q is not on"):
                await packages.switch("p", ADA, on=True)
        assert await state(packages, "p") == "failed"


async def test_a_package_is_loaded_by_the_first_call_of_its_tool_and_put_away_again(
    tmp_path: Path,
) -> None:
    said: list[str] = []

    async def answer(request: ModelRequest) -> str:
        said.append(told(request))
        return "done"

    settings = PackageSettings(idle_seconds=0.01)
    replies = [call("p__tell"), answer] * 2
    async with host_of(tmp_path, *replies, settings=settings) as host:
        packages, rested = host.part(Packages), anyio.Event()
        await upload(packages, "p", more=LAZY)

        def note(event: PackageEvent) -> None:
            if event.type == "unload":
                rested.set()

        packages.events.add_handler(note)
        assert (await packages.switch("p", ADA, on=True)).state == "idle"
        assert not [each for each in sys.modules if each.startswith("_package_p_")]
        for _ in range(2):
            await host.chat(ChatRequest(message="hi"))
            with anyio.fail_after(20):
                await rested.wait()
            rested = anyio.Event()
            assert await state(packages, "p") == "idle"
            assert not [each for each in sys.modules if each.startswith("_package_p_")]
        types = Counter(event.type for event in await packages.events.history())
    assert said == ["p 1.0.0", "p 1.0.0"]
    assert (types["load"], types["rest"], types["execute"]) == (2, 2, 2)


async def test_a_turn_that_is_cancelled_while_it_loads_a_package_does_not_break_it(
    tmp_path: Path,
) -> None:
    more = 'entry_point = ":plugin"\n' + LAZY
    async with host_of(tmp_path, call("p__tell"), call("p__tell"), "done") as host:
        packages = host.part(Packages)
        await upload(packages, "p", more=more, source=SLOW)
        await packages.switch("p", ADA, on=True)
        async with host.stream(ChatRequest(message="hi")) as events:
            async for event in events:
                if event.type == "tool.start":
                    break
        await host.chat(ChatRequest(message="hi"))
        assert await state(packages, "p") == "active"


async def test_a_package_that_breaks_down_while_it_runs_is_out_of_the_next_turn(
    tmp_path: Path,
) -> None:
    said: list[str] = []

    async def answer(request: ModelRequest) -> str:
        said.append(told(request))
        return "done"

    async with host_of(tmp_path, *[call("p__fell"), answer, "fine"] * 3) as host:
        packages, out = host.part(Packages), anyio.Event()
        packages.events.add_handler(lambda e: out.set() if e.type == "error" else None)
        await upload(packages, "p", source=FRAGILE, more='entry_point = "__init__:Plugin"\n')
        for expected in ("failed", "failed", "quarantined"):
            await packages.switch("p", ADA, on=True)
            assert tools(host) == ["p__fell"]
            await host.chat(ChatRequest(message="hi"))
            with anyio.fail_after(20):
                await out.wait()
            out = anyio.Event()
            info = await packages.get("p")
            assert info.state == expected
            assert "the line is dead" in info.error
            assert tools(host) == []
            assert (await host.chat(ChatRequest(message="hi"))).message == "fine"
    assert said == ["it falls"] * 3
    async with host_of(tmp_path) as host:
        assert await state(host.part(Packages), "p") == "quarantined"


async def test_a_lazy_package_that_breaks_when_called_is_tried_again_and_then_quarantined(
    tmp_path: Path,
) -> None:
    async with host_of(tmp_path, *[call("p__tell"), "done"] * 3) as host:
        packages = host.part(Packages)
        await upload(packages, "p", more=LAZY, source=BROKEN)
        await packages.switch("p", ADA, on=True)
        for expected in ("idle", "idle", "quarantined"):
            await host.chat(ChatRequest(message="hi"))
            assert await state(packages, "p") == expected
        assert tools(host) == []


async def test_a_package_is_switched_on_again_while_runs_still_use_it(tmp_path: Path) -> None:
    entered, go = anyio.Event(), anyio.Event()

    async def wait(_request: ModelRequest) -> ModelReply:
        entered.set()
        await go.wait()
        return call("p__tell")

    said: list[str] = []

    async def answer(request: ModelRequest) -> str:
        said.append(told(request))
        return "done"

    async with host_of(tmp_path, wait, answer) as host, anyio.create_task_group() as tasks:
        packages = host.part(Packages)
        await upload(packages, "p")
        await packages.switch("p", ADA, on=True)
        tasks.start_soon(host.chat, ChatRequest(message="hi"))
        await entered.wait()
        assert (await packages.switch("p", ADA, on=False)).state == "draining"
        assert (await packages.switch("p", ADA, on=True)).state == "active"
        assert (await packages.switch("p", ADA, on=False)).state == "draining"
        tasks.start_soon(lambda: packages.delete("p", ADA))
        await anyio.wait_all_tasks_blocked()
        assert await state(packages, "p") == "draining"
        go.set()
    assert said == ["p 1.0.0"]
    assert not list((tmp_path / "packages").glob("sha256-*"))


async def test_a_deleted_package_leaves_nothing_but_its_history(tmp_path: Path) -> None:
    source = (
        "def plugin(context):\n    context.directory('data:', write=True).joinpath('f').touch()\n"
    )
    source += "    async def start(): await context.state.put('k', b'v')\n"
    source += "    from agentrail import define_plugin\n"
    source += "    return define_plugin('p', start=start)\n"
    more = 'entry_point = ":plugin"\n[permissions]\nfilesystem = { write = ["data:"] }\n'
    async with host_of(tmp_path) as host:
        packages = host.part(Packages)
        await upload(packages, "p", more=more, source=source)
        await packages.switch("p", ADA, on=True)
        assert list((tmp_path / "plugins" / "data" / "p").iterdir())
        await packages.delete("p", ADA)
        with pytest.raises(PackageNotFound):
            await packages.get("p")
        assert not (tmp_path / "plugins" / "data" / "p").exists()
        assert not list((tmp_path / "packages").iterdir())
    with closing(sqlite3.connect(tmp_path / "host.db")) as database, database:
        assert database.execute("select count(*) from package_value").fetchone() == (0,)
        assert database.execute("select enabled, active from package").fetchall() == [(None, None)]
        assert verify(database).faults == ()


async def test_filters_and_a_message_fit(tmp_path: Path) -> None:
    async with host_of(tmp_path) as host:
        packages = host.part(Packages)
        await upload(packages, "one", more='tags = ["x"]\n')
        await upload(packages, "two", ready=False)
        assert [i.id for i in await packages.list(tag="x")] == ["one"]
        assert [i.id for i in await packages.list(state="received")] == ["two"]
        assert [i.id for i in await packages.list(keyword="TWO")] == ["two"]
        assert [i.id for i in await packages.list(kind="hook")] == []


async def test_a_change_after_the_stop_is_refused_and_one_before_is_finished(
    tmp_path: Path,
) -> None:
    host = host_of(tmp_path)
    packages = host.part(Packages)
    async with anyio.create_task_group() as tasks, host:
        await upload(packages, "p", more='entry_point = ":plugin"\n', source=SLOW)
        tasks.start_soon(lambda: packages.switch("p", ADA, on=True))
        await anyio.wait_all_tasks_blocked()
    with pytest.raises(HostNotRunning):
        await packages.switch("p", ADA, on=False)
    assert not [each for each in sys.modules if each.startswith("_package_p_")]
    async with host_of(tmp_path) as host:
        assert await state(host.part(Packages), "p") == "active"


async def test_where_packages_do_not_run_they_can_be_seen_and_wait(tmp_path: Path) -> None:
    async with host_of(tmp_path) as host:
        packages = host.part(Packages)
        await upload(packages, "p")
        await packages.switch("p", ADA, on=True)
    settings = PackageSettings(enabled=False)
    async with host_of(tmp_path, settings=settings) as host:
        packages = host.part(Packages)
        info = await packages.get("p")
        assert (info.state, info.enabled, tools(host)) == ("disabled", True, [])
        with pytest.raises(PackageStateError, match="no package runs on this host"):
            await packages.switch("p", ADA, on=True)
        await upload(packages, "p", "2.0.0")
        await packages.upgrade("p", ADA)
        assert tools(host) == []
    async with host_of(tmp_path) as host:
        info = await host.part(Packages).get("p")
        assert (info.version, info.state) == ("2.0.0", "active")
