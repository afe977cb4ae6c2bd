"""Changes of settings wait for each other, and some are shared."""

from collections.abc import Awaitable, Callable

import anyio
import pytest
from attrs import define, field

from agentrail.errors import HostNotRunning
from agentrail.settings import WholeRevision
from agentrail.settings._job import Jobs

pytestmark = pytest.mark.anyio


@define
class Done:
    """What was done, in that order; nothing is before the gate is open."""

    gate: anyio.Event = field(factory=anyio.Event)
    names: list[str] = field(factory=list[str])
    told: list[tuple[str, int]] = field(factory=list[tuple[str, int]])

    def work(self, name: str) -> Callable[[], Awaitable[WholeRevision]]:
        async def work() -> WholeRevision:
            self.names.append(name)
            await self.gate.wait()
            return WholeRevision(
                number=len(self.names),
                at=0,
                actor=name,
                action="reload",
                file="",
                digest="",
                settings=(),
            )

        return work

    async def ask(self, jobs: Jobs, key: str, name: str) -> None:
        try:
            self.told.append((name, (await jobs.do(key, self.work(name))).number))
        except HostNotRunning:
            self.told.append((name, 0))


async def test_what_is_asked_for_again_is_shared_and_overtakes_nothing() -> None:
    jobs, done = Jobs(), Done()
    async with anyio.create_task_group() as group:
        jobs.open(group)
        for key, name in (
            ("reload", "first"),
            ("reload", "second"),
            ("reload", "shares the second"),
            ("back", "third"),
            ("reload", "fourth"),
            ("reload", "shares the fourth"),
        ):
            group.start_soon(done.ask, jobs, key, name)
            await anyio.wait_all_tasks_blocked()
        done.gate.set()
    assert done.names == ["first", "second", "third", "fourth"]
    assert sorted(done.told) == [
        ("first", 1),
        ("fourth", 4),
        ("second", 2),
        ("shares the fourth", 4),
        ("shares the second", 2),
        ("third", 3),
    ]


async def test_who_ends_waits_for_the_change_under_way_and_no_other() -> None:
    jobs, done = Jobs(), Done()
    async with anyio.create_task_group() as group:
        jobs.open(group)
        for name in ("first", "second"):
            group.start_soon(done.ask, jobs, name, name)
            await anyio.wait_all_tasks_blocked()
        group.start_soon(jobs.close, 30)
        await anyio.wait_all_tasks_blocked()
        assert done.told == []
        done.gate.set()
    assert sorted(done.told) == [("first", 1), ("second", 0)]
    with pytest.raises(HostNotRunning):
        await jobs.do("third", done.work("third"))


async def test_a_change_that_does_not_end_is_cancelled_after_the_grace() -> None:
    jobs, done = Jobs(), Done()
    async with anyio.create_task_group() as group:
        jobs.open(group)
        group.start_soon(done.ask, jobs, "first", "first")
        await anyio.wait_all_tasks_blocked()
        await jobs.close(0.01)
    assert done.told == [("first", 0)]


async def test_whoever_waits_for_a_host_that_is_cancelled_is_told() -> None:
    jobs, done = Jobs(), Done()
    async with anyio.create_task_group() as others, anyio.create_task_group() as group:
        jobs.open(group)
        for name in ("first", "second"):
            others.start_soon(done.ask, jobs, name, name)
            await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    assert sorted(done.told) == [("first", 0), ("second", 0)]
