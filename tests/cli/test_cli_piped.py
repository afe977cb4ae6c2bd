"""``agentrail chat`` with something else than a terminal as its input."""

import os
import signal
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.command import AGENTRAIL, agentrail, environment
from tests.forks import Done

APP = """
from pathlib import Path

import anyio
from agentrail import AppConfig, Delta, Profile, ScriptedModel, create_app, define_plugin


async def say(request):
    text = request.messages[-1].text
    if text == "story":
        await request.emit(Delta(text="Once"))
        await anyio.sleep_forever()
    return f"heard {text!r}"


def note(line):
    with Path("ends").open("a") as ends:
        ends.write(line + "\\n")


app = create_app(
    AppConfig(
        profiles=[Profile(id="assistant", model="scripted:m")],
        providers=[ScriptedModel.repeat(say)],
        plugins=[
            define_plugin(
                "notes", on_request_end=lambda ctx: note("request"), stop=lambda: note("host")
            )
        ],
    )
)
"""
"""Tells a story that never ends, and notes what is brought to an end."""

ASKS = """
from agentrail import AppConfig, Profile, ScriptedModel, create_app, tool
from agentrail.model import call_tools
from agentrail.tool import ask


@tool
def look() -> str:
    \"\"\"Look around.\"\"\"
    return "seen"


profile = Profile(id="assistant", model="scripted:m", tools=[look], permissions=[ask("look")])
provider = ScriptedModel([call_tools(("look", {}))])
app = create_app(AppConfig(profiles=[profile], providers=[provider]))
"""
"""Asks before it looks around."""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A directory with that application in it."""
    (tmp_path / "app.py").write_text(APP, encoding="utf-8")
    return tmp_path


@contextmanager
def piped(here: Path) -> Generator[subprocess.Popen[bytes]]:
    """Talk through a pipe that stays open for the length of the block."""
    with subprocess.Popen(
        [AGENTRAIL, "chat"],
        cwd=here,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def tell(process: subprocess.Popen[bytes], text: bytes, answer: bytes) -> None:
    """Write something, and read the answer, which is all that is printed."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(text)
    read = b""
    while read != answer:
        piece = os.read(process.stdout.fileno(), 100)
        assert piece, f"it ended with {read!r}"
        read += piece


each_signal = pytest.mark.parametrize(
    ("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)


@each_signal
def test_a_signal_ends_a_talk_whose_input_stays_open(
    here: Path, sent: signal.Signals, status: int
) -> None:
    with piped(here) as process:
        tell(process, b"hi\n", b"heard 'hi'\n")
        process.send_signal(sent)

        assert process.wait(50) == status

    assert (here / "ends").read_text().split() == ["request", "host"]


@each_signal
def test_a_signal_in_the_middle_of_an_answer_ends_the_turn_and_the_host(
    here: Path, sent: signal.Signals, status: int
) -> None:
    with piped(here) as process:
        tell(process, b"story\n", b"Once")
        process.send_signal(sent)

        assert process.wait(50) == status

    assert (here / "ends").read_text().split() == ["request", "host"]


def test_sigterm_ends_a_talk_that_was_started_deaf_to_interrupts(here: Path) -> None:
    """As a shell does with a command in the background."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with piped(here) as process:
            tell(process, b"hi\n", b"heard 'hi'\n")
            process.terminate()

            assert process.wait(50) == 143
    finally:
        signal.signal(signal.SIGINT, before)

    assert (here / "ends").read_text().split() == ["request", "host"]


def test_lines_that_come_at_once_or_in_pieces_are_answered_one_by_one(here: Path) -> None:
    with piped(here) as process:
        assert process.stdin is not None
        tell(process, b"one\r\ntwo\n\nth", b"heard 'one'\nheard 'two'\n")
        tell(process, b"ree\nfo", b"heard 'three'\n")
        process.stdin.write(b"\xc3")
        tell(process, b"\xbcr \xff\n", "heard 'foür \N{REPLACEMENT CHARACTER}'\n".encode())
        process.stdin.write(b"the last")
        process.stdin.close()

        assert process.stdout is not None
        assert process.stdout.read() == b"heard 'the last'\n"
        assert process.wait(50) == 0


def test_a_file_is_read_to_its_end(here: Path) -> None:
    (here / "lines").write_text("one\ntwo", encoding="utf-8")
    with (here / "lines").open() as lines:
        done = subprocess.run(
            [AGENTRAIL, "chat"],
            cwd=here,
            env=environment(),
            stdin=lines,
            capture_output=True,
            timeout=50,
            check=False,
        )

    assert (done.returncode, done.stdout) == (0, b"heard 'one'\nheard 'two'\n")


def without_input(here: Path, *arguments: str) -> Done:
    """Run a command that has no standard input, not even an empty one."""
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" <&-', "sh", AGENTRAIL, *arguments],
        cwd=here,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def test_a_closed_input_is_one_that_has_ended(here: Path) -> None:
    done = without_input(here, "chat")

    assert (done.status, done.out, done.err) == (0, "", "")
    assert (here / "ends").read_text().split() == ["host"]


def test_with_a_closed_input_a_message_is_answered(here: Path) -> None:
    done = without_input(here, "chat", "hi")

    assert (done.status, done.out, done.err) == (0, "heard 'hi'\n", "")


def test_with_a_closed_input_a_call_that_waits_is_told(here: Path) -> None:
    (here / "app.py").write_text(ASKS, encoding="utf-8")

    done = without_input(here, "chat", "hi")

    assert (done.status, done.out) == (1, "")
    assert " waits for approval:\n  look {}\n    POST /turns/turn_" in done.err
    assert "Traceback" not in done.err


def test_without_any_input_nothing_is_asked(here: Path) -> None:
    done = agentrail(here, "chat")

    assert (done.status, done.out) == (0, "")
