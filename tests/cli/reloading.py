"""A host whose settings change while it runs: its application, its file and its log."""

import json
import signal
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from attrs import define, field

from tests.cli.command import Serving, serving

APP = """
from pathlib import Path

import anyio
from agentrail import AppConfig, Delta, Profile, ScriptedModel, create_app

HERE = Path(__file__).parent


async def say(request):
    last = request.messages[-1].text
    prompt = " ".join(each.text for each in request.messages if each.role == "system")
    tools = " ".join(sorted(tool.name for tool in request.tools))
    if "story" in last:
        await request.emit(Delta(text="Once upon"))
        while not (HERE / "told").exists():
            await anyio.sleep(0.02)
    if "tale" in last:
        for _ in range(5):
            await request.emit(Delta(text="and then, "))
            await anyio.sleep(0.2)
    return f"{prompt} [{tools}] {last}"


app = create_app(
    AppConfig(
        profiles=[Profile(id="own", model="scripted:m")],
        providers=[ScriptedModel.repeat(say, record=False)],
    )
)
"""
"""Answers with the prompt, the names of the tools and what was said; a story waits to be told."""

PARTS = """
import logging

from agentrail import Message, define_plugin, tool
from msgspec.structs import replace

log = logging.getLogger("parts")


def around(letter):
    async def step(request, call):
        reply = await call(request)
        if hasattr(reply, "message"):
            reply = replace(reply, message=Message.assistant(f"{letter}({reply.message.text})"))
        return reply

    return step


a, b, c = map(around, "abc")


@tool
def greet() -> str:
    "Greet."
    return "Hello."


def lives(name):
    @tool(name=f"ask_{name}")
    def ask() -> str:
        "Ask."
        return name

    return define_plugin(
        name,
        tools=[ask],
        start=lambda: log.info("start %s", name),
        stop=lambda: log.info("stop %s", name),
    )


def broken():
    def start():
        raise OSError("no license")

    return define_plugin("broken", start=start)
"""

QUIET = "reload: {quiet_seconds: 0.2}\n"
"""Settings that count a moment after they were written."""

LOUD = "reload: {watch: false}\n"
"""Settings that count when somebody says so."""


def profile(name: str = "assistant", prompt: str = "one", **more: object) -> str:
    """Return a profile as a line of a list."""
    return f"- {json.dumps({'id': name, 'model': 'scripted:m', 'prompt': prompt, **more})}\n"


def profiles(*lines: str) -> str:
    """Return the profiles of a file; one that says ``one`` unless told."""
    return "profiles:\n" + "".join(lines or [profile()])


def middlewares(letters: str) -> str:
    """Return the middlewares of a file, the outermost first."""
    steps = [{"name": "object", "object": f"parts:{letter}"} for letter in letters]
    return f"middlewares: {json.dumps(steps)}\n"


def plugins(*names: str, off: Sequence[str] = (), **more: object) -> str:
    """Return the plugins of a file, some of them switched off."""
    entries = [
        {
            "name": each,
            "object": "parts:lives",
            "config": {"name": each},
            "enabled": each not in off,
        }
        for each in names
    ]
    return f"plugins: {json.dumps({**more, 'entries': entries})}\n"


def save(file: Path, text: str) -> None:
    """Write a file as editors do: another takes its place."""
    beside = file.with_name(f"{file.name}.{threading.get_ident()}.tmp")
    beside.write_text(text, encoding="utf-8")
    beside.replace(file)


@define
class Log:
    """What a process says, while it says it."""

    server: Serving
    lines: list[str]
    _more: threading.Condition = field(factory=threading.Condition)
    _ended: bool = False

    def read(self) -> None:
        """Read to the end, so that the process need not wait for a reader."""
        for line in self.server.says:
            with self._more:
                self.lines.append(line.rstrip("\n"))
                self._more.notify_all()
        with self._more:
            self._ended = True
            self._more.notify_all()

    def until(self, text: str, times: int = 1) -> str:
        """Wait until as many lines have a text, and return the last."""
        with self._more:
            self._more.wait_for(lambda: self._ended or len(self.having(text)) >= times, timeout=50)
            found = self.having(text)
        if len(found) < times:
            pytest.fail(f"it did not tell {text!r} {times} times:\n" + "\n".join(self.lines[-40:]))
        return found[times - 1]

    def having(self, text: str) -> list[str]:
        """Return the lines so far that have a text."""
        return [line for line in self.lines if text in line]


@define
class Host:
    """``agentrail serve`` with a file of settings, and a client of it."""

    here: Path
    server: Serving
    log: Log
    _reads: threading.Thread

    @property
    def client(self) -> httpx.Client:
        return self.server.client

    @property
    def file(self) -> Path:
        return self.here / "agentrail.yaml"

    def save(self, *parts: str) -> None:
        """Save the file."""
        save(self.file, "".join(parts))

    def use(self, *parts: str, revision: int) -> None:
        """Save the file, and wait until it is used as a revision."""
        self.save(*parts)
        self.used(revision)

    def used(self, revision: int) -> None:
        """Wait until a revision is used."""
        self.log.until(f"revision {revision} of the settings is used")

    def refused(self, times: int = 1) -> None:
        """Wait until settings were refused."""
        self.log.until("settings are refused", times)

    def post(self, message: str = "hi", agent: str = "assistant") -> httpx.Response:
        """Ask an agent."""
        return self.client.post("/chat", json={"message": message, "agentId": agent})

    def ask(self, message: str = "hi", agent: str = "assistant") -> str:
        """Return what an agent answers."""
        answer = self.post(message, agent)
        assert answer.status_code == 200, answer.text
        said: str = answer.json()["message"]
        return said

    def state(self) -> dict[str, Any]:
        """Return what is told of the settings."""
        found: dict[str, Any] = self.client.get("/api/config").json()
        return found

    def reload(self, **headers: str) -> httpx.Response:
        """Ask for the settings to be read anew."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.post("/api/config/reload", headers=given)

    def rollback(self, revision: int) -> httpx.Response:
        """Ask for an earlier revision."""
        return self.client.post("/api/config/rollback", json={"revision": revision})

    def history(self) -> list[dict[str, Any]]:
        """Return the revisions, the oldest first."""
        found = self.client.get("/api/config/history?limit=1000").json()["revisions"]
        return list(reversed(found))

    def audit(self) -> list[tuple[str, str, str]]:
        """Return action, object and outcome of what the audit log has of settings, in order."""
        entries = self.client.get("/api/audit?object=config&limit=1000").json()["entries"]
        return [(each["action"], each["object"], each["outcome"]) for each in reversed(entries)]

    def kill(self) -> None:
        """End it as a loss of power would."""
        self.server.process.send_signal(signal.SIGKILL)
        assert self.server.process.wait(50) == -signal.SIGKILL
        self._reads.join()


@contextmanager
def hosting(here: Path, *arguments: str, port: int | None = 0) -> Generator[Host]:
    """Serve with settings for the length of the block; what it says is read all the while."""
    with serving(here, *arguments, port=port) as server:
        log = Log(server, server.log)
        reads = threading.Thread(target=log.read)
        reads.start()
        try:
            yield Host(here, server, log, reads)
        finally:
            server.process.kill()
            server.process.wait(50)
            reads.join()
        assert not log.having("Traceback"), "\n".join(log.lines[-60:])


@contextmanager
def writing_all_the_time(file: Path) -> Generator[threading.Event]:
    """Write to a file for the length of the block, but no longer than some twenty seconds.

    The event is set when it was that long.
    """
    stop, over = threading.Event(), threading.Event()

    def write() -> None:
        for number in count():
            with file.open("a", encoding="utf-8") as out:
                out.write(f"line {number}\n")
            if number % 50 == 49:
                file.replace(file.with_suffix(".1"))
            if number > 2000:
                over.set()
            if stop.wait(0.01) or over.is_set():
                return

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield over
    finally:
        stop.set()
        thread.join()


@define
class Telling:
    """A stream that has begun, and that goes on until the story may end."""

    here: Path
    pieces: Iterator[str]
    heard: str = ""

    def end(self) -> dict[str, Any]:
        """Let the story end, and return the last event of the stream."""
        (self.here / "told").touch()
        return last_event(self.heard + "".join(self.pieces))


@contextmanager
def telling(host: Host, agent: str = "assistant") -> Generator[Telling]:
    """Begin a stream that does not end by itself."""
    (host.here / "told").unlink(missing_ok=True)
    body = {"message": "story", "agentId": agent}
    with host.client.stream("POST", "/stream", json=body) as response:
        told = Telling(host.here, response.iter_text())
        while "Once upon" not in told.heard:
            told.heard += next(told.pieces)
        yield told


def last_event(text: str) -> dict[str, Any]:
    """Return what the last frame of a stream holds."""
    found: dict[str, Any] = json.loads(text.rstrip().rpartition("\ndata: ")[2])
    return found
