"""What a turn costs: with plugins, with history, while it streams.

Everything is measured in one run, rounds of the variants taking turns, and medians are reported,
so that a noisy machine moves all figures together.  The floor is the same work written by hand:
build the messages, call the model, and, for SQLite, the same two durable transactions, each in a
worker thread.  Run it with ``make bench``; nothing here judges.
"""

import gc
import importlib.util
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import anyio
import anyio.lowlevel
from anyio import CapacityLimiter, to_thread
from anyio.abc import TaskStatus

from agentrail import (
    AppConfig,
    ChatRequest,
    ChatResponse,
    Delta,
    MemorySessionStore,
    Message,
    ModelReply,
    ModelRequest,
    Profile,
    RequestContext,
    SessionStore,
    SQLiteSessionStore,
    create_app,
)
from agentrail.host import AgentHost
from agentrail.session import Owner, recorded

ROUNDS = 9
PER_ROUND = 300
CHUNKS = 500
ANSWER = ModelReply(message=Message.assistant("an instant answer"))
Work = Callable[[], Awaitable[object]]


class Instant:
    """A model that answers at once; with chunks when it is asked for ``many``."""

    name = "instant"

    async def start(self) -> None:
        """Open nothing."""

    async def stop(self) -> None:
        """Close nothing."""

    async def complete(self, request: ModelRequest) -> ModelReply:
        """Answer."""
        if request.model == "many":
            for _ in range(CHUNKS):
                await request.emit(Delta(text="token "))
        return ANSWER


class NoOp:
    """A plugin with four request hooks that do nothing."""

    def __init__(self, number: int) -> None:
        self.name = f"noop-{number}"

    async def on_request_start(self, context: RequestContext) -> None:
        """Do nothing."""

    async def intercept_chat_request(
        self, request: ChatRequest, context: RequestContext
    ) -> ChatResponse | None:
        """Let the request pass."""

    async def on_turn_persisted(self, context: RequestContext) -> None:
        """Do nothing."""

    async def on_request_end(self, context: RequestContext) -> None:
        """Do nothing."""


def host_of(store: SessionStore, plugins: int = 0, model: str = "one") -> AgentHost:
    """Return a host whose window holds about ten short messages."""
    profile = Profile(
        id="a",
        model=f"instant:{model}",
        prompt="You help.",
        context_window=120,
        compact=False,
    )
    config = AppConfig(
        profiles=[profile],
        plugins=[NoOp(number) for number in range(plugins)],
        providers=[Instant()],
        store=store,
    )
    return create_app(config).host


async def measure(variants: Mapping[str, Work], per_round: int = PER_ROUND) -> dict[str, float]:
    """Return each variant's median cost in microseconds."""
    found: dict[str, list[float]] = {name: [] for name in variants}
    for work in variants.values():
        await work()
    gc.collect()
    gc.freeze()
    for _ in range(ROUNDS):
        for name, work in variants.items():
            await anyio.lowlevel.checkpoint()  # a turn in memory never waits; others may run here
            began = time.perf_counter()
            for _ in range(per_round):
                await work()
            found[name].append((time.perf_counter() - began) / per_round * 1e6)
    return {name: statistics.median(times) for name, times in found.items()}


def show(title: str, figures: Mapping[str, float], floor: str, unit: str = "µs") -> None:
    """Print the figures and how they relate to the floor."""
    print(f"\n{title}")
    for name, value in figures.items():
        ratio = f"{value / figures[floor]:6.2f}x" if floor else ""
        print(f"  {name:34} {value:9.2f} {unit}  {ratio}")


def asker(host: AgentHost, session: str = "s") -> Work:
    """Return one turn through ``Host.chat``."""
    request = ChatRequest("a short question", session_id=session)

    async def ask() -> object:
        return await host.chat(request)

    return ask


async def by_hand() -> object:
    """Do the work of a turn that nothing is kept of."""
    messages = (Message.system("You help."), Message.user("a short question"))
    return await Instant().complete(ModelRequest(model="one", messages=messages))


def by_hand_durably(path: Path) -> Work:
    """Return a hand-written turn: the question is durable before the call, the answer after it."""
    db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    db.execute("pragma journal_mode = wal")
    db.execute("pragma synchronous = normal")
    db.execute("create table message (session text, seq integer, body text)")
    db.execute("create table turn (session text, tokens integer)")
    one = CapacityLimiter(1)

    def question() -> None:
        db.execute("begin immediate")
        db.execute("insert into message values ('s', 1, ?)", ["a short question"])
        db.execute("commit")

    def answer() -> None:
        db.execute("begin immediate")
        db.execute("insert into message values ('s', 2, ?)", ["an instant answer"])
        db.execute("insert into turn values ('s', 12)")
        db.execute("commit")

    async def turn() -> object:
        await to_thread.run_sync(question, limiter=one)
        reply = await by_hand()
        await to_thread.run_sync(answer, limiter=one)
        return reply

    return turn


async def turns_with_plugins(directory: Path) -> None:
    """Measure turns with 0 to 50 plugins of four hooks each."""
    counts = (0, 1, 10, 50)
    memory = {count: host_of(MemorySessionStore(), count) for count in counts}
    sqlite = {
        count: host_of(SQLiteSessionStore(directory / f"{count}.db"), count) for count in counts
    }
    async with anyio.create_task_group() as group:
        # Each host in a task of its own: one inside the other would make all scopes deeper.
        for host in (*memory.values(), *sqlite.values()):
            await group.start(serve, host)
        variants = {f"memory, {count} plugins": asker(host) for count, host in memory.items()}
        figures = await measure({"by hand, nothing kept": by_hand, **variants})
        show("A turn with the in-memory store", figures, "by hand, nothing kept")
        ten, none = figures["memory, 10 plugins"], figures["memory, 0 plugins"]
        print(f"  one no-op hook call: {(ten - none) / 40:.2f} µs")
        variants = {f"SQLite, {count} plugins": asker(host) for count, host in sqlite.items()}
        floor = by_hand_durably(directory / "floor.db")
        figures = await measure({"by hand, same durability": floor, **variants}, PER_ROUND // 3)
        show("A turn with SQLite", figures, "by hand, same durability")
        group.cancel_scope.cancel()


async def serve(host: AgentHost, *, task_status: TaskStatus[None]) -> None:
    """Run a host until it is cancelled."""
    async with host:
        task_status.started()
        await anyio.sleep_forever()


async def turns_with_history(directory: Path) -> None:
    """Measure turns in sessions that are 10, 1,000 and 20,000 messages long."""
    for kind in ("memory", "SQLite"):
        store: SessionStore = (
            MemorySessionStore()
            if kind == "memory"
            else SQLiteSessionStore(directory / "history.db")
        )
        async with host_of(store) as host:
            variants: dict[str, Work] = {}
            for length in (10, 1_000, 20_000):
                session = f"s{length}"
                said = [
                    recorded(
                        Message.user("question") if number % 2 else Message.assistant("answer")
                    )
                    for number in range(1, length + 1)
                ]
                owner = Owner("default", "local", "a")
                store.release(await store.acquire(session, owner, events=said))
                variants[f"history of {length}"] = asker(host, session)
            figures = await measure(variants, PER_ROUND // 3)
        show(f"A turn by the length of its session, {kind}", figures, "history of 10")


async def streamed_chunks() -> None:
    """Measure a stream of 500 chunks, per chunk."""
    async with host_of(MemorySessionStore(), model="many") as host:
        request = ChatRequest("a short question", session_id="s")

        async def read() -> object:
            async with host.stream(request) as events:
                async for _ in events:
                    pass
            return None

        figures = await measure({"stream of 500 chunks": read}, 10)
    per_chunk = {name: value / CHUNKS for name, value in figures.items()}
    show("A streamed chunk", per_chunk, "")


def import_time() -> None:
    """Measure ``import agentrail`` in fresh processes."""
    code = "import time; t = time.perf_counter(); import agentrail; print(time.perf_counter() - t)"
    times: list[float] = []
    with tempfile.TemporaryDirectory() as compiled:
        # As after an installation: compiled once, by the first import, which does not count.
        environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": compiled}
        for _ in range(ROUNDS + 1):
            command = [sys.executable, "-c", code]
            done = subprocess.run(command, env=environment, capture_output=True, check=True)
            times.append(float(done.stdout))
    show("import agentrail", {"import": statistics.median(times[1:]) * 1e3}, "", "ms")


async def main() -> None:
    """Measure everything that runs in one event loop."""
    with tempfile.TemporaryDirectory() as directory:
        await turns_with_plugins(Path(directory))
        await turns_with_history(Path(directory))
        await streamed_chunks()


if __name__ == "__main__":
    for backend in ("asyncio", "trio"):
        if importlib.util.find_spec(backend) is not None:
            print(f"\n== {backend}")
            anyio.run(main, backend=backend)
    import_time()
