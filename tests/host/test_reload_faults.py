"""What cannot be used of settings is told with its place."""

import sys
import threading
from pathlib import Path
from types import ModuleType

import anyio
import pytest

from agentrail.errors import CompositionError, ConfigRefused, Fault, HostNotRunning
from tests.host.reloading import Marks, entry, plugins, site_of

pytestmark = pytest.mark.anyio

NOBODY = "\nprofiles:\n  - {id: one, model: 'scripted:m'}\n  - {id: two, model: 'nobody:m'}\n"


def places(faults: tuple[Fault, ...]) -> list[tuple[str, int | None, str]]:
    return [(fault.file, fault.line, fault.key) for fault in faults]


async def test_what_does_not_fit_together_is_told_with_its_place(tmp_path: Path) -> None:
    site = site_of(tmp_path, "stop_grace: 1\n")
    async with site.host:
        with pytest.raises(ConfigRefused) as caught:
            await site.use(NOBODY)
        assert places(caught.value.faults) == [("agentrail.yaml", 4, "profiles.1")]
        with pytest.raises(ConfigRefused) as caught:
            await site.use(plugins(entry("m"), entry("n", fails="start")))
        assert places(caught.value.faults) == [("agentrail.yaml", 4, "plugins.entries.1")]


def test_a_host_is_not_made_of_what_does_not_fit_together_and_tells_its_place(
    tmp_path: Path,
) -> None:
    with pytest.raises(ConfigRefused) as caught:
        site_of(tmp_path, NOBODY)
    assert places(caught.value.faults) == [("agentrail.yaml", 4, "profiles.1")]
    # What the application's code says has no place in a file.
    with pytest.raises(CompositionError):
        site_of(tmp_path, "stop_grace: 1\n", plugins=[Marks("m", "1"), Marks("m", "2")])


def test_a_plugin_that_is_named_and_nobody_has_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigRefused, match="no plugin 'n'") as caught:
        site_of(tmp_path, "plugins: {enabled: [m, n]}\n", plugins=[Marks("m", "1")])
    assert places(caught.value.faults) == [("agentrail.yaml", 1, "plugins.enabled.1")]


async def test_a_host_does_not_wait_for_code_that_does_not_return(tmp_path: Path) -> None:
    begun, go = threading.Event(), threading.Event()

    def hang() -> Marks:
        begun.set()
        go.wait()
        return Marks("m", "1")

    module = ModuleType("hanging_code")
    vars(module)["hang"] = hang
    sys.modules["hanging_code"] = module
    site, told = site_of(tmp_path, "stop_grace: 0.01\n"), list[str]()

    async def use() -> None:
        try:
            await site.use(
                "stop_grace: 0.01\nplugins: {entries: [{name: m, object: 'hanging_code:hang'}]}\n"
            )
        except HostNotRunning as error:
            told.append(error.code)

    try:
        async with anyio.create_task_group() as tasks, site.host:
            tasks.start_soon(use)
            await anyio.to_thread.run_sync(begun.wait)
        assert told == ["host_not_running"]
    finally:
        go.set()
        del sys.modules["hanging_code"]


async def test_ten_thousand_of_the_same_are_made_in_one_go(tmp_path: Path) -> None:
    site = site_of(tmp_path, "{}\n")
    async with site.host:
        steps = ", ".join(["redact"] * 10_000)
        assert await site.use(f"middlewares: [{steps}]\n") == 2
