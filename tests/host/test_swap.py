"""Plugins change places while requests run: each run sees one composition, from start to end."""

from collections import Counter

import anyio
import anyio.lowlevel
import pytest
from attrs import define, field

from agentrail import ChatRequest, RequestContext, define_plugin, tool
from agentrail.errors import CompositionError, HostNotRunning, PluginStartError
from agentrail.events import TERMINAL
from agentrail.hook import Plugin
from agentrail.host import AgentHost
from agentrail.host._swap import Swapper
from agentrail.requests import Delta, ModelRequest
from tests.host.conftest import MakeHost

pytestmark = pytest.mark.anyio


@define
class Marks:
    """A plugin that notes in each run which one of it was called, and when it lived."""

    name: str
    number: int
    log: list[str]
    seen: dict[str, set[int]] = field(factory=dict[str, set[int]])

    def start(self) -> None:
        self.log.append(f"start {self.name} {self.number}")

    def stop(self) -> None:
        self.log.append(f"stop {self.name} {self.number}")

    def on_request_start(self, context: RequestContext) -> None:
        self.mark(context)

    def before_request(self, _request: ModelRequest, context: RequestContext) -> None:
        self.mark(context)

    def on_chunk(self, _chunk: Delta, context: RequestContext) -> None:
        self.mark(context)

    def on_turn_persisted(self, context: RequestContext) -> None:
        self.mark(context)

    def on_request_end(self, context: RequestContext) -> None:
        self.mark(context)

    def mark(self, context: RequestContext) -> None:
        self.seen.setdefault(context.turn_id, set()).add(self.number)


@define
class Gate:
    """A model's answer that waits in its middle until it may go on."""

    entered: anyio.Event = field(factory=anyio.Event)
    open: anyio.Event = field(factory=anyio.Event)

    async def answer(self, request: ModelRequest) -> str:
        await request.emit(Delta(text="a"))
        self.entered.set()
        await self.open.wait()
        await request.emit(Delta(text="b"))
        return "ab"


def swapper(host: AgentHost, grace: float = 60.0) -> Swapper:
    return Swapper(host.core, grace)


async def test_a_run_under_way_ends_with_the_plugins_that_it_began_with(
    make_host: MakeHost,
) -> None:
    gate, log, seen = Gate(), list[str](), dict[str, set[int]]()
    old, new = Marks("m", 1, log, seen), Marks("m", 2, log, seen)
    host = make_host(gate.answer, "fine")

    async with host, anyio.create_task_group() as tasks:
        swap = swapper(host)
        await swap([old])
        tasks.start_soon(host.chat, ChatRequest(message="one"))
        await gate.entered.wait()

        retired = await swap([new])
        reply = await host.chat(ChatRequest(message="two"))
        assert log == ["start m 1", "start m 2"]

        gate.open.set()
        await retired.wait()
        assert log == ["start m 1", "start m 2", "stop m 1"]
        assert seen.pop(reply.turn_id or "") == {2}
        assert list(seen.values()) == [{1}]

    assert log == ["start m 1", "start m 2", "stop m 1", "stop m 2"]


async def test_what_stays_is_not_started_again(make_host: MakeHost) -> None:
    log: list[str] = []
    own, kept, gone = (Marks(name, 0, log) for name in ("own", "kept", "gone"))
    host = make_host(plugins=[own])

    async with host:
        swap = swapper(host)
        await swap([kept, gone])
        await (await swap([kept])).wait()
        assert log == ["start own 0", "start kept 0", "start gone 0", "stop gone 0"]


@pytest.mark.parametrize("fault", ["start", "compose"])
async def test_plugins_that_fail_leave_everything_as_it_was(
    make_host: MakeHost, fault: str
) -> None:
    log: list[str] = []
    old, before = Marks("old", 1, log), Marks("before", 2, log)

    @tool
    def on_twice() -> str:
        """Clash with itself."""
        return ""

    def fail() -> None:
        raise RuntimeError("no")

    bad: list[Plugin] = [define_plugin("bad", start=fail)]
    if fault == "compose":
        bad = [define_plugin("bad", tools=[on_twice, on_twice])]
    host = make_host("fine")

    async with host:
        swap = swapper(host)
        await swap([old])
        present = host.composition
        with pytest.raises((CompositionError, PluginStartError), match=r"bad|on_twice"):
            await swap([before, *bad])

        assert host.composition is present
        await host.chat(ChatRequest(message="hi"))
        started = ["start before 2", "stop before 2"] if fault == "start" else []
        assert log == ["start old 1", *started]
        assert list(old.seen.values()) == [{1}]


async def test_runs_that_take_longer_than_the_grace_are_cancelled(make_host: MakeHost) -> None:
    gate, log = Gate(), list[str]()
    host = make_host(gate.answer, "fine")
    outcomes: list[str] = []

    async def stream() -> None:
        async with host.stream(ChatRequest(message="one")) as events:
            outcomes.extend(
                [getattr(e, "outcome", "") async for e in events if e.type == "turn.end"]
            )

    async with host, anyio.create_task_group() as tasks:
        swap = swapper(host, grace=0.01)
        await swap([Marks("m", 1, log)])
        tasks.start_soon(stream)
        await gate.entered.wait()
        await (await swap([], anyio.lowlevel.checkpoint)).wait()
        assert log == ["start m 1", "stop m 1"]

    assert outcomes == ["cancelled"]


async def test_background_work_of_a_plugin_belongs_to_the_one_that_began_it(
    make_host: MakeHost,
) -> None:
    log: list[str] = []
    begun = anyio.Event()

    async def work() -> None:
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            log.append("work ended")

    def begin(context: RequestContext) -> None:
        context.services.background(work)

    first = define_plugin("p", on_request_end=begin, stop=lambda: log.append("stop 1"))
    second = define_plugin("p", stop=lambda: log.append("stop 2"))
    host = make_host("fine")

    async with host:
        swap = swapper(host)
        await swap([first])
        await host.chat(ChatRequest(message="hi"))
        await begun.wait()
        await (await swap([second])).wait()
        assert log == ["work ended", "stop 1"]


async def test_a_hook_that_is_left_alone_stays_so_while_its_plugin_stays(
    make_host: MakeHost,
) -> None:
    calls: list[str] = []

    def fail(context: RequestContext) -> None:
        calls.append(context.turn_id)
        raise RuntimeError("broken")

    broken = define_plugin("broken", on_request_start=fail)
    host = make_host(*["fine"] * 9)

    async with host:
        swap = swapper(host)
        await swap([broken])
        for _ in range(5):
            await host.chat(ChatRequest(message="hi"))
        await (await swap([broken, define_plugin("other")])).wait()
        await host.chat(ChatRequest(message="hi"))
        assert len(calls) == 5

        await (await swap([])).wait()
        await swap([broken])
        await host.chat(ChatRequest(message="hi"))
        assert len(calls) == 6


async def test_a_host_that_stops_during_a_swap_stops_what_the_swap_started(
    make_host: MakeHost,
) -> None:
    log: list[str] = []
    gate = Gate()
    host = make_host(gate.answer, stop_grace=0)

    async with anyio.create_task_group() as tasks:
        async with host:
            swap = swapper(host)
            await swap([Marks("m", 1, log)])

            async def ask() -> None:
                with pytest.raises(HostNotRunning):
                    await host.chat(ChatRequest(message="one"))

            tasks.start_soon(ask)
            await gate.entered.wait()
            retired = await swap([Marks("m", 2, log)])
        await retired.wait()

    assert Counter(log) == Counter(f"{what} m {n}" for what in ("start", "stop") for n in (1, 2))


async def test_a_host_that_stops_while_a_plugin_starts_does_not_serve_it(
    make_host: MakeHost,
) -> None:
    log: list[str] = []
    starting, go = anyio.Event(), anyio.Event()

    async def start() -> None:
        starting.set()
        await go.wait()
        log.append("start")

    slow = define_plugin("slow", start=start, stop=lambda: log.append("stop"))
    host = make_host(stop_grace=0)

    async def exchange() -> None:
        with pytest.raises(HostNotRunning):
            await swapper(host)([slow])

    async def let_go() -> None:
        while not host.core.lives._over:  # noqa: ASYNC110 - it stops
            await anyio.sleep(0.01)
        go.set()

    async with anyio.create_task_group() as tasks, host:
        tasks.start_soon(exchange)
        await starting.wait()
        tasks.start_soon(let_go)
    assert log == ["start", "stop"]


async def test_under_concurrent_streams_no_request_fails_and_none_sees_two_compositions(
    make_host: MakeHost,
) -> None:
    log, seen = list[str](), dict[str, set[int]]()
    outcomes: Counter[str] = Counter()
    over = False

    async def answer(request: ModelRequest) -> str:
        for piece in "abc":
            await request.emit(Delta(text=piece))
            await anyio.lowlevel.checkpoint()
        return "abc"

    async def ask(host: AgentHost) -> None:
        while not over:
            async with host.stream(ChatRequest(message="go")) as events:
                outcomes.update([e.type async for e in events if isinstance(e, TERMINAL)])

    host = make_host(*[answer] * 20_000)
    async with host:
        swap = swapper(host)
        retired = await swap([])
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(ask, host)
            for number in range(50):
                two = [Marks("m", number, log, seen), Marks("n", number, log, seen)]
                retired = await swap(two[: 1 + number % 2])
                while outcomes.total() <= 2 * number:
                    await anyio.lowlevel.checkpoint()
            over = True
        await retired.wait()

    assert set(outcomes) == {"turn.end"}
    assert [numbers for numbers in seen.values() if len(numbers) > 1] == []
    started = Counter(line.removeprefix("start ") for line in log if line.startswith("start"))
    assert started == Counter(line.removeprefix("stop ") for line in log if line.startswith("stop"))
