"""Any changes in any order, two at a time: the end is what some serial order leads to."""

import sqlite3
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from functools import partial
from pathlib import Path

import anyio
from anyio.from_thread import BlockingPortal, start_blocking_portal
from attrs import evolve, field, frozen
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from agentrail.audit import verify
from agentrail.errors import PackageError
from agentrail.host import AgentHost
from agentrail.registry import Packages
from tests.registry.shop import ADA, Chunks, archive, host_of

VERSIONS = ("1.0.0", "1.1.0", "2.0.0")


@frozen
class Model:
    """What is to be true of a package."""

    versions: tuple[tuple[str, str], ...] = ()
    active: str | None = None
    previous: str | None = None
    enabled: bool | None = None

    def state(self, version: str | None) -> str:
        return dict(self.versions).get(version or "", "")

    @property
    def used(self) -> str:
        newest = max(dict(self.versions), default="")
        return self.active if self.active and self.state(self.active) else newest

    def put(self, version: str, state: str) -> "Model":
        return evolve(self, versions=tuple(sorted({**dict(self.versions), version: state}.items())))


Step = Callable[[Model], Model]


@frozen
class Change:
    """A change as it is asked for, and what it does to the model, step by step."""

    name: str
    steps: Sequence[Step] = field(eq=False)
    ask: Callable[[Packages], Awaitable[object]] = field(eq=False)


def uploaded(version: str, model: Model) -> Model:
    return model if model.state(version) else model.put(version, "received")


def approved(version: str, model: Model) -> Model:
    return model.put(version, "disabled") if model.state(version) == "received" else model


def switched(on: bool, model: Model) -> Model:
    used = model.used
    if not used or (on and model.state(used) != "disabled"):
        return model
    return evolve(model, enabled=on, active=used if on else model.active)


def used(version: str | None, model: Model) -> Model:
    old = model.active if model.state(model.active) else None
    if not version or version == old or model.state(version) != "disabled":
        return model
    return evolve(model, active=version, previous=old)


def let_go(version: str | None, model: Model) -> Model:
    doomed = [version] if version else list(dict(model.versions))
    return evolve(model, enabled=False) if model.enabled and model.active in doomed else model


def deleted(version: str | None, model: Model) -> Model:
    doomed = [each for each in dict(model.versions) if version in (None, each)]
    if not doomed or (model.enabled and model.active in doomed):
        return model
    left = tuple((each, state) for each, state in model.versions if each not in doomed)
    if not left:
        return Model()
    previous = None if model.previous in doomed else model.previous
    model = evolve(model, versions=left, previous=previous)
    return evolve(model, active=None, enabled=None) if model.active in doomed else model


async def upload_of(version: str, packages: Packages) -> object:
    return await packages.upload(Chunks(archive("p", version)), "p.zip", ADA)


async def approve_of(version: str, packages: Packages) -> object:
    return await packages.approve("p", ADA, version=version, promote=True)


async def use_of(version: str, packages: Packages) -> object:
    return await packages.upgrade("p", ADA, version=version)


async def delete_of(version: str | None, packages: Packages) -> None:
    await packages.delete("p", ADA, version=version)


async def switch_of(on: bool, packages: Packages) -> object:
    return await packages.switch("p", ADA, on=on)


async def rollback_of(packages: Packages) -> object:
    return await packages.rollback("p", ADA)


def rolled_back(model: Model) -> Model:
    return used(model.previous, model)


def changes() -> Iterator[Change]:
    for v in VERSIONS:
        yield Change(f"upload {v}", [partial(uploaded, v)], partial(upload_of, v))
        yield Change(f"approve {v}", [partial(approved, v)], partial(approve_of, v))
        yield Change(f"use {v}", [partial(used, v)], partial(use_of, v))
    for one in (None, *VERSIONS):
        steps = [partial(let_go, one), partial(deleted, one)]
        yield Change(f"delete {one}", steps, partial(delete_of, one))
    for on in (True, False):
        yield Change(f"switch {on}", [partial(switched, on)], partial(switch_of, on))
    yield Change("rollback", [rolled_back], rollback_of)


CHANGES = list(changes())


def interleaved(model: Model, one: Sequence[Step], other: Sequence[Step]) -> set[Model]:
    if not one and not other:
        return {model}
    found: set[Model] = set()
    if one:
        found |= interleaved(one[0](model), one[1:], other)
    if other:
        found |= interleaved(other[0](model), one, other[1:])
    return found


async def together(packages: Packages, asked: Sequence[Change]) -> None:
    async def ask(change: Change) -> None:
        with suppress(PackageError):
            await change.ask(packages)

    async with anyio.create_task_group() as tasks:
        for change in asked:
            tasks.start_soon(ask, change)


class Life(RuleBasedStateMachine):
    """A host, its restarts, and what administrators do to one package of it."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.data = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.portal: BlockingPortal = self.stack.enter_context(start_blocking_portal())
        self.running = ExitStack()
        self.model = Model()
        self.start()
        names = [f"{what} {v}" for v in VERSIONS[:2] for what in ("upload", "approve")]
        for name in (*names, "use 1.0.0", "switch True", "use 2.0.0"):
            self.do([next(change for change in CHANGES if change.name == name)])

    def start(self) -> None:
        self.host: AgentHost = self.portal.call(partial(host_of, self.data))
        self.running.enter_context(self.portal.wrap_async_context_manager(self.host))

    @rule(one=st.sampled_from(CHANGES))
    def change(self, one: Change) -> None:
        self.do([one])

    @rule(one=st.sampled_from(CHANGES), other=st.sampled_from(CHANGES))
    def change_two_at_once(self, one: Change, other: Change) -> None:
        self.do([one, other])

    @rule()
    def restart(self) -> None:
        self.running.close()
        self.start()

    def do(self, asked: Sequence[Change]) -> None:
        self.portal.call(together, self.host.part(Packages), asked)
        possible = interleaved(self.model, asked[0].steps, asked[1].steps if asked[1:] else [])
        found = self.written()
        assert found in possible, (found, possible)
        self.model = found

    def written(self) -> Model:
        """Return what the file says."""
        with closing(sqlite3.connect(self.data / "host.db")) as database, database:
            row = database.execute("select active, previous, enabled from package").fetchone()
            versions = database.execute(
                "select version, state from package_version where state <> 'deleted'"
            ).fetchall()
            assert verify(database).faults == ()
        kept = tuple(sorted((v, "received" if s == "staged" else s) for v, s in versions))
        active, previous, enabled = row or (None, None, None)
        return Model(kept, active, previous, None if enabled is None else bool(enabled))

    @invariant()
    def memory_file_and_disk_agree(self) -> None:
        packages = self.host.part(Packages)
        entry = packages.inventory.entries.get("p")
        assert self.written() == self.model
        if entry is not None:
            row = entry.row
            assert (row.active, row.previous, row.enabled) == (
                self.model.active,
                self.model.previous,
                self.model.enabled,
            )
            assert [k.row.version for k in entry.present] == [v for v, _ in self.model.versions]
        names = [each.name for each in self.host.composition.agent("a").agent.request.tools]
        assert names == (["p__tell"] if self.model.enabled else [])
        present = entry.present if entry is not None else []
        digests = {known.row.digest.replace(":", "-") for known in present}
        assert {path.name for path in (self.data / "packages").iterdir()} == digests

    def teardown(self) -> None:
        self.running.close()
        self.stack.close()


TestLife = Life.TestCase
# To find the smallest failure would take minutes.
TestLife.settings = settings(
    max_examples=30, stateful_step_count=20, deadline=None, phases=[Phase.generate]
)
