"""A turn outlives its client and its host: real processes, real curl, real signals."""

import json
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import Serving, serving

pytestmark = [
    pytest.mark.parametrize("backend", ["asyncio", "trio"]),
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed"),
]

APP = """
from pathlib import Path

import anyio
from agentrail import AppConfig, Delta, Message, ModelReply, Profile, ScriptedModel
from agentrail import create_app, tool
from agentrail.model import call_tools
from agentrail.tool import ask

HERE = Path(__file__).parent


async def wait_for(name):
    (HERE / f"waits-for-{name}").touch()
    while not await anyio.Path(HERE / name).exists():
        await anyio.sleep(0.01)


def note(line):
    with (HERE / "done").open("a") as done:
        done.write(line + "\\n")


@tool
def look(what: str) -> str:
    "Look something up."
    note(f"looked {what}")
    return what


@tool
def send(to: str) -> str:
    "Send a letter."
    note(f"sent {to}")
    return to


@tool
async def dig() -> str:
    "Dig until the test says that it is enough."
    note("dug")
    await wait_for("enough")
    return "a hole"


async def say(request):
    last = request.messages[-1]
    with (HERE / "asked").open("a") as asked:
        asked.write("x")
    if last.role == "tool":
        return ModelReply(message=Message.assistant("done"))
    if "look" in last.text:
        return call_tools(*[("look", {"what": f"{n}\\n\\u2028"}) for n in range(5)])
    if "flood" in last.text:
        return call_tools(*[("look", {"what": str(n) * 20000}) for n in range(1000)])
    if "write" in last.text:
        return call_tools(("look", {"what": "it"}), ("send", {"to": "ada"}))
    if "dig" in last.text:
        return call_tools(("dig", {}))
    if "story" in last.text:
        for piece in ("Once", " upon", " a", " time"):
            await request.emit(Delta(text=piece))
            await anyio.sleep(0.05)  # more than is joined into one delta
        await wait_for("go-on")
        await request.emit(Delta(text=" there was an end."))
    return ModelReply(message=Message.assistant("Once upon a time there was an end."))


profile = Profile(
    id="assistant", model="scripted:m", tools=[look, send, dig], permissions=[ask("send")]
)
app = create_app(AppConfig(profiles=[profile], providers=[ScriptedModel.repeat(say)]))
"""

LOOK = {"message": "look", "sessionId": "s", "onDisconnect": "continue"}
STORY = {"message": "a story", "sessionId": "s", "onDisconnect": "continue"}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A directory with an application in it."""
    (tmp_path / "app.py").write_text(APP, encoding="utf-8")
    return tmp_path


# curl.


def arguments(server: Serving, path: str, body: Any = None, *headers: str) -> list[str]:  # noqa: ANN401
    """Return the command that a person would type."""
    command = ["curl", "-sN", f"{server.client.base_url}".rstrip("/") + path]
    for header in headers:
        command += ["-H", header]
    if body is not None:
        command += ["-H", "content-type: application/json", "-d", json.dumps(body)]
    return command


def curl(server: Serving, path: str, body: Any = None, *headers: str) -> list[bytes]:  # noqa: ANN401
    """Return all frames of a stream."""
    done = subprocess.run(
        arguments(server, path, body, *headers), capture_output=True, check=True, timeout=50
    )
    return whole(done.stdout)


def taken_up(server: Serving, heard: Sequence[bytes]) -> list[bytes]:
    """Return the frames that are left of a stream that was broken off."""
    path = f"/turns/{data(heard[0])['turnId']}/events"
    return curl(server, path, None, f"last-event-id: {number(heard[-1])}")


def read_again(server: Serving, turn_id: str) -> list[bytes]:
    """Return all frames of a turn."""
    return curl(server, f"/turns/{turn_id}/events")


@contextmanager
def curling(server: Serving, path: str, body: Any = None) -> Generator[subprocess.Popen[bytes]]:  # noqa: ANN401
    """Run curl for the length of the block, and kill it then."""
    with subprocess.Popen(arguments(server, path, body), stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def heard_from(process: subprocess.Popen[bytes], until: str = "", frames: int = 0) -> list[bytes]:
    """Return a stream's frames up to one that has a text, or up to a number of them."""
    assert process.stdout is not None
    heard = b""
    while True:
        line = process.stdout.readline()
        assert line, "the stream ended before that"
        heard += line
        got = whole(heard) if heard.endswith(b"\n\n") else []
        if got and ((until and until.encode() in got[-1]) or len(got) == frames):
            return got


def broken_off(server: Serving, body: Any, until: str = "", frames: int = 0) -> list[bytes]:  # noqa: ANN401
    """Return the frames that were heard before curl was killed."""
    with curling(server, "/stream", body) as process:
        return heard_from(process, until, frames)


def whole(text: bytes) -> list[bytes]:
    """Return the frames of a text, without the comments that keep a line open."""
    frames = text.split(b"\n\n")
    assert frames.pop() == b"", "it ends in the middle of a frame"
    return [frame for frame in frames if not frame.startswith(b":")]


def data(frame: bytes) -> dict[str, Any]:
    """Return what a frame holds."""
    found: dict[str, Any] = json.loads(frame.partition(b"\ndata: ")[2])
    return found


def number(frame: bytes) -> int:
    """Return a frame's id."""
    (found,) = re.findall(rb"^id: (\d+)$", frame, re.MULTILINE)
    return int(found)


def check(frames: Sequence[bytes], outcome: str) -> None:
    """Assert that frames are those of a whole turn."""
    assert all(number(one) < number(other) for one, other in pairwise(frames))
    terminal = [frame for frame in frames if b"\nevent: turn.e" in frame]
    assert terminal == frames[-1:]
    end = data(frames[-1])
    assert end.get("outcome", end.get("code")) == outcome


def wait_until(there: Path) -> None:
    """Wait until the application has made a file."""
    while not there.exists():
        time.sleep(0.01)


# The client is gone.


def test_taken_up_after_any_frame_it_is_what_an_unbroken_curl_reads(
    here: Path, backend: str
) -> None:
    with serving(here, "--backend", backend) as server:
        unbroken = curl(server, "/stream", LOOK)
        check(unbroken, "completed")
        assert len(unbroken) > 15
        for cut in range(1, len(unbroken) + 1):
            assert taken_up(server, unbroken[:cut]) == unbroken[cut:]
        assert server.stop() == 0
    with serving(here, "--backend", backend) as server:
        assert taken_up(server, unbroken[:7]) == unbroken[7:]
        assert read_again(server, data(unbroken[0])["turnId"]) == unbroken


def test_broken_off_anywhere_a_turn_that_goes_on_is_read_to_its_end(
    here: Path, backend: str
) -> None:
    """Taken up at once, and again when it has ended."""
    with serving(here, "--backend", backend) as server:
        for cut in (1, 2, 5, 9):
            heard = broken_off(server, LOOK, frames=cut)
            rest = taken_up(server, heard)
            check(heard + rest, "completed")
            assert taken_up(server, heard) == rest
            assert read_again(server, data(heard[0])["turnId"]) == heard + rest
    assert (here / "done").read_text().count("looked 0") == 4


def test_broken_off_in_the_middle_of_an_answer_it_is_followed_while_it_goes_on(
    here: Path, backend: str
) -> None:
    with serving(here, "--backend", backend) as server:
        with curling(server, "/stream", STORY) as unbroken:
            heard = heard_from(unbroken, until=" upon")
            path = f"/turns/{data(heard[0])['turnId']}/events"
            with curling(server, path) as follower:
                first = heard_from(follower, until=" time")
            wait_until(here / "waits-for-go-on")
            with curling(server, path) as follower:
                heard_from(follower, until=" time")
                (here / "go-on").touch()
                assert follower.stdout is not None
                follower.stdout.read()
            assert unbroken.stdout is not None
            heard += whole(unbroken.stdout.read())
        check(heard, "completed")
        assert first + taken_up(server, first) == heard


def test_without_continue_it_is_read_how_the_turn_was_cancelled(here: Path, backend: str) -> None:
    with serving(here, "--backend", backend) as server:
        story = {"message": "a story", "sessionId": "s"}
        heard = broken_off(server, story, until=" time")
        rest = taken_up(server, heard)
        check(heard + rest, "cancelled")
        answer = server.client.post("/chat", json={"message": "hi", "sessionId": "s"}).json()
        assert answer["outcome"] == "completed"


# The host is told to stop.


def test_told_to_stop_it_lets_a_turn_end_whose_client_is_gone(here: Path, backend: str) -> None:
    with serving(here, "--backend", backend) as server:
        heard = broken_off(server, STORY, until=" time")
        server.process.send_signal(signal.SIGTERM)
        server.until("stopping")
        (here / "go-on").touch()
        assert server.end() == 0
    with serving(here, "--backend", backend) as server:
        rest = taken_up(server, heard)
        check(heard + rest, "completed")
        assert data(rest[-1])["message"] == "Once upon a time there was an end."


def test_told_to_stop_it_ends_a_turn_that_takes_too_long_and_tells_who_follows(
    here: Path, backend: str
) -> None:
    with serving(here, "--backend", backend, "--grace", "0.2") as server:
        heard = broken_off(server, STORY, until=" time")
        path = f"/turns/{data(heard[0])['turnId']}/events"
        with curling(server, path) as follower:
            followed = heard_from(follower, until=" time")
            server.process.send_signal(signal.SIGTERM)
            assert follower.stdout is not None
            followed += whole(follower.stdout.read())
        assert server.end() == 0
        assert not any("Traceback" in line for line in server.log)
    check(followed, "cancelled")
    with serving(here, "--backend", backend) as server:
        assert heard + taken_up(server, heard) == followed
        answer = server.client.post("/chat", json={"message": "hi", "sessionId": "s"}).json()
        assert answer["outcome"] == "completed"


def test_told_to_stop_it_keeps_a_turn_that_waits_for_approval(here: Path, backend: str) -> None:
    with serving(here, "--backend", backend) as server:
        heard = curl(server, "/stream", {"message": "write", "sessionId": "s"})
        check(heard, "suspended")
        assert server.stop() == 0
    approve_and_check(here, backend, heard)


def test_told_to_stop_it_does_not_wait_for_a_client_that_does_not_read(
    here: Path, backend: str
) -> None:
    with serving(here, "--backend", backend, "--grace", "0.2") as server:
        port = server.client.base_url.port
        assert port is not None
        body = b'{"message":"flood","sessionId":"s"}'
        head = b"POST /stream HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % len(body)
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(head + body)
            assert client.recv(100)
            wait_until(here / "done")
            made = -1
            while made != (made := len((here / "done").read_bytes())):
                for _ in range(20):
                    server.client.get("/sessions")
            assert server.stop() == 0
        assert not any("Traceback" in line for line in server.log), "\n".join(server.log[-60:])
    with serving(here, "--backend", backend) as server:
        (row, *_) = server.client.get("/sessions/s/messages").json()["messages"]
        check(read_again(server, row["turnId"]), "cancelled")


# The host is killed.


def test_killed_in_the_middle_of_an_answer_it_tells_what_there_was_and_that_it_broke_off(
    here: Path, backend: str
) -> None:
    keyed = {**STORY, "idempotencyKey": "once"}
    with serving(here, "--backend", backend) as server:
        heard = broken_off(server, keyed, until=" time")
        assert server.stop(signal.SIGKILL) == -signal.SIGKILL
    with serving(here, "--backend", backend) as server:
        rest = taken_up(server, heard)
        check(heard + rest, "interrupted")
        assert curl(server, "/stream", keyed) == heard + rest
        assert (here / "asked").read_text() == "x"
        said = server.client.get("/sessions/s/messages").json()["messages"]
        assert said[0]["message"]["parts"][0]["text"] == "Once upon a time"
        (here / "go-on").touch()
        check(curl(server, "/stream", {**keyed, "idempotencyKey": "twice"}), "completed")


def test_killed_while_a_tool_runs_it_does_not_run_it_again(here: Path, backend: str) -> None:
    body = {"message": "dig", "sessionId": "s", "onDisconnect": "continue"}
    with (
        serving(here, "--backend", backend) as server,
        curling(server, "/stream", body) as process,
    ):
        heard = heard_from(process, until="tool.start")
        wait_until(here / "waits-for-enough")
        server.stop(signal.SIGKILL)
    (here / "enough").touch()
    with serving(here, "--backend", backend) as server:
        check(heard + taken_up(server, heard), "interrupted")
        answer = server.client.post("/chat", json={"message": "hi", "sessionId": "s"}).json()
        assert answer["outcome"] == "completed"
        rows = server.client.get("/sessions/s/messages").json()["messages"]
        told = [p for row in rows for p in row["message"]["parts"] if p["type"] == "tool_result"]
    assert [part["outcome"] for part in told] == ["cancelled"]
    assert "may have had its effects" in told[0]["content"]
    assert (here / "done").read_text() == "dug\n"


def test_killed_while_a_turn_waits_for_approval_it_does_the_rest_once(
    here: Path, backend: str
) -> None:
    with serving(here, "--backend", backend) as server:
        heard = curl(server, "/stream", {"message": "write", "sessionId": "s"})
        check(heard, "suspended")
        assert (here / "done").read_text() == "looked it\n"
        server.stop(signal.SIGKILL)
    approve_and_check(here, backend, heard)


def approve_and_check(here: Path, backend: str, heard: list[bytes]) -> None:
    """Approve in a new host, and assert that each thing was done once."""
    (required,) = [data(frame) for frame in heard if b"\nevent: approval.required\n" in frame]
    turn_id = required["turnId"]
    with serving(here, "--backend", backend) as server:
        assert taken_up(server, heard) == []
        path = f"/turns/{turn_id}/approvals/{required['callId']}"
        second = curl(server, path, {"approved": True}, "accept: text/event-stream")
        check(second, "completed")
        (decided,) = [f for f in read_again(server, turn_id) if f not in [*heard, *second]]
        assert data(decided)["type"] == "approval.decided"
        assert taken_up(server, heard) == [decided, *second]
        assert read_again(server, turn_id) == [*heard, decided, *second]
    assert (here / "done").read_text() == "looked it\nsent ada\n"
