"""Models in place of others: what they share, what runs, and what is stopped when."""

import logging
from collections.abc import Iterable

import anyio
import anyio.lowlevel
import pytest
from anyio import wait_all_tasks_blocked

from agentrail.errors import CircuitOpen, ConfigError, HostNotRunning, Overloaded
from agentrail.messages import Message
from agentrail.model import Models, ScriptedModel
from agentrail.requests import ModelReply, ModelRequest
from agentrail.testing import FakeClock
from tests.model import upstream as wire

pytestmark = pytest.mark.anyio

REQUEST = ModelRequest(model="m", messages=(Message.user("hi"),))


class Recorded:
    """A provider that writes down its life, under a mark that tells it from others of its name."""

    def __init__(self, mark: str, log: list[str], *, fails: Iterable[str] = ()) -> None:
        self.name = mark[0]
        self.mark = mark
        self.log = log
        self.fails = set(fails)
        self.may_start = anyio.Event()
        self.may_start.set()
        self.may_stop = anyio.Event()
        self.may_stop.set()

    def _note(self, what: str) -> None:
        self.log.append(f"{what} {self.mark}")
        if what in self.fails:
            raise RuntimeError(f"{what} {self.mark}")

    async def start(self) -> None:
        await self.may_start.wait()
        await anyio.lowlevel.checkpoint()
        self._note("start")

    async def stop(self) -> None:
        await self.may_stop.wait()
        await anyio.lowlevel.checkpoint()
        self._note("stop")

    async def complete(self, request: ModelRequest) -> ModelReply:
        return ModelReply(message=Message.assistant(self.mark), model=request.model)


async def asked(models: Models, reference: str) -> str:
    """Return the mark of the provider that answers."""
    return (await models.call(reference)(REQUEST)).message.text


async def test_an_unchanged_provider_goes_on_as_it_is() -> None:
    log: list[str] = []
    same = Recorded("a", log)
    old = Models([same, Recorded("b", log)])
    await old.start(["a:x", "b:x"])

    new = old.replaced([same, Recorded("c", log)])
    await new.ensure(["a:x", "c:x"])
    assert await asked(new, "a:x") == "a"
    await old.keep([new])
    assert await asked(new, "a:x") == "a"

    assert log == ["start a", "start b", "start c", "stop b"]
    await new.stop()
    assert log[4:] == ["stop c", "stop a"]


async def test_an_unchanged_provider_keeps_its_open_circuit_breaker() -> None:
    same, clock = ScriptedModel([*[Overloaded("no")] * 5, "ok"]), FakeClock()
    old = Models([same], clock=clock)
    await old.start()
    for _ in range(5):
        with pytest.raises(Overloaded):
            await asked(old, "scripted:m")

    new = old.replaced([same])
    with pytest.raises(CircuitOpen):
        await asked(new, "scripted:m")
    clock.advance(15)
    assert await asked(new, "scripted:m") == "ok"


async def test_another_object_of_the_name_has_a_circuit_breaker_of_its_own() -> None:
    old = Models([ScriptedModel.repeat(Overloaded("no"))], clock=FakeClock())
    await old.start()
    new = old.replaced([ScriptedModel(["ok"])])
    for _ in range(5):
        with pytest.raises(Overloaded):
            await asked(old, "scripted:m")

    assert await asked(new, "scripted:m") == "ok"
    with pytest.raises(CircuitOpen):
        await asked(old, "scripted:m")


async def test_a_changed_provider_runs_beside_the_old_one_of_its_name() -> None:
    log: list[str] = []
    old = Models([Recorded("a1", log)])
    await old.start(["a:x"])
    new = old.replaced([Recorded("a2", log)])
    await new.ensure(["a:x"])

    assert [await asked(models, "a:x") for models in (old, new, old)] == ["a1", "a2", "a1"]
    await old.keep([new])

    assert await asked(new, "a:x") == "a2"
    assert log == ["start a1", "start a2", "stop a1"]


async def test_a_default_provider_keeps_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    async with wire.running(wire.says("fine")) as upstream:
        monkeypatch.setenv("OPENAI_BASE_URL", upstream.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "key")
        old = Models([ScriptedModel([])])
        await old.start(["openai:x"])
        assert await asked(old, "openai:x") == "fine"

        new = old.replaced([])
        await old.keep([new])

        assert await asked(new, "openai:x") == "fine"
        assert (upstream.connections, len(upstream.requests)) == (1, 2)
        await new.stop()


async def test_an_own_provider_takes_the_place_of_a_default_one_and_gives_it_back() -> None:
    old = Models()
    new = old.replaced([ScriptedModel(["mine"], name="local")])
    await old.start()

    assert await asked(new, "local:x") == "mine"
    assert new.replaced([])._entries["local"] is old._entries["local"]


async def test_two_new_providers_of_one_name_are_refused_and_nothing_changes() -> None:
    log: list[str] = []
    models = Models([Recorded("a1", log)])
    await models.start(["a:x"])

    with pytest.raises(ConfigError, match="'a'"):
        models.replaced([Recorded("a2", log), Recorded("a3", log)])

    assert await asked(models, "a:x") == "a1"
    assert log == ["start a1"]


async def test_new_models_are_started_and_stopped_with_the_old_ones() -> None:
    log: list[str] = []
    old = Models([Recorded("a", log)])
    new = old.replaced([Recorded("b", log)])
    with pytest.raises(HostNotRunning, match="not started"):
        await new.ensure(["b:x"])

    await old.start(["a:x"])
    assert await asked(new, "b:x") == "b"
    await new.stop()

    assert log == ["start a", "start b", "stop b", "stop a"]
    for models, reference in ((old, "a:x"), (new, "b:x")):
        with pytest.raises(HostNotRunning, match="not started"):
            await asked(models, reference)


async def test_only_what_nobody_uses_is_stopped_in_reverse() -> None:
    log: list[str] = []
    a, b, c, d, e = (Recorded(mark, log) for mark in "abcde")
    first = Models([a, b, c])
    await first.start(["b:x", "a:x", "c:x"])
    second = first.replaced([c, d])
    await second.ensure(["d:x"])
    third = second.replaced([d, e])
    await third.ensure(["e:x"])
    del log[:]

    await third.keep([first, third])
    assert log == []
    await third.keep([second, third])
    assert log == ["stop a", "stop b"]
    await third.keep([third])
    assert log[2:] == ["stop c"]
    await third.stop()
    assert log[3:] == ["stop e", "stop d"]


async def test_what_fails_to_stop_is_logged_and_the_others_are_stopped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log: list[str] = []
    models = Models([Recorded(mark, log, fails=["stop"]) for mark in "ab"])
    await models.start(["a:x", "b:x"])
    new = models.replaced([])

    with caplog.at_level(logging.ERROR, "agentrail.model"):
        await models.keep([new])

    assert log[2:] == ["stop b", "stop a"]
    assert {record.name for record in caplog.records} == {"agentrail.model"}
    assert [record.args for record in caplog.records] == [("b",), ("a",)]
    await new.stop()
    assert len(log) == 4


async def test_a_cancelled_keep_is_finished() -> None:
    log: list[str] = []
    models = Models([Recorded("a", log)])
    await models.start(["a:x"])

    with anyio.CancelScope() as scope:
        scope.cancel()
        await models.keep([models.replaced([])])

    assert log == ["start a", "stop a"]


async def test_what_was_taken_out_is_not_started_again() -> None:
    log: list[str] = []
    same = Recorded("s", log)
    old = Models([Recorded("a", log), Recorded("b", log), same])
    await old.start(["a:x"])
    await old.keep([old.replaced([same])])

    for reference in ("a:x", "b:x"):  # b had never been asked
        with pytest.raises(HostNotRunning, match="taken out"):
            await asked(old, reference)
        with pytest.raises(HostNotRunning, match="taken out"):
            await old.ensure(["s:x", reference])

    assert log == ["start a", "stop a"]
    assert await asked(old, "s:x") == "s"


async def test_a_provider_that_is_back_before_its_last_run_is_over_goes_on() -> None:
    log: list[str] = []
    same = Recorded("a", log)
    first = Models([same])
    await first.start(["a:x"])
    second = first.replaced([])
    third = second.replaced([same])
    await third.ensure(["a:x"])

    await third.keep([third])

    assert await asked(third, "a:x") == "a"
    assert log == ["start a"]


async def test_a_provider_that_is_back_later_starts_again() -> None:
    log: list[str] = []
    same = Recorded("a", log)
    first = Models([same])
    await first.start(["a:x"])
    second = first.replaced([])
    await second.keep([second])
    third = second.replaced([same])

    for _ in range(2):
        with pytest.raises(HostNotRunning, match="taken out"):
            await asked(first, "a:x")
        assert await asked(third, "a:x") == "a"
    assert log == ["start a", "stop a", "start a"]


async def test_a_provider_that_is_back_before_it_was_stopped_goes_on() -> None:
    log: list[str] = []
    same, slow = Recorded("a", log), Recorded("b", log)
    slow.may_start = anyio.Event()
    old = Models([same, slow])
    await old.start(["a:x"])
    second = old.replaced([slow])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(second.ensure, ["b:x"])
        await wait_all_tasks_blocked()
        tasks.start_soon(second.keep, [second])
        await wait_all_tasks_blocked()
        new = second.replaced([same, slow])
        slow.may_start.set()
        await new.ensure(["a:x"])

    assert log == ["start a", "start b"]


async def test_the_first_models_start_again_after_others_took_their_place() -> None:
    log: list[str] = []
    first = Models([Recorded("a", log)])
    await first.start(["a:x"])
    second = first.replaced([Recorded("b", log)])
    await second.ensure(["b:x"])
    await first.keep([second])
    await first.stop()
    del log[:]

    await first.start(["a:x"])
    assert await asked(first, "a:x") == "a"
    await first.stop()

    assert log == ["start a", "stop a"]


async def test_a_failed_ensure_undoes_only_its_own(caplog: pytest.LogCaptureFixture) -> None:
    log: list[str] = []
    same = Recorded("s", log)
    old = Models([same])
    await old.start(["s:x"])
    fresh = [Recorded("a", log), Recorded("b", log, fails=["stop"])]
    new = old.replaced([same, *fresh, Recorded("f", log, fails=["start"])])
    del log[:]

    with pytest.raises(RuntimeError, match="start f"):
        await new.ensure(["a:x", "s:x", "b:x", "f:x", "a:y"])

    assert log == ["start a", "start b", "start f", "stop b", "stop a"]
    assert "'b' failed to stop" in caplog.text
    assert await asked(old, "s:x") == "s"
    await new.ensure(["a:x"])
    assert log[5:] == ["start a"]


async def test_a_cancelled_ensure_undoes_only_its_own() -> None:
    log: list[str] = []
    same, stuck = Recorded("s", log), Recorded("b", log)
    stuck.may_start = anyio.Event()
    old = Models([same])
    await old.start(["s:x"])
    new = old.replaced([same, Recorded("a", log), stuck])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(new.ensure, ["a:x", "b:x"])
        await wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()

    assert log == ["start s", "start a", "stop a"]


async def test_nobody_relies_on_a_provider_that_is_stopped_when_the_next_one_fails() -> None:
    """A run of the old models calls a provider for the first time while it is started."""
    log: list[str] = []
    same, failing = Recorded("s", log), Recorded("f", log, fails=["start"])
    failing.may_start = anyio.Event()
    old = Models([same])
    await old.start()
    new = old.replaced([same, failing])

    async def ensure() -> None:
        with pytest.raises(RuntimeError, match="start f"):
            await new.ensure(["s:x", "f:x"])

    async def call() -> None:
        log.append(await asked(old, "s:x"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ensure)
        await wait_all_tasks_blocked()
        tasks.start_soon(call)
        await wait_all_tasks_blocked()
        failing.may_start.set()

    assert log == ["start s", "start f", "stop s", "start s", "s"]


async def test_a_provider_that_comes_back_while_it_stops_starts_when_it_has_stopped() -> None:
    log: list[str] = []
    same, stuck = Recorded("a", log), Recorded("b", log)
    stuck.may_stop = anyio.Event()
    old = Models([same, stuck])
    await old.start(["a:x", "b:x"])
    empty = old.replaced([])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(old.keep, [empty])
        await wait_all_tasks_blocked()
        new = empty.replaced([same])
        tasks.start_soon(new.ensure, ["a:x"])
        await wait_all_tasks_blocked()
        assert log == ["start a", "start b"]
        stuck.may_stop.set()
        assert await asked(new, "a:x") == "a"

    assert log[2:] == ["stop b", "stop a", "start a"]
    with pytest.raises(HostNotRunning, match="taken out"):
        await asked(old, "b:x")


async def test_what_starts_while_it_is_taken_out_is_stopped() -> None:
    log: list[str] = []
    slow = Recorded("a", log)
    slow.may_start = anyio.Event()
    models = Models([slow])
    await models.start()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(models.ensure, ["a:x"])
        await wait_all_tasks_blocked()
        tasks.start_soon(models.keep, [models.replaced([])])
        await wait_all_tasks_blocked()
        slow.may_start.set()

    assert log == ["start a", "stop a"]


async def test_what_starts_while_all_are_stopped_is_stopped() -> None:
    log: list[str] = []
    slow = Recorded("a", log)
    slow.may_start = anyio.Event()
    models = Models([slow])
    await models.start()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(models.ensure, ["a:x"])
        await wait_all_tasks_blocked()
        tasks.start_soon(models.stop)
        await wait_all_tasks_blocked()
        slow.may_start.set()

    assert log == ["start a", "stop a"]
