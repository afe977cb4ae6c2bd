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
name = presence.name
child = os.fork()
if child == 0:
    empty = presence.name
    presence.leave()
    presence.enter()
    there = presence.has(name) and presence.name != name
    presence.leave()
    os._exit(0 if empty == "" and there else 1)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 0
print(name, flush=True)
sys.stdin.read()
"""

ORPHAN = """
import os, sys
from agentrail.storage import Presence
presence = Presence(sys.argv[1])
presence.enter()
name = presence.name
if os.fork() == 0:
    print(name, flush=True)
sys.stdin.read()
os._exit(0)
"""

FORK_WHILE_OTHERS_ENTER = """
import os, sys, threading
from agentrail.storage import Presence
done = threading.Event()
def come_and_go():
    while not done.is_set():
        presence = Presence(sys.argv[1])
        presence.enter()
        presence.leave()
threading.Thread(target=come_and_go).start()
presence = Presence(sys.argv[1])
codes = []
for _ in range(100):
    child = os.fork()
    if child == 0:
        presence.enter()
        presence.leave()
        os._exit(0)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
done.set()
sys.exit(any(codes))
"""

TELLS = """
import sys
from agentrail.storage import Presence
presence = Presence(sys.argv[1])
presence.enter()
presence.tell(b"I am here")
print(presence.name, flush=True)
sys.stdin.read()
"""

OUT_OF_FILES = """
import os, resource, sys
from agentrail.storage import Presence
presence = Presence(sys.argv[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
taken = []
try:
    while True:
        taken.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    pass
there = presence.has(sys.argv[2])
try:
    presence.enter()
except OSError:
    entered = False
else:
    entered = True
for file in taken:
    os.close(file)
print(there, entered, presence.name, flush=True)
"""

OFTEN = """
import sys
from agentrail.storage import Presence
first, second = Presence(sys.argv[1]), Presence(sys.argv[1])
for _ in range(300):
    first.enter()
    second.enter()
    assert second.has(first.name)
    assert first.has(second.name)
    first.leave()
    second.leave()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shared.db"


def other(path: Path, script: str = OTHER) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, str(path)]
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


def test_the_others_are_found_with_what_they_tell(path: Path) -> None:
    presence = Presence(path)
    assert presence.others() == {}
    presence.tell(b"nobody is there to tell it")
    with other(path, TELLS) as talker, other(path) as silent:
        presence.enter()
        presence.tell(b"and of this one no more than of the others")
        told, nothing = name_of(talker), name_of(silent)
        assert presence.others() == {told: b"I am here", nothing: b""}
        talker.kill()
        talker.wait()
        assert presence.others() == {nothing: b""}
        silent.kill()
    presence.leave()


def test_users_in_one_process_are_there_for_each_other(path: Path) -> None:
    first, second = Presence(path), Presence(path)
    first.enter()
    second.enter()
    one, two = first.name, second.name
    assert files(path) == {one, two}
    assert first.has(two)
    assert second.has(one)
    first.leave()
    first.leave()
    assert first.name == ""
    assert not second.has(one)
    assert first.has(two)
    assert files(path) == {two}
    second.leave()
    assert not first.has(two)
    assert files(path) == set()


def test_to_enter_twice_is_to_enter_once(path: Path) -> None:
    presence = Presence(path)
    presence.enter()
    name = presence.name
    presence.enter()
    assert presence.name == name
    presence.leave()
    assert files(path) == set()


def test_one_that_comes_back_is_another(path: Path) -> None:
    presence = Presence(path)
    presence.enter()
    before = presence.name
    presence.leave()
    presence.enter()
    assert presence.name != before
    assert not presence.has(before)
    presence.leave()


def test_nobody_takes_oneself_for_another(path: Path) -> None:
    presence = Presence(path)
    presence.enter()
    assert not presence.has(presence.name)
    presence.leave()


def test_nobody_is_there_under_no_name_or_one_that_never_was(path: Path) -> None:
    presence = Presence(path)
    assert not presence.has("")
    assert not presence.has("nobody")


def test_a_fork_is_another_process_and_leaves_its_parents_lock_alone(path: Path) -> None:
    presence = Presence(path)
    with other(path, FORK) as process:
        name = name_of(process)
        assert presence.has(name)
        assert files(path) == {name}
        process.kill()


def test_a_forked_child_does_not_keep_its_parent_alive(path: Path) -> None:
    presence = Presence(path)
    with other(path, ORPHAN) as process:
        name = name_of(process)  # written by the child, which lives until its input is closed
        assert presence.has(name)
        process.kill()
        process.wait()
        assert not presence.has(name)
        presence.enter()
        assert files(path) == {presence.name}
        presence.leave()


def test_a_child_that_is_forked_while_a_thread_enters_can_enter(path: Path) -> None:
    command = [sys.executable, "-c", FORK_WHILE_OTHERS_ENTER, str(path)]
    assert subprocess.run(command, check=False).returncode == 0


def test_who_is_out_of_files_takes_nobody_for_dead(path: Path) -> None:
    presence = Presence(path)
    presence.enter()
    command = [sys.executable, "-c", OUT_OF_FILES, str(path), presence.name]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["True", "False"]
    assert files(path) == {presence.name}
    presence.leave()


def test_what_cannot_be_looked_at_is_neither_dead_nor_removed(path: Path) -> None:
    presence = Presence(path)
    presence.enter()
    loop = path.with_name("shared.db-users") / "loop"
    loop.symlink_to("loop")
    assert Presence(path).has("loop")
    late = Presence(path)
    late.enter()
    assert files(path) == {presence.name, "loop", late.name}
    late.leave()
    presence.leave()


def test_who_finds_its_file_gone_leaves_all_the_same(path: Path) -> None:
    presence = Presence(path)
    presence.enter()
    (path.with_name("shared.db-users") / presence.name).unlink()
    presence.leave()
    assert presence.name == ""


@pytest.mark.parametrize("there", [True, False])
def test_a_file_and_a_symbolic_link_to_it_are_one(path: Path, there: bool) -> None:
    if there:
        path.touch()
    link, directory = path.with_name("link.db"), path.with_name("elsewhere")
    link.symlink_to(path)
    directory.symlink_to(path.parent, target_is_directory=True)
    presence = Presence(path)
    presence.enter()
    with other(link) as process:
        name = name_of(process)
        assert presence.has(name)
        assert Presence(directory / "link.db").has(presence.name)
        assert files(path) == {presence.name, name}
        process.kill()
    assert not link.with_name("link.db-users").exists()
    presence.leave()


def test_those_who_enter_at_the_same_time_do_not_remove_each_other(path: Path) -> None:
    """Everybody removes what is not locked, and nobody's file is locked when it is made."""
    command = [sys.executable, "-c", OFTEN, str(path)]
    crowd = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait() for process in crowd] == [0, 0, 0]
    assert files(path) == set()


def test_one_that_was_dropped_without_leaving_is_gone(path: Path) -> None:
    presence, forgetful = Presence(path), Presence(path)
    forgetful.enter()
    name = forgetful.name
    assert presence.has(name)
    with pytest.warns(ResourceWarning):
        del forgetful
    assert not presence.has(name)


def test_others_on_the_machine_cannot_look(path: Path) -> None:
    presence = Presence(path)
    presence.enter()
    directory = path.with_name("shared.db-users")
    assert directory.stat().st_mode & 0o777 == 0o700
    assert (directory / presence.name).stat().st_mode & 0o777 == 0o600
    presence.leave()
