"""What is done off the request's path: it comes late at times, and never twice."""

import logging
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from anyio.to_thread import run_sync

from agentrail.errors import PluginStartError, StorageError
from agentrail.memory import Memory, _sql
from agentrail.memory._meaning import LAG
from agentrail.testing import FakeClock
from tests.memory.conftest import ME, Office, Open
from tests.memory.lives import letters

pytestmark = pytest.mark.anyio

PARROT = "My parrot is named Captain Flint."


class Gate:
    """An embedder that lets no turn through until it is open, and may fail."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.embedded: list[str] = []
        self.failing = 0
        """How many times turns are refused."""
        self.broken = "nothing"
        """What cannot be embedded."""

    def __call__(self, texts: Sequence[str]) -> Iterable[Iterable[float]]:
        if any(self.broken in text for text in texts):
            raise ValueError("this cannot be embedded")
        if "\n" in texts[0]:  # a question and an answer
            self.open.wait()
            if self.failing:
                self.failing -= 1
                raise ValueError("the model is not there")
            self.embedded += texts
        return letters(texts)


@pytest.fixture
def gate() -> Iterable[Gate]:
    made = Gate()
    yield made
    made.open.set()


def embedded(directory: Path) -> int:
    """Return how many turns have a vector in the file."""
    with sqlite3.connect(directory / "memory.db") as db:
        (count,) = db.execute("select count(*) from vector").fetchone()
    db.close()
    return int(count)


async def leave(directory: Path, count: int) -> None:
    """Leave turns behind that are not embedded."""
    memory = Memory(directory / "memory.db", embed=None)

    def fill(db: sqlite3.Connection) -> None:
        for number in range(count):
            key = _sql.begin(db, f"t{number}", ME, "s", 0.0)
            assert key is not None
            assert _sql.fill(db, key, f"number {number}", "Noted.")

    await memory.start()
    await memory._db.write(fill)
    await memory.stop()


async def ask(office: Office, text: str, session: str | None = None) -> None:
    """Ask without waiting for the worker."""
    await office.host.chat(office.request(text, session))


async def test_a_turn_ends_before_it_is_embedded_and_its_words_are_found_at_once(
    open_office: Open, tmp_path: Path, gate: Gate
) -> None:
    async with open_office(Memory(tmp_path / "memory.db", embed=gate)) as office:
        await ask(office, PARROT)

        assert await office.kept() == [PARROT]
        assert embedded(tmp_path) == 0
        gate.open.set()
        await office.memory.settled()
        assert embedded(tmp_path) == 1
        assert gate.embedded == [f"{PARROT}\nNoted."]


async def test_a_turn_that_was_not_embedded_is_embedded_after_the_next_start(
    open_office: Open, tmp_path: Path, gate: Gate
) -> None:
    async with open_office(Memory(tmp_path / "memory.db", embed=None)) as office:
        for number in range(100):
            await ask(office, f"{PARROT} {number}", "one")

    gate.open.set()
    for _ in range(2):
        async with open_office(Memory(tmp_path / "memory.db", embed=gate)) as office:
            await office.memory.settled()
    assert len(gate.embedded) == len(set(gate.embedded)) == embedded(tmp_path) == 100


async def test_another_model_embeds_everything_anew(open_office: Open, tmp_path: Path) -> None:
    """Vectors of two models say nothing about each other, and may differ in length."""
    async with open_office(Memory(tmp_path / "memory.db", embed=letters)) as office:
        await office.say(PARROT)
    async with open_office() as office:
        await office.memory.settled()
        assert await office.found("bird") == [PARROT]
    with sqlite3.connect(tmp_path / "memory.db") as db:
        assert db.execute("select length(value) from vector").fetchall() == [(512,)]
    db.close()


async def test_a_model_that_fails_is_asked_again_later(
    open_office: Open, tmp_path: Path, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    clock = FakeClock()
    gate.failing = 1
    gate.open.set()
    async with open_office(Memory(tmp_path / "memory.db", embed=gate, clock=clock)) as office:
        await ask(office, PARROT)
        while not clock.slept:
            await anyio.lowlevel.checkpoint()
        assert await office.kept() == [PARROT]
        clock.advance(60)
        await office.memory.settled()
    assert embedded(tmp_path) == 1
    assert "could not be embedded" in caplog.text
    assert clock.slept == [30]


async def test_a_turn_that_cannot_be_embedded_does_not_keep_the_others_from_it(
    open_office: Open, tmp_path: Path, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    clock = FakeClock(autojump=True)
    gate.broken = "poison"
    async with open_office(Memory(tmp_path / "memory.db", embed=gate, clock=clock)) as office:
        for text in ("one", "two", "poison", "three", "four"):
            await ask(office, text)
        gate.open.set()
        await office.memory.settled()
        assert await office.found("poison") == ["poison"]
    assert sorted(gate.embedded) == sorted(
        f"{text}\nNoted." for text in ("one", "two", "three", "four")
    )
    assert "could not be embedded" in caplog.text


async def test_a_query_that_cannot_be_embedded_is_searched_for_its_words(
    open_office: Open, tmp_path: Path, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    gate.open.set()
    async with open_office(Memory(tmp_path / "memory.db", embed=gate)) as office:
        await office.say(PARROT)
        gate.broken = "parrot"
        assert await office.found("parrot") == [PARROT]
    assert "a query could not be embedded" in caplog.text


async def test_a_model_that_hangs_holds_no_turn_up_for_long(
    open_office: Open, tmp_path: Path, gate: Gate
) -> None:
    """More turns wait than may; each of the next is held up, and then goes on all the same."""
    await leave(tmp_path, LAG)
    memory = Memory(tmp_path / "memory.db", embed=gate)
    async with open_office(memory) as office:
        await ask(office, PARROT)
        assert embedded(tmp_path) == 0
        gate.open.set()
        await memory.settled()
        assert embedded(tmp_path) == LAG + 1


async def test_a_turn_is_held_up_until_there_are_fewer_that_wait(
    open_office: Open, tmp_path: Path, gate: Gate
) -> None:
    await leave(tmp_path, LAG)

    async with open_office(Memory(tmp_path / "memory.db", embed=gate)) as office:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, office, PARROT)
            while PARROT not in await office.kept():
                await anyio.lowlevel.checkpoint()
            gate.open.set()
        assert embedded(tmp_path) > 0


async def test_a_search_can_be_cancelled_while_the_model_hangs(
    open_office: Open, tmp_path: Path, gate: Gate
) -> None:
    async with open_office(Memory(tmp_path / "memory.db", embed=gate)) as office:
        await office.memory.settled()
        with anyio.move_on_after(0.01) as scope:
            await office.found("a query of\ntwo lines")
        assert scope.cancelled_caught


WITHOUT_THE_EXTRA = """
import logging
import sys
from importlib.machinery import PathFinder

import anyio

from agentrail.memory import Memory, _sql
from agentrail.requests import Principal


class Bare(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name not in ("numpy", "wordllama"):
            return super().find_spec(name, path, target)


sys.meta_path = [Bare if each is PathFinder else each for each in sys.meta_path]
logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")


async def main():
    memory = Memory(sys.argv[1])
    await memory.start()
    for _ in range(2):
        await memory.search(Principal(), "parrot")
    await memory.stop()
    try:
        await Memory(sys.argv[1], embed=lambda texts: texts).start()
    except Exception as error:
        logging.error(error)


anyio.run(main)
"""


async def test_without_the_extra_words_alone_decide_and_the_log_says_so_once(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-c", WITHOUT_THE_EXTRA, str(tmp_path / "memory.db")]
    done = await anyio.run_process(command, check=False)

    install = "pip install 'agentrail-host[memory]'"
    assert done.stderr.decode().splitlines() == [
        f"INFO memory finds words, not what they mean; for that: {install}",
        f"ERROR memory compares embeddings with numpy: {install}",
    ]


async def test_a_file_that_is_no_database_is_an_error_at_the_start(
    open_office: Open, tmp_path: Path
) -> None:
    await run_sync((tmp_path / "memory.db").write_text, "nonsense" * 1000)

    with pytest.raises(PluginStartError) as caught:
        async with open_office():
            pass
    assert isinstance(caught.value.__cause__, StorageError)


async def test_what_one_process_takes_in_and_forgets_another_finds_and_loses(
    open_office: Open, tmp_path: Path
) -> None:
    """Two memories of one file, each of which keeps embeddings of its own."""
    other = Memory(tmp_path / "memory.db")
    async with open_office() as office:
        await other.start()
        await other.settled()
        turn = await office.say(PARROT)
        assert (await other.search(ME, "bird"))[0].asked == PARROT
        await office.say("I bought a car.")
        assert (await other.search(ME, "automobile"))[0].asked == "I bought a car."
        await office.memory.forget(ME, turn_id=turn)
        assert PARROT not in [each.asked for each in await other.search(ME, "bird parrot")]
        await other.stop()


def test_loading_the_model_leaves_the_log_to_the_application() -> None:
    code = (
        "import logging; from agentrail.memory import word_vectors; word_vectors(['a']);"
        "print(logging.getLogger().handlers, logging.getLogger().level)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert done.stdout.split() == ["[]", str(logging.WARNING)]
