"""The installed command in processes of its own, and an application for it to run."""

import os
import pty
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from signal import SIGTERM
from types import MappingProxyType
from typing import IO

import httpx
import pytest
from attrs import define

from tests.forks import Beginning, Done, Fork, fork, run

AGENTRAIL = Path(sys.executable).with_name("agentrail")

IMPORTED = Beginning(
    ("agentrail.cli", "agentrail.admin", "pydantic.fields", "trio", "uvicorn.server")
)
"""What the command imports as it starts, and what of others most of its verbs import.

A process begins with them where it gets no variables of its own, which imports might read.
"""

APP = """
import anyio
from agentrail import AppConfig, Delta, Profile, ScriptedModel, create_app
from agentrail.errors import ModelUnavailable


async def say(request):
    text = request.messages[-1].text
    if "story" in text:
        await request.emit(Delta(text="Once upon"))
        await request.emit(Delta(text=" a time"))
        await anyio.sleep_forever()
    if "fail" in text:
        raise ModelUnavailable("the upstream [prod] is down [/]")
    return f"{len(request.messages)}: {text} [b]"


profile = Profile(id="assistant", model="scripted:m")
app = create_app(AppConfig(profiles=[profile], providers=[ScriptedModel.repeat(say)]))
other = "no application"
"""
"""Answers with the number of messages that the model saw; tells a story that never ends."""


Variables = Mapping[str, str]


def without(*capabilities: str) -> list[str]:
    """Return what stands before a command that is not to have what root has; skips without it."""
    if os.geteuid() != 0:
        return []
    setpriv = which("setpriv")
    if setpriv is None:
        pytest.skip("only setpriv of util-linux takes from root what root may")
    return [setpriv, f"--bounding-set={','.join(f'-{each}' for each in capabilities)}", "--"]


def environment() -> dict[str, str]:
    """The test's environment, in which nothing tells the application where its data is."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AGENTRAIL_", "OTEL_"))}
    return kept | {"NO_COLOR": "1", "COLUMNS": "80", "PYTHONUNBUFFERED": "1"}


def agentrail(cwd: Path, *arguments: str, stdin: str = "", **variables: str) -> Done:
    """Run a command to its end."""
    command: list[str | Path] = [AGENTRAIL, *arguments]
    if not variables:
        return run(command, cwd, environment(), IMPORTED, stdin=stdin)
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment() | variables,
        input=stdin,
        text=True,
        capture_output=True,
        timeout=50,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


@define
class Serving:
    """``agentrail serve`` or ``dev``, and a client of it."""

    process: subprocess.Popen[bytes] | Fork
    client: httpx.Client
    says: IO[str]
    log: list[str]

    def until(self, text: str) -> str:
        """Wait for a line with a text and return it."""
        for line in self.says:
            self.log.append(line.rstrip("\n"))
            if text in line:
                return self.log[-1]
        pytest.fail(f"it ended before it told {text!r}:\n" + "\n".join(self.log))

    def stop(self, signal: int = SIGTERM) -> int:
        """Send a signal and return the exit status."""
        self.process.send_signal(signal)
        return self.end()

    def end(self) -> int:
        """Wait for the end and return the exit status."""
        self.log += self.says.read().splitlines()
        return self.process.wait(50)


@contextmanager
def serving(
    cwd: Path,
    *arguments: str,
    verb: str = "serve",
    command: Path = AGENTRAIL,
    variables: Variables = MappingProxyType({}),
    port: int | None = 0,
) -> Generator[Serving]:
    """Serve an application, on a free port unless told, for the length of the block."""
    at = () if port is None else ("--port", str(port))
    read, write = os.pipe()
    with os.fdopen(read, encoding="utf-8") as says:
        with os.fdopen(write, "w"), Path(os.devnull).open("r+b", buffering=0) as null:
            files = null.fileno(), null.fileno(), write
            process = _start([command, verb, *at, *arguments], cwd, files, variables)
        try:
            log: list[str] = []
            url = _address(says, log)
            with httpx.Client(base_url=url, timeout=50, trust_env=False) as client:
                yield Serving(process, client, says, log)
        finally:
            process.kill()
            process.wait(50)


def _start(
    command: Sequence[str | Path], cwd: Path, files: tuple[int, int, int], variables: Variables
) -> subprocess.Popen[bytes] | Fork:
    if command[0] == AGENTRAIL and not variables:
        return fork(command, files, cwd, environment(), IMPORTED)
    return subprocess.Popen(
        command,
        cwd=cwd,
        env={**environment(), **variables},
        stdin=files[0],
        stdout=files[1],
        stderr=files[2],
    )


def _address(log: IO[str], lines: list[str]) -> str:
    """Return the address that the command tells once it listens."""
    for line in log:
        lines.append(line.rstrip("\n"))
        if " at http://" in line:
            return line.partition(" at ")[2].partition(";")[0]
    pytest.fail("the command ended before it served:\n" + "\n".join(lines))


@define
class Terminal:
    """A command with a person at it."""

    process: Fork
    screen: int
    shown: bytes = b""
    read: int = 0
    """How much of what was shown has been looked at."""

    def answer(self, question: str, text: str) -> None:
        """Wait until something is asked, and type."""
        asked = question.encode()
        while asked not in self.shown[self.read :]:
            assert self._more(), f"it ended before it asked {question!r}:\n{self.shown!r}"
        self.read = self.shown.index(asked, self.read) + len(asked)
        os.write(self.screen, text.encode())

    def end(self) -> tuple[int, str]:
        """Wait for the end and return the exit status and all that was shown."""
        while self._more():
            pass
        return self.process.wait(50), self.shown.decode().replace("\r\n", "\n")

    def _more(self) -> bool:
        try:
            more = os.read(self.screen, 4096)
        except OSError:  # nobody has the other end open any more
            return False
        self.shown += more
        return bool(more)


@contextmanager
def terminal(cwd: Path, *arguments: str) -> Generator[Terminal]:
    """Run a command at a terminal for the length of the block."""
    ours, theirs = pty.openpty()
    command: list[str | Path] = [AGENTRAIL, *arguments]
    variables = environment() | {"TERM": "dumb"}
    files = theirs, theirs, theirs
    try:
        process = fork(command, files, cwd, variables, IMPORTED, terminal=True)
    finally:
        os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        process.kill()
        process.wait(50)
        os.close(ours)


def read_until(text: str, response: httpx.Response) -> str:
    """Return what a stream says, up to and with ``text``; the rest is left unread."""
    heard = ""
    for piece in response.iter_text():
        heard += piece
        if text in heard:
            break
    return heard
