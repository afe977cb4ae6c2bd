"""Commands that only look leave everything as it is, and need not be allowed to write."""

import re
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.command import AGENTRAIL, agentrail, environment, serving, without
from tests.forks import Done

LOOKS = [
    ["sessions", "list"],
    ["sessions", "show", "s"],
    ["sessions", "show", "s", "--context"],
    ["explain", "--turn"],
]


def told(here: Path, arguments: list[str]) -> Done:
    """Runs a command, without the right to write where the permissions do not allow it."""
    done = subprocess.run(
        [*without("dac_override"), AGENTRAIL, *arguments],
        cwd=here,
        env=environment() | {"PYTHONDONTWRITEBYTECODE": "1"},
        text=True,
        capture_output=True,
        timeout=50,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def looks(turn: str) -> list[list[str]]:
    return [[*look, turn] if look[0] == "explain" else look for look in LOOKS]


def below(here: Path) -> dict[str, bytes]:
    """Returns what is in a directory, but for the index of the log, which readers share."""
    return {
        str(path.relative_to(here)): b"" if path.name.endswith("-shm") else path.read_bytes()
        for path in here.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@contextmanager
def unwritable(here: Path) -> Generator[None]:
    """Lets nobody write in a directory and its data directory."""
    places = [here, here / "data", here / "data" / "sessions.db-users"]
    for place in places:
        place.chmod(0o500)
    try:
        yield
    finally:
        for place in places:
            place.chmod(0o700)


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_they_read_from_a_directory_that_may_not_be_written_to(here: Path, end: str) -> None:
    with serving(here) as host:
        answer = host.client.post("/chat", json={"message": "hi", "sessionId": "s"}).json()
        host.process.kill() if end == "kill" else host.stop()
        host.process.wait(50)
    before = below(here)
    assert ("data/sessions.db-wal" in before) == (end == "kill")

    with unwritable(here):
        shown = [told(here, look) for look in looks(answer["turnId"])]

    assert [(done.status, done.err) for done in shown] == [(0, "")] * len(LOOKS)
    assert re.search(r"^s +assistant +1$", shown[0].out, re.MULTILINE)
    assert [("1: hi [b]" in done.out) for done in shown] == [False, True, True, False]
    assert f"turn {answer['turnId']}: completed" in shown[3].out
    assert below(here) == before


def test_they_read_beside_a_host_from_a_directory_that_they_may_not_write_to(here: Path) -> None:
    with serving(here) as host:
        answer = host.client.post("/chat", json={"message": "hi", "sessionId": "s"}).json()
        before = {*below(here)}
        with unwritable(here):
            shown = [told(here, look) for look in looks(answer["turnId"])]
        assert {*below(here)} == before

    assert [(done.status, done.err) for done in shown] == [(0, "")] * len(LOOKS)


@pytest.mark.parametrize("look", LOOKS)
def test_a_data_directory_that_is_not_there_is_told_and_not_made(
    here: Path, look: list[str]
) -> None:
    turn = ["turn_x"] if look[0] == "explain" else []
    done = agentrail(here, *look, *turn, "--data-dir", "dtaa")

    assert (done.status, done.out) == (2, "")
    assert done.err == (
        "storage_failed: there is no database 'dtaa/sessions.db': name another data directory, "
        "or begin a session, which makes it\n"
    )
    assert {*below(here)} == {"app.py"}
    assert not (here / "dtaa").exists()


def test_doctor_makes_no_data_directory(here: Path) -> None:
    done = agentrail(here, "doctor", "--port", "0", "--data-dir", "new/data")

    assert done.status == 0
    assert "ok   data directory new/data is not there yet; it can be made\n" in done.out
    assert {*below(here)} == {"app.py"}
    assert not (here / "new").exists()


def test_doctor_finds_a_data_directory_that_may_not_be_written_to(here: Path) -> None:
    (here / "data" / "sessions.db-users").mkdir(parents=True)

    with unwritable(here):
        written = told(here, ["doctor", "--port", "0"])
        made = told(here, ["doctor", "--port", "0", "--data-dir", "new/data"])

    assert (written.status, made.status) == (1, 1)
    assert "fix  data directory data: Permission denied\n" in written.out
    assert f"fix  data directory new/data in {here}: Permission denied\n" in made.out
