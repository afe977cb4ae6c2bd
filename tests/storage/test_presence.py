"""Who of those that share a file is alive."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agentrail.storage import Presence

OTHER = """
import sys
from agentrail.storage import Presence
presence = Presence(sys.argv[1])
presence.enter()
print(presence.name, flush=True)
sys.stdin.read()
presence.leave()
"""

FORK = """
import os, sys
from agentrail.storage import Presence
presence = Presence(sys.argv[1])
presence.enter()
child = os.fork()
if child == 0:
    mine = Presence(sys.argv[1])
    mine.enter()
    os._exit(0 if mine.name != presence.name and mine.has(presence.name) else 1)
_, status = os.waitpid(child, 0)
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shared.db"


def other(path: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", OTHER, str(path)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def name_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def files(path: Path) -> set[str]:
    return {each.name for each in path.with_name("shared.db-users").iterdir()}


def test_another_process_is_there_until_it_leaves(path: Path) -> None:
    presence = Presence(path)
    presence.enter()
    with other(path) as process:
        name = name_of(process)
        assert presence.has(name)
        assert files(path) == {name, presence.name}
        assert process.stdin is not None
        process.stdin.close()
        process.wait()
        assert not presence.has(name)
        assert files(path) == {presence.name}
    presence.leave()
    assert files(path) == set()


def test_one_that_was_killed_is_not_there_and_the_next_one_removes_its_file(path: Path) -> None:
    presence = Presence(path)
    with other(path) as process:
        name = name_of(process)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not presence.has(name)
    assert files(path) == {name}
    presence.enter()
    assert files(path) == {presence.name}
    presence.leave()


def test_to_look_does_not_take_a_lock_from_anybody(path: Path) -> None:
    presence = Presence(path)
    with other(path) as process:
        name = name_of(process)
        assert [presence.has(name) for _ in range(3)] == [True] * 3
        process.kill()


def test_users_in_one_process_are_one_and_the_last_to_leave_ends_it(path: Path) -> None:
    first, second = Presence(path), Presence(path)
    first.enter()
    second.enter()
    assert first.name == second.name
    assert not second.has(first.name)
    first.leave()
    first.leave()
    assert files(path) == {second.name}
    second.leave()
    assert files(path) == set()


def test_nobody_is_there_under_no_name_or_one_that_never_was(path: Path) -> None:
    presence = Presence(path)
    assert not presence.has("")
    assert not presence.has("nobody")


def test_a_fork_is_another_process(path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FORK, str(path)], check=False)
    assert done.returncode == 0


def test_others_on_the_machine_cannot_look(path: Path) -> None:
    presence = Presence(path)
    presence.enter()
    directory = path.with_name("shared.db-users")
    assert directory.stat().st_mode & 0o777 == 0o700
    assert (directory / presence.name).stat().st_mode & 0o777 == 0o600
    presence.leave()
