"""What turns under way have of packages that come and go meanwhile."""

import sys
from collections.abc import Awaitable, Callable
from itertools import repeat
from pathlib import Path

import anyio
import pytest

from agentrail import AppConfig, ChatRequest, Profile, ScriptedModel, create_app
from agentrail.errors import PackageError, PackageStateError
from agentrail.events import Event, TurnEnd
from agentrail.messages import ToolResult
from agentrail.plugin import PackageSettings
from agentrail.registry import By, PackageEvent, Packages
from agentrail.requests import ModelReply, ModelRequest
from tests.registry.shop import ADA, LAZY, TELL, call, host_of, upload

pytestmark = pytest.mark.anyio


def told(request: ModelRequest) -> list[str]:
    """Return what the tools said."""
    parts = [part for message in request.messages for part in message.parts]
    return [part.content for part in parts if isinstance(part, ToolResult)]


def loaded(name: str) -> list[str]:
    return [each for each in sys.modules if each.startswith(f"_package_{name}_")]


async def outcome(events: object) -> str:
    ends: list[Event] = [event async for event in events]  # type: ignore[attr-defined]
    return ends[-1].outcome if isinstance(ends[-1], TurnEnd) else ends[-1].type


async def test_a_package_that_a_turn_does_not_use_comes_and_goes_without_it(
    tmp_path: Path,
) -> None:
    entered, go, outcomes = anyio.Event(), anyio.Event(), list[str]()

    async def wait(_request: ModelRequest) -> str:
        entered.set()
        await go.wait()
        return "fine"

    settings = PackageSettings(drain_seconds=0.01)
    async with host_of(tmp_path, wait, "fine", settings=settings) as host:
        packages = host.part(Packages)
        await upload(packages, "p")

        async def ask() -> None:
            async with host.stream(ChatRequest(message="hi")) as events:
                outcomes.append(await outcome(events))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await entered.wait()
            await packages.switch("p", ADA, on=True)
            await host.chat(ChatRequest(message="hi"))
            with anyio.fail_after(20):
                await packages.switch("p", ADA, on=False)
                await packages.delete("p", ADA)
            assert not loaded("p")
            assert outcomes == []
            go.set()
    assert outcomes == ["completed"]


async def test_a_turn_goes_on_with_what_it_loaded_on_demand_after_it_was_switched_off(
    tmp_path: Path,
) -> None:
    said: list[str] = []

    async def then_off(request: ModelRequest) -> ModelReply:
        said.extend(told(request))
        await packages.switch("p", ADA, on=False)
        return call("p__tell")

    async def answer(request: ModelRequest) -> str:
        said.extend(told(request)[1:])
        return "done"

    async with host_of(tmp_path, call("p__tell"), then_off, answer) as host:
        packages = host.part(Packages)
        await upload(packages, "p", more=LAZY)
        await packages.switch("p", ADA, on=True)
        await host.chat(ChatRequest(message="hi"))
        with anyio.fail_after(20):
            await packages.delete("p", ADA)
        assert not loaded("p")
    assert said == ["p 1.0.0", "p 1.0.0"]


async def test_a_turn_that_loads_a_package_is_not_hurried_by_that(tmp_path: Path) -> None:
    settings = PackageSettings(drain_seconds=0.01, idle_seconds=0.01)
    rested, said = anyio.Event(), list[str]()

    async def later(request: ModelRequest) -> ModelReply:
        with anyio.fail_after(20):
            await rested.wait()  # it was taken out, and put away as far as others are concerned
        await host.chat(ChatRequest(message="hi"))
        return call("p__tell")

    async def answer(request: ModelRequest) -> str:
        said.extend(told(request))
        return "done"

    def note(event: PackageEvent) -> None:
        if event.type == "rest":
            rested.set()

    replies = [call("p__tell"), later, "fine", answer]
    async with host_of(tmp_path, *replies, settings=settings) as host:
        packages = host.part(Packages)
        packages.events.add_handler(note)
        await upload(packages, "p", more=LAZY)
        await packages.switch("p", ADA, on=True)
        async with host.stream(ChatRequest(message="hi")) as events:
            assert await outcome(events) == "completed"
    assert said == ["p 1.0.0", "p 1.0.0"]


async def test_a_turn_loads_what_it_calls_while_the_host_stops(tmp_path: Path) -> None:
    entered, go, said = anyio.Event(), anyio.Event(), list[str]()

    async def wait(_request: ModelRequest) -> ModelReply:
        entered.set()
        await go.wait()
        return call("p__tell")

    async def answer(request: ModelRequest) -> str:
        said.extend(told(request))
        return "done"

    async with anyio.create_task_group() as tasks, host_of(tmp_path, wait, answer) as host:
        packages = host.part(Packages)
        await upload(packages, "p", more=LAZY)
        await packages.switch("p", ADA, on=True)
        tasks.start_soon(host.chat, ChatRequest(message="hi"))
        await entered.wait()

        async def release() -> None:
            while host.core.running:
                await anyio.wait_all_tasks_blocked()
            go.set()

        tasks.start_soon(release)
    assert said == ["p 1.0.0"]
    assert not loaded("p")


async def test_a_summary_holds_a_package_no_longer_than_a_turn_may(tmp_path: Path) -> None:
    summarizes = anyio.Event()

    async def answer(request: ModelRequest) -> str:
        if any("Summarize the conversation" in message.text for message in request.messages):
            summarizes.set()
            await anyio.sleep_forever()
        return "word " * 60

    host = create_app(
        AppConfig(
            profiles=[Profile(id="a", model="scripted:m", context_window=600)],
            providers=[ScriptedModel(repeat(answer), record=False)],
            packages=PackageSettings(drain_seconds=0.01),
            data_dir=tmp_path,
        )
    ).host
    async with host:
        packages, session = host.part(Packages), None
        await upload(packages, "p")
        await packages.switch("p", ADA, on=True)
        while not summarizes.is_set():
            asked = ChatRequest(message="tell me more " * 10, session_id=session)
            session = (await host.chat(asked)).session_id
            await anyio.wait_all_tasks_blocked()
        with anyio.fail_after(20):
            await packages.delete("p", ADA)
        assert not loaded("p")


async def test_a_stop_may_wait_for_a_thread_that_tells_something(tmp_path: Path) -> None:
    source = """
import threading

class Plugin:
    def __init__(self, context):
        self.end = threading.Event()
        self.thread = threading.Thread(target=self.work, args=(context,))

    def work(self, context):
        self.end.wait()
        context.emit("bye")

    def start(self):
        self.thread.start()

    def stop(self):
        self.end.set()
        self.thread.join()
"""
    async with host_of(tmp_path) as host:
        packages, bye = host.part(Packages), anyio.Event()
        packages.events.add_handler(lambda e: bye.set() if e.message == "bye" else None)
        await upload(packages, "p", source=source, more='entry_point = "__init__:Plugin"\n')
        await packages.switch("p", ADA, on=True)
        await packages.switch("p", ADA, on=False)
        with anyio.fail_after(20):
            await bye.wait()


async def test_a_call_is_told_of_the_package_and_the_version_whose_tool_it_was(
    tmp_path: Path,
) -> None:
    async def then_upgrade(_request: ModelRequest) -> ModelReply:
        await packages.upgrade("z", ADA)
        return call("z__b__tell")

    async with host_of(tmp_path, call("z__b__tell"), then_upgrade, "done") as host:
        packages = host.part(Packages)
        source = TELL.format(says="z").replace('"tell"', '"b__tell"')
        await upload(packages, "z", source=source)
        await upload(packages, "z__b", ready=False)
        await packages.switch("z", ADA, on=True)
        await upload(packages, "z", "2.0.0", source=source)
        await host.chat(ChatRequest(message="hi"))
        await packages.events.flush()
        calls = await packages.events.history(kind="execute")
    assert [(e.plugin, e.version, e.success) for e in calls] == [("z", "1.0.0", True)] * 2


KEEPER = """
KEPT = []

def plugin(context):
    from agentrail import define_plugin
    import sys
    sys.modules["builtins"].kept_context = context
    return define_plugin("p", start=lambda: None)
"""


async def test_an_unloaded_package_keeps_and_tells_nothing_any_more(tmp_path: Path) -> None:
    import builtins  # noqa: PLC0415

    async with host_of(tmp_path) as host:
        packages = host.part(Packages)
        await upload(packages, "p", source=KEEPER, more='entry_point = ":plugin"\n')
        await packages.switch("p", ADA, on=True)
        context = builtins.__dict__.pop("kept_context")
        await context.state.put("a", b"1")
        await packages.delete("p", ADA)
        works: list[Callable[[], Awaitable[object]]] = [
            lambda: context.state.put("a", b"2"),
            lambda: context.state.get("a"),
            lambda: context.state.delete("a"),
            context.state.keys,
        ]
        for work in works:
            with pytest.raises(PackageError, match="was unloaded"):
                await work()
        context.emit("late")
        await packages.events.flush()
        assert "late" not in [each.message for each in await packages.events.history()]


async def test_crashes_are_counted_for_each_version_and_each_can_be_released(
    tmp_path: Path,
) -> None:
    async with host_of(tmp_path) as host:
        packages = host.part(Packages)
        for version in ("1.0.0", "1.0.1", "1.0.2", "1.0.3"):
            await upload(packages, "p", version, source="raise RuntimeError('no')")
            with pytest.raises(PackageError):
                await packages.upgrade("p", ADA) if version != "1.0.0" else await packages.switch(
                    "p", ADA, on=True
                )
        states = {each.version: each.state for each in (await packages.get("p")).versions}
        assert "quarantined" not in states.values()

        for _ in range(2):
            with pytest.raises(PackageError):
                await packages.switch("p", ADA, on=True)
        broken = (await packages.get("p")).version
        await upload(packages, "p", "2.0.0")
        await packages.upgrade("p", ADA, version="2.0.0")
        held = {each.version: each.state for each in (await packages.get("p")).versions}
        assert (held[broken], held["2.0.0"]) == ("quarantined", "active")
        await packages.release("p", ADA)
        held = {each.version: each.state for each in (await packages.get("p")).versions}
        assert (held[broken], held["2.0.0"]) == ("disabled", "active")
        with pytest.raises(PackageStateError):
            await packages.release("p", ADA)


async def test_what_waits_for_approval_is_approved_by_its_version_and_once(tmp_path: Path) -> None:
    async with host_of(tmp_path) as host:
        packages = host.part(Packages)
        await upload(packages, "p", "1.0.0", ready=False)
        second = await upload(packages, "p", "2.0.0", ready=False)
        with pytest.raises(PackageStateError, match=r"versions 1\.0\.0, 2\.0\.0"):
            await packages.approve("p", ADA, promote=True)
        digest = next(each.digest for each in second.versions if each.version == "2.0.0")
        info = await packages.approve("p", ADA, digest=digest, promote=True)
        assert info.revision > second.revision
        states = {each.version: each.state for each in info.versions}
        assert states == {"1.0.0": "received", "2.0.0": "disabled"}


async def test_what_waits_for_approval_has_its_bounds(tmp_path: Path) -> None:
    async with host_of(tmp_path) as host:
        packages = host.part(Packages)
        for number in range(20):
            await upload(packages, "p", f"1.0.{number}", ready=False)
        with pytest.raises(PackageStateError, match="at most 20 of one"):
            await upload(packages, "p", "2.0.0", ready=False)
        await packages.approve("p", By("ada"), version="1.0.3", promote=True)
        await upload(packages, "p", "2.0.0", ready=False)
        assert len((await packages.get("p")).versions) == 21


SECRETIVE = """
def plugin(context):
    value = context.secret("key").reveal()
    context.logger.warning("the key is %s", value)
    context.emit(f"it is {value}", key=value)
    raise RuntimeError(f"cannot log in with {value}")
"""
CANARY = "sk-live-canary-1"


async def test_a_secret_of_a_package_is_in_nothing_that_is_shown_of_it(tmp_path: Path) -> None:
    schema = (
        '\n[config_schema]\ntype = "object"\n[config_schema.properties.key]\npattern = "^key-"\n'
    )
    more = 'entry_point = ":plugin"\n[permissions]\nsecrets = ["key"]\n'
    settings = PackageSettings(secrets={"key": CANARY}.get, config={"s": {"key": CANARY}})
    async with host_of(tmp_path, settings=settings) as host:
        packages = host.part(Packages)
        await upload(packages, "p", source=SECRETIVE, more=more)
        await upload(packages, "s", more=schema)
        for name in ("p", "s"):
            with pytest.raises(PackageError) as raised:
                await packages.switch(name, ADA, on=True)
            assert CANARY not in raised.value.detail
        await packages.events.flush()
        shown = f"{await packages.list()} {await packages.events.history()}"
    assert "cannot log in with {{secret:key}}" in shown
    assert "it is {{secret:key}}" in shown
    assert CANARY not in shown
