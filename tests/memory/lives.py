"""Lives of a host that are ended by SIGKILL at random points, one after the other.

Run as a program: ``lives.py DIRECTORY BACKEND KILLS SEED``.  Each life is a process of its own that
asks for turns as fast as it can.  The last one is not killed: it takes up what was left, and ends.
"""

import os
import random
import signal
import sys
import threading
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import anyio
import anyio.lowlevel

from agentrail import AppConfig, ChatRequest, Profile, RequestContext, ScriptedModel, create_app
from agentrail.memory import Memory

LONGEST = 0.05
"""Seconds after which a host that has started is killed at the latest."""

STARTING = 0.2
"""The same for every fourth life, which is often killed before its host has started."""


def letters(texts: Sequence[str]) -> list[list[float]]:
    """Stand in for a model, which need not be loaded in each life."""
    return [[float(text.count(letter)) for letter in "aeionrst"] for text in texts]


class Witness:
    """Notes which turns were announced after the death of their host."""

    name = "witness"

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_turn_persisted(self, context: RequestContext) -> None:
        if context.transport == "recovery":
            with self.path.open("a") as file:
                file.write(f"{context.turn_id}\n")


def die_after(seconds: float) -> None:
    threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()


async def live(directory: Path, dying: float) -> None:
    """Ask for turns, and die so many seconds after the first; 0: settle what is left."""
    memory = Memory(directory / "memory.db", embed=letters)
    config = AppConfig(
        profiles=[Profile(id="assistant", model="scripted:any")],
        providers=[ScriptedModel.repeat("Noted.")],
        plugins=[Witness(directory / "recovered"), memory],
        data_dir=directory,
    )
    async with create_app(config).host as host:
        if dying:
            die_after(dying)
        while dying:
            await host.chat(ChatRequest(f"the number is {time.monotonic()}", session_id="s"))
        await memory.settled()


def main(directory: Path, backend: str, kills: int, seed: int) -> None:
    import_module("numpy")
    anyio.run(anyio.lowlevel.checkpoint, backend=backend)  # what it imports, no life need import
    points = random.Random(seed)  # noqa: S311 - when to die
    for number in range(kills + 1):
        last, early = number == kills, number % 4 == 0
        delay = points.uniform(0, STARTING if early else LONGEST)
        child = os.fork()
        if not child:
            if early and not last:
                die_after(delay)
            anyio.run(live, directory, 0.0 if last else delay, backend=backend)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == (0 if last else -signal.SIGKILL)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
