"""Commands at the terminal, in a process of their own."""

import subprocess
from pathlib import Path

import pytest

from tests.cli.command import AGENTRAIL, agentrail, environment

APP = '''
from collections.abc import AsyncIterator

import anyio

from agentrail import AppConfig, Commands, Profile, ScriptedModel, command, create_app


@command
async def count(to: int, *, word: str = "") -> AsyncIterator[str]:
    """Count."""
    for number in range(1, to + 1):
        yield f"{number}{word} "
        while not await anyio.Path(str(number)).exists():
            await anyio.sleep(0.01)


app = create_app(
    AppConfig(
        profiles=[Profile(id="assistant", model="scripted:m")],
        providers=[ScriptedModel([])],
        plugins=[Commands([count])],
    )
)
'''


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A directory with an application in it."""
    (tmp_path / "app.py").write_text(APP, encoding="utf-8")
    return tmp_path


def test_the_terminal_shows_each_piece_of_a_command_as_it_comes(here: Path) -> None:
    with subprocess.Popen(
        [AGENTRAIL, "chat", "/count 3 --word=' [b]'"],
        cwd=here,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        for number in (1, 2, 3):
            piece = f"{number} [b] ".encode()
            assert process.stdout.read(len(piece)) == piece
            (here / str(number)).touch()
        assert process.stdout.read() == b"\n"
    assert process.returncode == 0


def test_the_terminal_shows_answers_of_commands_one_after_the_other(here: Path) -> None:
    done = agentrail(here, "chat", stdin="/cuont\n/count x\n/help\n/quit\n")

    assert done.out.replace("> ", "").splitlines() == [
        "There is no command /cuont. Did you mean /count? /help lists the commands.",
        "to must be a whole number, not x.",
        "Usage: /count [--word <word>] <to>",
        "/help: List the commands, or tell how one is used.",
        "/count: Count.",
    ]
