"""``agentrail dev`` in processes of its own, and changes to real files."""

import os
import signal
import socket
from pathlib import Path

import httpx
import pytest

from agentrail.cli._serve import _hang_up
from tests.cli.command import Serving, agentrail, serving, terminal

SERVES = " at http://"
STORY = {"message": "Tell me a story."}


def change(path: Path, old: str, new: str) -> None:
    """Change a file in one step, as editors do, and within the second of its last change."""
    text = path.read_text("utf-8")
    assert old in text
    beside = path.with_suffix(".new")
    beside.write_text(text.replace(old, new), "utf-8")
    saved = path.stat().st_mtime
    os.utime(beside, (saved, saved))
    beside.rename(path)


def says(server: Serving) -> str:
    answer: str = server.client.post("/chat", json={"message": "hi"}).json()["message"]
    return answer


def let_the_story_end(here: Path) -> Path:
    """Return a file that ends the application's story once it is there."""
    told = here / "told"
    ends = f"while not await anyio.Path({str(told)!r}).exists(): await anyio.sleep(0.01)"
    change(here / "app.py", "await anyio.sleep_forever()", ends)
    return told


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def noted(here: Path) -> Path:
    """A file in which the application notes its process."""
    pid = here / "pid"
    note = f"import os, pathlib\npathlib.Path({str(pid)!r}).write_text(str(os.getpid()))\n"
    (here / "app.py").write_text(note + (here / "app.py").read_text())
    return pid


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_change_is_served_at_the_same_address(here: Path, backend: str) -> None:
    with serving(here, "--backend", backend, verb="dev") as server:
        assert says(server) == "1: hi [b]"
        for number in ("one", "two"):
            before = "b" if number == "one" else "one"
            change(here / "app.py", f"[{before}]", f"[{number}]")

            assert server.until("changed: ").endswith("changed: app.py")
            assert server.until(SERVES).endswith(f"{server.client.base_url}; Ctrl-C stops")
            assert says(server) == f"1: hi [{number}]"

        assert server.stop(signal.SIGINT) == 0

    assert not any("Traceback" in line for line in server.log)


def test_a_change_of_what_the_application_imports_counts_and_of_other_files_does_not(
    here: Path,
) -> None:
    (here / "parts").mkdir()
    (here / "parts" / "words.py").write_text("GREETING = 'hello'\n")
    change(here / "app.py", '{text} [b]"', '{text} {GREETING}"')
    change(here / "app.py", "import anyio\n", "import anyio\nfrom parts.words import GREETING\n")

    with serving(here, verb="dev") as server:
        (here / "notes.txt").write_text("no code")
        kept = here / "kept" / "packages" / "sha256-0"
        kept.mkdir(parents=True)
        (here / "kept" / "host.db").touch()
        (kept / "plugin.py").write_text("code of a package that the host keeps")
        (here / "__pycache__").mkdir(exist_ok=True)
        (here / "__pycache__" / "cached.py").write_text("no code of ours")
        change(here / "parts" / "words.py", "hello", "good day")

        assert server.until("changed: ").endswith("changed: parts/words.py")
        server.until(SERVES)
        assert says(server) == "1: hi good day"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_turn_under_way_ends_before_its_host_does(here: Path, backend: str) -> None:
    told = let_the_story_end(here)
    with serving(here, "--backend", backend, verb="dev") as server:
        with server.client.stream("POST", "/stream", json=STORY) as response:
            pieces = response.iter_text()
            heard = next(pieces)
            change(here / "app.py", "[b]", "[new]")
            server.until("stopping")
            told.touch()
            heard += "".join(pieces)
        assert '"outcome":"completed"' in heard

        server.until(SERVES)
        assert says(server) == "1: hi [new]"


def test_a_request_between_two_hosts_waits_for_the_second(noted: Path) -> None:
    """The second is loaded only when the request is on its way."""
    here, go = noted.parent, noted.with_name("go")
    with serving(here, verb="dev") as server:
        first = int(noted.read_text())
        waits = f"while not pathlib.Path({str(go)!r}).exists(): pass\n"
        change(here / "app.py", "\nimport anyio", f"\n{waits}import anyio")
        while is_alive(first):
            pass
        url = server.client.base_url
        with socket.create_connection((url.host, url.port or 0), timeout=50) as connection:
            connection.sendall(b"GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n")
            go.touch()
            assert connection.recv(100).startswith(b"HTTP/1.1 200")


def test_an_error_is_told_and_the_next_change_is_served(here: Path) -> None:
    with serving(here, verb="dev") as server:
        change(here / "app.py", "other =", "other ==== ")
        assert "SyntaxError" in server.until("config_invalid")
        server.until("ended with status 2")

        change(here / "app.py", "other ====", "other = 1 +")
        server.until("TypeError")
        server.until("ended with status 2")

        change(here / "app.py", "other = 1 +", "other =")
        server.until(SERVES)
        assert says(server) == "1: hi [b]"
        assert server.stop() == 0

    assert not any("Traceback" in line for line in server.log)


def test_an_application_that_is_broken_from_the_start_may_be_mended(here: Path) -> None:
    app = (here / "app.py").read_text()
    (here / "app.py").write_text("created = False\n")
    with terminal(here, "dev", "--port", "0") as screen:
        screen.answer("has no application 'app'", "")
        screen.answer("ended with status 2", "")
        (here / "app.py").write_text(app)
        screen.answer(SERVES, "\x03")
        status, shown = screen.end()

    assert status == 0
    assert "Traceback" not in shown


def test_ctrl_c_lets_turns_end_and_then_both_processes(noted: Path) -> None:
    told = let_the_story_end(noted.parent)
    with terminal(noted.parent, "dev", "--port", "0") as screen:
        screen.answer("; Ctrl-C stops", "")
        url = screen.shown.decode().partition(SERVES)[2].partition(";")[0]
        with httpx.stream("POST", f"http://{url}/stream", json=STORY, trust_env=False) as response:
            pieces = response.iter_text()
            heard = next(pieces)
            # Two interrupts would end the child at once: the terminal reaches the parent alone.
            assert os.getpgid(int(noted.read_text())) != os.getpgid(screen.process.pid)
            screen.answer("", "\x03")
            screen.answer("stopping", "")
            told.touch()
            heard += "".join(pieces)
        status, shown = screen.end()

    assert '"outcome":"completed"' in heard
    assert status == 0
    assert "Traceback" not in shown
    assert not is_alive(int(noted.read_text()))


def test_a_second_signal_does_not_wait_for_turns(noted: Path) -> None:
    with (
        serving(noted.parent, "--grace", "1000", verb="dev") as server,
        server.client.stream("POST", "/stream", json=STORY) as response,
    ):
        next(response.iter_text())
        server.process.send_signal(signal.SIGINT)
        server.until("stopping")
        assert server.stop(signal.SIGINT) == 0

    assert not is_alive(int(noted.read_text()))


def test_no_child_outlives_a_parent_that_is_killed(noted: Path) -> None:
    with serving(noted.parent, verb="dev") as server:
        # Both have the end of the log open: it ends when the child has.
        assert server.stop(signal.SIGKILL) == -signal.SIGKILL

    assert any("stopping" in line for line in server.log)


def test_nor_does_a_child_whose_event_loop_hangs(here: Path) -> None:
    hangs = "import threading, sys; print('hangs', file=sys.stderr); threading.Event().wait()"
    change(here / "app.py", "async def say(request):", f"async def say(request):\n    {hangs}")
    with serving(here, "--grace", "0", verb="dev") as server:
        url = server.client.base_url
        with socket.create_connection((url.host, url.port or 0), timeout=50) as connection:
            body = b'{"message": "hi"}'
            head = f"POST /chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
            connection.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
            server.until("hangs")
            # As above: the log ends with the child.
            assert server.stop(signal.SIGKILL) == -signal.SIGKILL


def test_hanging_up_on_clients_leaves_the_socket_that_listens() -> None:
    """It is another process's too."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        with socket.create_connection(address), listener.accept()[0] as accepted:
            _hang_up(address[1])
            assert accepted.recv(1) == b""
        with socket.create_connection(address, timeout=50):
            listener.accept()[0].close()


def test_a_port_that_is_taken_is_told_in_a_sentence_by_dev(here: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = agentrail(here, "dev", "--port", port)

    assert done.status == 2
    assert done.err.startswith("config_invalid: ")
    assert f"port {port}" in done.err
