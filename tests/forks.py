"""Processes that have imported what they begin with: forks of one that waits, its import done.

Each runs a Python script as ``python SCRIPT ARGUMENTS`` does, in a directory and an environment and
with files of its own.  Most of what a new interpreter would do is that import, time and again.
"""

import atexit
import gc
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Final

from attrs import define, field, frozen

MOST: Final = 1 << 17
"""The most bytes of a message; the environment of a process is in one."""


@frozen
class Beginning:
    """What the processes have in common."""

    modules: tuple[str, ...]
    """What is imported."""
    options: tuple[str, ...] = ()
    """The interpreter's."""


@define
class Done:
    """A process that has ended."""

    status: int
    out: str
    err: str


@define
class Fork:
    """A process as ``subprocess.Popen`` is one, and another's child."""

    pid: int
    _told: socket.socket
    returncode: int | None = field(default=None, init=False)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit status."""
        if self.returncode is None:
            self._told.settimeout(timeout)
            self.returncode = os.waitstatus_to_exitcode(int(self._told.recv(MOST)))
            self._told.close()
        return self.returncode

    def poll(self) -> int | None:
        """Return the exit status once it has ended."""
        with suppress(BlockingIOError):
            return self.wait(0)
        return None

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        with suppress(ProcessLookupError):  # it ends meanwhile
            if self.poll() is None:
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


def fork(
    command: Sequence[str | Path],
    files: tuple[int, int, int],
    cwd: Path,
    environment: Mapping[str, str],
    after: Beginning,
    *,
    terminal: bool = False,
) -> Fork:
    """Run a script.

    Args:
        command: the script, and its arguments.
        files: its standard input, output and error.
        cwd: where it runs.
        environment: all of it; too late for what Python reads as it starts.
        after: what was done before.
        terminal: whether its standard input is the terminal of a session of its own.
    """
    order: dict[str, Any] = {
        "command": [str(each) for each in command],
        "cwd": str(cwd),
        "environment": dict(environment),
        "terminal": terminal,
    }
    told, tells = socket.socketpair()
    with tells:
        orders = [json.dumps(order).encode()]
        socket.send_fds(_waiting(after), orders, [*files, tells.fileno()])
    return Fork(int(told.recv(MOST)), told)


def run(
    command: Sequence[str | Path],
    cwd: Path,
    environment: Mapping[str, str],
    after: Beginning,
    stdin: str = "",
) -> Done:
    """Run a script to its end; what it is given through a pipe is less than that holds."""
    read, write = os.pipe()
    with TemporaryFile("w+", encoding="utf-8") as out, TemporaryFile("w+", encoding="utf-8") as err:
        os.write(write, stdin.encode())
        os.close(write)
        files = read, out.fileno(), err.fileno()
        process = fork(command, files, cwd, environment, after)
        os.close(read)
        try:
            status = process.wait()
        finally:
            process.kill()
        out.seek(0)
        err.seek(0)
        return Done(status, out.read(), err.read())


@cache
def _waiting(after: Beginning) -> socket.socket:
    """Start the process that forks; return the way to it."""
    ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
    with theirs:
        command = [sys.executable, *after.options, __file__, str(theirs.fileno())]
        process = subprocess.Popen(
            [*command, *after.modules],
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            # Pipes, which what takes their place is too: Python looks at them as it starts.
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[theirs.fileno()],
        )

    def end() -> None:
        ours.close()
        process.communicate(timeout=50)

    atexit.register(end)
    return ours


# In the process that waits, and in its forks.


def _next_fork(orders: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Return an order and its files in each fork, and nothing at the end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's is for the tests
    with selectors.DefaultSelector() as events:
        events.register(orders, selectors.EVENT_READ)
        while True:
            for key, _ in events.select():
                if key.data is not None:  # a fork has ended
                    events.unregister(key.fd)
                    os.close(key.fd)
                    pid, tells = key.data
                    with tells, suppress(BrokenPipeError):  # nobody may want to know
                        tells.send(str(os.waitpid(pid, 0)[1]).encode())
                    continue
                message, files, *_ = socket.recv_fds(orders, MOST, 4)
                if not message:
                    return None
                tells = socket.socket(fileno=files.pop())
                if (pid := os.fork()) == 0:
                    tells.close()
                    return json.loads(message), files
                for file in files:
                    os.close(file)
                tells.send(str(pid).encode())
                events.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, tells))


def _main(orders: int, after: Sequence[str]) -> None:
    del sys.path[0]
    for module in after:
        import_module(module)
    gc.freeze()  # or each fork would copy all that it has
    with socket.socket(fileno=orders) as orders_:
        given = _next_fork(orders_)
    if given is None:
        return
    order, files = given
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    if order["terminal"]:
        os.setsid()
        os.close(os.open(os.ttyname(0), os.O_RDWR))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.argv = order["command"]
    sys.path.insert(0, str(Path(sys.argv[0]).parent))
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    _main(int(sys.argv[1]), sys.argv[2:])
