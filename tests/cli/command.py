"""The installed command in processes of its own, and an application for it to run."""

import os
import pty
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import IO

import httpx
import pytest
from attrs import define

AGENTRAIL = Path(sys.executable).with_name("agentrail")

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


@define
class Done:
    """A command that has ended."""

    status: int
    out: str
    err: str


def environment() -> dict[str, str]:
    """The test's environment, in which nothing tells the application where its data is."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AGENTRAIL_", "OTEL_"))}
    return kept | {"NO_COLOR": "1", "COLUMNS": "80", "PYTHONUNBUFFERED": "1"}


def agentrail(cwd: Path, *arguments: str, stdin: str = "", **variables: str) -> Done:
    """Run a command to its end."""
    done = subprocess.run(
        [AGENTRAIL, *arguments],
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

    process: subprocess.Popen[str]
    client: httpx.Client
    log: list[str]

    def until(self, text: str) -> str:
        """Wait for a line with a text and return it."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
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
        _, rest = self.process.communicate(timeout=50)
        self.log += rest.splitlines()
        return self.process.returncode


@contextmanager
def serving(
    cwd: Path,
    *arguments: str,
    verb: str = "serve",
    command: Path = AGENTRAIL,
    variables: Mapping[str, str] | None = None,
) -> Generator[Serving]:
    """Serve an application on a free port for the length of the block."""
    with subprocess.Popen(
        [command, verb, "--port", "0", *arguments],
        cwd=cwd,
        env={**environment(), **(variables or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stderr is not None
            log: list[str] = []
            url = _address(process.stderr, log)
            with httpx.Client(base_url=url, timeout=50, trust_env=False) as client:
                yield Serving(process, client, log)
        finally:
            if process.poll() is None:
                process.send_signal(SIGKILL)


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

    process: subprocess.Popen[bytes]
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
    with subprocess.Popen(
        [AGENTRAIL, *arguments],
        cwd=cwd,
        env=environment() | {"TERM": "dumb"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=_take_terminal,  # noqa: PLW1509 (this process has one thread)
    ) as process:
        os.close(theirs)
        try:
            yield Terminal(process, ours)
        finally:
            process.kill()
            os.close(ours)


def _take_terminal() -> None:
    os.close(os.open(os.ttyname(0), os.O_RDWR))


def read_until(text: str, response: httpx.Response) -> str:
    """Return what a stream says, up to and with ``text``; the rest is left unread."""
    heard = ""
    for piece in response.iter_text():
        heard += piece
        if text in heard:
            break
    return heard
